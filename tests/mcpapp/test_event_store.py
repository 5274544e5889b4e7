"""Resuming a stream of a session: for who may use the session, within bounds, and with ids that nobody can guess."""

from __future__ import annotations

import gc
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import anyio
import httpx2
import mcp_types as types
import pytest
from asgiref.sync import sync_to_async
from mcp.server.mcpserver import Context

from mcpapp import event_store
from mcpapp.event_store import EVENT_OVERHEAD_BYTES, EventMemory, EventMessage, SessionEvents
from mcpapp.registry import Catalog, tool
from tests.mcpapp.helpers import make_token, message
from tests.mcpapp.over_http import bearer, serving_over_http

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]

REQUEST_IDS = count(2)
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


# The store


def said(text: str) -> types.JSONRPCNotification:
    return types.JSONRPCNotification(jsonrpc="2.0", method="notifications/message", params={"data": text})


def answer(request_id: int = 1) -> types.JSONRPCResponse:
    return types.JSONRPCResponse(jsonrpc="2.0", id=request_id, result={})


async def replayed(events: SessionEvents, event_id: str) -> tuple[list[str], str | None]:
    """What a client gets who comes back with an event id, and the stream that goes on, if any."""
    got: list[str] = []

    async def take(event: EventMessage) -> None:
        got.append((getattr(event.message, "params", None) or {"data": "the answer"})["data"])

    stream = await events.replay_events_after(event_id, take)
    return got, stream


async def test_what_came_after_an_event_is_replayed_in_order_and_its_stream_goes_on_until_it_is_answered() -> None:
    events = SessionEvents(EventMemory(100_000))
    first = await events.store_event("1", None)
    second = await events.store_event("1", said("a"))
    await events.store_event("_GET_stream", said("of another stream"))
    await events.store_event("1", said("b"))
    assert await replayed(events, first) == (["a", "b"], "1")
    assert await replayed(events, second) == (["b"], "1")
    last = await events.store_event("1", answer())
    assert await replayed(events, second) == (["b", "the answer"], None)
    assert await replayed(events, last) == ([], None)


async def test_one_sessions_store_knows_nothing_of_anothers_though_their_streams_have_one_name() -> None:
    """The SDK's streams are named by the id of a request: "1" in every session."""
    memory = EventMemory(100_000)
    alices, bobs = SessionEvents(memory), SessionEvents(memory)
    before = await alices.store_event("1", None)
    await alices.store_event("1", said("alice's secret"))
    await bobs.store_event("1", None)
    assert await replayed(bobs, before) == ([], None)
    assert await replayed(alices, before) == (["alice's secret"], "1")


async def test_ids_cannot_be_guessed_and_odd_ones_find_nothing() -> None:
    memory = EventMemory(100_000)
    events = SessionEvents(memory)
    known = {await events.store_event(str(number), None) for number in range(50)}
    tokens = {event_id.partition(".")[0] for event_id in known}
    assert len(tokens) == 50
    assert all(len(token) == 22 for token in tokens), "128 bits"
    token = min(tokens)
    for odd in ("", ".", "0", token, f"{token}.", f"{token}.-1", f"{token}.x", f"{token}.١", f"{token}.{'9' * 5000}"):
        assert await replayed(events, odd) == ([], None), odd


async def test_the_id_of_an_answered_request_used_again_is_another_stream() -> None:
    events = SessionEvents(EventMemory(100_000))
    old = await events.store_event("1", None)
    await events.store_event("1", answer())
    new = await events.store_event("1", None)
    await events.store_event("1", said("new"))
    assert await replayed(events, old) == ([], None)
    assert await replayed(events, new) == (["new"], "1")


async def test_what_is_stored_while_it_is_replayed_is_replayed_too() -> None:
    events = SessionEvents(EventMemory(100_000))
    first = await events.store_event("1", None)
    await events.store_event("1", said("a"))
    got: list[Any] = []

    async def take(event: EventMessage) -> None:
        got.append(event.message)
        if len(got) < 3:
            await events.store_event("1", said(str(len(got))))

    assert await events.replay_events_after(first, take) == "1"
    assert len(got) == 3


