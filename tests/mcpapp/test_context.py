"""What a call says to its client while it runs: progress, questions, log messages; and resources that are watched."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import mcp
import mcp_types as types
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db import transaction
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import Audio, Context, Image
from mcp.shared.exceptions import MCPError
from oauth2_provider.models import get_access_token_model
from pydantic import BaseModel

from mcpapp.events import aresource_updated
from mcpapp.identity import current_user
from mcpapp.registry import Catalog, prompt, resource, tool
from tests.mcpapp.helpers import MODERN, call, make_token, payload, send, serving
from tests.mcpapp.over_http import bearer, connected, serving_over_http
from tests.mcpapp.test_door import parameters

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.django_db(transaction=True),
    # That older clients get log messages is kept, deprecated as it is.
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]
ERAS = ["legacy", MODERN]


class Sure(BaseModel):
    ok: bool


@pytest.fixture
def sessions(settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "SESSIONS": True}


def text(result: Any) -> str:
    return str(result.content[0].text)


# Progress


@pytest.mark.parametrize("with_sessions", [False, True], ids=["stateless", "sessions"])
@pytest.mark.parametrize("era", ERAS)
async def test_async_and_plain_functions_report_progress(
    catalog: Catalog, token: str, era: str, with_sessions: bool, settings: Any
) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "SESSIONS": with_sessions}

    @tool("async")
    async def async_one(context: Context) -> str:
        await context.report_progress(1, 2, "half")
        return "done"

    @tool("plain")
    def plain_one(context: Context) -> str:
        with transaction.atomic():
            async_to_sync(context.report_progress)(1, 2, f"half, in {threading.current_thread().name.split('_')[0]}")
            Group.objects.get_or_create(name="made by a plain function that reports")
        return "done"

    @resource("plain://{number}")
    def plain_resource(number: str, context: Context) -> str:
        return f"{number} for {context.protocol_version}"

    @prompt("plain")
    def plain_prompt(context: Context) -> str:
        return f"for {context.protocol_version}"

    seen: list[Any] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))

    async with serving_over_http() as url, connected(url, token, era) as client:
        for name, told in (("async", "half"), ("plain", "half, in mcp-call")):
            assert text(await client.call_tool(name, {}, progress_callback=note)) == "done"
            assert seen.pop() == (1, 2, told)
            assert text(await client.call_tool(name, {})) == "done", "nobody has to want it"
            assert seen == []
        version = "2025-11-25" if era == "legacy" else MODERN
        read: Any = (await client.read_resource("plain://5")).contents[0]
        assert read.text == f"5 for {version}"
        got: Any = (await client.get_prompt("plain")).messages[0].content
        assert got.text == f"for {version}"


async def test_images_sounds_and_whole_results_are_given_as_they_are(catalog: Catalog, token: str) -> None:
    @tool("image")
    def image() -> Image:
        return Image(data=b"png", format="png")

    @tool("sound")
    async def sound() -> list[str | Audio]:
        return ["listen", Audio(data=b"wav", format="wav")]

    @tool("embedded")
    def embedded() -> types.EmbeddedResource:
        return types.EmbeddedResource(resource=types.TextResourceContents(uri="a://b", text="c"))

    @tool("whole")
    def whole() -> types.CallToolResult:
        return types.CallToolResult(content=[types.TextContent(text="no")], is_error=True)

    async with serving() as endpoint:
        assert (await call(endpoint, token, "image"))["content"][0]["mimeType"] == "image/png"
        assert [one["type"] for one in (await call(endpoint, token, "sound"))["content"]] == ["text", "audio"]
        assert (await call(endpoint, token, "embedded"))["content"][0]["resource"]["text"] == "c"
        assert (await call(endpoint, token, "whole"))["isError"] is True


# Questions in the middle of a call


async def test_an_async_function_asks_the_person_in_a_session_of_the_older_protocol(
    catalog: Catalog, token: str, sessions: None
) -> None:
    @tool("ask")
    async def ask(context: Context) -> str:
        answer = await context.elicit("Sure?", Sure)
        return f"{answer.action} {answer.data.ok if answer.action == 'accept' else ''}"

    asked: list[str] = []

    async def person(_: Any, params: Any) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult(action="accept", content={"ok": True})

    async with serving_over_http() as url, connected(url, token, "legacy", elicitation_callback=person) as client:
        assert text(await client.call_tool("ask", {})) == "accept True"
        assert asked == ["Sure?"]


@pytest.mark.parametrize(("era", "with_sessions"), [("legacy", False), (MODERN, False), (MODERN, True)])
async def test_where_no_question_can_be_asked_the_call_ends_with_an_error(
    catalog: Catalog, token: str, settings: Any, era: str, with_sessions: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The client is told in words that it can show, whoever runs the site what to do about it."""
    settings.MCPAPP = {**settings.MCPAPP, "SESSIONS": with_sessions}

    @tool("ask")
    async def ask(context: Context) -> str:
        await context.elicit("Sure?", Sure)
        return "asked"

    with anyio.fail_after(10):
        async with serving() as endpoint:
            params = {"name": "ask", "arguments": {}}
            answer = payload(await send(endpoint, token, "tools/call", params, era=era))
            assert answer["error"]["message"] == "Your client cannot be asked on this connection."
            assert "MCPAPP['SESSIONS']" in caplog.text


