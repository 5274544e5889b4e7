"""`subscriptions/listen` at real workers, with the official client: what happens in one process is heard in another."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import mcp
import pytest
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ResourceUpdated, Subscription, ToolsListChanged

from mcpapp.bus import CHANNEL
from mcpapp.subscriptions import VERIFY_SECONDS
from tests.conftest import LiveDatabases, LiveServer
from tests.mcpapp.helpers import MODERN
from tests.mcpapp.workers import PATIENCE_SECONDS, Workers

pytestmark = [pytest.mark.live, pytest.mark.anyio]

BOOKS = ResourceUpdated("book://all")
TOOLS = ToolsListChanged()
TELL = "from mcpapp import events; from django.db import transaction\n"


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory, live_databases: LiveDatabases) -> Iterator[Workers]:
    workers = Workers(tmp_path_factory.mktemp("subscriptions"), live_databases.copy(), count=2)
    for server in workers.servers:
        server.environment["DJANGO_SETTINGS_MODULE"] = "tests.settings_with_resources"
    try:
        workers.start()
        yield workers
    finally:
        workers.stop()


@pytest.fixture
def several(workers: Workers) -> Workers:
    if workers.is_sqlite:
        pytest.skip("without PostgreSQL a change is heard in the process that made it")
    return workers


@asynccontextmanager
async def client_of(server: LiveServer, token: str) -> AsyncIterator[mcp.Client]:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, timeout=PATIENCE_SECONDS) as http,
        mcp.Client(streamable_http_client(f"{server.url}/star", http_client=http), mode=MODERN) as client,
    ):
        yield client


@asynccontextmanager
async def listening(server: LiveServer, token: str, *uris: str) -> AsyncIterator[Subscription]:
    async with (
        client_of(server, token) as client,
        client.listen(tools_list_changed=True, resource_subscriptions=uris or ["book://all"]) as subscription,
    ):
        yield subscription


async def heard(subscription: Subscription) -> Any:
    """Return the next event; None if the server has ended the stream as the specification has it."""
    with anyio.fail_after(PATIENCE_SECONDS):
        return await anext(subscription, None)


async def run(workers: Workers, code: str) -> Any:
    return await anyio.to_thread.run_sync(workers.program.run, TELL + code)


async def test_a_change_told_by_a_tool_is_heard_at_the_same_worker(workers: Workers) -> None:
    token, other = workers.grant().token, workers.grant().token
    async with listening(workers.servers[0], token) as subscription, client_of(workers.servers[0], other) as client:
        assert (await client.call_tool("lend", {"fails": True})).is_error
        assert not (await client.call_tool("lend", {})).is_error
        assert await heard(subscription) == BOOKS


async def test_a_change_told_by_a_tool_is_heard_at_another_worker(several: Workers) -> None:
    token, other = several.grant().token, several.grant().token
    async with listening(several.servers[1], token) as subscription, client_of(several.servers[0], other) as client:
        assert not (await client.call_tool("lend", {})).is_error
        assert await heard(subscription) == BOOKS


async def test_every_worker_hears_of_what_another_program_commits_and_not_of_what_it_rolls_back(
    several: Workers,
) -> None:
    token = several.grant().token
    async with (
        listening(several.servers[0], token) as first,
        listening(several.servers[1], token) as second,
    ):
        await run(
            several,
            "with transaction.atomic(): events.resource_updated('book://all'); transaction.set_rollback(True)",
        )
        await run(several, "events.tools_changed()")
        assert [await heard(first), await heard(second)] == [TOOLS, TOOLS]
        await run(several, "with transaction.atomic(): events.resource_updated('book://all')")
        assert [await heard(first), await heard(second)] == [BOOKS, BOOKS]


async def test_what_a_person_may_not_read_they_hear_nothing_of_at_any_worker(several: Workers) -> None:
    grant, other = several.grant(), several.grant()
    await run(several, f"User.objects.filter(pk={grant.user}).update(is_staff=True)")
    staff = ResourceUpdated("book://staff")
    async with (
        listening(several.servers[0], grant.token, "book://staff") as theirs,
        listening(several.servers[0], other.token, "book://staff") as others,
    ):
        assert others.honored.resource_subscriptions is None
        await run(several, "events.resource_updated('book://staff')")
        assert await heard(theirs) == staff
        await run(several, f"User.objects.filter(pk={grant.user}).update(is_staff=False)")
        await run(several, "events.resource_updated('book://staff'); events.tools_changed()")
        assert [await heard(theirs), await heard(others)] == [TOOLS, TOOLS]


async def test_what_is_no_event_on_the_channel_breaks_nothing(several: Workers) -> None:
    async with listening(several.servers[0], several.grant().token) as subscription:
        for payload in ("", "nonsense", '["resource", 5, null]', "[" * 7000):
            several.execute("SELECT pg_notify(?, ?)", CHANNEL, payload)
        await run(several, "events.tools_changed()")
        assert await heard(subscription) == TOOLS


async def test_when_the_listening_connection_is_lost_streams_end_and_new_ones_hear_again(several: Workers) -> None:
    token = several.grant().token
    async with listening(several.servers[0], token) as subscription:
        killed = several.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND query LIKE ?",
            f'LISTEN "{CHANNEL}_%',
        )
        assert len(killed) == 2, "one for each worker"
        assert await heard(subscription) is None
    for server in several.servers:
        async with listening(server, token) as subscription:
            await run(several, "events.tools_changed()")
            assert await heard(subscription) == TOOLS
    assert "Changes cannot be listened for" in several.logs()[0]


async def test_a_stream_ends_soon_after_its_token_is_revoked(workers: Workers) -> None:
    grant = workers.grant()
    async with listening(workers.servers[0], grant.token) as subscription:
        await run(workers, f"Token.objects.filter(pk={grant.row}).delete()")
        began = time.monotonic()
        assert await heard(subscription) is None
        assert time.monotonic() - began < VERIFY_SECONDS + 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "command",
    [
        "-m uvicorn config.asgi:application --port {port}",
        "-m uvicorn config.asgi:application --port {port} --workers 2",
        "manage.py runserver --noreload {port}",
    ],
    ids=["uvicorn", "uvicorn with workers", "runserver"],
)
async def test_a_server_that_is_told_to_end_ends_its_streams_first(
    workers: Workers, new_server: Callable[[], LiveServer], number: signal.Signals, command: str
) -> None:
    server = new_server()
    server.environment |= {"DATABASE_URL": workers.database_url, "PUBLIC_URL": workers.url}
    server.start(*command.format(port=server.port).split())
    assert server.process is not None
    async with listening(server, workers.grant().token) as subscription:
        began = time.monotonic()
        os.kill(server.process.pid, number)
        assert await heard(subscription) is None
        await anyio.to_thread.run_sync(server.process.wait, PATIENCE_SECONDS)
        assert time.monotonic() - began < 5
    log = server.log.read_text()
    assert "Traceback" not in log
    assert "Cancel" not in log, "no stream was cut off"