async def test_of_a_long_stream_the_newest_events_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_store, "MAXIMUM_EVENTS", 3)
    memory = EventMemory(100_000)
    events = SessionEvents(memory)
    first = await events.store_event("1", None)
    for text in "abcde":
        await events.store_event("1", said(text))
    assert await replayed(events, first) == (["c", "d", "e"], "1")
    assert memory.size < 4 * (EVENT_OVERHEAD_BYTES + 100)


async def test_of_many_streams_in_a_session_the_longest_silent_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_store, "MAXIMUM_STREAMS", 3)
    events = SessionEvents(EventMemory(100_000))
    ids = {}
    for name in "123":
        ids[name] = await events.store_event(name, None)
    await events.store_event("1", said("still here"))
    await events.store_event("4", None)
    assert await replayed(events, ids["2"]) == ([], None)
    assert await replayed(events, ids["1"]) == (["still here"], "1")


async def test_all_sessions_together_and_each_of_them_stay_within_their_bytes() -> None:
    memory = EventMemory(160_000)
    sessions = [SessionEvents(memory) for _ in range(40)]
    ids = []
    for round_number in range(20):
        for events in sessions:
            ids.append((events, await events.store_event(str(round_number), said("x" * 700))))
            assert memory.size <= 160_000
    assert memory.size > 100_000
    assert await replayed(*ids[0]) == ([], None), "the oldest are gone"
    events, newest = ids[-1]
    assert (await replayed(events, newest))[1] == "19"
    one = SessionEvents(memory)
    for number in range(20):
        await one.store_event(str(number), said("x" * 700))
    assert sum(stream.size for stream in one._streams.values()) <= 10_000
    huge = await one.store_event("huge", said("x" * 200_000))
    assert await replayed(one, huge) == ([], None), "too large to be kept, and no error"
    assert memory.size <= 160_000


async def test_the_events_of_a_session_that_ended_take_no_memory() -> None:
    memory = EventMemory(100_000)
    other = SessionEvents(memory)
    events = SessionEvents(memory)
    await events.store_event("1", said("x" * 5_000))
    assert memory.size > 5_000
    del events
    gc.collect()
    await other.store_event("1", None)
    assert memory.size == EVENT_OVERHEAD_BYTES


# Over HTTP


@pytest.fixture(autouse=True)
def _sessions(settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "SESSIONS": True, "STREAM_RETRY_MILLISECONDS": 700}


@pytest.fixture
def tools(catalog: Catalog) -> None:
    @tool("whisper")
    async def whisper(context: Context, text: str) -> str:
        await context.report_progress(1, 2, f"about {text}")
        return f"secret {text}"

    @tool("come-back")
    async def come_back(context: Context, text: str) -> str:
        await context.close_sse_stream()
        await anyio.sleep(0.1)
        return f"secret {text}"


async def opened(http: httpx2.AsyncClient, url: str) -> str:
    request = message("initialize", HELLO)
    response = await http.post(f"{url}/star", **request)
    assert response.status_code == 200
    session: str = response.headers["mcp-session-id"]
    request = message("x")
    request["content"] = '{"jsonrpc": "2.0", "method": "notifications/initialized"}'
    request["headers"]["Mcp-Session-Id"] = session
    assert (await http.post(f"{url}/star", **request)).status_code == 202
    return session


async def called(http: httpx2.AsyncClient, url: str, session: str, name: str, text: str, request_id: int = 0) -> str:
    """Call a tool in a session; return what the stream of the POST said until it ended."""
    request = message("tools/call", {"name": name, "arguments": {"text": text}, "_meta": {"progressToken": 1}})
    request["content"] = request["content"].replace('"id": 1,', f'"id": {request_id or next(REQUEST_IDS)},')
    request["headers"]["Mcp-Session-Id"] = session
    response = await http.post(f"{url}/star", **request)
    assert response.status_code == 200
    return response.text