async def test_a_plain_function_does_not_keep_its_thread_waiting_for_a_person(
    catalog: Catalog, token: str, sessions: None, caplog: pytest.LogCaptureFixture
) -> None:
    @tool("ask")
    def ask(context: Context) -> str:
        return str(async_to_sync(context.elicit)("Sure?", Sure))

    asked: list[Any] = []

    async def person(_: Any, params: Any) -> types.ElicitResult:
        asked.append(params)
        return types.ElicitResult(action="accept", content={"ok": True})

    async with serving_over_http() as url, connected(url, token, "legacy", elicitation_callback=person) as client:
        result = await client.call_tool("ask", {})
        assert result.is_error
        assert asked == []
    assert "Make it an async def, or ask before it runs" in caplog.text


async def test_a_call_that_waits_for_a_person_keeps_nobody_else_from_calling(
    catalog: Catalog, alice: Any, bob: Any, sessions: None
) -> None:
    """Otherwise one person who does not answer would close a tool to everybody."""
    running = 0
    most = 0

    @tool("ask", concurrency=1)
    async def ask(context: Context, question: bool) -> str:
        nonlocal running, most
        if question:
            await context.elicit("Sure?", Sure)
        running += 1
        most = max(most, running)
        await anyio.sleep(0.05)
        running -= 1
        return "done"

    alices, bobs = [await sync_to_async(make_token)(user) for user in (alice, bob)]
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def person(_: Any, params: Any) -> types.ElicitResult:
        asked.set()
        await may_answer.wait()
        return types.ElicitResult(action="accept", content={"ok": True})

    results: list[str] = []

    async def call_it(client: Any, question: bool) -> None:
        results.append(text(await client.call_tool("ask", {"question": question})))

    async with (
        serving_over_http() as url,
        connected(url, alices, "legacy", elicitation_callback=person) as slow,
        connected(url, bobs, "legacy") as quick,
    ):
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(call_it, slow, True)
                await asked.wait()
                await call_it(quick, False)
                assert results == ["done"], "alice's call waits, bob's is done"
                group.start_soon(call_it, quick, False)
                group.start_soon(call_it, quick, False)
                may_answer.set()
        assert results == ["done"] * 4
        assert most == 1, "who has an answer waits for a turn like everybody"
        assert text(await quick.call_tool("ask", {"question": False})) == "done", "no turn was lost"


async def test_a_person_who_does_not_answer_in_time_ends_the_call_and_takes_no_turn_with_them(
    catalog: Catalog, token: str, sessions: None
) -> None:
    @tool("ask", concurrency=1, timeout=0.3)
    async def ask(context: Context, question: bool) -> str:
        if question:
            await context.elicit("Sure?", Sure)
        return "done"

    async def person(_: Any, params: Any) -> types.ElicitResult:
        await anyio.sleep(5)
        return types.ElicitResult(action="cancel")

    async with serving_over_http() as url, connected(url, token, "legacy", elicitation_callback=person) as client:
        for _ in range(2):
            assert "given up" in text(await client.call_tool("ask", {"question": True}))
        assert text(await client.call_tool("ask", {"question": False})) == "done"


