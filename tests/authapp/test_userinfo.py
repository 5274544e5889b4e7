"""The UserInfo endpoint (OIDC Core §5.3): a live token with `openid`, in the header, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from oauth2_provider.models import get_access_token_model

from authapp.models import Application, Connection
from tests.oauth import HOST, ISSUER, browser, connected, refresh
from tests.openid import SCOPE, signed_in, verified

pytestmark = pytest.mark.django_db

URL = "/o/userinfo/"


def ask(token: str, method: str = "get", scheme: str = "Bearer", **options: Any) -> Any:
    client = Client(enforce_csrf_checks=True, headers={"host": HOST})
    return getattr(client, method)(URL, headers={"authorization": f"{scheme} {token}"}, **options)


@pytest.fixture
def person(alice: Any) -> Any:
    alice.email = "alice@example.org"
    alice.save()
    return alice


@pytest.mark.rfc("OIDC Core 5.3.2")
@pytest.mark.parametrize("method", ["get", "post"])
def test_it_tells_what_the_id_token_tells_about_the_person(person: Any, method: str) -> None:
    client, tokens = signed_in(person)
    response = ask(tokens["access_token"], method)
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"
    assert response.json() == {
        "sub": str(person.pk),
        "name": "Alice",
        "given_name": "Alice",
        "preferred_username": "alice",
        "email": "alice@example.org",
        "email_verified": False,
    }
    assert response.json().items() <= verified(tokens["id_token"], client["client_id"]).items()


@pytest.mark.parametrize(
    ("scope", "names"),
    [
        ("openid", {"sub"}),
        ("openid email", {"sub", "email", "email_verified"}),
        ("openid profile", {"sub", "name", "given_name", "preferred_username"}),
    ],
)
def test_it_tells_no_more_than_the_scopes_of_the_token(person: Any, scope: str, names: set[str]) -> None:
    _, tokens = signed_in(person, scope=scope)
    assert ask(tokens["access_token"]).json().keys() == names


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_the_scheme_may_be_written_in_any_case(person: Any, scheme: str) -> None:
    assert ask(signed_in(person)[1]["access_token"], scheme=scheme).status_code == 200


@pytest.mark.rfc("6750 3")
@pytest.mark.parametrize("method", ["get", "post"])
def test_without_a_token_there_is_a_challenge_without_an_error(method: str) -> None:
    response = getattr(browser(), method)(URL)
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == f'Bearer realm="{ISSUER}"'


def test_a_token_anywhere_but_in_the_header_is_none(person: Any) -> None:
    token = signed_in(person)[1]["access_token"]
    assert browser().get(URL, {"access_token": token}).status_code == 401
    assert browser().post(URL, {"access_token": token}).status_code == 401
    assert browser(person).get(URL).status_code == 401, "nor is a session"
    assert ask(token, scheme="Basic").status_code == 401
    assert ask(token, scheme="DPoP").status_code == 401
    assert ask(token).status_code == 200


@pytest.mark.rfc("6750 3.1")
@pytest.mark.parametrize("token", ["", "x", "star_" + "A" * 59, "a\x00b", "ü", "a b", "x" * 5000, "null", '"'])
def test_what_is_no_token_of_ours_is_invalid_token(token: str) -> None:
    response = ask(token)
    assert response.status_code == 401
    assert response["WWW-Authenticate"].startswith(f'Bearer realm="{ISSUER}", error="invalid_token"')
    assert response.json()["error"] == "invalid_token"


def expired(token: Any) -> None:
    get_access_token_model().objects.update(expires=timezone.now() - timedelta(seconds=1))


def inactive(token: Any) -> None:
    token.user.is_active = False
    token.user.save()


def disabled(token: Any) -> None:
    Application.objects.update(disabled_at=timezone.now())


def disconnected(token: Any) -> None:
    browser(token.user).post(f"/connected-apps/{Connection.objects.get().pk}/disconnect/")


def deleted(token: Any) -> None:
    token.user.delete()


def without_person(token: Any) -> None:
    get_access_token_model().objects.update(user=None)


@pytest.mark.parametrize("change", [expired, inactive, disabled, disconnected, deleted, without_person])
def test_a_token_whose_time_person_client_or_consent_is_over_is_invalid_token(person: Any, change: Any) -> None:
    _, tokens = signed_in(person)
    assert ask(tokens["access_token"]).status_code == 200
    change(get_access_token_model().objects.select_related("user").get(user=person))
    response = ask(tokens["access_token"])
    assert (response.status_code, response.json()["error"]) == (401, "invalid_token")


def test_other_credentials_of_the_same_login_are_no_access_token(person: Any) -> None:
    client, tokens = signed_in(person)
    for other in (
        tokens["refresh_token"],
        tokens["id_token"],
        client["registration_access_token"],
        client["client_id"],
    ):
        assert ask(other).status_code == 401
    assert ask(tokens["access_token"]).status_code == 200


@pytest.mark.rfc("6750 3.1")
def test_a_token_without_openid_is_insufficient_scope(person: Any) -> None:
    _, tokens = connected(person, scope="mcp:tools profile email")
    response = ask(tokens["access_token"])
    assert response.status_code == 403
    assert response["WWW-Authenticate"] == f'Bearer realm="{ISSUER}", error="insufficient_scope", scope="openid"'


def test_a_token_that_a_refresh_narrowed_tells_no_more(person: Any) -> None:
    client, tokens = signed_in(person)
    narrowed = refresh(client["client_id"], tokens["refresh_token"], scope="mcp:tools").json()
    assert ask(narrowed["access_token"]).status_code == 403
    assert ask(tokens["access_token"]).status_code == 401, "the one before is replaced"


def test_the_token_it_takes_is_good_at_the_mcp_server_too(person: Any) -> None:
    """Our choice: its resource is /star. UserInfo belongs to the issuer, which is whose token it is."""
    _, tokens = signed_in(person, scope=SCOPE)
    assert get_access_token_model().objects.get(user=person).resource == [f"{ISSUER}/star"]
    assert ask(tokens["access_token"]).status_code == 200


def test_any_web_page_may_ask_with_a_token() -> None:
    response = browser().options(
        URL,
        headers={
            "origin": "https://app.example",
            "access-control-request-method": "GET",
            "access-control-request-headers": "authorization",
        },
    )
    assert response["Access-Control-Allow-Origin"] == "*"
    assert "authorization" in response["Access-Control-Allow-Headers"]
