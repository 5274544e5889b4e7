"""What one signed-in person can make a process keep in memory."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import anyio
import httpx2
import pytest
from asgiref.sync import sync_to_async
from mcp.server.connection import Connection

from mcpapp import shares
from mcpapp.registry import Catalog, resource, tool
from tests.mcpapp.helpers import MODERN, make_token, message, send, serving
from tests.mcpapp.over_http import bearer, serving_over_http

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def sessions(settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "SESSIONS": True}


@pytest.fixture(autouse=True)
def open_resource(catalog: Catalog) -> None:
    @resource("open://all", scopes=[])
    def everything() -> str:
        return ""


def calls_under_way() -> int:
    return sum(share.calls for share in shares._shares.values())


IS_DONE = '"result":{}'
INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "tests", "version": "1"},
}


async def opened(endpoint: httpx2.AsyncClient, token: str) -> Any:
    """Ask for a session; return the response."""
    return await send(endpoint, token, "initialize", INITIALIZE)


async def opened_at(url: str, http: httpx2.AsyncClient) -> Any:
    """Ask a real server for a session; return the response."""
    return await http.post(f"{url}/star", **message("initialize", INITIALIZE))


def within(response: Any, token: str) -> dict[str, str]:
    """Return the headers of further requests in a session."""
    return {"Authorization": f"Bearer {token}", "Mcp-Session-Id": response.headers["mcp-session-id"]}


async def subscribe(endpoint: httpx2.AsyncClient, session: dict[str, str], padding: int = 0) -> Any:
    request = message("resources/subscribe", {"uri": "open://all"})
    content = request["content"] + " " * padding
    return await endpoint.post("/star", content=content, headers=request["headers"] | session)


def alive() -> int:
    gc.collect()
    return sum(issubclass(type(one), Connection) for one in gc.get_objects())  # asks nothing of lazy objects


async def test_a_session_that_watched_something_is_forgotten_when_it_ends(token: str) -> None:
    async with serving() as endpoint:
        before = alive()
        for _ in range(3):
            session = within(await opened(endpoint, token), token)
            assert IS_DONE in (await subscribe(endpoint, session)).text
            assert alive() == before + 1, "as long as it lasts it is there"
            assert (await endpoint.delete("/star", headers=session)).status_code == 200
        with anyio.fail_after(5):
            while alive() != before:  # noqa: ASYNC110  (its tasks wind down)
                await anyio.sleep(0.01)


async def test_a_request_to_watch_that_is_too_large_to_be_kept_is_refused(token: str) -> None:
    async with serving() as endpoint:
        session = within(await opened(endpoint, token), token)
        large = await subscribe(endpoint, session, padding=70_000)
        assert "65536 bytes at most" in large.text
        assert IS_DONE in (await subscribe(endpoint, session, padding=60_000)).text


async def test_headers_that_a_session_would_keep_have_a_bound(token: str) -> None:
    made = message("initialize", INITIALIZE)
    async with serving() as endpoint:

        async def with_header(size: int) -> int:
            headers = made["headers"] | {"Authorization": f"Bearer {token}", "X-Padding": "x" * size}
            response = await endpoint.post("/star", content=made["content"], headers=headers)
            return int(response.status_code)

        assert await with_header(66_000) == 431
        assert await with_header(60_000) == 200


async def test_one_person_has_a_bounded_number_of_sessions(token: str, bob: Any, settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "SESSIONS_PER_PERSON": 2}
    bobs = await sync_to_async(make_token)(bob)
    async with serving() as endpoint:
        first, second = [await opened(endpoint, token) for _ in range(2)]
        refused = await opened(endpoint, token)
        assert (refused.status_code, "mcp-session-id" in refused.headers) == (503, False)
        assert "You have 2 open sessions" in refused.json()["detail"]
        other_token = await sync_to_async(make_token)(
            await sync_to_async(lambda: type(bob).objects.get(username="alice"))()
        )
        assert (await opened(endpoint, other_token)).status_code == 503, "another token is the same person"
        assert (await opened(endpoint, bobs)).status_code == 200, "others have theirs"
        assert IS_DONE in (await subscribe(endpoint, within(second, token))).text, "those that are open stay so"
        assert (await endpoint.delete("/star", headers=within(first, token))).status_code == 200
        assert (await opened(endpoint, token)).status_code == 200
        assert (await opened(endpoint, token)).status_code == 503


class Waiting:
    """A tool whose calls wait until they are let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.go = asyncio.Event()

        @tool("wait", scopes=[], concurrency=1)
        async def wait() -> str:
            self.begun += 1
            await self.go.wait()
            return "done"


