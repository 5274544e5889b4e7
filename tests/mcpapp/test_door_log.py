"""Who is turned away at the door is counted by reason, and the site is told which connections were let in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import OperationalError, connections
from django.utils import timezone

from authapp.models import Application, ConnectionAttempt
from mcpapp import door_log
from mcpapp.asgi import ResourceServer
from mcpapp.door_log import DoorLog, Fact, Reason
from mcpapp.models import Refusal
from mcpapp.request_headers import RequestHeaders
from tests.mcpapp.helpers import make_token
from tests.mcpapp.threads import connections_closed
from tests.oauth import browser, connected

__all__ = ["connections_closed"]
pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]

CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "protected-data", "arguments": {}}}
HEADERS = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}


@pytest.fixture(autouse=True)
def noted(settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "REFUSAL_DAYS": 30, "CALL_LOG": True}


class Site:
    """The MCP server, running; what it noted is written when it has ended."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client

    async def call(self, token: str = "", **headers: str) -> httpx2.Response:
        sent = {**HEADERS, **({"authorization": f"Bearer {token}"} if token else {}), **headers}
        return await self.client.post("/star", json=CALL, headers=sent)


async def serving() -> AsyncIterator[Site]:
    server = ResourceServer()
    async with server.running():
        transport = httpx2.ASGITransport(server, client=("203.0.113.7", 5000))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            yield Site(client)


async def after(*calls: tuple[str, dict[str, str]]) -> list[int]:
    """Serve some calls, each a token and headers, and end; return their statuses."""
    statuses = []
    async for site in serving():
        for token, headers in calls:
            statuses.append((await site.call(token, **headers)).status_code)
    return statuses


async def rows() -> dict[str, Refusal]:
    return {row.reason: row async for row in Refusal.objects.all()}


async def test_each_reason_is_counted_with_who_it_was(alice: Any) -> None:
    _client, tokens = await sync_to_async(connected)(alice)
    good = tokens["access_token"]
    expired = await sync_to_async(make_token)(alice, seconds=-60)
    foreign = await sync_to_async(make_token)(alice, resource=["http://127.0.0.1:8000/other"])
    statuses = await after(
        (good, {}),
        ("", {"user-agent": "Lost/1.0"}),
        ("", {"user-agent": "Lost/1.0"}),
        ("made-up", {}),
        (expired, {}),
        (foreign, {}),
        ("", {"authorization": "Bearer a b"}),
        ("", {"origin": "https://evil.example"}),
        ("", {"host": "evil.example"}),
    )
    assert statuses == [200, 401, 401, 401, 401, 401, 401, 403, 421]
    found = await rows()
    assert found.keys() == {"no_token", "unknown", "expired", "other_resource", "malformed", "origin", "host"}
    assert found["no_token"].requests == 2
    assert (found["no_token"].ip_address, found["no_token"].user_agent) == ("203.0.113.7", "Lost/1.0")
    assert "issued for http://127.0.0.1:8000/other" in found["other_resource"].detail
    assert found["expired"].client_id
    assert found["other_resource"].client_id
    assert found["unknown"].client_id == ""
    kept = str([row async for row in Refusal.objects.values()])
    for secret in (good, expired, foreign, "made-up"):
        assert secret not in kept


async def test_a_disabled_client_is_told_from_a_token_that_never_was(alice: Any) -> None:
    client, tokens = await sync_to_async(connected)(alice)
    await Application.objects.aupdate(disabled_at=timezone.now())
    assert await after((tokens["access_token"], {})) == [401]
    assert (await rows())["client_disabled"].client_id == client["client_id"]


class OddLookup:
    """Knows no token, and explains each with a reason that there is not, of a client that no row can name."""

    async def __call__(self, token: str) -> None:
        return None

    def explain(self, token: str) -> Any:
        return SimpleNamespace(reason="no reason of ours", client_id="app" * 100, user_key="7")


odd_lookup = OddLookup()


async def test_an_explanation_of_a_sites_own_lookup_costs_no_count(settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "TOKEN_LOOKUP": f"{__name__}.odd_lookup"}
    assert await after(("whatever", {}), ("", {})) == [401, 401]
    found = await rows()
    assert found.keys() == {"unknown", "no_token"}
    assert found["unknown"].client_id == ("app" * 100)[:255]


