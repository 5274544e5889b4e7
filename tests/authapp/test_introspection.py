"""Token introspection (RFC 7662): who may ask about which token."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from authapp.models import Application
from tests.oauth import ISSUER, PKCE, RESOURCE, authorize, browser, post_form, redeem, registered

pytestmark = pytest.mark.django_db

INACTIVE = {"active": False}


def confidential() -> dict[str, Any]:
    return registered(token_endpoint_auth_method="client_secret_post")


def tokens_of(user: Any, client: dict[str, Any]) -> dict[str, Any]:
    pkce = PKCE()
    code = authorize(user, client["client_id"], pkce)["code"]
    tokens: dict[str, Any] = redeem(client["client_id"], code, pkce, client_secret=client["client_secret"]).json()
    return tokens


def introspect(client: dict[str, Any], token: str, **form: str) -> Any:
    credentials = {"client_id": client["client_id"], "client_secret": client["client_secret"]}
    return post_form("/o/introspect/", credentials | {"token": token} | form)


@pytest.mark.rfc("7662 2.2")
def test_a_client_learns_what_its_own_token_is(alice: Any) -> None:
    client = confidential()
    response = introspect(client, tokens_of(alice, client)["access_token"])
    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store"
    body = response.json()
    assert 3590 < body.pop("exp") - timezone.now().timestamp() <= 3600
    assert abs(body.pop("iat") - timezone.now().timestamp()) < 10
    assert body == {
        "active": True,
        "token_type": "Bearer",
        "scope": "mcp:tools",
        "client_id": client["client_id"],
        "username": "alice",
        "sub": str(alice.pk),
        "aud": [RESOURCE],
        "iss": ISSUER,
    }


def test_a_client_learns_nothing_of_anothers_token(alice: Any) -> None:
    mine, theirs = confidential(), confidential()
    token = tokens_of(alice, theirs)["access_token"]
    assert introspect(theirs, token).json()["active"] is True
    assert introspect(mine, token).json() == INACTIVE


def test_a_resource_server_that_the_settings_name_may_ask_about_any(alice: Any, settings: Any) -> None:
    server, client = confidential(), confidential()
    token = tokens_of(alice, client)["access_token"]
    settings.AUTHAPP = {**settings.AUTHAPP, "INTROSPECTING_CLIENTS": [server["client_id"]]}
    assert introspect(server, token).json()["client_id"] == client["client_id"]


@pytest.mark.parametrize("ended", ["user", "client", "expired", "deleted"])
def test_a_token_that_has_ended_is_inactive(alice: Any, ended: str) -> None:
    from oauth2_provider.models import get_access_token_model

    server, client = confidential(), confidential()
    token = tokens_of(alice, client)["access_token"]
    rows = get_access_token_model().objects.filter(user=alice)
    if ended == "user":
        alice.is_active = False
        alice.save()
    elif ended == "client":
        Application.objects.filter(client_id=client["client_id"]).update(disabled_at=timezone.now())
    elif ended == "expired":
        rows.update(expires=timezone.now())
    else:
        rows.delete()
    asker = server if ended == "client" else client
    assert introspect(asker, token).json() == INACTIVE


def test_what_is_no_access_token_is_inactive(alice: Any) -> None:
    client = confidential()
    tokens = tokens_of(alice, client)
    for other in (tokens["refresh_token"], client["registration_access_token"], "unknown", "x" * 8000, "é"):
        assert introspect(client, other).json() == INACTIVE


@pytest.mark.rfc("7662 2.1")
def test_nobody_asks_without_proof_of_who_they_are(alice: Any) -> None:
    client, public = confidential(), registered()
    token = tokens_of(alice, client)["access_token"]
    wrong = client | {"client_secret": "wrong"}
    for response in (
        introspect(wrong, token),
        post_form("/o/introspect/", {"token": token}),
        post_form("/o/introspect/", {"token": token, "client_id": public["client_id"]}),
        post_form("/o/introspect/", {"token": token, "client_id": public["client_id"], "client_secret": ""}),
        post_form("/o/introspect/", {"token": token}, {"authorization": f"Bearer {token}"}),
        browser(alice).post("/o/introspect/", {"token": token}, content_type="application/x-www-form-urlencoded"),
    ):
        assert (response.status_code, response.json()["error"]) == (401, "invalid_client")
        assert response["WWW-Authenticate"].startswith("Basic ")


def test_the_token_is_never_taken_from_the_url(alice: Any) -> None:
    client = confidential()
    token = tokens_of(alice, client)["access_token"]
    assert browser().get(f"/o/introspect/?token={token}").status_code == 405
    credentials = {"client_id": client["client_id"], "client_secret": client["client_secret"]}
    assert post_form(f"/o/introspect/?token={token}", credentials).json()["error"] == "invalid_request"
