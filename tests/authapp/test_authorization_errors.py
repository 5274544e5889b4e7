"""What a person is told where the authorization endpoint cannot send them back to the client."""

from __future__ import annotations

import html
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from oauth2_provider.models import get_grant_model

from authapp.models import Application
from tests.oauth import PKCE, authorization_url, browser, registered

pytestmark = pytest.mark.django_db

UNKNOWN = "does not know this client"
ELSEWHERE = "an address that it has not registered here"
UNANSWERABLE = "not one that this site can answer"
MISTAKES = {UNKNOWN, ELSEWHERE, UNANSWERABLE}
# What the page says of it, whose mistake it is, and what to do, in English and in Chinese.
TOLD = {
    UNKNOWN: (
        ("You did nothing wrong", "Remove the server in your client"),
        ("不认识此客户端", "您没有做错什么", "请在客户端中移除此服务器"),
    ),
    ELSEWHERE: (
        ("That is the client's mistake, or somebody made up the link", "If you were not connecting a client just now"),
        ("没有在这里注册过的地址", "这是客户端的错误，或者有人伪造了", "如果您刚才并没有在连接客户端"),
    ),
    UNANSWERABLE: (
        ("That is the client's mistake, not yours", "Update your client"),
        ("本站无法处理该客户端的请求", "这是客户端的错误，不是您的", "请更新您的客户端"),
    ),
}


def shown(url: str) -> set[str]:
    """Return which of the explanations the page gives; it is a page, and leads nowhere."""
    response = browser().get(url)
    assert response.status_code in {400, 401, 403}, response.status_code
    assert "Location" not in response
    text = words(response)
    assert "What you can do" in text
    found = {mistake for mistake in MISTAKES if mistake in text}
    in_chinese = words(browser().get(url, headers={"accept-language": "zh-CN"}))
    assert {mistake for mistake, (told, _) in TOLD.items() if all(said in text for said in told)} == found
    assert {mistake for mistake, (_, told) in TOLD.items() if all(said in in_chinese for said in told)} == found
    return found


def words(response: Any) -> str:
    return " ".join(html.unescape(response.content.decode()).split())


@pytest.fixture
def client_id() -> str:
    return str(registered()["client_id"])


def test_a_sound_request_is_no_mistake(client_id: str) -> None:
    """The positive control of this file."""
    assert browser().get(authorization_url(client_id, PKCE())).status_code == 302


@pytest.mark.parametrize("unknown", ["unknown", "x" * 300, "redirect", "<script>alert(1)</script>"])
def test_a_client_that_nobody_registered_is_called_unknown(unknown: str) -> None:
    assert shown(authorization_url(unknown, PKCE())) == {UNKNOWN}


def test_a_disabled_client_is_called_unknown(client_id: str) -> None:
    Application.objects.update(disabled_at=timezone.now())
    assert shown(authorization_url(client_id, PKCE())) == {UNKNOWN}


@pytest.mark.parametrize(
    "uri", ["https://evil.example/cb", "http://127.0.0.1/other", "javascript:alert(1)", "client_id:cb", "/cb", ""]
)
def test_an_address_that_is_not_registered_is_said_to_be_so(client_id: str, uri: str) -> None:
    assert shown(authorization_url(client_id, PKCE(), redirect_uri=uri)) == {ELSEWHERE}


@pytest.mark.parametrize("name", ["client_id", "redirect_uri", "response_type", "scope", "state"])
def test_a_repeated_parameter_is_the_clients_mistake_whatever_it_is_called(client_id: str, name: str) -> None:
    """Neither is the client called unknown, nor its address a stranger's, because their name is in the message."""
    assert shown(f"{authorization_url(client_id, PKCE())}&{name}=again") == {UNANSWERABLE}


@pytest.mark.parametrize(
    "url", ["/o/authorize/", "/o/authorize", "/o/authorize/?client_id=", "/o/authorize/?client_id=x&state=%zz"]
)
def test_a_request_that_says_nothing_or_cannot_be_read_is_the_clients_mistake(url: str) -> None:
    assert shown(url) == {UNANSWERABLE}


def test_a_client_with_several_addresses_that_names_none_is_mistaken() -> None:
    several = registered(redirect_uris=["http://127.0.0.1:1/a", "http://127.0.0.1:1/b"])["client_id"]
    assert shown(authorization_url(str(several), PKCE(), redirect_uri=None)) == {UNANSWERABLE}


def test_a_foreign_resource_does_not_hide_that_the_client_is_unknown(client_id: str) -> None:
    """No redirect can be trusted, so the resource that is wrong as well is not what is told."""
    wrong: dict[str, Any] = {"resource": "https://other.example/mcp"}
    assert shown(authorization_url("unknown", PKCE(), **wrong)) == {UNKNOWN}
    assert shown(authorization_url(client_id, PKCE(), redirect_uri="https://evil.example/cb", **wrong)) == {ELSEWHERE}


def test_a_consent_page_that_was_open_too_long_asks_to_send_it_again_and_grants_nothing(
    alice: Any, client_id: str
) -> None:
    """A wrong token stands for one of an earlier sign-in: Django refuses both alike."""
    visitor = Client(enforce_csrf_checks=True, headers={"host": "127.0.0.1:8000"})
    visitor.force_login(alice)
    url = authorization_url(client_id, PKCE())
    token = visitor.get(url).context["csrf_token"]
    response = visitor.post(url, {"allow": "true", "csrfmiddlewaretoken": "x" * len(str(token))})
    assert response.status_code == 403
    assert "Nothing was changed" in response.content.decode()
    assert f'href="{html.escape(url)}">Open the page anew' in response.content.decode()
    assert not get_grant_model().objects.exists()
    assert visitor.post(url, {"allow": "true", "csrfmiddlewaretoken": str(token)}).status_code == 302
    assert get_grant_model().objects.count() == 1
