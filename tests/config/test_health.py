"""`/healthz` and `/readyz`: what a load balancer is told, and what asking costs."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import anyio
import httpx2
import pytest
from django.db import OperationalError

from authapp import direct
from config import health as health_module
from config import readiness as readiness_module
from config.health import Health
from config.readiness import SiteReadiness
from mcpapp.call_log.writer import CallLog
from tests.conftest import LiveDatabases, LiveServer
from tests.mcpapp.workers import PATIENCE_SECONDS, database_of


class Counted:
    """A readiness that counts how often it is asked, and takes its time."""

    def __init__(self) -> None:
        self.missing: tuple[str, ...] = ()
        self.asked = 0
        self.begun = 0

    async def begin(self) -> None:
        self.begun += 1

    async def reasons(self) -> tuple[str, ...]:
        self.asked += 1
        await asyncio.sleep(0.02)
        return self.missing


async def nothing_else(scope: Any, receive: Any, send: Any) -> None:
    """An application that lives, and has no page."""
    if scope["type"] == "lifespan":
        while True:
            event = (await receive())["type"].partition(".")[2]
            await send({"type": f"lifespan.{event}.complete"})
            if event == "shutdown":
                return
    raise AssertionError("a probe is not handed on")


@asynccontextmanager
async def living(health: Health) -> AsyncIterator[tuple[httpx2.AsyncClient, Callable[[], None]]]:
    """Run the lifespan of an application; give a client of it and what ends it."""
    ending, started, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
    events = ["startup", "shutdown"]

    async def receive() -> dict[str, Any]:
        if events[0] == "shutdown":
            await ending.wait()
        return {"type": f"lifespan.{events.pop(0)}"}

    async def send(message: Any) -> None:
        (started if "startup" in message["type"] else ended).set()

    life = asyncio.create_task(health({"type": "lifespan"}, receive, send))
    await asyncio.wait_for(started.wait(), PATIENCE_SECONDS)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(health), base_url="http://10.0.0.7:8000") as http:
        yield http, ending.set
        ending.set()
        await asyncio.wait_for(life, PATIENCE_SECONDS)
        assert ended.is_set()
        assert (await http.get("/readyz")).text == "stopping"


# --- What is answered


@pytest.mark.live
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_come_by_address_and_get_two_letters(live_server_url: str, path: str) -> None:
    """The Host header of a probe is an address of the machine, which `ALLOWED_HOSTS` does not name."""
    with httpx2.Client(base_url=live_server_url, headers={"Host": "10.20.30.40:8000"}, trust_env=False) as http:
        assert http.get("/").status_code == 400, "Django would refuse it"
        got = http.get(path)
        assert (got.status_code, got.text) == (200, "ok")
        assert got.headers["cache-control"] == "no-store"
        assert got.headers["content-type"] == "text/plain; charset=utf-8"
        assert "set-cookie" not in got.headers
        head = http.head(path)
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "2")
        assert http.get(f"{path}?verbose=1").text == "ok"
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            refused = http.request(method, path, content=b"x" * 1000)
            assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD"), method
        assert http.get(f"{path}/").status_code == 400, "another page is Django's"


async def test_a_process_that_has_not_started_is_alive_and_not_ready() -> None:
    health = Health(nothing_else, Counted())
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(health), base_url="http://any") as http:
        assert (await http.get("/healthz")).text == "ok"
        got = await http.get("/readyz")
        assert (got.status_code, got.text) == (503, "starting")


async def test_a_proxy_prefix_that_the_server_adds_is_taken_off() -> None:
    health = Health(nothing_else, Counted())
    transport = httpx2.ASGITransport(health, root_path="/prefix")
    async with httpx2.AsyncClient(transport=transport, base_url="http://any") as http:
        assert (await http.get("/prefix/healthz")).text == "ok"


# --- What it costs


async def test_a_flood_of_questions_is_one_question_to_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    readiness = Counted()
    now = [100.0]
    monkeypatch.setattr(health_module, "monotonic", lambda: now[0])
    async with living(Health(nothing_else, readiness)) as (http, _):

        async def ask(times: int) -> set[str]:
            return {answer.text for answer in await asyncio.gather(*(http.get("/readyz") for _ in range(times)))}

        assert await ask(200) == {"ok"}
        assert await ask(200) == {"ok"}
        assert readiness.asked == 1
        readiness.missing = ("database",)
        now[0] += health_module.KEPT_SECONDS - 0.001
        assert await ask(1) == {"ok"}
        now[0] += 0.002
        assert await ask(200) == {"database"}
        assert (readiness.asked, readiness.begun) == (2, 1)


async def test_who_leaves_before_the_answer_takes_it_from_nobody() -> None:
    readiness = Counted()
    async with living(Health(nothing_else, readiness)) as (http, _):
        first = asyncio.create_task(http.get("/readyz"))
        second = asyncio.create_task(http.get("/readyz"))
        await asyncio.sleep(0.005)
        first.cancel()
        assert (await second).text == "ok"
        assert readiness.asked == 1


async def test_a_check_that_fails_is_logged_and_answered(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Counted):
        async def reasons(self) -> tuple[str, ...]:
            raise RuntimeError("secret reason")

        begin = reasons  # type: ignore[assignment]

    async with living(Health(nothing_else, Broken())) as (http, _):
        got = await http.get("/readyz")
        assert (got.status_code, got.text) == (503, "unknown")
        assert "secret reason" in caplog.text


# --- What ends it


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_process_that_is_told_to_end_is_not_ready_from_then_on(number: signal.Signals) -> None:
    """Before its lifespan ends, which waits for all requests: load balancers send no more meanwhile."""
    heard: list[int] = []
    before = signal.signal(number, lambda got, _: heard.append(got))  # as an ASGI server has one
    try:
        async with living(Health(nothing_else, Counted())) as (http, _):
            assert (await http.get("/readyz")).text == "ok"
            os.kill(os.getpid(), number)
            await asyncio.sleep(0.01)
            got = await http.get("/readyz")
            assert (got.status_code, got.text) == (503, "stopping")
            assert (await http.get("/healthz")).text == "ok"
        assert heard == [number], "the server hears it too"
    finally:
        signal.signal(number, before)


# --- What is looked at


@pytest.mark.live
def test_a_database_that_was_not_migrated_is_not_served_until_it_is(
    tmp_path: Path, live_databases: LiveDatabases
) -> None:
    server = LiveServer(tmp_path, live_databases.url(live_databases._make(None)))
    server.environment["CALL_LOG"] = "true"
    try:
        server.start("-m", "uvicorn", "config.asgi:application", "--port", str(server.port))
        assert get(server, "/healthz") == (200, "ok")
        assert until(server, (503, "migrations"))
        server.manage("migrate", "--verbosity", "0")
        assert until(server, (200, "ok"))
        assert "there are migrations to apply" in server.log.read_text()
    finally:
        server.stop()


@pytest.mark.live
def test_a_database_that_goes_away_and_comes_back(new_server: Callable[[], LiveServer]) -> None:
    server = new_server()
    server.start("-m", "uvicorn", "config.asgi:application", "--port", str(server.port))
    assert until(server, (200, "ok"))
    with away(server.environment["DATABASE_URL"]):
        assert until(server, (503, "database"))
        assert get(server, "/healthz") == (200, "ok"), "restarting the process would not bring the database back"
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda _: get(server, "/readyz"), range(40))) == {(503, "database")}
    assert until(server, (200, "ok"))
    assert server.log.read_text().count("Not ready: the database does not answer") == 1, "said once"


def get(server: LiveServer, path: str) -> tuple[int, str]:
    got = httpx2.get(f"{server.url}{path}", trust_env=False, timeout=PATIENCE_SECONDS)
    return got.status_code, got.text


def until(server: LiveServer, wanted: tuple[int, str]) -> bool:
    deadline = monotonic() + PATIENCE_SECONDS
    while (got := get(server, "/readyz")) != wanted:
        assert monotonic() < deadline, got
        sleep(0.05)
    return True


@contextmanager
def away(database_url: str) -> Iterator[None]:
    """Let nobody reach a database."""
    if database_url.startswith("sqlite"):
        path = Path(database_url.removeprefix("sqlite:///"))
        path.rename(path.with_suffix(".away"))
        path.mkdir()  # or the next one to connect would make a new file
        try:
            yield
        finally:
            path.rmdir()
            path.with_suffix(".away").rename(path)
        return
    import psycopg

    name = database_of(database_url)
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        try:
            yield
        finally:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())


class Reader:
    """The database, as a test has it."""

    alias = "default"

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.answer = answer

    async def fetch(self, statement: str, parameter: str) -> Any:
        return await self.answer()


@pytest.fixture
def readiness(transactional_db: None) -> SiteReadiness:
    return SiteReadiness(None)


async def test_a_database_that_hangs_is_given_up_in_time(
    readiness: SiteReadiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness_module, "DATABASE_SECONDS", 0.05)
    monkeypatch.setattr(direct, "reader", lambda: Reader(anyio.sleep_forever))
    with anyio.fail_after(PATIENCE_SECONDS):
        assert await readiness.reasons() == ("database",)


async def test_a_thread_that_hangs_is_not_joined_by_others(
    readiness: SiteReadiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the database is one that has no connection on the event loop."""
    import threading

    going_on, begun = threading.Event(), []

    def hang() -> None:
        begun.append(1)
        going_on.wait(PATIENCE_SECONDS)

    monkeypatch.setattr(direct, "reader", lambda: None)
    monkeypatch.setattr(readiness_module, "_select", hang)
    monkeypatch.setattr(readiness_module, "DATABASE_SECONDS", 0.05)
    assert [await readiness.reasons() for _ in range(3)] == [("database",)] * 3
    assert begun == [1]
    going_on.set()
    monkeypatch.setattr(readiness_module, "DATABASE_SECONDS", PATIENCE_SECONDS)
    assert await readiness.reasons() == ()


