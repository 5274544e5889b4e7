"""Of a busy worker, a process of its own writes the calls: the same rows, and none lost, however either ends."""

from __future__ import annotations

import asyncio
import fcntl
import marshal
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections

from mcpapp.call_log import store, writer
from mcpapp.call_log.helper import PIPE_BYTES, CannotHelp, Helper, NotWritten
from mcpapp.call_log.plan import Plan
from mcpapp.call_log.process import LENGTH, NICE
from mcpapp.call_log.rows import Facts
from mcpapp.models import CallCount, ToolCall

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]

NOBODY = ("", "", "", "", "")


def call(tool: str = "fine") -> Facts:
    return (1.0, 1.5, NOBODY, tool, "ok", b"2026-07-28", 1, 10, 20, {})


async def tools() -> list[str]:
    return [row.tool async for row in ToolCall.objects.order_by("id")]


@pytest.fixture
def helpers(monkeypatch: pytest.MonkeyPatch) -> list[Helper]:
    """The processes that were started; nothing is written in this one."""
    started: list[Helper] = []

    class Remembered(Helper):
        def __init__(self, plan: Plan) -> None:
            super().__init__(plan)
            started.append(self)

    def not_here(*_: Any) -> None:
        raise AssertionError("written by a thread")

    monkeypatch.setattr(writer, "Helper", Remembered)
    monkeypatch.setattr(writer, "BUSY", 1)
    monkeypatch.setattr(writer, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(store, "write", not_here)
    return started


@pytest.fixture
def helper() -> Iterator[Helper]:
    made = Helper(Plan.of_site())
    yield made
    made.stop(10)


async def written(log: writer.CallLog) -> None:
    async with asyncio.timeout(20):
        while log.waiting:  # noqa: ASYNC110  (nobody tells)
            await asyncio.sleep(0.01)


async def test_calls_come_before_their_rows_and_a_batch_is_handed_over_at_once(helper: Helper) -> None:
    assert os.getpriority(os.PRIO_PROCESS, helper._process.pid) == os.getpriority(os.PRIO_PROCESS, 0) + NICE
    if sys.platform == "linux":
        assert fcntl.fcntl(helper._process.stdin, fcntl.F_GETPIPE_SZ) >= PIPE_BYTES
    batch = [call()] * writer.BATCH
    assert len(marshal.dumps(batch)) < PIPE_BYTES / 2


async def test_a_busy_worker_has_its_calls_written_and_ends_the_process_with_itself(helpers: list[Helper]) -> None:
    log = writer.CallLog()
    async with log.running():
        log.add(call("one"))
        await written(log)
        log.add(call("two"))
    (helper,) = helpers
    assert helper.has_ended
    assert await tools() == ["one", "two"]


@pytest.mark.parametrize("odd", ["a\tb", "a\nb", "a\rb", "a\\b", "\\N", "\\.", "\\", "a\t", "%s", "é\U0001f600", ""])
async def test_what_a_client_makes_up_is_in_the_row_as_it_was(odd: str) -> None:
    """Rows are handed to PostgreSQL as text, in which some characters mean something."""
    names = ("1", f"p{odd}", "client", f"c{odd}", "2")
    facts = [(1.0, 1.5, names, f"t{odd}", "ok", b"2026-07-28", f"i{odd}", 10, 20, None), call()]
    await sync_to_async(store.write)(Plan.of_site(), facts, time.time() - 1)
    kept = ToolCall.objects.order_by("id").values_list("username", "client_name", "tool", "request_id")
    assert [row async for row in kept] == [(f"p{odd}", f"c{odd}", f"t{odd}", f"i{odd}"), ("", "", "fine", "1")]


async def test_a_worker_that_is_not_busy_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: Plan) -> None:
        raise AssertionError("started")

    monkeypatch.setattr(writer, "Helper", start)
    log = writer.CallLog()
    async with log.running():
        for _ in range(writer.BUSY - 1):
            log.add(call())
    assert len(await tools()) == writer.BUSY - 1


