"""Accounts that end where they come from: what a person connected ends with them, within a time that the owner sets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connections
from django.utils import timezone
from oauth2_provider.models import get_access_token_model, get_refresh_token_model

from authapp import account_checks
from authapp.models import AccountCheck, Application, AuditEvent, TokenFamily
from tests.devices import asked, decide, device_client, device_connected, poll
from tests.mcpapp.helpers import is_refused
from tests.oauth import PKCE, answer, authorization_url, authorize, browser, connected, redeem, refresh, registered

pytestmark = pytest.mark.django_db

CALL = f"{__name__}.ask"
ANSWER: dict[str, Any] = {}


def ask(user: Any) -> bool | None:
    """Stand in for the provider: answer what the test says, or fail as it says."""
    ANSWER["asked"].append(user.get_username())
    found = ANSWER["answer"]
    if callable(found):
        found = found()
    if isinstance(found, Exception):
        raise found
    return found


def signed_in_at(request: Any) -> float | None:
    """Stand in for the site's memory of sign-ins, which `force_login` does not write."""
    return ANSWER["signed_in_at"]


@pytest.fixture(autouse=True)
def checked(settings: Any) -> Iterator[dict[str, Any]]:
    ANSWER.update(answer=True, asked=[], signed_in_at=time.time())
    settings.AUTHAPP = settings.AUTHAPP | {
        "ACCOUNT_CHECK": CALL,
        "ACCOUNT_CHECK_SECONDS": 600,
        "ACCOUNT_CHECK_GRACE_SECONDS": 3600,
        "AUTHENTICATED_AT": f"{__name__}.signed_in_at",
    }
    yield ANSWER
    ANSWER.clear()


def make_due(user: Any) -> None:
    assert AccountCheck.objects.filter(user=user).update(next_at=timezone.now() - timedelta(seconds=1))


def test_a_person_is_asked_about_once_in_the_configured_time(alice: Any, checked: dict[str, Any]) -> None:
    client, tokens = connected(alice)
    for _ in range(3):
        response = refresh(client["client_id"], tokens["refresh_token"])
        assert response.status_code == 200
        tokens = response.json()
    assert checked["asked"] == ["alice"]
    row = AccountCheck.objects.get(user=alice)
    assert timedelta(seconds=590) < row.next_at - timezone.now() <= timedelta(seconds=600)
    make_due(alice)
    assert refresh(client["client_id"], tokens["refresh_token"]).status_code == 200
    assert checked["asked"] == ["alice", "alice"]


def test_without_a_check_nobody_is_asked_and_nothing_is_written(
    alice: Any, checked: dict[str, Any], settings: Any
) -> None:
    settings.AUTHAPP = settings.AUTHAPP | {"ACCOUNT_CHECK": ""}
    client, tokens = connected(alice)
    assert refresh(client["client_id"], tokens["refresh_token"]).status_code == 200
    assert checked["asked"] == []
    assert not AccountCheck.objects.exists()


def test_an_account_that_ended_ends_everything_the_person_connected(
    alice: Any, bob: Any, checked: dict[str, Any]
) -> None:
    client, tokens = connected(alice)
    other, of_other = connected(alice)
    bobs, of_bob = connected(bob)
    checked["answer"] = False
    response = refresh(client["client_id"], tokens["refresh_token"])
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")
    assert not TokenFamily.objects.filter(user=alice, ended_at=None).exists()
    assert refresh(other["client_id"], of_other["refresh_token"]).json()["error"] == "invalid_grant"
    event = AuditEvent.objects.get(action="account_ended")
    assert (event.username, event.detail) == ("alice", {"ended": 2})
    checked["answer"] = True
    assert refresh(client["client_id"], tokens["refresh_token"]).status_code == 400, "it does not come back"
    assert refresh(bobs["client_id"], of_bob["refresh_token"]).status_code == 200, "another person is not touched"


async def test_the_access_tokens_end_with_the_account_and_not_at_their_hour(
    transactional_db: None, checked: dict[str, Any], endpoint: Any
) -> None:
    from asgiref.sync import sync_to_async
    from django.contrib.auth import get_user_model

    alice = await sync_to_async(get_user_model().objects.create_user)("alice", password="alice-password")
    client, tokens = await sync_to_async(connected)(alice)
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "protected-data", "arguments": {}}}
    headers = {
        "authorization": f"Bearer {tokens['access_token']}",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2025-11-25",
    }
    assert (await endpoint.post("/star", json=body, headers=headers)).status_code == 200
    checked["answer"] = False
    await sync_to_async(refresh)(client["client_id"], tokens["refresh_token"])
    assert await is_refused(endpoint, tokens["access_token"])


