"""The sign-in page says which client a person goes on to, for requests that the consent page would show."""

from __future__ import annotations

import html
import re
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode

import pytest
from django.utils import timezone

from authapp import safe_fetch
from authapp.models import Application
from tests.oauth import PKCE, authorization_url, browser, registered

pytestmark = pytest.mark.django_db


def sign_in_page(next_url: str, **headers: str) -> str:
    response = browser().get(f"/accounts/login/?{urlencode({'next': next_url})}", headers=headers)
    assert response.status_code == 200
    return response.content.decode()


def named(page: str) -> str | None:
    found = re.search(r'<bdi class="client-name">(.*?)</bdi>', page, re.DOTALL)
    return html.unescape(found[1]) if found else None


def client_id(**metadata: Any) -> str:
    return str(registered(**({"client_name": "Cursor"} | metadata))["client_id"])


def test_the_sign_in_page_says_where_it_leads() -> None:
    url = authorization_url(client_id(), PKCE())
    sent = browser().get(url)
    page = browser().get(sent["Location"]).content.decode()
    assert "Sign in to continue to" in page
    assert named(page) == "Cursor"
    assert named(sign_in_page(url.replace("/o/authorize/", "/o/authorize"))) == "Cursor"
    assert "登录后即可继续前往" in sign_in_page(url, **{"accept-language": "zh-CN"})


def test_it_says_so_after_a_wrong_password_and_before_a_fresh_sign_in_too(alice: Any) -> None:
    url = authorization_url(client_id(), PKCE())
    wrong = browser().post("/accounts/login/", {"login": "alice", "password": "wrong", "next": url})
    assert named(wrong.content.decode()) == "Cursor"
    person = browser()
    person.post("/accounts/login/", {"login": "alice", "password": "alice-password"})
    again = person.get(authorization_url(client_id(), PKCE(), prompt="login"))
    assert again["Location"].startswith("/accounts/reauthenticate/")
    assert named(person.get(again["Location"]).content.decode()) == "Cursor"


def test_the_sign_up_page_says_it_as_well(settings: Any) -> None:
    settings.ALLOW_SIGNUP = True
    url = authorization_url(client_id(), PKCE())
    page = browser().get(f"/accounts/signup/?{urlencode({'next': url})}").content.decode()
    assert named(page) == "Cursor"
    assert f'value="{html.escape(url)}"' in page, "and leads back to it"


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": "https://evil.example/callback"},
        {"code_challenge_method": "plain"},
        {"resource": "https://elsewhere.example/star"},
        {"response_type": "token"},
        {"scope": "everything"},
        {"client_id": "nobody"},
        {"client_id": "nul\x00"},
        {"client_id": "x" * 9000},
        {"client_id": None},
        {"state": ["one", "two"]},
        {"prompt": "none login"},
    ],
)
def test_a_request_that_would_be_refused_names_nobody(changes: dict[str, Any]) -> None:
    mine = client_id()
    assert named(sign_in_page(authorization_url(mine, PKCE()))) == "Cursor"
    assert named(sign_in_page(authorization_url(mine, PKCE(), **changes))) is None


def test_a_disabled_client_is_not_named() -> None:
    mine = client_id()
    url = authorization_url(mine, PKCE())
    assert named(sign_in_page(url)) == "Cursor"
    Application.objects.filter(client_id=mine).update(disabled_at=timezone.now())
    assert named(sign_in_page(url)) is None


@pytest.mark.parametrize(
    "next_url",
    [
        "",
        "/",
        "/connected-apps/",
        "/o/authorize/",
        "/o/authorize/?",
        "/o/authorize/?%",
        "/o/authorize/?a=\udcff",
        "\x00",
    ],
)
def test_other_pages_name_nobody(next_url: str) -> None:
    page = browser().get("/accounts/login/", {"next": next_url.encode("utf-8", "surrogatepass")})
    assert page.status_code == 200
    assert named(page.content.decode()) is None


@pytest.mark.parametrize(
    "place", ["https://evil.example", "//evil.example", "http://127.0.0.1:8000", "/\\evil.example"]
)
def test_an_address_that_is_no_path_of_this_site_names_nobody(place: str) -> None:
    url = authorization_url(client_id(), PKCE())
    assert named(sign_in_page(place + url)) is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"),
        ("مرحبا Cursor", "مرحبا Cursor"),
        ("W" * 100, "W" * 59 + "…"),
    ],
)
def test_a_hostile_name_is_escaped_isolated_and_shortened(name: str, shown: str) -> None:
    page = sign_in_page(authorization_url(client_id(client_name=name), PKCE()))
    assert named(page) == shown
    assert "<img src=x" not in page


def test_a_link_to_the_page_makes_the_site_fetch_nothing(settings: Any) -> None:
    settings.OAUTH2_PROVIDER = {**settings.OAUTH2_PROVIDER, "CIMD_ENABLED": True}
    url = authorization_url("https://stranger.example/client.json", PKCE())
    with patch.object(safe_fetch, "get", side_effect=safe_fetch.FetchError("no")) as fetched:
        assert named(sign_in_page(url)) is None
        assert fetched.call_count == 0
        assert browser().get(url).status_code == 400
        assert fetched.call_count == 1, "the consent page does fetch"
