"""The pages people see: reachable, in two languages, and safe to follow a link to."""

from __future__ import annotations

import html
import json
import re
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from tests.oauth import HOST, PKCE, RESOURCE, authorization_url, browser, registered

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
        ("/accounts/signup/", "unsafe-none"),
        ("/accounts/2fa/authenticate/", "unsafe-none"),
        ("/accounts/2fa/reauthenticate/", "unsafe-none"),
        ("/accounts/2fa/webauthn/login/", "unsafe-none"),
        ("/accounts/oidc/entra/login/", "unsafe-none"),
        ("/accounts/oidc/entra/login/callback/", "unsafe-none"),
        ("/accounts/2fa/", "same-origin"),
        ("/accounts/logout/", "same-origin"),
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


def comes_back_to(page: str) -> str:
    """Return where the choice of a language leads, empty where there is none."""
    footer = page.partition("<footer")[2]
    return html.unescape(footer.partition('name="next" value="')[2].partition('"')[0])


@pytest.fixture
def request_of_a_client() -> str:
    return authorization_url(registered()["client_id"], PKCE())


def test_the_language_is_chosen_and_the_page_stays(alice: Any, request_of_a_client: str) -> None:
    for where in (
        "/",
        "/accounts/login/?next=/connected-apps/",
        "/accounts/signup/?next=/connected-apps/",
        "/connected-apps/",
        "/device/?user_code=BCDF-GHJK",
        "/o/logout/?state=x",
        "/o/authorize/?client_id=unknown",
        request_of_a_client,
    ):
        client = Client(headers={"host": HOST, "accept-language": "en"})
        if "/accounts/" not in where:
            client.force_login(alice)
        page = client.get(where).content.decode()
        assert '<html lang="en">' in page
        assert re.findall(r'value="([-a-z]+)"\s+lang="\1"\s+(aria-current="true")?>([^<]+)</button>', page) == [
            ("en", 'aria-current="true"', "English"),
            ("zh-hans", "", "简体中文"),
        ]
        asked = comes_back_to(page)
        assert asked == where
        chosen = client.post("/i18n/setlang/", {"language": "zh-hans", "next": asked})
        assert (chosen.status_code, chosen["Location"]) == (302, where)
        cookie = chosen.cookies["django_language"]
        assert (cookie["httponly"], cookie["samesite"], cookie["max-age"]) == (True, "Lax", 365 * 24 * 3600)
        assert '<html lang="zh-hans">' in client.get(where).content.decode()
        client.post("/i18n/setlang/", {"language": "en", "next": asked})
        assert '<html lang="en">' in client.get(where).content.decode()


def test_no_answer_to_a_form_offers_to_leave_it(alice: Any, request_of_a_client: str) -> None:
    person = browser(alice)
    assert comes_back_to(person.get(request_of_a_client).content.decode())
    nothing_ticked = person.post(request_of_a_client, {"allow": "true", "scopes": ""})
    for page in (
        nothing_ticked,
        person.post("/device/", {"user_code": "BCDF-GHJK"}),
        browser().post("/accounts/login/"),
    ):
        assert "<main" in page.content.decode()
        assert "/i18n/setlang/" not in page.content.decode()


def test_the_code_of_somebodys_sign_in_is_put_into_no_page() -> None:
    client = Client(headers={"host": HOST})
    for where in ("/", "/nothing-here/"):
        page = client.get(f"{where}?code=secret-code&state=s").content.decode()
        assert comes_back_to(page) == where
        assert "secret-code" not in page


def test_what_programs_read_is_the_same_in_every_language(request_of_a_client: str) -> None:
    """RFC 6749 §5.2: the descriptions of errors are ASCII."""
    chinese = Client(headers={"host": HOST, "accept-language": "zh-CN"})
    chinese.cookies["django_language"] = "zh-hans"
    for path, form in (
        ("/.well-known/oauth-authorization-server", None),
        ("/.well-known/oauth-protected-resource/star", None),
        (f"{request_of_a_client}&prompt=none", None),
        ("/o/token/", {"grant_type": "authorization_code", "code": "x", "client_id": "unknown"}),
        ("/o/register/", {}),
        ("/o/device_authorization/", {"client_id": "unknown"}),
        ("/o/revoke_token/", {"token": "x"}),
    ):
        answers = [
            client.get(path) if form is None else client.post(path, form)
            for client in (Client(headers={"host": HOST, "accept-language": "en"}), chinese)
        ]
        assert "<html" not in answers[0].content.decode(), path
        assert answers[0].content == answers[1].content
        assert answers[0].get("Location") == answers[1].get("Location")
        assert answers[0].status_code == answers[1].status_code
    assert '<html lang="zh-hans">' in chinese.get("/").content.decode(), "pages are not"


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example/", "javascript:alert(1)"])
def test_choosing_a_language_leads_nowhere_else(target: str) -> None:
    response = Client(headers={"host": HOST}).post("/i18n/setlang/", {"language": "zh-hans", "next": target})
    assert response["Location"] == "/"
    assert Client(enforce_csrf_checks=True, headers={"host": HOST}).post("/i18n/setlang/").status_code == 403
