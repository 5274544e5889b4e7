"""Every call of a tool leaves one row: who, what, how it ended; written beside the calls, lost by none."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied
from django.core.management import call_command
from django.db import OperationalError, connections
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

from authapp.models import Application, Connection
from mcpapp import registry, usage
from mcpapp.call_log import store, writer
from mcpapp.models import CallCount, CallDuration, ConnectionUsage, ToolCall
from mcpapp.registry import tool
from tests.mcpapp.helpers import MODERN, call, make_token, payload, send, serving
from tests.oauth import RESOURCE

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]

ERAS = ("legacy", MODERN)


@pytest.fixture(autouse=True)
def call_log(settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "CALL_LOG": True}


@pytest.fixture
def declared(catalog: registry.Catalog) -> None:
    """Tools that end in every way; those that take a context go the SDK's way."""

    @tool("fine")
    def fine(text: str = "", password: str = "") -> str:
        return text

    @tool("fine-with-context")
    async def fine_with_context(ctx: Context) -> str:  # type: ignore[type-arg]
        return "fine"

    @tool("fails")
    def fails() -> str:
        raise ToolError("Not today.")

    @tool("may-not")
    def may_not() -> str:
        raise PermissionDenied

    @tool("crashes")
    def crashes() -> str:
        raise ZeroDivisionError

    @tool("slow", timeout=0.05)
    async def slow() -> str:
        await asyncio.sleep(30)
        return ""

    @tool("for-staff", allowed=lambda identity: identity.user.is_staff)
    def for_staff() -> str:
        return ""

    @tool("writes", scopes=["mcp:write"])
    def writes() -> str:
        return ""