async def under_way(count: int) -> None:
    with anyio.fail_after(5):
        while calls_under_way() != count:  # noqa: ASYNC110  (nobody tells)
            await anyio.sleep(0.01)


@pytest.mark.parametrize("era", ["legacy", MODERN])
async def test_one_person_has_a_bounded_number_of_calls_under_way_or_waiting(
    catalog: Catalog, token: str, bob: Any, settings: Any, era: str
) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "CALLS_PER_PERSON": 2, "SESSIONS": False}
    bobs = await sync_to_async(make_token)(bob)
    waiting = Waiting()

    async def called(by: str) -> str:
        return (await send(endpoint, by, "tools/call", {"name": "wait", "arguments": {}}, era=era)).text

    async with serving() as endpoint:
        calls = [asyncio.create_task(called(token)) for _ in range(2)]
        await under_way(2)
        assert waiting.begun == 1
        with anyio.fail_after(5):
            assert "as many calls under way as one person may have" in await called(token)
        calls.append(asyncio.create_task(called(bobs)))
        await under_way(3)  # others have theirs
        waiting.go.set()
        assert ["done" in text for text in await asyncio.gather(*calls)] == [True, True, True]
        assert "done" in await called(token)
        assert not shares._shares


async def test_calls_in_a_session_count_also_when_their_client_has_left(
    catalog: Catalog, token: str, settings: Any
) -> None:
    """They go on, so that their client can come back for the answer."""
    settings.MCPAPP = {**settings.MCPAPP, "CALLS_PER_PERSON": 2}
    waiting = Waiting()
    async with serving_over_http() as url, bearer(token) as http:
        session = within(await opened_at(url, http), token)
        made = message("tools/call", {"name": "wait", "arguments": {}})

        def numbered(number: int) -> dict[str, Any]:
            content = made["content"].replace('"id": 1', f'"id": {number}')
            return {"content": content, "headers": made["headers"] | session}

        for number in range(2):
            async with http.stream("POST", f"{url}/star", **numbered(number)):
                await under_way(number + 1)
        assert "as many calls under way as one person may have" in (await http.post(f"{url}/star", **numbered(2))).text
        waiting.go.set()
        await under_way(0)
        assert "done" in (await http.post(f"{url}/star", **numbered(3))).text


@pytest.mark.parametrize("era", ["legacy", MODERN])
async def test_what_one_person_has_under_way_is_bounded_in_bytes_too(
    catalog: Catalog, token: str, settings: Any, era: str
) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "MAXIMUM_BODY_BYTES": 1000, "SESSIONS": False}
    waiting = Waiting()

    async def called(padding: int) -> str:
        arguments = {"padding": "x" * padding}
        return (await send(endpoint, token, "tools/call", {"name": "wait", "arguments": arguments}, era=era)).text

    async with serving() as endpoint:
        calls = [asyncio.create_task(called(500)) for _ in range(8)]  # each takes 600 to 1000 bytes
        with anyio.fail_after(5):
            while calls_under_way() + sum(call.done() for call in calls) < 8:  # noqa: ASYNC110  (nobody tells)
                await anyio.sleep(0.01)
        assert 4 <= calls_under_way() <= 6
        waiting.go.set()
        answers = await asyncio.gather(*calls)
        refused = ["as many calls under way as one person may have" in answer for answer in answers]
        assert refused.count(False) == waiting.begun == sum("done" in answer for answer in answers)
        assert 2 <= refused.count(True) <= 4
        assert "done" in await called(500)
