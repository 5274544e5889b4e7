"""`subscriptions/listen`: who hears of what, until when, and how much of it one caller may have."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx2
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import AnonymousUser, Group, Permission
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connections, transaction
from django.http import Http404
from mcp.server.mcpserver import Context
from oauth2_provider.models import get_access_token_model

from authapp.models import Application
from mcpapp import bus, database, events, registry, subscriptions
from mcpapp.asgi import ResourceServer
from mcpapp.identity import current_user
from mcpapp.registry import resource, tool
from tests.mcpapp.helpers import MODERN, make_token, message, payload
from tests.mcpapp.streams import PATIENCE_SECONDS, TOOLS, listening, opened
from tests.oauth import RESOURCE

pytestmark = pytest.mark.anyio


@pytest.fixture
def library(catalog: registry.Catalog) -> None:
    """Books for everybody who is connected, shelves for owners, and loans that their readers alone may read."""

    @resource("book://all")
    def books() -> str:
        return "Books"

    @resource("shelf://secret", groups=["Owners"])
    def shelf() -> str:
        return "Shelf"

    @resource("loan://{reader}/{number}")
    def loan(reader: str, number: int) -> str:
        if reader != current_user().get_username():
            raise Http404
        return f"Loan {number}"


@pytest.fixture
async def server(library: None, transactional_db: None) -> AsyncIterator[ResourceServer]:
    server = ResourceServer()
    async with server.running():
        yield server
    await sync_to_async(connections.close_all)()


@pytest.fixture
async def alices(alice: Any) -> str:
    return await sync_to_async(make_token)(alice)


@pytest.fixture
async def bobs(bob: Any) -> str:
    return await sync_to_async(make_token)(bob)


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No stream looks at its token unless something is to be told."""
    monkeypatch.setattr(subscriptions, "VERIFY_SECONDS", 3600)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "VERIFY_SECONDS", 0.05)


async def test_what_was_asked_for_is_heard_and_nothing_else(server: ResourceServer, alices: str) -> None:
    async with listening(server, alices, ["book://all"], ["tools", "resources"]) as stream:
        assert stream.acknowledged == {
            "toolsListChanged": True,
            "resourcesListChanged": True,
            "resourceSubscriptions": ["book://all"],
        }
        await events.aresource_updated("loan://alice/1")
        await events.aprompts_changed()
        await events.aresource_updated("book://all")
        await events.aresources_changed()
        assert await stream.heard() == "book://all"
        assert await stream.heard() == "notifications/resources/list_changed"


