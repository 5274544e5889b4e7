"""How calls run: thread, transaction, limits, cancellation, language, and what a client hears of an exception."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import anyio
import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import OperationalError, connection, connections
from django.http import Http404
from django.utils import timezone, translation

from mcpapp.access import BadDeclaration
from mcpapp.calls import is_given_up
from mcpapp.identity import current_user
from mcpapp.registry import Catalog, prompt, resource, tool
from tests.mcpapp.helpers import MODERN, call, message, payload, send, serving

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]
ERAS = ["legacy", MODERN]


def text(result: dict[str, Any]) -> str:
    return str(result["content"][0]["text"])


async def until(condition: Any) -> None:
    """Wait for something that another thread does."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.005)


# Threads and transactions


async def test_plain_functions_run_beside_one_another_each_in_its_thread(catalog: Catalog, token: str) -> None:
    together = threading.Barrier(3)
    threads: set[int] = set()

    @tool("meet")
    def meet() -> str:
        threads.add(threading.get_ident())
        together.wait(10)
        return "met"

    async with serving() as endpoint, anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(call, endpoint, token, "meet")
    assert len(threads) == 3


async def test_each_call_has_a_person_of_its_own_to_change(catalog: Catalog, token: str) -> None:
    seen: list[Any] = []

    @tool("look")
    def look() -> str:
        seen.append(current_user().first_name)
        current_user().first_name = "changed, and not saved"
        return ""

    async with serving() as endpoint:
        await call(endpoint, token, "look")
        await call(endpoint, token, "look")
    assert seen == ["Alice", "Alice"]


@pytest.mark.parametrize(
    ("atomic", "requests", "kept"),
    [(True, False, False), (None, True, False), (None, False, True), (False, True, True)],
    ids=["atomic", "as views are", "by default", "not even as views are"],
)
async def test_what_a_call_that_fails_has_written_is_undone_if_it_is_atomic(
    catalog: Catalog, token: str, monkeypatch: pytest.MonkeyPatch, atomic: bool | None, requests: bool, kept: bool
) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", requests)

    @tool("write", atomic=atomic)
    def write(fail: bool) -> str:
        Group.objects.create(name=f"written, fail={fail}")
        if fail:
            raise RuntimeError
        return ""

    async with serving() as endpoint:
        assert not (await call(endpoint, token, "write", fail=False)).get("isError")
        assert (await call(endpoint, token, "write", fail=True))["isError"]
    assert await Group.objects.filter(name="written, fail=False").aexists()
    assert await Group.objects.filter(name="written, fail=True").aexists() == kept


async def test_resources_and_prompts_have_transactions_as_well(catalog: Catalog, token: str) -> None:
    @resource("thing://{number}", atomic=True)
    def thing(number: int) -> str:
        assert connection.in_atomic_block
        return "in a transaction"

    @prompt("ask", atomic=True)
    def ask() -> str:
        assert connection.in_atomic_block
        return "in a transaction"

    async with serving() as endpoint:
        for method, params in (("resources/read", {"uri": "thing://5"}), ("prompts/get", {"name": "ask"})):
            assert "in a transaction" in (await send(endpoint, token, method, params)).text


def test_a_transaction_around_an_async_def_is_refused_where_it_is_declared(catalog: Catalog) -> None:
    with pytest.raises(BadDeclaration, match="plain def"):

        @tool("write", atomic=True)
        async def write() -> None: ...


@pytest.mark.parametrize("limits", [{"timeout": -1}, {"concurrency": -1}], ids=str)
def test_limits_below_zero_are_refused(catalog: Catalog, limits: Any) -> None:
    with pytest.raises(BadDeclaration, match="negative"):
        tool("thing", **limits)(lambda: None)


# Limits


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
async def test_a_call_that_takes_too_long_is_given_up_with_a_clear_error(
    catalog: Catalog, token: str, is_async: bool, era: str
) -> None:
    over = threading.Event()

    @tool("sleep", timeout=0.1)
    def sleep() -> str:
        over.wait(10)
        return ""

    @tool("async-sleep", timeout=0.1)
    async def async_sleep() -> str:
        await asyncio.sleep(10)
        return ""

    async with serving() as endpoint:
        result = await call(endpoint, token, "async-sleep" if is_async else "sleep", era)
        over.set()
    assert result["isError"]
    assert text(result).endswith("This took longer than 0.1 s and was given up.")