@pytest.fixture(params=["thread", "process"])
def written_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either way there is to write; a process is for busy workers."""
    monkeypatch.setattr(writer, "BUSY", 1 if request.param == "process" else 1000)


async def rows() -> list[ToolCall]:
    return [row async for row in ToolCall.objects.order_by("id")]


@pytest.mark.usefixtures("written_by")
@pytest.mark.parametrize("era", ERAS)
async def test_each_call_leaves_one_row_that_says_how_it_ended(declared: None, token: str, era: str) -> None:
    async with serving() as endpoint:
        for name in ("fine", "fine-with-context", "fails", "may-not", "crashes", "slow", "unknown", "for-staff"):
            await call(endpoint, token, name, era=era)
        await call(endpoint, token, "fine", era=era, text=["no text"])
        await send(endpoint, token, "tools/call", {"name": "writes", "arguments": {}}, era=era)
        await send(endpoint, token, "tools/list", {}, era=era)
    assert [(row.tool, row.outcome) for row in await rows()] == [
        ("fine", "ok"),
        ("fine-with-context", "ok"),
        ("fails", "failed"),
        ("may-not", "failed"),
        ("crashes", "crashed"),
        ("slow", "timed_out"),
        ("unknown", "failed"),
        ("for-staff", "denied"),
        ("fine", "invalid"),
        ("writes", "needs_scopes"),
    ]


@pytest.mark.parametrize("name", ["fine", "fine-with-context"])
@pytest.mark.parametrize("era", ERAS)
async def test_a_row_says_who_called_with_what_and_how_much(
    declared: None, token: str, alice: Any, era: str, name: str
) -> None:
    async with serving() as endpoint:
        response = await send(endpoint, token, "tools/call", {"name": name, "arguments": {"text": "abc"}}, era=era)
    (row,) = await rows()
    assert (row.user_key, row.username, row.client_name) == (str(alice.pk), "alice", "Tester")
    assert row.client_id
    assert row.request_id == "1"
    assert row.protocol_version == (MODERN if era == MODERN else "2025-11-25")
    assert row.response_bytes == len(response.content) > 0
    assert row.request_bytes == int(response.request.headers["content-length"])
    assert 0 < row.duration_us < 60_000_000
    assert json.loads(row.arguments) == ["text"], "names alone, unless the settings say otherwise"


@pytest.mark.usefixtures("written_by")
async def test_the_policy_is_for_each_tool_and_masks_what_looks_secret(
    declared: None, token: str, settings: Any
) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "CALL_LOG_ARGUMENTS": {"fine": "full", "*": "off"}}
    async with serving() as endpoint:
        await call(endpoint, token, "fine", text="plain", password="hunter2")
        await call(endpoint, token, "fine", text=f"Bearer {token}")
        await call(endpoint, token, "fails", text="plain")
    kept = [row.arguments for row in await rows()]
    assert [json.loads(one) for one in kept[:2]] == [{"text": "plain", "password": "•••"}, {"text": "•••"}]
    assert kept[2] == ""


@pytest.mark.usefixtures("written_by")
async def test_calls_are_counted_by_the_hour_and_by_connection(declared: None, alice: Any) -> None:
    def connect() -> tuple[str, int]:
        token = make_token(alice)
        application = Application.objects.get(name="Tester")
        connection = Connection.objects.create(
            user=alice, application=application, scope="mcp:tools", resource=RESOURCE
        )
        return token, connection.pk

    token, connection_id = await sync_to_async(connect)()
    for _ in range(2):  # the second run adds to what the first one wrote
        async with serving() as endpoint:
            await call(endpoint, token, "fine")
            await call(endpoint, token, "fine")
            await call(endpoint, token, "fails")
    counts = {(count.tool, count.outcome): count async for count in CallCount.objects.all()}
    calls = {key: sum(1 for row in await rows() if (row.tool, row.outcome) == key) for key in counts}
    assert calls == {("fine", "ok"): 4, ("fails", "failed"): 2}
    assert {key: count.calls for key, count in counts.items()} == calls
    durations = [row.duration_us for row in await rows() if row.tool == "fine"]
    assert counts["fine", "ok"].total_us == sum(durations)
    assert counts["fine", "ok"].longest_us == max(durations)
    histogram = {(one.tool, one.bits): one.calls async for one in CallDuration.objects.all()}
    lengths = [(row.tool, row.duration_us.bit_length()) for row in await rows()]
    assert histogram == {key: lengths.count(key) for key in lengths}
    found = await sync_to_async(usage.of_connections)([connection_id, 987_654])
    assert {key: one.calls for key, one in found.items()} == {connection_id: 6}
    assert found[connection_id].last_call_at == max(row.at for row in await rows())


async def test_what_a_stranger_tries_leaves_no_row_and_a_public_call_does(
    catalog: registry.Catalog, settings: Any, token: str
) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "ANONYMOUS_TOOLS": True}

    @tool("open", public=True)
    def open_to_all() -> str:
        return ""

    @tool("closed")
    def closed() -> str:
        return ""

    async with serving() as endpoint:
        assert (await send(endpoint, None, "tools/call", {"name": "closed", "arguments": {}})).status_code == 401
        assert (await send(endpoint, "made up", "tools/call", {"name": "open", "arguments": {}})).status_code == 401
        assert (await send(endpoint, None, "tools/call", {"name": "open", "arguments": {}})).status_code == 200
    assert [(row.tool, row.outcome, row.username) for row in await rows()] == [("open", "ok", "")]


async def test_without_the_setting_nothing_is_written(declared: None, token: str, settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "CALL_LOG": False}
    async with serving() as endpoint:
        await call(endpoint, token, "fine")
    assert await rows() == []


NUMBER = 10**4000
HOSTILE = ["\0", "\ud800", "x" * 5000, "\u202e\t\n\\N", "é" * 500, NUMBER, -1.5, ["a"], {"a": [NUMBER]}, True, None]


@pytest.mark.usefixtures("written_by")
@pytest.mark.parametrize("value", HOSTILE)
async def test_nothing_that_a_client_sends_keeps_a_row_from_being_written(
    declared: None, token: str, settings: Any, value: Any
) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "CALL_LOG_ARGUMENTS": "full"}
    async with serving() as endpoint:
        body: dict[str, Any] = {"jsonrpc": "2.0", "id": value, "method": "tools/call"}
        body["params"] = {"name": value, "arguments": {str(value): value, "list": [{"deep": value}] * 3}}
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        headers |= {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
        await endpoint.post("/star", content=json.dumps(body), headers=headers)
        await send(endpoint, token, "tools/call", {"name": "fine", "arguments": {"text": value}})
    assert len(await rows()) == 2


# --- Nothing is lost, and no call waits -----------------------------------------------------------------------------


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """A database that raises what is in the list, and works once that is empty."""
    errors: list[Exception] = []
    write = store.write

    def write_or_fail(*args: Any) -> None:
        if errors:
            raise errors.pop()
        write(*args)

    monkeypatch.setattr(store, "write", write_or_fail)
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(writer, "FLUSH_SECONDS", 0.01)
    return errors


async def test_calls_go_on_and_their_rows_wait_while_the_database_is_away(
    declared: None, token: str, failing: list[Exception]
) -> None:
    failing += [OperationalError("away")] * 5
    async with serving() as endpoint:
        for _ in range(10):
            assert not (await call(endpoint, token, "fine")).get("isError")
    assert failing == []
    assert len(await rows()) == 10


async def test_a_batch_that_cannot_be_written_is_counted_and_keeps_no_other_from_it(
    declared: None, token: str, failing: list[Exception]
) -> None:
    failing += [ValueError("cannot be written")]
    async with serving() as endpoint:
        await call(endpoint, token, "fine")
        while failing:  # noqa: ASYNC110  (nobody tells)
            await asyncio.sleep(0.01)
        await call(endpoint, token, "fails")
    assert [row.tool for row in await rows()] == ["fails"]
    dropped = await CallCount.objects.aget(outcome=CallCount.DROPPED)
    assert dropped.calls == 1


async def test_what_is_too_much_to_wait_is_dropped_and_the_count_is_written(
    declared: None, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAXIMUM_WAITING", 3)
    monkeypatch.setattr(writer, "FLUSH_SECONDS", 60)
    async with serving() as endpoint:
        for _ in range(8):
            assert not (await call(endpoint, token, "fine")).get("isError")
    assert len(await rows()) == 3
    dropped = await CallCount.objects.aget(outcome=CallCount.DROPPED)
    assert (dropped.calls, dropped.tool) == (5, "")


async def test_what_waits_is_bounded_in_bytes_and_of_more_the_names_are_kept(
    declared: None, token: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "CALL_LOG_ARGUMENTS": "full"}
    monkeypatch.setattr(writer, "MAXIMUM_WAITING_BYTES", 1)
    monkeypatch.setattr(writer, "FLUSH_SECONDS", 60)
    async with serving() as endpoint:
        await call(endpoint, token, "fine", text="first")
        await call(endpoint, token, "fine", text="second")
    assert [json.loads(row.arguments) for row in await rows()] == [{"text": "first"}, ["text"]]


async def test_a_full_batch_does_not_wait_for_its_time(
    declared: None, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "FLUSH_SECONDS", 60)
    monkeypatch.setattr(writer, "BATCH", 2)
    async with serving() as endpoint:
        await call(endpoint, token, "fine")
        await call(endpoint, token, "fine")
        async with asyncio.timeout(10):
            while len(await rows()) < 2:  # noqa: ASYNC110  (nobody tells)
                await asyncio.sleep(0.01)


async def test_a_call_whose_client_left_is_cancelled(catalog: registry.Catalog, token: str) -> None:
    started = asyncio.Event()

    @tool("waits")
    async def waits() -> str:
        started.set()
        await asyncio.sleep(30)
        return ""

    async with serving() as endpoint:
        request = asyncio.create_task(call(endpoint, token, "waits", era=MODERN))
        await started.wait()
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
    assert [row.outcome for row in await rows()] == ["cancelled"]


async def test_the_answer_of_an_error_of_the_protocol_is_counted(declared: None, token: str) -> None:
    async with serving() as endpoint:
        response = await send(endpoint, token, "tools/call", {"arguments": {}})
    assert payload(response)["error"]
    (row,) = await rows()
    assert (row.tool, row.outcome, row.response_bytes) == ("", "invalid", len(response.content))


# --- Retention -------------------------------------------------------------------------------------------------------


async def test_old_calls_and_counts_are_deleted_and_young_ones_stay(
    declared: None, token: str, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving() as endpoint:
        for _ in range(6):
            await call(endpoint, token, "fine")

    def age() -> None:
        first, second = ToolCall.objects.order_by("id")[:2]
        ToolCall.objects.filter(pk__in=[first.pk, second.pk]).update(at=first.at - timedelta(days=91))
        ConnectionUsage.objects.create(connection_key="old", calls=1, last_call_at=first.at - timedelta(days=401))
        CallDuration.objects.create(hour=first.at - timedelta(days=401), tool="fine", bits=9, calls=1)
        call_command("clear_old_calls", "--batch-size", "1")
        connections.close_all()  # of this thread

    await sync_to_async(age)()
    assert len(await rows()) == 4
    assert await CallCount.objects.acount() == 1
    assert sum([one.calls async for one in CallDuration.objects.all()]) == 6
    assert await ConnectionUsage.objects.filter(connection_key="old").acount() == 0
    assert capsys.readouterr().out == "Deleted 2 calls and 2 counts of calls.\n"