async def test_every_message_carries_the_id_of_the_request(server: ResourceServer, alices: str) -> None:
    async with listening(server, alices) as stream:
        await events.atools_changed()
        assert (await stream.next())["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == 1


async def test_what_does_not_exist_and_what_one_may_not_read_are_left_out_alike(
    server: ResourceServer, alices: str, bobs: str
) -> None:
    uris = ["shelf://secret", "shelf://nothing", "nothing", "", "x" * 5000, "book://all", "book://all"]
    async with listening(server, alices, uris) as stream:
        assert stream.acknowledged["resourceSubscriptions"] == ["shelf://secret", "book://all"]
    async with listening(server, bobs, uris) as stream:
        assert stream.acknowledged["resourceSubscriptions"] == ["book://all"]
        await events.aresource_updated("shelf://secret")
        await events.aresource_updated("book://all")
        assert await stream.heard() == "book://all"


async def test_who_loses_the_right_to_read_hears_no_more(
    server: ResourceServer, alice: Any, alices: str, unhurried: None
) -> None:
    async with listening(server, alices, ["shelf://secret"]) as stream:
        await events.aresource_updated("shelf://secret")
        assert await stream.heard() == "shelf://secret"
        await sync_to_async(alice.groups.clear)()
        await events.aresource_updated("shelf://secret")
        await events.atools_changed()
        assert await stream.heard() == TOOLS
        await sync_to_async(lambda: alice.groups.add(Group.objects.get(name="Owners")))()
        await events.aresource_updated("shelf://secret")
        assert await stream.heard() == "shelf://secret"


async def test_a_permission_that_is_taken_away_counts_at_once(
    catalog: registry.Catalog, alice: Any, alices: str, transactional_db: None, unhurried: None
) -> None:
    """Django keeps permissions in the instance of a user: a stream must not go on with the one it began with."""

    @resource("user://all", permissions=["auth.view_user"])
    def users() -> str:
        return "Users"

    permission = await Permission.objects.aget(codename="view_user")
    await alice.user_permissions.aadd(permission)
    server = ResourceServer()
    async with server.running(), asyncio.timeout(PATIENCE_SECONDS):
        while server.verifier.kept(alices, RESOURCE) is None:  # only then it is one identity all the time
            async with listening(server, alices):
                pass
        async with listening(server, alices, ["user://all"]) as stream:
            await events.aresource_updated("user://all")
            assert await stream.heard() == "user://all"
            await alice.user_permissions.aremove(permission)
            await events.aresource_updated("user://all")
            await events.atools_changed()
            assert await stream.heard() == TOOLS
    await sync_to_async(connections.close_all)()


async def test_nobody_hears_of_what_a_template_reads_for_another_person(
    server: ResourceServer, alices: str, bobs: str
) -> None:
    async with (
        listening(server, alices, ["loan://alice/1"]) as hers,
        listening(server, bobs, ["loan://alice/1"]) as his,
    ):
        await events.aresource_updated("loan://alice/1")
        await events.atools_changed()
        assert await hers.heard() == "loan://alice/1"
        assert await his.heard() == TOOLS


async def test_what_is_told_to_one_person_no_other_hears(
    server: ResourceServer, alice: Any, alices: str, bobs: str
) -> None:
    async with listening(server, alices, ["book://all"]) as hers, listening(server, bobs, ["book://all"]) as his:
        await events.aresource_updated("book://all", user=alice)
        await events.atools_changed()
        assert await hers.heard() == "book://all"
        assert await his.heard() == TOOLS


async def test_a_person_is_told_of_what_is_theirs_and_is_gone(server: ResourceServer, alice: Any, alices: str) -> None:
    """Reading it says nothing any more; whoever tells names the person."""
    async with listening(server, alices, ["loan://bob/1"]) as stream:
        await events.aresource_updated("loan://bob/1")
        await events.aresource_updated("loan://bob/1", user=alice)
        await events.atools_changed()
        assert await stream.heard() == "loan://bob/1"
        assert await stream.heard() == TOOLS


async def test_nothing_is_heard_of_what_is_rolled_back(server: ResourceServer, alices: str) -> None:
    def roll_back() -> None:
        with transaction.atomic():
            events.resource_updated("book://all")
            transaction.set_rollback(True)

    def commit() -> None:
        with transaction.atomic():
            events.resource_updated("book://all")
            events.tools_changed()

    async with listening(server, alices, ["book://all"], ["tools", "prompts"]) as stream:
        await sync_to_async(roll_back)()
        await sync_to_async(events.prompts_changed)()
        assert await stream.heard() == "notifications/prompts/list_changed"
        await sync_to_async(commit)()
        assert await stream.heard() == "book://all"
        assert await stream.heard() == TOOLS


async def test_what_a_tool_tells_through_the_sdk_goes_the_same_way(
    catalog: registry.Catalog, library: None, alices: str, transactional_db: None
) -> None:
    @tool("lend", atomic=True)
    def lend(context: Context[Any, Any], fails: bool) -> str:
        """Lend a book."""
        async_to_sync(context.notify_resource_updated)("book://all")
        if fails:
            raise Http404("No such book.")
        return "Lent"

    @tool("close-library")
    async def close_library(context: Context[Any, Any]) -> str:
        """Close."""
        await context.notify_tools_changed()
        return "Closed"

    server = ResourceServer()
    async with server.running(), listening(server, alices, ["book://all"], ["tools"]) as stream:
        for name, arguments in (
            ("lend", {"fails": True}),
            ("close-library", {}),
            ("lend", {"fails": False}),
        ):
            await call(server, alices, name, arguments)
        assert await stream.heard() == TOOLS, "what failed told nothing"
        assert await stream.heard() == "book://all"
    await sync_to_async(connections.close_all)()


async def call(server: ResourceServer, token: str, name: str, arguments: dict[str, Any]) -> None:
    request = message("tools/call", {"name": name, "arguments": arguments}, era=MODERN)
    request["headers"]["Authorization"] = f"Bearer {token}"
    transport = httpx2.ASGITransport(server)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        assert (await client.post("/star", **request)).status_code == 200


# --- Until when ---------------------------------------------------------------------------------------

Token = get_access_token_model()
ENDINGS = {
    "its token is revoked": lambda user: Token.objects.filter(user=user).delete(),
    "its token has expired": lambda user: Token.objects.filter(user=user).update(expires="2020-01-01T00:00:00Z"),
    "its person is disabled": lambda user: type(user).objects.filter(pk=user.pk).update(is_active=False),
    "its client is disabled": lambda _: Application.objects.update(disabled_at="2020-01-01T00:00:00Z"),
}


@pytest.mark.parametrize("name", ENDINGS)
async def test_a_stream_ends_when(
    server: ResourceServer, alice: Any, alices: str, bobs: str, name: str, hasty: None
) -> None:
    async with listening(server, alices) as stream:
        await sync_to_async(ENDINGS[name])(alice)
        assert await stream.heard() == "ended"


@pytest.mark.parametrize("name", ENDINGS)
async def test_nothing_is_delivered_after(
    server: ResourceServer, alice: Any, alices: str, name: str, unhurried: None
) -> None:
    """Even between two looks at the token."""
    async with listening(server, alices) as stream:
        await events.atools_changed()
        assert await stream.heard() == TOOLS
        await sync_to_async(ENDINGS[name])(alice)
        async with asyncio.timeout(PATIENCE_SECONDS):  # PostgreSQL tells of it on another connection, a moment later
            while server.verifier.kept(alices, RESOURCE) is not None:  # noqa: ASYNC110  (nobody tells)
                await asyncio.sleep(0.001)
        await events.atools_changed()
        assert await stream.heard() == "ended"


async def test_a_stream_ends_when_its_token_expires(server: ResourceServer, alice: Any) -> None:
    token = await sync_to_async(make_token)(alice, seconds=2)
    async with listening(server, token) as stream:
        began = time.monotonic()
        assert await stream.heard() == "ended"
        assert time.monotonic() - began < 4


async def test_another_persons_stream_goes_on(
    server: ResourceServer, alice: Any, alices: str, bobs: str, hasty: None
) -> None:
    async with listening(server, alices) as hers, listening(server, bobs) as his:
        await sync_to_async(ENDINGS["its token is revoked"])(alice)
        assert await hers.heard() == "ended"
        await events.atools_changed()
        assert await his.heard() == TOOLS


async def test_a_stream_ends_when_nobody_can_say_who_may_hear(
    server: ResourceServer, alices: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from django.db import OperationalError

    async def no_answer(*_: Any) -> None:
        raise OperationalError("gone")

    async with listening(server, alices, ["book://all"]) as stream:
        with monkeypatch.context() as patched, caplog.at_level(logging.CRITICAL, "mcpapp.subscriptions"):
            patched.setattr(subscriptions, "decide", no_answer)
            await events.aresource_updated("book://all")
            assert await stream.heard() == "ended"


async def test_open_streams_end_when_events_may_have_been_lost_and_new_ones_wait(
    server: ResourceServer, alices: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = bus._running[0][1]
    assert running is not None
    monkeypatch.setattr(subscriptions, "HEARING_SECONDS", 0.05)
    async with listening(server, alices) as stream:
        running.lose()
        assert await stream.heard() == "ended"
    async with opened(server, alices) as stream:
        assert (await stream.next())["error"]["message"] == "Changes cannot be told of right now. Try again shortly."
    running.hear()
    async with listening(server, alices):
        pass


async def test_a_connection_that_hears_nothing_is_noticed(
    library: None, alices: str, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pooler in transaction mode takes LISTEN and passes no notification on; nothing else says so."""
    if connections["default"].vendor != "postgresql":
        pytest.skip("only PostgreSQL notifies")
    monkeypatch.setattr(bus, "PROOF_SECONDS", 0.2)
    monkeypatch.setattr(subscriptions, "HEARING_SECONDS", 0.5)
    server = ResourceServer()
    async with server.running():
        async with listening(server, alices) as stream:
            with monkeypatch.context() as patched:
                patched.setattr(bus, "_notify", lambda *_: None)
                assert await stream.heard() == "ended"
                async with opened(server, alices) as second:
                    assert "Try again shortly" in (await second.next())["error"]["message"]
        monkeypatch.setattr(subscriptions, "HEARING_SECONDS", 20)
        async with listening(server, alices) as stream:
            await events.atools_changed()
            assert await stream.heard() == TOOLS
    await sync_to_async(connections.close_all)()


async def test_a_server_ends_whatever_its_connection_is_doing(transactional_db: None) -> None:
    """A cancellation may be lost on what has just come."""
    for number in range(40):
        async with asyncio.timeout(PATIENCE_SECONDS), bus.Bus().running():
            await asyncio.sleep(number / 1500)  # connecting, proving, waiting
    await sync_to_async(connections.close_all)()


async def test_streams_end_with_the_server(library: None, alices: str, transactional_db: None) -> None:
    server = ResourceServer()
    running = server.running()
    await running.__aenter__()
    async with listening(server, alices) as stream:
        await running.__aexit__(None, None, None)
        assert await stream.heard() == "ended"
    await sync_to_async(connections.close_all)()


# --- How much -----------------------------------------------------------------------------------------


async def test_one_person_has_so_many_streams_and_others_have_theirs(
    server: ResourceServer, alices: str, bobs: str, settings: Any
) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "STREAMS_PER_PERSON": 2}
    async with listening(server, alices), listening(server, bobs):
        async with listening(server, alices), opened(server, alices) as third:
            assert "as many as one person may have" in (await third.next())["error"]["message"]
        async with listening(server, alices) as stream:
            await events.atools_changed()
            assert await stream.heard() == TOOLS


async def test_a_process_has_so_many_streams(server: ResourceServer, alices: str, bobs: str, settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "STREAMS": 1}
    async with listening(server, alices), opened(server, bobs) as second:
        assert "Too many streams" in (await second.next())["error"]["message"]
    async with listening(server, bobs):
        pass


async def test_one_stream_is_about_so_many_resources(server: ResourceServer, alices: str) -> None:
    most = subscriptions.MAXIMUM_URIS
    async with listening(server, alices, [f"loan://alice/{number}" for number in range(most)]) as stream:
        assert len(stream.acknowledged["resourceSubscriptions"]) == most
    async with opened(server, alices, [f"loan://alice/{number}" for number in range(most + 1)]) as stream:
        assert (await stream.next())["error"]["message"] == f"One stream of changes is about {most} resources at most."


async def test_a_request_that_would_take_memory_for_as_long_as_its_stream_is_refused(
    server: ResourceServer, alices: str
) -> None:
    most = subscriptions.MAXIMUM_REQUEST_BYTES
    async with listening(server, alices, ["book://all", "x" * (most - 1000)]):
        pass
    async with opened(server, alices, ["book://all", "x" * most]) as stream:
        assert f"{most} bytes at most" in (await stream.next())["error"]["message"]


async def test_a_change_waits_once_for_a_client_that_does_not_read(server: ResourceServer, alices: str) -> None:
    running = bus._running[0][1]
    assert running is not None
    async with listening(server, alices, ["book://all"]) as stream:
        stream.is_reading.clear()
        for _ in range(subscriptions.MAXIMUM_URIS * 20):
            running.deliver(bus.ResourceUpdated("book://all"))
            running.deliver(bus.ToolsListChanged())
            await asyncio.sleep(0)
        stream.is_reading.set()
        await events.aresource_updated("loan://alice/1")
        heard = [await stream.heard(), await stream.heard()]
        while not stream.messages.empty() or len(heard) < 2:
            heard.append(await stream.heard())
        assert set(heard) == {"book://all", TOOLS}
        assert len(heard) < 12


async def test_an_open_stream_takes_no_thread(server: ResourceServer, alices: str) -> None:
    """Threads have connections to the database, and a stream lasts for as long as a token."""
    async with listening(server, alices, ["loan://alice/1"]) as stream:
        await events.aresource_updated("loan://alice/1")
        assert await stream.heard() == "loan://alice/1"
        with anyio.fail_after(10):
            threads = [thread for thread in database._all if not thread._shutdown]
            while len(database._idle) < len(threads):  # noqa: ASYNC110  (threads tell nobody)
                await asyncio.sleep(0.01)
        assert database._idle, "nothing took a thread"


async def test_no_stream_is_served_where_the_setting_says_none(
    library: None, alices: str, transactional_db: None, settings: Any
) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "STREAMS": 0}
    server = ResourceServer()
    async with server.running(), opened(server, alices) as stream:
        assert (await stream.next())["error"]["message"] == "Method not found"
    await sync_to_async(connections.close_all)()


# --- What is told -------------------------------------------------------------------------------------


def test_a_process_that_serves_nobody_says_once_that_nobody_hears(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A management command on SQLite, for example."""
    monkeypatch.setattr(bus, "_running", [])
    bus._warn_of_silence.cache_clear()
    for _ in range(3):
        bus._tell_this_process(bus.ToolsListChanged())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no other process" in caplog.text


@pytest.mark.parametrize("nobody", [5, "alice", AnonymousUser()])
def test_a_change_is_told_for_a_person_who_is_stored(nobody: Any) -> None:
    with pytest.raises(ValueError, match="AUTH_USER_MODEL"):
        events.resource_updated("book://all", user=nobody)


@pytest.mark.parametrize("uri", ["", "x" * 2049, "书" * 700, "a\nb", "a\x00b", "a\ud800b"])
async def test_a_uri_that_cannot_be_one_is_refused_when_it_is_told(uri: str) -> None:
    with pytest.raises(ValueError, match="2048"):
        bus.encode(bus.ResourceUpdated(uri))


@pytest.mark.parametrize("uri", ["x" * 2048, "书" * 600, '"' * 2048, "\\" * 2048])
async def test_the_longest_uris_fit_a_notification(uri: str) -> None:
    event = bus.PersonsResourceUpdated(uri, "7" * 36)
    assert len(bus.encode(event).encode()) < 8000
    assert bus.decode(bus.encode(event)) == event


@pytest.mark.parametrize(
    "payload", ["", "tools", "[]", '["other"]', '["resource"]', '["resource", 1, null]', "[" * 7000, "null", '{"a": 1}']
)
async def test_what_others_send_on_the_channel_is_nothing(payload: str) -> None:
    assert bus.decode(payload) is None
    assert bus.decode('["tools"]') == bus.ToolsListChanged()


async def test_the_synchronous_spelling_in_asynchronous_code_says_which_to_use() -> None:
    with pytest.raises(SynchronousOnlyOperation, match="atools_changed"):
        events.tools_changed()


async def test_older_clients_have_no_such_method(server: ResourceServer, alices: str) -> None:
    request = message("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    request["headers"]["Authorization"] = f"Bearer {alices}"
    transport = httpx2.ASGITransport(server)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        assert payload(await client.post("/star", **request))["error"]["code"] == -32601