async def test_another_persons_answer_is_not_taken(catalog: Catalog, alice: Any, bob: Any, sessions: None) -> None:
    """The answer is a POST like any other, with the id of the question, which is a small number."""
    asked, may_answer = asyncio.Event(), asyncio.Event()
    seen: dict[str, Any] = {}

    @tool("ask")
    async def ask(context: Context) -> str:
        seen["session"] = context.headers["mcp-session-id"] if context.headers else ""
        answer = await context.elicit("Sure?", Sure)
        return str(answer.data.ok) if answer.action == "accept" else answer.action

    async def person(_: Any, params: Any) -> types.ElicitResult:
        asked.set()
        await may_answer.wait()
        return types.ElicitResult(action="accept", content={"ok": False})

    alices, bobs = [await sync_to_async(make_token)(user) for user in (alice, bob)]
    results: list[str] = []

    async def call_it(client: Any) -> None:
        results.append(text(await client.call_tool("ask", {})))

    async with serving_over_http() as url, connected(url, alices, "legacy", elicitation_callback=person) as client:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(call_it, client)
                await asked.wait()
                async with bearer(bobs) as http:
                    for request_id in range(5):
                        answer = {"action": "accept", "content": {"ok": True}}
                        response = await http.post(
                            f"{url}/star",
                            json={"jsonrpc": "2.0", "id": request_id, "result": answer},
                            headers={
                                "Mcp-Session-Id": seen["session"],
                                "Accept": "application/json, text/event-stream",
                            },
                        )
                        assert response.status_code == 404
                may_answer.set()
    assert results == ["False"], "what alice said"


# Log messages


async def test_older_clients_get_log_messages_in_a_session_from_the_level_they_want(
    catalog: Catalog, token: str, sessions: None
) -> None:
    @tool("log")
    async def log(context: Context) -> str:
        for level in ("debug", "info", "error"):
            await context.log(level, level)
        return "done"

    seen: list[str] = []

    async def note(params: Any) -> None:
        seen.append(params.data)

    async with serving_over_http() as url, connected(url, token, "legacy", logging_callback=note) as client:
        for level, told in ((None, ["info", "error"]), ("debug", ["debug", "info", "error"]), ("error", ["error"])):
            if level is not None:
                await client.set_logging_level(level)
            await client.call_tool("log", {})
            assert seen == told
            seen.clear()


@pytest.mark.parametrize("era", ERAS)
async def test_without_a_session_nobody_gets_log_messages_that_were_not_asked_for(
    catalog: Catalog, token: str, era: str
) -> None:
    @tool("log")
    async def log(context: Context) -> str:
        await context.error("something")
        await context.report_progress(1)
        return "done"

    async with serving() as endpoint:
        params = {"name": "log", "arguments": {}, "_meta": {"progressToken": 1}}
        response = await send(endpoint, token, "tools/call", params, era=era)
        assert "done" in response.text
        assert "notifications/message" not in response.text


# Resources that are watched


@pytest.fixture
def watched(catalog: Catalog) -> None:
    @resource("thing://{number}", groups=["Owners"])
    def thing(number: int) -> str:
        return str(number)

    @resource("own://{username}", scopes=[])
    def own(username: str) -> str:
        if username != current_user().get_username():
            raise PermissionDenied
        return username

    @resource("open://all", scopes=[])
    def everything() -> str:
        return ""

    @tool("change", scopes=[])
    async def change(uri: str, context: Context) -> str:
        await context.notify_resource_updated(uri)
        return "changed"


