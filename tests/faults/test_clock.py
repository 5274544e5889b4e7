"""The clock of the machine is set forward or back: nothing that has ended comes back, and nobody is kept out."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from tests.mcpapp.helpers import is_refused, send
from tests.oauth import PKCE, authorize, connected, post_form, redeem, refresh, register, registered

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]

HOURS = 3600.0


class Clock:
    """The clock by which everything is dated; what measures durations has another one (`time.monotonic`)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        real_time: Callable[[], float] = time.time
        real_now: Callable[[], datetime] = timezone.now
        monkeypatch.setattr(time, "time", lambda: real_time() + self.ahead)
        monkeypatch.setattr(timezone, "now", lambda: real_now() + timedelta(seconds=self.ahead))

    def jump(self, seconds: float) -> None:
        self.ahead += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def is_accepted(endpoint: httpx2.AsyncClient, token: str) -> bool:
    return bool((await send(endpoint, token, "tools/list")).status_code == 200)


async def test_after_a_jump_ahead_tokens_have_expired_and_a_refresh_serves(
    endpoint: httpx2.AsyncClient, alice: Any, clock: Clock
) -> None:
    client, tokens = await sync_to_async(connected)(alice)
    assert await is_accepted(endpoint, tokens["access_token"])
    clock.jump(2 * HOURS)
    assert await is_refused(endpoint, tokens["access_token"])
    again = await sync_to_async(refresh)(client["client_id"], tokens["refresh_token"])
    assert again.status_code == 200
    assert await is_accepted(endpoint, again.json()["access_token"])


async def test_after_a_jump_back_tokens_live_on_and_what_was_revoked_does_not(
    endpoint: httpx2.AsyncClient, alice: Any, clock: Clock
) -> None:
    client, kept = await sync_to_async(connected)(alice)
    _, revoked = await sync_to_async(connected)(alice, client)
    form = {"client_id": client["client_id"], "token": revoked["refresh_token"]}
    assert (await sync_to_async(post_form)("/o/revoke_token/", form)).status_code == 200
    for seconds in (-5 * HOURS, 24 * HOURS, -24 * HOURS):
        clock.jump(seconds)
        assert await is_refused(endpoint, revoked["access_token"])
        assert (await sync_to_async(refresh)(client["client_id"], revoked["refresh_token"])).status_code == 400
    assert await is_accepted(endpoint, kept["access_token"])
    assert (await sync_to_async(refresh)(client["client_id"], kept["refresh_token"])).status_code == 200


async def test_a_code_that_was_redeemed_is_not_redeemed_again_at_any_time(alice: Any, clock: Clock) -> None:
    pkce, client = PKCE(), await sync_to_async(registered)()
    code = (await sync_to_async(authorize)(alice, client["client_id"], pkce))["code"]
    assert (await sync_to_async(redeem)(client["client_id"], code, pkce)).status_code == 200
    clock.jump(-2 * HOURS)
    assert (await sync_to_async(redeem)(client["client_id"], code, pkce)).status_code == 400


async def test_a_refresh_token_two_rotations_old_is_a_replay_at_any_time(alice: Any, clock: Clock) -> None:
    client, tokens = await sync_to_async(connected)(alice)
    client_id = client["client_id"]
    second = (await sync_to_async(refresh)(client_id, tokens["refresh_token"])).json()
    third = await sync_to_async(refresh)(client_id, second["refresh_token"])
    assert third.status_code == 200
    clock.jump(-2 * HOURS)
    assert (await sync_to_async(refresh)(client_id, tokens["refresh_token"])).status_code == 400
    assert (await sync_to_async(refresh)(client_id, third.json()["refresh_token"])).status_code == 400, "all is ended"


async def test_nobody_waits_for_a_clock_that_was_set_back(clock: Clock, settings: Any) -> None:
    settings.AUTHAPP = settings.AUTHAPP | {"REGISTRATION_BURST": 3, "REGISTRATION_REFILL_PER_MINUTE": 1}
    clock.jump(2 * HOURS)
    answers = [(await sync_to_async(register)()).status_code for _ in range(4)]
    assert answers == [201, 201, 201, 429]
    clock.jump(-2 * HOURS)
    assert (await sync_to_async(register)()).status_code == 201
