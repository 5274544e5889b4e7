"""What calls must not lose about connections, threads and tools."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.core import signals
from django.db import connections
from mcp.server.context import ServerRequestContext

from mcpapp import registry, verifier
from mcpapp.callers import with_caller
from mcpapp.database import MAXIMUM_IDLE, _idle, close_threads, own_connections
from mcpapp.identity import NotAuthenticated, current_identity

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def connections_that_end_with_each_call(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without CONN_MAX_AGE (or with a pool, as PostgreSQL has here) nothing stays open; SQLite keeps its file."""
    close_threads()
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)
    yield
    close_threads()


def threads_of_calls() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("mcp-call")]


async def until_idle(threads: int) -> None:
    """Wait until so many threads have finished their call; nobody else does."""
    with anyio.fail_after(10):
        while len(_idle) < threads:  # noqa: ASYNC110  (threads tell nobody)
            await anyio.sleep(0.001)


async def test_calls_have_threads_of_their_own_and_leave_no_connection_open(transactional_db: None) -> None:
    seen: dict[int, Any] = {}
    both = anyio.Event()

    def ask(number: int) -> None:
        get_user_model().objects.count()
        seen[number] = (threading.get_ident(), connections["default"])

    async def call(number: int) -> None:
        async with own_connections():
            await sync_to_async(ask)(number)
            if len(seen) == 2:
                both.set()
            await both.wait()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(call, 1)
            group.start_soon(call, 2)
    await until_idle(2)
    (one, first), (two, second) = seen[1], seen[2]
    assert one != two
    assert threading.get_ident() not in {one, two}
    assert first.connection is None, "closed, or given back to the pool"
    assert second.connection is None


async def test_a_call_that_fails_leaves_no_connection_open_either(transactional_db: None) -> None:
    opened: list[Any] = []

    def fail() -> None:
        get_user_model().objects.count()
        opened.append(connections["default"])
        raise RuntimeError

    with pytest.raises(RuntimeError):
        async with own_connections():
            await sync_to_async(fail)()
    await until_idle(1)
    assert opened[0].connection is None