async def test_the_attempt_to_connect_hears_of_the_first_call(alice: Any) -> None:
    _client, tokens = await sync_to_async(connected)(alice)
    attempt = await ConnectionAttempt.objects.aget()
    assert (attempt.first_call_at, attempt.healthy_at) == (None, None)
    assert await after((tokens["access_token"], {})) == [200]
    await attempt.arefresh_from_db()
    assert attempt.first_call_at is not None
    assert attempt.healthy_at is not None


async def test_a_proxy_that_drops_the_header_is_found_out(alice: Any) -> None:
    """The client fetches its tokens from the address from which calls without any come."""
    await sync_to_async(connected)(alice)
    await ConnectionAttempt.objects.aupdate(client_address="203.0.113.7")
    assert await after(("", {})) == [401]
    attempt = await ConnectionAttempt.objects.aget()
    assert attempt.problem == "authorization_dropped"


async def test_a_flood_from_many_addresses_makes_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_log, "MAXIMUM_WAITING", 20)
    monkeypatch.setattr(door_log, "MAXIMUM_ROWS_IN_AN_HOUR", 30)
    log = DoorLog()
    for _ in range(3):
        async with log.running():
            for number in range(100):
                address = f"198.51.100.{number}"
                log.refused(Reason.NO_TOKEN, RequestHeaders({"headers": [], "client": (address, 1)}))
    found = [row async for row in Refusal.objects.all()]
    assert sum(row.requests for row in found) == 300
    assert len(found) <= 32


async def test_two_workers_add_to_the_same_row() -> None:
    fact = Fact("refused", timezone.now(), reason="no_token", ip_address="203.0.113.7")
    await sync_to_async(door_log.write_refusals)([(fact, 2)])
    await sync_to_async(door_log.write_refusals)([(fact, 3)])
    assert (await Refusal.objects.aget()).requests == 5


async def test_a_database_that_is_away_stops_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: Any) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(door_log, "write_refusals", away)
    assert await after(("", {})) == [401]
    assert await Refusal.objects.acount() == 0


async def test_with_no_days_nothing_is_noted(settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "REFUSAL_DAYS": 0}
    assert await after(("", {})) == [401]
    assert await Refusal.objects.acount() == 0


async def test_what_is_sent_to_be_shown_has_no_line_breaks_and_an_end() -> None:
    log = DoorLog()
    headers = [(b"user-agent", b"x\x00\n" * 400)]
    async with log.running():
        log.refused(Reason.NO_TOKEN, RequestHeaders({"headers": headers, "client": ("::ffff:203.0.113.7", 1)}))
    row = await Refusal.objects.aget()
    assert set(row.user_agent) == {"x"}
    assert row.ip_address == "203.0.113.7"


async def test_old_refusals_are_deleted_and_the_admin_shows_the_others() -> None:
    def look() -> None:
        fact = Fact("refused", timezone.now(), reason="host", ip_address="203.0.113.7", client_id="<b>client</b>")
        door_log.write_refusals([(fact, 7)])
        call_command("clear_old_calls", verbosity=0)
        owner = browser(get_user_model().objects.create_superuser("owner", password="owner-password"))
        page = owner.get("/admin/mcpapp/refusal/").content.decode()
        assert "203.0.113.7" in page
        assert "the host name is not served here" in page
        assert "ALLOWED_HOSTS" in page
        assert "<b>client</b>" not in page
        assert owner.get("/admin/mcpapp/refusal/?q=203.0.113.7&reason=host").status_code == 200
        Refusal.objects.update(reason="its-own-lookup")
        assert owner.get("/admin/mcpapp/refusal/").status_code == 200
        staff = get_user_model().objects.create_user("staff", password="staff-password", is_staff=True)
        assert browser(staff).get("/admin/mcpapp/refusal/").status_code == 403
        Refusal.objects.update(last_at=timezone.now() - timedelta(days=31))
        call_command("clear_old_calls", verbosity=0)
        assert not Refusal.objects.exists()
        connections.close_all()

    await sync_to_async(look)()
