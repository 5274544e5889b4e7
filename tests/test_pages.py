"""The pages people see: reachable, in two languages, and safe to follow a link to."""

from __future__ import annotations

import html
import json
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from tests.oauth import HOST, RESOURCE, browser

pytestmark = pytest.mark.django_db


def get(path: str, **headers: str) -> str:
    response = Client().get(path, headers={"host": HOST, **headers})
    assert response.status_code == 200, path
    return html.unescape(response.content.decode())


def test_the_connect_page_shows_the_url_and_the_exact_configuration() -> None:
    text = get("/")
    assert RESOURCE in text
    assert json.dumps({"servers": {"star": {"type": "http", "url": RESOURCE}}}, indent=2) in text
    assert f"claude mcp add --transport http star {RESOURCE} && claude mcp login star" in text
    assert json.dumps({"mcpServers": {"star": {"url": RESOURCE}}}, indent=2) in text


@pytest.mark.parametrize("path", ["/", "/accounts/login/"])
def test_pages_speak_the_language_of_the_browser(path: str) -> None:
    english = get(path, **{"accept-language": "en"})
    chinese = get(path, **{"accept-language": "zh-CN,zh;q=0.9"})
    assert 'lang="en"' in english
    assert 'lang="zh-hans"' in chinese
    assert any("\u4e00" <= character <= "\u9fff" for character in chinese)
    said = english.partition("<footer")[0]  # where each language is named in itself
    assert not any("\u4e00" <= character <= "\u9fff" for character in said)


def test_sign_up_is_closed_unless_the_settings_open_it(settings: Any) -> None:
    assert 'name="password1"' not in get("/accounts/signup/")
    settings.ALLOW_SIGNUP = True
    assert 'name="password1"' in get("/accounts/signup/")


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)", "https:evil.example"],
)
def test_sign_in_leads_nowhere_else(alice: Any, target: str) -> None:
    form = {"login": "alice", "password": "alice-password", "next": target}
    response = browser().post(f"/accounts/login/?next={quote(target)}", form)
    assert response.status_code == 302
    assert response["Location"] == "/"


def test_sign_in_refuses_a_wrong_password_and_slows_down_guessing(alice: Any) -> None:
    client = browser()
    answers = [
        client.post("/accounts/login/", {"login": "alice", "password": f"wrong{number}"}).status_code
        for number in range(12)
    ]
    assert answers[0] == 200
    assert answers[-1] in {200, 429}
    text = client.post("/accounts/login/", {"login": "alice", "password": "wrong"}).content.decode()
    assert "Too many" in text or answers[-1] == 429


def test_who_asks_too_often_gets_a_page_that_says_so(settings: Any) -> None:
    settings.ACCOUNT_RATE_LIMITS = {**settings.ACCOUNT_RATE_LIMITS, "login": "2/m/ip"}
    form = {"login": "nobody", "password": "wrong"}
    answers = [browser().post("/accounts/login/", form) for _ in range(3)]
    assert [response.status_code for response in answers] == [200, 200, 429]
    said = answers[-1].content.decode()
    assert "Wait a few minutes, then try again." in said
    assert "star/star.css" in said
    chinese = browser().post("/accounts/login/", form, headers={"accept-language": "zh-CN"})
    assert (chinese.status_code, "请等待几分钟后再试" in chinese.content.decode()) == (429, True)


def test_an_unknown_page_is_a_404_without_a_traceback(settings: Any) -> None:
    response = Client().get("/nothing/here", headers={"host": HOST})
    assert response.status_code == 404
    assert "Traceback" not in response.content.decode()


@pytest.mark.parametrize(
    ("path", "policy"),
    [
        ("/o/authorize/", "unsafe-none"),
        ("/accounts/login/", "unsafe-none"),
        ("/", "same-origin"),
        ("/admin/login/", "same-origin"),
        ("/connected-apps/", "same-origin"),
    ],
)
def test_a_client_may_sign_people_in_in_a_popup_and_see_nothing_else_there(path: str, policy: str) -> None:
    assert Client().get(path, headers={"host": HOST})["Cross-Origin-Opener-Policy"] == policy


@pytest.mark.parametrize("content_type", ["multipart/form-data", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("host", ["", "evil.example"])
def test_a_bad_body_at_a_bad_host_is_still_a_400(content_type: str, host: str) -> None:
    """The page that says so must not trip over the body itself."""
    cookie = f"sessionid={'a' * 32}; csrftoken={'b' * 32}"
    headers = {"host": host, "cookie": cookie}
    response = Client(enforce_csrf_checks=True).generic(
        "POST", "/o/authorize/", b"x=\xff", content_type=content_type, headers=headers
    )
    assert response.status_code == 400


def test_the_language_is_chosen_and_the_page_stays() -> None:
    client = Client(headers={"host": HOST, "accept-language": "en"})
    page = client.get("/accounts/login/?next=/connected-apps/").content.decode()
    assert 'value="zh-hans"' in page
    assert "简体中文" in page
    asked = html.unescape(page.partition("<footer")[2].partition('name="next" value="')[2].partition('"')[0])
    assert asked == "/accounts/login/?next=/connected-apps/"
    chosen = client.post("/i18n/setlang/", {"language": "zh-hans", "next": asked})
    assert (chosen.status_code, chosen["Location"]) == (302, asked)
    cookie = chosen.cookies["django_language"]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")
    assert 'lang="zh-hans"' in client.get(asked).content.decode()
    client.post("/i18n/setlang/", {"language": "en", "next": asked})
    assert 'lang="en"' in client.get(asked).content.decode()


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example/", "javascript:alert(1)"])
def test_choosing_a_language_leads_nowhere_else(target: str) -> None:
    response = Client(headers={"host": HOST}).post("/i18n/setlang/", {"language": "zh-hans", "next": target})
    assert response["Location"] == "/"
    assert Client(enforce_csrf_checks=True, headers={"host": HOST}).post("/i18n/setlang/").status_code == 403