async def test_the_limit_of_the_settings_holds_for_what_sets_none_and_zero_is_none(
    catalog: Catalog, token: str, settings: Any
) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "CALL_TIMEOUT_SECONDS": 0.1}

    @tool("sleep")
    async def sleep() -> str:
        await asyncio.sleep(0.3)
        return "slept"

    @tool("sleep-on", timeout=0)
    async def sleep_on() -> str:
        await asyncio.sleep(0.3)
        return "slept"

    async with serving() as endpoint:
        assert (await call(endpoint, token, "sleep"))["isError"]
        assert text(await call(endpoint, token, "sleep-on")) == "slept"


async def test_a_timeout_of_the_tools_own_is_a_failure_like_any_other(catalog: Catalog, token: str) -> None:
    @tool("ask-slowly")
    async def ask_slowly() -> None:
        raise TimeoutError("of something inside")

    async with serving() as endpoint:
        result = await call(endpoint, token, "ask-slowly")
    assert text(result) == "Error executing tool ask-slowly"


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
async def test_no_more_calls_than_allowed_run_at_once_and_the_others_follow(
    catalog: Catalog, token: str, is_async: bool
) -> None:
    lock = threading.Lock()
    running = 0
    most = 0

    def begin() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)

    def end() -> None:
        nonlocal running
        with lock:
            running -= 1

    @tool("work", concurrency=2)
    def work() -> str:
        begin()
        time.sleep(0.02)
        end()
        return "worked"

    @tool("async-work", concurrency=2)
    async def async_work() -> str:
        begin()
        await asyncio.sleep(0.02)
        end()
        return "worked"

    done: list[str] = []

    async def ask(endpoint: Any) -> None:
        done.append(text(await call(endpoint, token, "async-work" if is_async else "work")))

    async with serving() as endpoint, anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(ask, endpoint)
    assert (most, done) == (2, ["worked"] * 8)


async def test_a_thread_that_was_given_up_keeps_its_place_until_it_is_really_done(catalog: Catalog, token: str) -> None:
    over, entered = threading.Event(), threading.Semaphore(0)
    most = running = 0

    @tool("work", concurrency=1, timeout=0.2)
    def work() -> str:
        nonlocal most, running
        running += 1
        most = max(most, running)
        entered.release()
        over.wait(10)
        running -= 1
        return "worked"

    async with serving() as endpoint:
        assert (await call(endpoint, token, "work"))["isError"], "given up"
        assert (await call(endpoint, token, "work"))["isError"], "given up while it waited for its turn"
        assert most == 1
        over.set()
        await until(lambda: running == 0)
        assert text(await call(endpoint, token, "work")) == "worked"


async def test_no_more_threads_work_at_once_than_the_settings_say_and_waiting_calls_have_none(
    catalog: Catalog, token: str, settings: Any
) -> None:
    """Each may hold a connection, and the pages of the site need some as well."""
    settings.MCPAPP = {**settings.MCPAPP, "CALL_THREADS": 3}
    over = threading.Event()
    lock = threading.Lock()
    working = most = 0

    def work() -> str:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        over.wait(10)
        with lock:
            working -= 1
        return "worked"

    for number in range(4):
        tool(f"work-{number}", groups=["Owners"])(work)
    done: list[str] = []

    async def ask(endpoint: Any, name: str) -> None:
        done.append(text(await call(endpoint, token, name)))

    async with serving() as endpoint, anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(ask, endpoint, f"work-{number % 4}")
        await until(lambda: working == 3)
        await anyio.sleep(0.1)
        assert len([one for one in threading.enumerate() if one.name.startswith("mcp-call")]) < 15, (
            "three and a few idle"
        )
        over.set()
    assert (most, done) == (3, ["worked"] * 20)