def test_while_the_provider_is_away_clients_go_on_for_the_grace_and_then_wait(
    alice: Any, checked: dict[str, Any]
) -> None:
    client, tokens = connected(alice)
    checked["answer"] = None
    response = refresh(client["client_id"], tokens["refresh_token"])
    assert response.status_code == 200
    tokens = response.json()
    row = AccountCheck.objects.get(user=alice)
    assert row.unknown_since is not None
    assert row.next_at - timezone.now() <= timedelta(seconds=account_checks.RETRY_SECONDS)
    AccountCheck.objects.update(unknown_since=timezone.now() - timedelta(seconds=3601))
    make_due(alice)
    refused = refresh(client["client_id"], tokens["refresh_token"])
    assert (refused.status_code, refused.json()["error"]) == (503, "temporarily_unavailable")
    assert refused["Retry-After"] == "60"
    assert refused["Cache-Control"] == "no-store"
    assert TokenFamily.objects.filter(user=alice, ended_at=None).exists(), "nothing has ended"
    checked["answer"] = True
    make_due(alice)
    assert refresh(client["client_id"], tokens["refresh_token"]).status_code == 200, "the same refresh token works"
    assert AccountCheck.objects.get(user=alice).unknown_since is None


def test_a_check_that_breaks_is_no_word_about_the_person(alice: Any, checked: dict[str, Any]) -> None:
    client, tokens = connected(alice)
    checked["answer"] = RuntimeError("broken")
    assert refresh(client["client_id"], tokens["refresh_token"]).status_code == 200
    assert AccountCheck.objects.get(user=alice).unknown_since is not None


def test_a_made_up_refresh_token_makes_nobody_ask(alice: Any, checked: dict[str, Any]) -> None:
    client, tokens = connected(alice)
    assert refresh(client["client_id"], "x" * 40).status_code == 400
    assert checked["asked"] == []
    assert refresh(client["client_id"], tokens["refresh_token"]).status_code == 200
    assert checked["asked"] == ["alice"], "a real one does"


# Sign-ins from before the end


def test_a_browser_that_signed_in_before_the_end_connects_nothing_more(alice: Any, checked: dict[str, Any]) -> None:
    client, tokens = connected(alice)
    page = authorization_url(client["client_id"], PKCE())
    assert browser(alice).get(page).status_code == 200
    checked["answer"] = False
    refresh(client["client_id"], tokens["refresh_token"])
    for response in (browser(alice).get(page), browser(alice).post(page, {"allow": "true"})):
        assert response.status_code == 302
        assert urlsplit(response["Location"]).path == "/accounts/reauthenticate/"
    silent = answer(browser(alice).get(authorization_url(client["client_id"], PKCE(), prompt="none")))
    assert silent["error"] == "login_required"
    assert urlsplit(browser(alice).get("/device/")["Location"]).path == "/accounts/reauthenticate/"
    checked["signed_in_at"] = time.time() + 1
    assert browser(alice).get(page).status_code == 200, "a later sign-in counts"
    assert browser(alice).get("/device/").status_code == 200


def test_a_sign_in_of_an_unknown_time_is_one_from_before_the_end(alice: Any, checked: dict[str, Any]) -> None:
    client = registered()
    page = authorization_url(client["client_id"], PKCE())
    checked["signed_in_at"] = None
    assert browser(alice).get(page).status_code == 200, "nothing has ended"
    AccountCheck.objects.create(user=alice, next_at=timezone.now(), ended_at=timezone.now())
    assert browser(alice).get(page).status_code == 302


def test_a_code_from_before_the_end_is_worth_nothing(alice: Any, checked: dict[str, Any]) -> None:
    client, tokens = connected(alice)
    pkce, control = PKCE(), PKCE()
    code = authorize(alice, client["client_id"], pkce)["code"]
    assert (
        redeem(client["client_id"], authorize(alice, client["client_id"], control)["code"], control).status_code == 200
    )
    checked["answer"] = False
    refresh(client["client_id"], tokens["refresh_token"])
    assert redeem(client["client_id"], code, pkce).json()["error"] == "invalid_grant"


