"""An account that is disabled in the tenant ends what its person connected, within the configured time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from authapp.models import AccountCheck, AuditEvent, IdentityCredential, LinkedIdentity
from authapp.openid import sealing
from config.entra import accounts
from config.entra.settings import EntraSettings
from tests.config.entra.conftest import Visitor
from tests.entra_sign_in import ALICE, SITE_SECRET, SignInProvider
from tests.oauth import PKCE, answer, authorization_url, connected, redeem, refresh, registered

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("people_are_created")]


def connect(visitor: Visitor) -> tuple[str, str]:
    """Let the person of a browser connect a client; return its ID and its refresh token."""
    client, pkce = registered(), PKCE()
    given = answer(visitor.here.post(authorization_url(client["client_id"], pkce), {"allow": "true"}))
    return client["client_id"], redeem(client["client_id"], given["code"], pkce).json()["refresh_token"]


def refreshed(client_id: str, refresh_token: str) -> tuple[int, str]:
    """Return the status and the new refresh token, or the error."""
    response = refresh(client_id, refresh_token)
    body = response.json()
    return response.status_code, body.get("refresh_token") or body["error"]


def an_interval_later() -> None:
    AccountCheck.objects.update(next_at=timezone.now() - timedelta(seconds=1))


@pytest.fixture
def signed_in(visitor: Visitor) -> Visitor:
    assert visitor.sign_in().status_code == 302
    return visitor


def kept() -> str:
    return sealing.unseal(IdentityCredential.objects.get().sealed).decode()


def test_an_account_that_is_enabled_is_asked_about_once_an_interval(
    signed_in: Visitor, provider: SignInProvider
) -> None:
    client_id, token = connect(signed_in)
    for _ in range(2):
        status, token = refreshed(client_id, token)
        assert status == 200
    assert provider.refreshes() == 0, "they signed in a moment ago"
    before = kept()
    an_interval_later()
    for _ in range(2):
        status, token = refreshed(client_id, token)
        assert status == 200
    assert provider.refreshes() == 1
    assert kept() != before, "the new refresh token is kept"
    assert kept() in provider.live


@pytest.mark.parametrize("code", [50057, 50034, 500341, 50173, 700082, 50076])
def test_an_account_that_is_disabled_deleted_or_revoked_ends_its_connections(
    code: int, signed_in: Visitor, provider: SignInProvider, caplog: Any
) -> None:
    first, second = connect(signed_in), connect(signed_in)
    provider.disabled[ALICE] = code
    status, token = refreshed(*first)
    assert status == 200, "not before the interval is over"
    an_interval_later()
    assert refreshed(first[0], token) == (400, "invalid_grant")
    assert refreshed(*second) == (400, "invalid_grant")
    assert AuditEvent.objects.get(action="account_ended").detail == {"ended": 2}
    assert f"AADSTS{code}" in caplog.text
    assert not IdentityCredential.objects.exists(), "what is worth nothing is not kept"
    page = authorization_url(registered()["client_id"], PKCE())
    away = signed_in.here.get(page)
    assert urlsplit(away["Location"]).path == "/accounts/reauthenticate/", "the browser's session connects nothing more"


def test_a_person_who_is_enabled_again_signs_in_and_connects_again(
    signed_in: Visitor, provider: SignInProvider
) -> None:
    first = connect(signed_in)
    provider.disabled[ALICE] = 50057
    an_interval_later()
    assert refreshed(*first)[0] == 400
    provider.disabled.clear()
    assert refreshed(*first)[0] == 400, "what ended stays so"
    again = Visitor(provider)
    again.sign_in()
    client_id, token = connect(again)
    an_interval_later()
    assert refreshed(client_id, token)[0] == 200


def test_an_entra_that_is_away_is_waited_for_and_ends_nothing(
    signed_in: Visitor, provider: SignInProvider, caplog: Any
) -> None:
    client_id, token = connect(signed_in)
    provider.is_down = True
    an_interval_later()
    status, token = refreshed(client_id, token)
    assert status == 200, "for the grace"
    AccountCheck.objects.update(unknown_since=timezone.now() - timedelta(hours=2))
    an_interval_later()
    assert refreshed(client_id, token) == (503, "temporarily_unavailable")
    provider.is_down = False
    an_interval_later()
    assert refreshed(client_id, token)[0] == 200
    assert not AuditEvent.objects.filter(action="account_ended").exists()


def test_a_dead_address_is_like_an_entra_that_is_away(
    signed_in: Visitor, provider: SignInProvider, settings: Any
) -> None:
    client_id, token = connect(signed_in)
    identity = LinkedIdentity.objects.get()
    settings.ENTRA = replace(settings.ENTRA, authority="https://localhost:1")
    identity.issuer = settings.ENTRA.issuer
    identity.save()
    an_interval_later()
    assert refreshed(client_id, token)[0] == 200
    assert AccountCheck.objects.get().unknown_since is not None


@pytest.mark.parametrize(
    "reply",
    [
        (401, {"error": "invalid_client", "error_description": "AADSTS7000222: The secret has expired."}),
        (400, {"error": "unauthorized_client", "error_description": "AADSTS700016"}),
        (429, {"error": "temporarily_unavailable"}),
        (200, {"access_token": []}),
        (500, {"error": "invalid_grant"}),
    ],
    ids=str,
)
def test_a_fault_of_ours_or_of_entra_is_no_word_about_the_person(
    reply: Any, signed_in: Visitor, provider: SignInProvider, caplog: Any
) -> None:
    client_id, token = connect(signed_in)
    provider.answer = reply
    an_interval_later()
    assert refreshed(client_id, token)[0] == 200
    assert AccountCheck.objects.get().unknown_since is not None
    assert IdentityCredential.objects.exists()
    assert SITE_SECRET not in caplog.text


def test_a_link_that_an_administrator_disabled_ends_the_connections(signed_in: Visitor) -> None:
    client_id, token = connect(signed_in)
    an_interval_later()
    status, token = refreshed(client_id, token)
    assert status == 200
    LinkedIdentity.objects.update(disabled_at=timezone.now())
    an_interval_later()
    assert refreshed(client_id, token) == (400, "invalid_grant")


def test_what_can_no_longer_be_unsealed_makes_the_person_sign_in_again(
    signed_in: Visitor, provider: SignInProvider, settings: Any
) -> None:
    client_id, token = connect(signed_in)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another " * 10
    an_interval_later()
    status, token = refreshed(client_id, token)
    assert status == 200, "the old key is among the fallbacks"
    settings.SECRET_KEY_FALLBACKS = []
    IdentityCredential.objects.update(sealed="of a key that is gone")
    an_interval_later()
    assert refreshed(client_id, token) == (400, "invalid_grant")


def test_people_without_an_account_of_the_tenant_are_not_asked_about(
    bob: Any, entra: EntraSettings, provider: SignInProvider
) -> None:
    client, tokens = connected(bob)
    assert refreshed(client["client_id"], tokens["refresh_token"])[0] == 200
    assert provider.refreshes() == 0
    assert accounts.still_counts(bob) is True


def test_a_local_switch_ends_it_whatever_entra_says(signed_in: Visitor, provider: SignInProvider) -> None:
    client_id, token = connect(signed_in)
    status, token = refreshed(client_id, token)
    assert status == 200
    get_user_model().objects.filter(pk=signed_in.user_id).update(is_active=False)
    assert refreshed(client_id, token) == (400, "invalid_grant")
