"""What calls must not lose about connections, threads and tools."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import anyio
import httpx2
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.db import connections

from mcpapp import registry, verifier
from mcpapp.database import own_connections
from mcpapp.identity import NotAuthenticated, current_identity
from mcpapp.server import with_caller

pytestmark = pytest.mark.anyio


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
    assert opened[0].connection is None


def test_hints_of_a_tool_are_what_it_was_declared_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_tools", {})

    @registry.tool("reads", read_only=True, destructive=True)
    def reads() -> None: ...

    @registry.tool("writes", destructive=True, idempotent=True)
    def writes() -> None: ...

    tools = registry.discover() | registry._tools
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

    monkeypatch.setattr(verifier.conf, "token_lookup", lambda: lookup)
    assert (await endpoint.post("/star", headers={"Authorization": "Bearer token"})).status_code == 401
    assert [connection.connection for connection in used] == [None]


async def test_a_message_leaves_no_connection_open_and_without_a_request_has_no_caller(
    transactional_db: None, used: list[Any], ask_the_database: Any
) -> None:
    async def handle(_: Any) -> None:
        await ask_the_database()
        with pytest.raises(NotAuthenticated):
            current_identity()

    await with_caller(SimpleNamespace(request=None), handle)  # type: ignore[arg-type]
    assert [connection.connection for connection in used] == [None]
