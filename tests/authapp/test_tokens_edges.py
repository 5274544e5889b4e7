"""What the token endpoint must not lose."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import RequestFactory
from oauth2_provider.models import get_access_token_model, get_grant_model

from authapp.token_endpoint import TokenView
from authapp.tokens import find_access_token
from tests.oauth import HOST, PKCE, RESOURCE, authorize, connected, redeem, refresh, registered

pytestmark = pytest.mark.django_db

AccessToken = get_access_token_model()
OTHER_RESOURCE = "http://localhost:8000/star"


def code_for(user: Any, client_id: str, **parameters: Any) -> tuple[str, PKCE]:
    pkce = PKCE()
    return authorize(user, client_id, pkce, **parameters)["code"], pkce


def resource_of(tokens: dict[str, Any]) -> tuple[str, ...]:
    found = async_to_sync(find_access_token)(tokens["access_token"])
    assert found is not None
    return found.resource


@pytest.mark.rfc("8707 2.2")
def test_a_code_for_one_of_our_resources_yields_no_token_for_another(alice: Any) -> None:
    client_id = registered()["client_id"]
    code, pkce = code_for(alice, client_id)
    for resource in (OTHER_RESOURCE, [RESOURCE, OTHER_RESOURCE]):
        response = redeem(client_id, code, pkce, resource=resource)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_target")


@pytest.mark.rfc("8707 2.2")
def test_a_token_request_without_a_resource_keeps_the_one_consented_to(alice: Any) -> None:
    client_id = registered()["client_id"]
    code, pkce = code_for(alice, client_id, resource=OTHER_RESOURCE)
    tokens = redeem(client_id, code, pkce, resource=None).json()
    assert resource_of(tokens) == (OTHER_RESOURCE,)
    assert resource_of(refresh(client_id, tokens["refresh_token"]).json()) == (OTHER_RESOURCE,)


@pytest.mark.rfc("8707 2.2")
def test_a_refresh_for_one_of_our_resources_yields_no_token_for_another(alice: Any) -> None:
    client, tokens = connected(alice)
    response = refresh(client["client_id"], tokens["refresh_token"], resource=OTHER_RESOURCE)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_target")


def test_a_scope_that_is_asked_for_twice_is_granted_once(alice: Any) -> None:
    authorize(alice, registered()["client_id"], PKCE(), scope="mcp:tools mcp:write mcp:tools")
    assert get_grant_model().objects.get().scope == "mcp:tools mcp:write"


@pytest.mark.rfc("9700 4.14.2")
def test_one_used_successor_is_enough_to_make_a_replay_a_theft(alice: Any) -> None:
    client, first = connected(alice)
    used = refresh(client["client_id"], first["refresh_token"]).json()
    unused = refresh(client["client_id"], first["refresh_token"]).json()
    latest = refresh(client["client_id"], used["refresh_token"]).json()
    assert refresh(client["client_id"], first["refresh_token"]).json()["error"] == "invalid_grant"
    for ended in (unused, latest):
        assert async_to_sync(find_access_token)(ended["access_token"]) is None
        assert refresh(client["client_id"], ended["refresh_token"]).status_code == 400


def test_a_refresh_token_without_its_access_token_is_refused(alice: Any) -> None:
    """Nothing says any more what was granted, or until when."""
    client, tokens = connected(alice)
    AccessToken.objects.filter(user=alice).delete()
    response = refresh(client["client_id"], tokens["refresh_token"])
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")


def test_a_body_that_breaks_off_is_a_client_error() -> None:
    class BrokenOff:
        def read(self, *_: Any) -> bytes:
            raise OSError("the connection is gone")

        readline = read

    request = RequestFactory().post(
        "/o/token/",
        b"grant_type=refresh_token",
        content_type="application/x-www-form-urlencoded",
        headers={"host": HOST},
        **{"wsgi.input": BrokenOff()},  # type: ignore[arg-type]
    )
    assert TokenView.as_view()(request).status_code == 400
