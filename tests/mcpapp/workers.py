"""Several worker processes over one database, callers that never pause, and other programs that change the database."""

from __future__ import annotations

import http.client
import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.conftest import ROOT, LiveServer
from tests.mcpapp.helpers import message

TOOLS = ("public-info", "protected-data")
PATIENCE_SECONDS = 30
"""For what has to happen, however slow the machine is."""


@dataclass(frozen=True)
class Grant:
    """An access token and the primary keys of what it depends on."""

    token: str
    row: int
    user: int
    client: int
    consent: int


class Program:
    """Another process with Django's ORM (`tests.mcpapp.program`)."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.mcpapp.program"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str) -> Any:
        """Run code to its end, so also to the end of its transactions; return what it left as `result`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(code) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def close(self) -> None:
        self._process.communicate(timeout=PATIENCE_SECONDS)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


class Workers:
    """Separate server processes, each on a port of its own; all of them are the resource of the first."""

    def __init__(self, folder: Path, database_url: str, count: int = 3) -> None:
        self.database_url = database_url
        self.is_sqlite = database_url.startswith("sqlite")
        self.servers: list[LiveServer] = []
        for number in range(count):
            own = folder / f"worker{number}"
            own.mkdir()
            server = LiveServer(own, database_url)
            self.servers.append(server)
            server.environment["PUBLIC_URL"] = self.servers[0].url
        self.url = self.servers[0].url
        self.resource = f"{self.url}/star"
        self._connection: Any = None
        self.program = Program(self.servers[0].environment)

    def start(self) -> None:
        def start(server: LiveServer) -> None:
            server.start("-m", "uvicorn", "config.asgi:application", "--port", str(server.port), "--no-access-log")

        with ThreadPoolExecutor(len(self.servers)) as pool:
            list(pool.map(start, self.servers))

    def stop(self) -> None:
        for server in self.servers:
            server.stop()
        self.program.close()
        self.hang_up()

    def grant(self, scope: str = "mcp:tools") -> Grant:
        """Make a person with a client and an access token."""
        return Grant(**self.program.run(f"result = grant({self.resource!r}, {scope!r})"))

    @property
    def database_path(self) -> Path:
        return Path(self.database_url.removeprefix("sqlite:///"))

    def execute(self, statement: str, *parameters: Any) -> list[Any]:
        """Run SQL beside Django, from this process, and commit it; `?` stands for a parameter.

        The connection stays: the commit is to be the last thing that takes time.
        """
        if self._connection is None:
            if self.is_sqlite:
                self._connection = sqlite3.connect(self.database_path, timeout=20, isolation_level=None)
            else:
                import psycopg

                self._connection = psycopg.connect(self.database_url, autocommit=True)
        cursor = self._connection.execute(statement if self.is_sqlite else statement.replace("?", "%s"), parameters)
        return cursor.fetchall() if cursor.description else []

    def hang_up(self) -> None:
        """Close the connection of `execute`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def logs(self) -> list[str]:
        return [server.log.read_text() for server in self.servers]


@dataclass(frozen=True)
class Answer:
    """What one call was answered, and when it was begun (`time.monotonic`)."""

    worker: int
    tool: str
    begun: float
    seconds: float
    status: int
    headers: dict[str, str]
    body: str

    @property
    def is_accepted(self) -> bool:
        return self.status == 200


class Caller:
    """One client of one worker, with a connection that it keeps."""

    def __init__(self, worker: int, server: LiveServer, token: str, tool: str, timeout: float = 60) -> None:
        self.worker = worker
        self.tool = tool
        self._request = message("tools/call", {"name": tool, "arguments": {}})
        self._request["headers"]["Authorization"] = f"Bearer {token}"
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)

    def call(self) -> Answer:
        begun = time.monotonic()
        self._connection.request("POST", "/star", self._request["content"], self._request["headers"])
        response = self._connection.getresponse()
        body = response.read().decode()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(self.worker, self.tool, begun, time.monotonic() - begun, response.status, headers, body)

    def close(self) -> None:
        self._connection.close()


class Callers:
    """Callers of every worker, one for each tool, that call for as long as the block runs.

    Without a pause on SQLite, where not one call may be accepted. On PostgreSQL a notification has to pass through
    processes of the database: on a machine whose cores are all full of callers, one would measure how long the kernel
    lets those wait.
    """

    def __init__(self, workers: Workers, token: str, tools: Iterable[str] = TOOLS) -> None:
        self._callers = [
            Caller(number, server, token, tool) for number, server in enumerate(workers.servers) for tool in tools
        ]
        self._answers: list[list[Answer]] = [[] for _ in self._callers]
        self._ending = threading.Event()
        self._pause = 0 if workers.is_sqlite else 0.008
        self._pool = ThreadPoolExecutor(len(self._callers))

    def __enter__(self) -> Callers:
        self._running = [
            self._pool.submit(self._run, caller, answers)
            for caller, answers in zip(self._callers, self._answers, strict=True)
        ]
        return self

    def __exit__(self, *exception: object) -> None:
        self._ending.set()
        self._pool.shutdown()
        for running in self._running:
            running.result()  # a caller that failed fails the test

    def _run(self, caller: Caller, answers: list[Answer]) -> None:
        with closing(caller):
            while not self._ending.is_set():
                answers.append(caller.call())
                time.sleep(self._pause)

    @property
    def answers(self) -> list[Answer]:
        return [answer for answers in self._answers for answer in answers]

    def wait(self, enough: Callable[[list[Answer]], bool]) -> None:
        """Wait until every caller has answers that are enough."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not all(enough(answers) for answers in self._answers):
            assert not any(running.done() and running.exception() for running in self._running), "a caller failed"
            assert time.monotonic() < deadline, [answers[-1:] for answers in self._answers]
            time.sleep(0.002)

    def wait_until_warm(self) -> None:
        """Wait until every caller was accepted again and again."""
        self.wait(lambda answers: len(answers) >= 10 and all(answer.is_accepted for answer in answers[-5:]))

    def wait_for_more(self, since: float, count: int = 10) -> None:
        """Wait until every caller has answers to calls that began after a time."""
        self.wait(lambda answers: len(answers) >= count and answers[-count].begun > since)


def call_once(workers: Workers, token: str, tools: Iterable[str] = TOOLS, timeout: float = 60) -> list[Answer]:
    """Call each tool in each worker once."""
    answers = []
    for number, server in enumerate(workers.servers):
        for tool in tools:
            with closing(Caller(number, server, token, tool, timeout)) as caller:
                answers.append(caller.call())
    return answers


def database_of(url: str) -> str:
    """Return the name in a PostgreSQL URL."""
    return urlsplit(url).path.removeprefix("/")