async def test_migrations_are_looked_at_until_they_are_there_and_never_again(
    readiness: SiteReadiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[bool] = []

    def look() -> bool:
        looked.append(len(looked) > 0)
        return looked[-1]

    monkeypatch.setattr(readiness_module, "_is_migrated", look)
    assert await readiness.reasons() == ("migrations",)
    assert await readiness.reasons() == ("migrations",)
    assert looked == [False], "not at every question"
    monkeypatch.setattr(readiness_module, "MIGRATIONS_SECONDS", 0)
    readiness._migrations_count_until = 0
    assert [await readiness.reasons() for _ in range(3)] == [()] * 3
    assert looked == [False, True]


async def test_a_log_of_calls_that_nobody_writes_is_said(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_log = CallLog()
    readiness = SiteReadiness(call_log)
    assert await readiness.reasons() == ("calls",)
    async with call_log.running():
        assert await readiness.reasons() == ()

    async def die(*_: Any) -> None: ...

    monkeypatch.setattr(CallLog, "_write_for_ever", die)
    async with call_log.running():
        await asyncio.sleep(0)
        assert await readiness.reasons() == ("calls",)


@pytest.mark.parametrize(("ahead", "is_said"), [(0.0, False), (4.9, False), (5.1, True), (-3600.0, True)])
async def test_a_clock_that_is_wrong_is_said_at_the_start(
    readiness: SiteReadiness,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    ahead: float,
    is_said: bool,
) -> None:
    monkeypatch.setattr(readiness_module, "_seconds_ahead", lambda: ahead)
    with caplog.at_level(logging.WARNING):
        await readiness.begin()
    assert ("The clock is" in caplog.text) is is_said


async def test_the_clocks_of_the_test_and_its_database_agree(
    readiness: SiteReadiness, caplog: pytest.LogCaptureFixture
) -> None:
    assert abs(await readiness._in_thread(readiness_module._seconds_ahead)) < readiness_module.CLOCK_SECONDS
    await readiness.begin()
    assert "clock" not in caplog.text


async def test_a_start_without_a_database_is_no_failure(
    readiness: SiteReadiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise OperationalError("no")

    monkeypatch.setattr(readiness_module, "_select", refuse)
    monkeypatch.setattr(readiness_module, "_seconds_ahead", refuse)
    await readiness.begin()
    assert await readiness.reasons() == ("database",)
