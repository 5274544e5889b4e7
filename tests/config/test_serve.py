"""`manage.py serve`: workers are replaced while people use them, and a start that fails is a failure."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import anyio.to_thread
import httpx2
import pytest

from tests.conftest import LiveServer
from tests.deploy.programs import run
from tests.mcpapp.test_subscription_workers import heard, listening
from tests.mcpapp.workers import PATIENCE_SECONDS, Answer, Caller, Program

pytestmark = [pytest.mark.live, pytest.mark.anyio]


def serve(server: LiveServer, *options: str) -> None:
    server.start("manage.py", "serve", "--port", str(server.port), *options)


def until(server: LiveServer, pattern: str, times: int = 1) -> None:
    """Wait until something stands in the log so many times."""
    deadline = time.monotonic() + 2 * PATIENCE_SECONDS
    while len(re.findall(pattern, server.log.read_text())) < times:
        assert time.monotonic() < deadline, server.log.read_text()
        time.sleep(0.05)


@contextmanager
def callers(server: LiveServer, token: str, count: int = 3) -> Iterator[list[Answer]]:
    """Call without a pause, each time over a new connection, which any worker takes.

    A connection that a worker closes before it has heard anything on it is one that a client opens anew, as HTTP has it
    (RFC 9112 §9.3.1): an idle one can be closed at any time, and on a busy machine a new one is idle for a while.
    """
    answers: list[Answer] = []
    ending = threading.Event()

    def ask() -> Answer:
        with closing(Caller(0, server, token, "protected-data")) as caller:
            return caller.call()

    def call() -> None:
        while not ending.is_set():
            try:
                answers.append(ask())
            except (BrokenPipeError, ConnectionResetError):  # RemoteDisconnected is one of the latter
                answers.append(ask())

    with ThreadPoolExecutor(count) as pool:
        running = [pool.submit(call) for _ in range(count)]
        try:
            yield answers
        finally:
            ending.set()
        for one in running:
            one.result()


async def test_workers_are_replaced_while_people_use_them(new_server: Callable[[], LiveServer], tmp_path: Path) -> None:
    server = new_server()
    (tmp_path / "site_of_the_test.py").write_text("from config.settings import *\n")
    server.environment |= {"DJANGO_SETTINGS_MODULE": "site_of_the_test", "PYTHONPATH": str(tmp_path)}
    program = Program(server.environment)
    token = program.run(f"result = grant({server.url + '/star'!r})")["token"]
    program.close()
    serve(server, "--workers", "2")
    until(server, "Application startup complete", 2)
    assert server.process is not None

    with callers(server, token) as answers:
        async with listening(server, token) as subscription:
            os.kill(server.process.pid, signal.SIGHUP)
            assert await heard(subscription) is None, "the stream ends as the specification has it"
        await anyio.to_thread.run_sync(until, server, "Finished server process", 2)
        before = len(answers)
        async with listening(server, token):
            pass
        while len(answers) < before + 10:  # noqa: ASYNC110  (threads answer)
            await anyio.sleep(0.01)
    assert len(answers) > 20
    assert {answer.status for answer in answers} == {200}
    assert until_ready(server)
    log = server.log.read_text()
    assert "Cancel" not in log
    assert "Traceback" not in log
    assert len(set(re.findall(r"Started server process \[(\d+)\]", log))) == 4

    # Code that cannot start takes nobody's place.
    (tmp_path / "site_of_the_test.py").write_text(
        "from django.core.exceptions import *\nraise ImproperlyConfigured('x')"
    )
    with callers(server, token) as answers:
        os.kill(server.process.pid, signal.SIGHUP)
        await anyio.to_thread.run_sync(until, server, "aborting the restart")
        while len(answers) < 10:  # noqa: ASYNC110  (threads answer)
            await anyio.sleep(0.01)
    assert {answer.status for answer in answers} == {200}

    os.kill(server.process.pid, signal.SIGTERM)
    assert await anyio.to_thread.run_sync(server.process.wait, PATIENCE_SECONDS) == 0


HANGING = """
import time

from mcpapp.registry import tool


@tool("hangs", timeout=1)
def hangs() -> str:
    \"\"\"Keep a thread for longer than anybody waits.\"\"\"
    time.sleep(3600)
    return "never"
"""


def test_a_tool_that_hangs_in_a_thread_keeps_no_worker_from_being_replaced(
    new_server: Callable[[], LiveServer], tmp_path: Path
) -> None:
    server = new_server()
    (tmp_path / "hanging.py").write_text(HANGING)
    lines = ["from config.settings import *", "MCPAPP = {**MCPAPP, 'TOOL_MODULES': ['hanging']}"]
    (tmp_path / "site_of_the_test.py").write_text("\n".join(lines))
    server.environment |= {"DJANGO_SETTINGS_MODULE": "site_of_the_test", "PYTHONPATH": str(tmp_path)}
    program = Program(server.environment)
    token = program.run(f"result = grant({server.url + '/star'!r})")["token"]
    program.close()
    serve(server, "--workers", "1", "--timeout-graceful-shutdown", "1")
    until(server, "Application startup complete")
    assert server.process is not None
    with closing(Caller(0, server, token, "hangs")) as caller:
        answer = caller.call()
    assert (answer.status, '"isError":true' in answer.body) == (200, True), answer

    os.kill(server.process.pid, signal.SIGHUP)
    until(server, r"Not over \d+ s after the last request, so the process ends without: .*'mcp-call")
    os.kill(server.process.pid, signal.SIGTERM)  # its successor has no such thread
    assert server.process.wait(PATIENCE_SECONDS) == 0
    assert server.log.read_text().count("Not over") == 1


def until_ready(server: LiveServer) -> bool:
    return httpx2.get(f"{server.url}/readyz", trust_env=False, timeout=PATIENCE_SECONDS).text == "ok"


@pytest.mark.parametrize(("proxies", "seen"), [("127.0.0.0/8", "203.0.113.9"), ("10.0.0.1", "127.0.0.1")])
def test_only_a_named_proxy_says_where_a_request_comes_from(
    new_server: Callable[[], LiveServer], proxies: str, seen: str
) -> None:
    server = new_server()
    server.environment["FORWARDED_ALLOW_IPS"] = proxies
    serve(server)
    headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    answer = httpx2.get(f"{server.url}/nothing", params={"code": "secret"}, headers=headers, trust_env=False)
    assert answer.status_code == 404
    assert "server" not in answer.headers
    until(server, "GET /nothing")
    log = server.log.read_text()
    line = re.search(r'^\S+ INFO uvicorn.access: (\S+?):\d+ - "GET /nothing HTTP/1.1" 404 ', log, re.MULTILINE)
    assert line, log
    assert line[1] == seen


def test_a_start_that_fails_is_a_failure(new_server: Callable[[], LiveServer]) -> None:
    server = new_server()

    def exit_code(*options: str) -> tuple[int, str]:
        done = run(sys.executable, "manage.py", "serve", *options, env=server.environment)
        return done.returncode, done.stderr

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, said = exit_code("--port", str(taken.getsockname()[1]))
        assert code != 0
        assert "in use" in said
    assert exit_code("--workers", "0") == (1, "CommandError: --workers must be at least 1.\n")
    # A lifespan that fails, as it does where a database of another kind is asked to listen.
    server.environment["DJANGO_SETTINGS_MODULE"] = "tests.settings_that_cannot_start"
    code, said = exit_code("--port", str(server.port), "--workers", "2")
    assert code == 3, said