@pytest.mark.parametrize("limit", [0.05, 0.0], ids=["given up", "cancelled"])
async def test_who_stops_waiting_for_a_thread_takes_no_place(
    catalog: Catalog, token: str, settings: Any, limit: float
) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "CALL_THREADS": 1}
    over, entered = threading.Event(), threading.Event()

    @tool("hold")
    def hold() -> str:
        entered.set()
        over.wait(10)
        return "held"

    @tool("quick", timeout=limit, concurrency=1)
    def quick() -> str:
        return "quick"

    async with serving() as endpoint, anyio.create_task_group() as group:
        group.start_soon(call, endpoint, token, "hold")
        await until(entered.is_set)
        if limit:
            assert (await call(endpoint, token, "quick"))["isError"]
        else:
            with anyio.move_on_after(0.1):
                await call(endpoint, token, "quick")
        over.set()
        await anyio.sleep(0.05)
        with anyio.fail_after(10):
            while (result := await call(endpoint, token, "quick")).get("isError"):  # noqa: ASYNC110
                await anyio.sleep(0.02)
        assert text(result) == "quick"


# Cancellation


async def leave(token: str, name: str, entered: threading.Event) -> None:
    """Call a tool in the new era, and close the connection once it runs: that cancels it (MCP 2026-07-28)."""
    from mcpapp.asgi import ResourceServer

    server = ResourceServer()
    request = message("tools/call", {"name": name, "arguments": {}}, era=MODERN)
    headers = {**request["headers"], "Authorization": f"Bearer {token}", "Host": "127.0.0.1:8000"}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/star",
        "raw_path": b"/star",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "server": ("127.0.0.1", 8000),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": request["content"].encode()}
        await until(entered.is_set)
        return {"type": "http.disconnect"}

    async def ignore(_: Any) -> None: ...

    async with server.running():
        with anyio.fail_after(10):
            await server(scope, receive, ignore)  # type: ignore[arg-type]


async def test_an_async_tool_is_cancelled_when_its_client_leaves(catalog: Catalog, token: str) -> None:
    entered, cancelled = threading.Event(), threading.Event()

    @tool("wait")
    async def wait() -> None:
        entered.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    await leave(token, "wait", entered)
    assert cancelled.is_set()


@pytest.mark.parametrize("atomic", [True, False])
async def test_a_plain_tool_can_see_that_its_client_left_and_an_atomic_one_leaves_nothing_behind(
    catalog: Catalog, token: str, atomic: bool
) -> None:
    entered, finished = threading.Event(), threading.Event()
    before: list[bool] = []

    @tool("write", atomic=atomic)
    def write() -> str:
        before.append(is_given_up())
        Group.objects.create(name="written")
        entered.set()
        deadline = time.monotonic() + 10
        while not is_given_up() and time.monotonic() < deadline:
            time.sleep(0.005)
        finished.set()
        return "nobody hears this"

    await leave(token, "write", entered)
    await until(finished.is_set)
    assert before == [False]
    assert await Group.objects.filter(name="written").aexists() != atomic


def test_outside_a_call_nothing_is_given_up() -> None:
    assert not is_given_up()


# Errors


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", ["tool", "resource", "template", "prompt"])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("secret"), None),
        (PermissionDenied(), "You may not do this."),
        (PermissionDenied("Only librarians may."), "Only librarians may."),
        (Http404(), "There is no such thing."),
        (Group.DoesNotExist("secret"), "There is no such thing."),
        (ValidationError(["Too short.", "Too blue."]), "Too short. Too blue."),
        (ValidationError({"due": ["Too late."], "__all__": ["Not both."]}), "due: Too late. Not both."),
        (OperationalError("secret"), "The database does not answer right now. Try again shortly."),
    ],
    ids=["crash", "denied", "denied why", "404", "no row", "invalid", "invalid fields", "database"],
)
async def test_an_exception_that_django_has_a_word_for_is_told_and_any_other_stays_here(
    catalog: Catalog, token: str, kind: str, era: str, error: Exception, told: str | None
) -> None:
    def fail() -> str:
        raise error

    def fail_for(number: int) -> str:
        raise error

    tool("thing")(fail)
    resource("thing://one")(fail)
    resource("things://{number}")(fail_for)
    prompt("thing")(fail)
    uses: dict[str, tuple[str, dict[str, Any]]] = {
        "tool": ("tools/call", {"name": "thing", "arguments": {}}),
        "resource": ("resources/read", {"uri": "thing://one"}),
        "template": ("resources/read", {"uri": "things://5"}),
        "prompt": ("prompts/get", {"name": "thing"}),
    }
    async with serving() as endpoint:
        response = await send(endpoint, token, *uses[kind], era=era)
    assert response.status_code < 500 or told is None
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    answer = payload(response)
    told_there = text(answer["result"]) if kind == "tool" else answer["error"]["message"]
    if told:
        assert told_there.endswith(told)
    elif kind != "tool":
        assert answer["error"]["code"] == -32603