def test_a_device_that_was_allowed_before_the_end_gets_nothing(alice: Any, checked: dict[str, Any]) -> None:
    client, tokens = connected(alice)
    device = device_client()
    waiting, control = asked(device["client_id"]), asked(device["client_id"])
    for answer_of_page in (waiting, control):
        assert decide(alice, answer_of_page["user_code"]).status_code == 200
    assert poll(device["client_id"], control["device_code"]).status_code == 200
    checked["answer"] = False
    refresh(client["client_id"], tokens["refresh_token"])
    assert poll(device["client_id"], waiting["device_code"]).json()["error"] != "authorization_pending"
    assert not get_access_token_model().objects.filter(user=alice).exists()
    checked["signed_in_at"] = time.time() + 1
    _, tokens = device_connected(alice, device)
    assert "access_token" in tokens, "one that is allowed after a later sign-in does"


def test_a_token_that_came_without_a_refresh_token_ends_too(alice: Any, bob: Any, checked: dict[str, Any]) -> None:
    """Such as those that stand on an organisation's word."""
    client, tokens = connected(alice)
    application = Application.objects.get(client_id=client["client_id"])
    tokens_of = get_access_token_model().objects
    for user in (alice, bob):
        expires = timezone.now() + timedelta(hours=1)
        tokens_of.create(user=user, application=application, token=f"t-{user.pk}", expires=expires, scope="mcp:tools")
    assert tokens_of.filter(user=alice).count() == 2
    checked["answer"] = False
    refresh(client["client_id"], tokens["refresh_token"])
    assert not tokens_of.filter(user=alice).exists()
    assert tokens_of.filter(user=bob).exists()


def test_where_nothing_could_be_known_for_too_long_a_consent_needs_a_fresh_sign_in(
    alice: Any, checked: dict[str, Any]
) -> None:
    page = authorization_url(registered()["client_id"], PKCE())
    now = timezone.now()
    row = AccountCheck.objects.create(user=alice, next_at=now, unknown_since=now - timedelta(seconds=3500))
    checked["signed_in_at"] = time.time() - 7200
    assert browser(alice).get(page).status_code == 200
    row.unknown_since = now - timedelta(seconds=3700)
    row.save()
    assert browser(alice).get(page).status_code == 302


# A local switch


def test_a_user_that_is_switched_off_here_is_refused_without_asking(alice: Any, checked: dict[str, Any]) -> None:
    client, tokens = connected(alice)
    response = refresh(client["client_id"], tokens["refresh_token"])
    assert response.status_code == 200
    alice.is_active = False
    alice.save()
    assert refresh(client["client_id"], response.json()["refresh_token"]).json()["error"] == "invalid_grant"
    assert checked["asked"] == ["alice"]


# Many at once


class Together:
    """Refreshes of several logins at once, the first of which waits until the provider answers."""

    def __init__(self, user: Any, checked: dict[str, Any], answer: bool) -> None:
        self.statuses: list[int] = []
        self.may_answer = threading.Event()
        is_asking = threading.Event()

        def slowly() -> bool:
            is_asking.set()
            assert self.may_answer.wait(20)
            return answer

        checked["answer"] = slowly
        self.threads = [threading.Thread(target=self._refresh, args=connected(user)) for _ in range(4)]
        self.threads[0].start()
        assert is_asking.wait(20)
        for thread in self.threads[1:]:
            thread.start()

    def _refresh(self, client: dict[str, Any], tokens: dict[str, Any]) -> None:
        try:
            self.statuses.append(refresh(client["client_id"], tokens["refresh_token"]).status_code)
        finally:
            connections.close_all()


@pytest.mark.django_db(transaction=True)
def test_of_parallel_refreshes_one_asks_and_no_transaction_waits_for_it(alice: Any, checked: dict[str, Any]) -> None:
    together = Together(alice, checked, answer=True)
    for thread in together.threads[1:]:
        thread.join(20)
    assert together.statuses == [200, 200, 200], "they did not wait for the answer"
    together.may_answer.set()
    together.threads[0].join(20)
    assert together.statuses == [200] * 4
    assert checked["asked"] == ["alice"]


@pytest.mark.django_db(transaction=True)
def test_a_refresh_beside_the_end_leaves_nothing_that_lives(alice: Any, checked: dict[str, Any]) -> None:
    together = Together(alice, checked, answer=False)
    together.may_answer.set()
    for thread in together.threads:
        thread.join(20)
    assert not get_access_token_model().objects.filter(user=alice).exists()
    assert not get_refresh_token_model().objects.filter(user=alice, revoked=None).exists()