async def test_another_process_goes_on_where_one_was_killed(helpers: list[Helper]) -> None:
    log = writer.CallLog()
    async with log.running():
        log.add(call("one"))
        await written(log)
        os.kill(helpers[0]._process.pid, signal.SIGKILL)
        log.add(call("two"))
        await written(log)
    assert len(helpers) == 2
    assert await tools() == ["one", "two"]
    assert log.dropped == 0


async def test_where_processes_die_all_the_time_the_thread_writes(
    helpers: list[Helper], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Helper, "write", lambda helper, *_: helper._ask(b""))  # what it cannot read ends it
    log = writer.CallLog()
    reached: list[int] = []
    monkeypatch.setattr(store, "write", lambda _, calls, *rest: reached.append(len(calls)))
    async with log.running():
        log.add(call())
        await written(log)
    assert len(helpers) == writer.MAXIMUM_DEATHS
    assert reached == [1]


async def test_what_a_killed_worker_had_handed_over_is_written(helper: Helper) -> None:
    """`kill -9` closes the pipe, and nobody reads the answer."""
    message = marshal.dumps(([call("last")], 0.0, 0))
    stdin, stdout = helper._process.stdin, helper._process.stdout
    assert stdin is not None
    assert stdout is not None
    stdin.write(LENGTH.pack(len(message)) + message + LENGTH.pack(1000) + b"not whole")
    stdout.close()
    stdin.close()
    assert helper._process.wait(20) is not None
    assert await tools() == ["last"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_signals_that_are_meant_for_the_worker_do_not_end_the_process(helper: Helper, number: int) -> None:
    os.kill(helper._process.pid, number)
    await sync_to_async(helper.write)([call()], time.time(), 3)
    assert await tools() == ["fine"]
    assert (await CallCount.objects.aget(outcome=CallCount.DROPPED)).calls == 3


async def test_what_can_never_be_written_is_told_without_its_values(helper: Helper) -> None:
    bad = (*call("private")[:8], -1, {})  # bytes less than nothing, which both databases check
    with pytest.raises(NotWritten) as raised:
        helper.write([bad], 0.0, 0)
    assert "private" not in str(raised.value)
    helper.write([call()], 0.0, 0)
    assert await tools() == ["fine"]


async def test_a_database_that_is_away_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan.of_site()
    known = connections[plan.alias].settings_dict
    place = {"NAME": "/nowhere/at/all.sqlite3"} if "sqlite3" in known["ENGINE"] else {"PORT": "1"}
    with monkeypatch.context() as elsewhere:
        for name, value in place.items():
            elsewhere.setitem(known, name, value)
        helper = Helper(plan)
    try:
        with pytest.raises(OperationalError):
            helper.write([call()], 0.0, 0)
        assert not helper.has_ended
    finally:
        helper.stop(10)


@pytest.mark.parametrize("why", ["in memory", "cannot be pickled", "no interpreter"])
async def test_where_no_process_can_write_the_thread_does(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    plan = Plan.of_site()
    connection = connections[plan.alias]
    if why == "in memory":
        monkeypatch.setattr(type(connection), "vendor", "sqlite")
        monkeypatch.setattr(type(connection), "is_in_memory_db", lambda _: True, raising=False)
    elif why == "cannot be pickled":
        monkeypatch.setitem(connection.settings_dict, "TEST", {"DEPENDENCIES": lambda: None})
    else:
        monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(CannotHelp):
        Helper(plan)
    monkeypatch.undo()
    monkeypatch.setattr(writer, "BUSY", 1)

    def refuse(_: Plan) -> None:
        raise CannotHelp(why)

    monkeypatch.setattr(writer, "Helper", refuse)
    log = writer.CallLog()
    async with log.running():
        log.add(call())
    assert await tools() == ["fine"]


def test_a_database_that_goes_in_the_middle_of_a_batch_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the batch is written later, and not dropped as one that never can be."""
    if connections["default"].vendor != "postgresql":
        pytest.skip("SQLite has no server that could go")
    import psycopg

    def broken(*_: Any, **__: Any) -> None:
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as gone:
        gone.setattr(psycopg.Cursor, "copy", broken)
        with pytest.raises(OperationalError):
            store.write(Plan.of_site(), [call()], 0.0, 0)
    store.write(Plan.of_site(), [call()], 0.0, 0)
    assert ToolCall.objects.count() == 1