async def _raise_cancelled() -> None:
    task = asyncio.ensure_future(asyncio.sleep(10))
    task.cancel()
    await task


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", ["tool", "resource"])
@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
@pytest.mark.parametrize("error", [StopIteration, SystemExit, GeneratorExit, asyncio.CancelledError])
async def test_nothing_that_a_call_raises_stops_the_server_or_hangs(
    catalog: Catalog, token: str, kind: str, era: str, is_async: bool, error: type[BaseException]
) -> None:
    def fail() -> str:
        raise error

    async def async_fail() -> str:
        if error is asyncio.CancelledError:
            await _raise_cancelled()
        raise error

    tool("thing", timeout=5)(async_fail if is_async else fail)
    resource("thing://one", timeout=5)(async_fail if is_async else fail)
    tool("well")(lambda: "well")
    use = (
        ("tools/call", {"name": "thing", "arguments": {}})
        if kind == "tool"
        else (
            "resources/read",
            {"uri": "thing://one"},
        )
    )
    async with serving() as endpoint:
        with anyio.fail_after(4):
            answer = payload(await send(endpoint, token, *use, era=era))
        assert "error" in answer or answer["result"]["isError"]
        assert text(await call(endpoint, token, "well", era)) == "well"


@pytest.mark.parametrize("era", ERAS)
async def test_a_prompt_that_is_unknown_or_lacks_arguments_is_the_callers_error(
    catalog: Catalog, token: str, era: str
) -> None:
    @prompt("greet")
    def greet(name: str) -> str:
        return f"Greet {name}."

    async with serving() as endpoint:
        for params in ({"name": "nothing"}, {"name": "greet", "arguments": {}}):
            error = payload(await send(endpoint, token, "prompts/get", params, era=era))["error"]
            assert error["code"] == -32602
        right = await send(endpoint, token, "prompts/get", {"name": "greet", "arguments": {"name": "Bob"}}, era=era)
        assert "Greet Bob." in right.text


# Language and time zone


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_speaks_the_language_its_client_asks_for_and_the_next_one_its_own(
    catalog: Catalog, token: str, era: str
) -> None:
    @tool("refuse")
    def refuse() -> None:
        raise PermissionDenied

    @tool("language")
    async def language() -> str:
        return str(translation.get_language())

    async with serving() as endpoint:

        async def ask(name: str, accept: str | None) -> str:
            request = message("tools/call", {"name": name, "arguments": {}}, era=era)
            request["headers"] |= {"Authorization": f"Bearer {token}"} | ({"Accept-Language": accept} if accept else {})
            return text(payload(await endpoint.post("/star", **request))["result"])

        assert (await ask("refuse", "zh-CN,zh;q=0.9")).endswith("你无权执行此操作。")
        assert (await ask("refuse", None)).endswith("You may not do this.")
        assert await ask("language", "zh-CN") == "zh-hans"
        for other in (None, "", "tlh", "x" * 5000, "zh-CN;q=zero, en"):
            assert await ask("language", other) == "en", other
        # What a person chose for the pages is theirs, and no client sends it; if one does, it changes nothing.
        endpoint.cookies.set("django_language", "zh-hans")
        assert await ask("language", None) == "en"
        assert (await ask("refuse", None)).endswith("You may not do this.")


async def test_a_time_zone_that_one_call_sets_is_not_the_next_ones(catalog: Catalog, token: str) -> None:
    @tool("move")
    async def move() -> str:
        before = timezone.get_current_timezone_name()
        timezone.activate("Asia/Tokyo")
        translation.activate("zh-hans")
        return before

    async with serving() as endpoint:
        for _ in range(2):
            # Each in a task of its own, as servers run requests.
            moved = await asyncio.create_task(call(endpoint, token, "move"))
            assert text(moved) == timezone.get_default_timezone_name()
