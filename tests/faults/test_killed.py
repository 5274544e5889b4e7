"""`kill -9` in the middle of what must not lose data: before each statement of a request, and before its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import Client
from oauth2_provider.models import get_access_token_model, get_refresh_token_model

from authapp.models import Application, AuditEvent, Connection, TokenFamily
from authapp.tokens import find_access_token
from tests.faults.killing import each_statement, killed_before
from tests.oauth import (
    CALLBACK,
    PKCE,
    authorization_url,
    authorize,
    browser,
    connected,
    post_form,
    redeem,
    refresh,
    registered,
)

pytestmark = pytest.mark.django_db(transaction=True)


def works(token: str) -> bool:
    return async_to_sync(find_access_token)(token) is not None


def live_access_tokens(client_id: str) -> int:
    return int(get_access_token_model().objects.filter(application__client_id=client_id, scope="mcp:tools").count())


def events(action: str, client_id: str) -> int:
    return AuditEvent.objects.filter(action=action, client_id=client_id).count()


@dataclass
class Code:
    """One that waits to be redeemed."""

    client_id: str
    value: str
    pkce: PKCE

    def redeem(self) -> Any:
        return redeem(self.client_id, self.value, self.pkce)


def test_of_a_redemption_either_all_or_nothing_happened_and_the_client_can_go_on(alice: Any) -> None:
    def prepare() -> Code:
        pkce, client = PKCE(), registered()
        return Code(client["client_id"], authorize(alice, client["client_id"], pkce)["code"], pkce)

    seen: list[int] = []

    def check(code: Code) -> None:
        families = TokenFamily.objects.filter(application__client_id=code.client_id).count()
        assert events("token_issued", code.client_id) == families == live_access_tokens(code.client_id)
        again = code.redeem()
        seen.append(again.status_code)
        if families == 0:
            assert again.status_code == 200, again.content
            assert works(again.json()["access_token"])
            return
        # The tokens were made, and nobody got them. A code that comes twice ends what came of it (RFC 6749 §4.1.2).
        assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
        assert live_access_tokens(code.client_id) == 0
        _, tokens = connected(alice, {"client_id": code.client_id})
        assert works(tokens["access_token"])

    assert each_statement(prepare, Code.redeem, check) > 5
    assert set(seen) == {200, 400}, "both cases were met"


def test_whoever_refreshes_is_not_logged_out(alice: Any) -> None:
    def prepare() -> tuple[str, dict[str, Any]]:
        client, tokens = connected(alice)
        return client["client_id"], tokens

    def check(prepared: tuple[str, dict[str, Any]]) -> None:
        client_id, tokens = prepared
        pairs = get_refresh_token_model().objects.filter(application__client_id=client_id).count()
        assert events("token_refreshed", client_id) == pairs - 1
        again = refresh(client_id, tokens["refresh_token"])
        assert again.status_code == 200, again.content
        assert works(again.json()["access_token"])
        assert refresh(client_id, again.json()["refresh_token"]).status_code == 200

    assert each_statement(prepare, lambda prepared: refresh(prepared[0], prepared[1]["refresh_token"]), check) > 5


def test_a_revocation_that_is_sent_again_has_revoked_all(alice: Any) -> None:
    def prepare() -> tuple[str, dict[str, Any]]:
        client, tokens = connected(alice)
        return client["client_id"], tokens

    def revoke(prepared: tuple[str, dict[str, Any]]) -> Any:
        return post_form("/o/revoke_token/", {"client_id": prepared[0], "token": prepared[1]["refresh_token"]})

    def check(prepared: tuple[str, dict[str, Any]]) -> None:
        client_id, tokens = prepared
        revoked = events("token_revoked", client_id)
        assert works(tokens["access_token"]) is (revoked == 0), "in one transaction with what is told of it"
        assert revoke(prepared).status_code == 200
        assert not works(tokens["access_token"])
        assert refresh(client_id, tokens["refresh_token"]).status_code == 400

    assert each_statement(prepare, revoke, check) > 5


def test_a_consent_is_recorded_with_the_code_it_gave_or_not_at_all(alice: Any) -> None:
    person = browser(alice)

    def prepare() -> str:
        client: str = registered()["client_id"]
        return client

    def allow(client_id: str) -> Any:
        return person.post(authorization_url(client_id, PKCE()), {"allow": "true"})

    def check(client_id: str) -> None:
        application = Application.objects.get(client_id=client_id)
        given = events("consent_given", client_id)
        connections = Connection.objects.filter(application=application).count()
        codes = application.grant_set.count()  # type: ignore[attr-defined]
        assert given == connections == codes
        assert allow(client_id).headers["Location"].startswith(CALLBACK)

    assert each_statement(prepare, allow, check) > 5


def test_a_client_that_is_disconnected_is_disconnected_in_full_or_not_at_all(alice: Any) -> None:
    person: Client = browser(alice)

    def prepare() -> tuple[int, str, str]:
        client, tokens = connected(alice)
        connection = Connection.objects.get(application__client_id=client["client_id"])
        return connection.pk, client["client_id"], tokens["access_token"]

    def disconnect(prepared: tuple[int, str, str]) -> Any:
        return person.post(f"/connected-apps/{prepared[0]}/disconnect/")

    def check(prepared: tuple[int, str, str]) -> None:
        pk, client_id, token = prepared
        is_connected = Connection.objects.filter(pk=pk).exists()
        assert works(token) is is_connected
        assert events("disconnected", client_id) == int(not is_connected)
        disconnect(prepared)
        assert not works(token)
        assert not Connection.objects.filter(pk=pk).exists()

    assert each_statement(prepare, disconnect, check) > 5


def test_what_kills_a_request_kills_it(alice: Any) -> None:
    """The control: the first statement is never reached, and a request that is left alone ends."""
    client = registered()
    before = Application.objects.count()
    assert killed_before(1, registered)
    assert Application.objects.count() == before
    assert not killed_before(10_000, registered)
    assert Application.objects.count() == before + 1
    assert Application.objects.filter(client_id=client["client_id"]).exists()