class Heard:
    """What a client was told of resources."""

    def __init__(self) -> None:
        self.uris: list[str] = []
        self._event = asyncio.Event()

    async def __call__(self, message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            self.uris.append(str(message.params.uri))
            self._event.set()

    async def something(self) -> None:
        with anyio.fail_after(5):
            await self._event.wait()
        self._event.clear()


@asynccontextmanager
async def two_people(*people: Any) -> AsyncIterator[tuple[mcp.Client, Heard, mcp.Client, Heard]]:
    """Connect two people's older clients, with what they hear."""
    tokens = [await sync_to_async(make_token)(person) for person in people]
    heard, others_heard = Heard(), Heard()
    async with (
        serving_over_http() as url,
        connected(url, tokens[0], "legacy", message_handler=heard) as client,
        connected(url, tokens[1], "legacy", message_handler=others_heard) as other,
    ):
        yield client, heard, other, others_heard


async def test_a_session_hears_of_the_resources_it_watches_while_its_person_may_read_them(
    watched: None, alice: Any, bob: Any, sessions: None
) -> None:
    async with two_people(alice, bob) as (client, heard, other, bob_heard):
        with pytest.raises(MCPError, match="You may not use this"):
            await other.subscribe_resource("thing://1")
        for uri in ("thing://1", "open://all"):
            await client.subscribe_resource(uri)
        with pytest.raises(MCPError, match="no such thing"):
            await client.subscribe_resource("nothing://1")
        await other.subscribe_resource("open://all")

        async def change(uri: str) -> None:
            await other.call_tool("change", {"uri": uri})
            await other.call_tool("change", {"uri": "open://all"})
            await heard.something()
            await bob_heard.something()

        await change("thing://1")
        while len(heard.uris) < 2:
            await heard.something()
        assert (sorted(heard.uris), bob_heard.uris) == (["open://all", "thing://1"], ["open://all"])
        heard.uris.clear()
        await client.unsubscribe_resource("open://all")
        await sync_to_async(alice.groups.clear)()
        await client.subscribe_resource("open://all")
        await change("thing://1")
        assert heard.uris == ["open://all"], "alice may not read the other any more"


async def test_a_session_is_not_told_what_is_another_persons(
    watched: None, alice: Any, bob: Any, sessions: None
) -> None:
    async with two_people(alice, bob) as (client, heard, other, bob_heard):
        for one in (client, other):
            await one.subscribe_resource("own://alice")
            await one.subscribe_resource("open://all")
        await aresource_updated("own://alice", user=alice)  # told for alice alone
        await heard.something()
        await aresource_updated("own://alice")  # bob would be refused it
        await heard.something()
        assert heard.uris == ["own://alice"] * 2
        await aresource_updated("open://all")
        await bob_heard.something()
        assert bob_heard.uris == ["open://all"]


async def test_a_session_is_told_nothing_while_its_token_is_over(watched: None, alice: Any, sessions: None) -> None:
    first = await sync_to_async(make_token)(alice)
    heard = Heard()
    async with (
        serving_over_http() as url,
        bearer(first) as http,
        mcp.Client(
            streamable_http_client(f"{url}/star", http_client=http), mode="legacy", message_handler=heard
        ) as client,
    ):
        for uri in ("open://all", "own://alice"):
            await client.subscribe_resource(uri)
        await aresource_updated("open://all")
        await heard.something()
        await sync_to_async(get_access_token_model().objects.all().delete)()
        await aresource_updated("open://all")
        second = await sync_to_async(make_token)(alice)
        http.headers["Authorization"] = f"Bearer {second}"
        await client.list_tools()
        await aresource_updated("own://alice")
        await heard.something()
        assert heard.uris == ["open://all", "own://alice"]
        with pytest.raises(MCPError, match="2048 bytes"):
            await client.subscribe_resource("own://" + "x" * 3000)


async def test_a_session_watches_a_bounded_number_of_resources(
    watched: None, token: str, sessions: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcpapp.session_methods.MAXIMUM_WATCHED", 2)
    async with serving_over_http() as url, connected(url, token, "legacy") as client:
        for uri in ("thing://1", "thing://2", "thing://2"):
            await client.subscribe_resource(uri)
        with pytest.raises(MCPError, match="may watch 2"):
            await client.subscribe_resource("thing://3")
        await client.unsubscribe_resource("thing://1")
        await client.subscribe_resource("thing://3")


async def test_a_scope_that_watching_needs_is_asked_for(catalog: Catalog, token: str, sessions: None) -> None:
    @resource("thing://{number}", scopes=["mcp:write"])
    def thing(number: int) -> str:
        return str(number)

    async with serving() as endpoint:
        response = await send(endpoint, token, "resources/subscribe", {"uri": "thing://1"})
        assert response.status_code == 403
        assert parameters(response)["scope"] == "mcp:tools mcp:write"


@pytest.mark.parametrize("era", ERAS)
async def test_without_sessions_there_is_nothing_to_watch(watched: None, token: str, era: str) -> None:
    async with serving() as endpoint:
        for method, params in (
            ("resources/subscribe", {"uri": "thing://1"}),
            ("resources/unsubscribe", {"uri": "thing://1"}),
            ("logging/setLevel", {"level": "info"}),
        ):
            answer = payload(await send(endpoint, token, method, params, era=era))
            assert answer["error"]["code"] == -32601