async def came_back(http: httpx2.AsyncClient, url: str, session: str, event_id: str) -> tuple[int, str]:
    """Come back to a stream; return the status and what it said until it ended, or for a while."""
    headers = {"Accept": "text/event-stream", "Mcp-Session-Id": session, "Last-Event-ID": event_id}
    said = ""
    with anyio.move_on_after(3):
        async with http.stream("GET", f"{url}/star", headers=headers) as response:
            async for text in response.aiter_text():
                said += text
                if '"result"' in said:
                    break
            return response.status_code, said
    raise AssertionError("the stream stays open and says nothing")


def ids_in(text: str) -> list[str]:
    return re.findall(r"^id: (\S+)\r?$", text, re.MULTILINE)


@asynccontextmanager
async def two_people(alice: Any, bob: Any) -> AsyncIterator[tuple[str, httpx2.AsyncClient, httpx2.AsyncClient]]:
    tokens = [await sync_to_async(make_token)(user) for user in (alice, bob)]
    async with serving_over_http() as url, bearer(tokens[0]) as alices, bearer(tokens[1]) as bobs:
        yield url, alices, bobs


async def test_a_client_that_lost_a_stream_comes_back_for_the_rest(tools: None, alice: Any, bob: Any) -> None:
    async with two_people(alice, bob) as (url, http, _):
        session = await opened(http, url)
        said = await called(http, url, session, "whisper", "of alice")
        first, *_ = ids_in(said)
        assert "retry: 700" in said
        assert "secret of alice" in said
        status, again = await came_back(http, url, session, first)
        assert status == 200
        assert "about of alice" in again
        assert "secret of alice" in again
        assert ids_in(again) == ids_in(said)[1:]
        early = await called(http, url, session, "come-back", "for alice")
        assert "secret" not in early, "the server closed the stream before the answer"
        assert "secret for alice" in (await came_back(http, url, session, ids_in(early)[0]))[1]


async def test_who_sends_somebody_elses_event_id_in_a_session_of_their_own_gets_nothing(
    tools: None, alice: Any, bob: Any
) -> None:
    """The SDK's example store would replay them: it knows no sessions, and its streams have the ids of requests."""
    async with two_people(alice, bob) as (url, alices, bobs):
        alices_session, bobs_session = await opened(alices, url), await opened(bobs, url)
        event_id = ids_in(await called(alices, url, alices_session, "whisper", "of alice", 7))[0]
        assert "secret of bob" in await called(bobs, url, bobs_session, "whisper", "of bob", 7)
        assert await came_back(bobs, url, bobs_session, event_id) == (200, "")
        status, said = await came_back(bobs, url, alices_session, event_id)
        assert status == 404
        assert "alice" not in said
        second = await opened(alices, url)
        assert await came_back(alices, url, second, event_id) == (200, ""), "each session by itself"
        assert "secret of alice" in (await came_back(alices, url, alices_session, event_id))[1]


async def test_an_event_id_that_is_gone_ends_the_stream_at_once(
    tools: None, alice: Any, bob: Any, settings: Any
) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "EVENT_STORE_BYTES": 16 * 1500}
    async with two_people(alice, bob) as (url, http, _):
        session = await opened(http, url)
        event_id = ids_in(await called(http, url, session, "whisper", "first"))[0]
        assert "secret first" in (await came_back(http, url, session, event_id))[1]
        for number in range(4):
            await called(http, url, session, "whisper", f"later {number}")
        assert await came_back(http, url, session, event_id) == (200, "")


async def test_nothing_is_kept_where_the_settings_say_so(tools: None, alice: Any, bob: Any, settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "EVENT_STORE_BYTES": 0}
    async with two_people(alice, bob) as (url, http, _):
        said = await called(http, url, await opened(http, url), "whisper", "of alice")
        assert "secret of alice" in said
        assert ids_in(said) == []
