"""What one signed-in person can make a process with sessions keep in memory."""

from __future__ import annotations

import gc
from typing import Any

import anyio
import httpx2
import pytest
from asgiref.sync import sync_to_async
from mcp.server.connection import Connection

from mcpapp.registry import Catalog, resource
from tests.mcpapp.helpers import make_token, message, send, serving

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]


@pytest.fixture
async def token(alice: Any) -> str:
    return await sync_to_async(make_token)(alice)


@pytest.fixture(autouse=True)
def sessions(settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "SESSIONS": True}


@pytest.fixture(autouse=True)
def open_resource(catalog: Catalog) -> None:
    @resource("open://all", scopes=[])
    def everything() -> str:
        return ""


IS_DONE = '"result":{}'
INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "tests", "version": "1"},
}


async def opened(endpoint: httpx2.AsyncClient, token: str) -> Any:
    """Ask for a session; return the response."""
    return await send(endpoint, token, "initialize", INITIALIZE)


def within(response: Any, token: str) -> dict[str, str]:
    """Return the headers of further requests in a session."""
    return {"Authorization": f"Bearer {token}", "Mcp-Session-Id": response.headers["mcp-session-id"]}


async def subscribe(endpoint: httpx2.AsyncClient, session: dict[str, str], padding: int = 0) -> Any:
    request = message("resources/subscribe", {"uri": "open://all"})
    content = request["content"] + " " * padding
    return await endpoint.post("/star", content=content, headers=request["headers"] | session)


def alive() -> int:
    gc.collect()
    return sum(isinstance(one, Connection) for one in gc.get_objects())


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