async def test_the_next_call_uses_the_thread_again_and_its_connection_if_it_may_live_on(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connections["default"].vendor == "sqlite":
        monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", None)
    seen: list[Any] = []

    def ask() -> None:
        get_user_model().objects.count()
        seen.append((threading.get_ident(), connections["default"].connection))

    for _ in range(2):
        async with own_connections():
            await sync_to_async(ask)()
        await until_idle(1)
    assert seen[0][0] == seen[1][0]
    if connections["default"].vendor == "sqlite":
        assert seen[0][1] is seen[1][1]


async def test_what_a_call_left_running_gets_no_thread_of_another_call(transactional_db: None) -> None:
    begun, over = anyio.Event(), anyio.Event()
    outcomes: list[Any] = []

    async def left() -> None:
        outcomes.append(await sync_to_async(get_user_model().objects.count)())
        begun.set()
        await over.wait()
        try:
            await sync_to_async(get_user_model().objects.count)()
        except RuntimeError as error:
            outcomes.append(str(error))

    async with own_connections():
        task = asyncio.create_task(left())
        await begun.wait()
    await until_idle(1)
    over.set()
    await task
    assert outcomes == [0, "A task that was started in a call must not use the database after the call has ended."]


async def test_a_call_within_a_call_has_a_thread_of_its_own(transactional_db: None) -> None:
    threads: list[int] = []

    async def note() -> None:
        await sync_to_async(lambda: threads.append(threading.get_ident()))()

    async with own_connections():
        await note()
        async with own_connections():
            await note()
        await note()
    await until_idle(2)
    assert threads[0] == threads[2] != threads[1]


async def test_a_call_without_synchronous_code_starts_no_thread() -> None:
    before = threading.active_count()
    async with own_connections():
        await anyio.lowlevel.checkpoint()
    assert threading.active_count() == before


async def test_to_djangos_signals_each_call_is_a_request_in_its_thread(transactional_db: None) -> None:
    heard: list[tuple[str, int]] = []
    threads: list[int] = []

    def started(**_: Any) -> None:
        heard.append(("started", threading.get_ident()))

    def finished(**_: Any) -> None:
        heard.append(("finished", threading.get_ident()))

    def fails(**_: Any) -> None:
        raise RuntimeError("a receiver of the site fails")

    signals.request_started.connect(fails)
    signals.request_started.connect(started)
    signals.request_finished.connect(finished)
    try:
        for _ in range(2):
            async with own_connections():
                for _ in range(2):
                    await sync_to_async(lambda: threads.append(threading.get_ident()))()
            await until_idle(1)
    finally:
        signals.request_started.disconnect(fails)
        signals.request_started.disconnect(started)
        signals.request_finished.disconnect(finished)
    assert heard == [("started", threads[0]), ("finished", threads[0])] * 2


async def test_more_calls_than_threads_may_wait_leave_none_behind(transactional_db: None) -> None:
    everyone = anyio.Event()
    here = 0

    async def call() -> None:
        nonlocal here
        async with own_connections():
            await sync_to_async(get_user_model().objects.count)()
            here += 1
            if here == MAXIMUM_IDLE + 2:
                everyone.set()
            await everyone.wait()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for _ in range(MAXIMUM_IDLE + 2):
                group.start_soon(call)
        await until_idle(MAXIMUM_IDLE)
        while len(threads_of_calls()) > MAXIMUM_IDLE:  # noqa: ASYNC110
            await anyio.sleep(0.01)
    close_threads()
    assert threads_of_calls() == []


def test_hints_of_a_tool_are_what_it_was_declared_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_catalog", registry.Catalog({}, {}, {}))

    @registry.tool("reads", read_only=True, destructive=True)
    def reads() -> None: ...

    @registry.tool("writes", destructive=True, idempotent=True)
    def writes() -> None: ...

    tools = registry._catalog.tools
    hints = {name: tools[name].annotations.model_dump(exclude={"title"}) for name in ("reads", "writes")}
    assert hints["reads"] == {
        "read_only_hint": True,
        "destructive_hint": False,
        "idempotent_hint": None,
        "open_world_hint": False,
    }
    assert hints["writes"] == {
        "read_only_hint": False,
        "destructive_hint": True,
        "idempotent_hint": True,
        "open_world_hint": False,
    }


@pytest.fixture
def used() -> list[Any]:
    """The connections that `ask_the_database` used."""
    return []


@pytest.fixture
def ask_the_database(used: list[Any]) -> Any:
    def ask() -> None:
        get_user_model().objects.count()
        used.append(connections["default"])

    return sync_to_async(ask)


async def test_the_lookup_of_a_token_leaves_no_connection_open(
    endpoint: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, used: list[Any], ask_the_database: Any
) -> None:
    async def lookup(token: str) -> None:
        await ask_the_database()

    monkeypatch.setattr(verifier.conf, "token_lookups", lambda: (lookup,))
    assert (await endpoint.post("/star", headers={"Authorization": "Bearer token"})).status_code == 401
    await until_idle(1)
    assert [connection.connection for connection in used] == [None]


async def test_a_message_leaves_no_connection_open_and_without_a_request_has_no_caller(
    transactional_db: None, used: list[Any], ask_the_database: Any
) -> None:
    async def handle(_: Any) -> None:
        await ask_the_database()
        with pytest.raises(NotAuthenticated):
            current_identity()

    nothing: Any = SimpleNamespace()
    message = ServerRequestContext[Any, Any](
        session=nothing, lifespan_context=None, protocol_version="", method="tools/call", request=None
    )
    await with_caller(message, handle)
    await until_idle(1)
    assert [connection.connection for connection in used] == [None]
