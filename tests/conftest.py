"""Fixtures: three people, the MCP endpoint in process, and a real server."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.cache import cache
from django.db import connections

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _empty_cache() -> None:
    """Rate limits count in the cache; no test shall feel another's."""
    cache.clear()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# Alice owns, Bob shares, Charlie is outside.


@pytest.fixture
def alice(db: None) -> Any:
    user = get_user_model().objects.create_user("alice", password="alice-password", first_name="Alice")
    user.groups.add(Group.objects.create(name="Owners"))
    return user


@pytest.fixture
def bob(db: None) -> Any:
    return get_user_model().objects.create_user("bob", password="bob-password", first_name="Bob")


@pytest.fixture
def charlie(db: None) -> Any:
    return get_user_model().objects.create_user("charlie", password="charlie-password", first_name="Charlie")


@pytest.fixture
async def endpoint(transactional_db: None) -> AsyncIterator[httpx2.AsyncClient]:
    """The whole ASGI application in process, with the MCP server running. Other threads see committed rows only."""
    from config.asgi import application, resource_server

    async with (
        resource_server.running(),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(application), base_url="http://127.0.0.1:8000") as client,
    ):
        yield client
    await sync_to_async(connections.close_all)()  # what the test itself opened in asgiref's thread


# A real server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LiveServer:
    """A server process with a database of its own; `url` is its PUBLIC_URL."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in {"PUBLIC_URL", "RUN_MAIN"}},
            "DEBUG": "true",
            "PORT": str(self.port),
            "DATABASE_URL": database_url,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PYTHONUNBUFFERED": "1",
        }

    def manage(self, *arguments: str) -> str:
        """Run a management command to its end; return what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=110,  # beside other work a migration takes its time
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *command: str) -> None:
        """Start a server command and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                # 405 where a token is not needed to get as far as that.
                if httpx2.get(f"{self.url}/star", trust_env=False).status_code in {401, 405}:
                    return
            except httpx2.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"The server did not answer:\n{self.log.read_text()}")

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


class LiveDatabases:
    """Databases for real servers, of the kind the tests run on; each is a copy of one that was migrated once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[str] = []
        self.is_sqlite = settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")
        self.template = self._make(None)
        server = LiveServer(folder, self.url(self.template))
        server.manage("migrate", "--verbosity", "0")
        server.manage("create_development_people")

    def url(self, name: str) -> str:
        if self.is_sqlite:
            return f"sqlite:///{self.folder / name}"
        return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()

    def copy(self) -> str:
        """Make another database; return its URL."""
        return self.url(self._make(self.template))

    def _make(self, template: str | None) -> str:
        name = f"star_live_{secrets.token_hex(4)}"
        self.made.append(name)
        if self.is_sqlite:
            if template:
                shutil.copyfile(self.folder / template, self.folder / name)
        else:
            self._execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        return name

    def drop(self) -> None:
        if not self.is_sqlite:
            for name in self.made:
                self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
            connection.execute(statement.encode())


@pytest.fixture(scope="session")
def live_databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDatabases]:
    databases = LiveDatabases(tmp_path_factory.mktemp("databases"))
    yield databases
    databases.drop()


@pytest.fixture(scope="session")
def prepared_server(tmp_path_factory: pytest.TempPathFactory, live_databases: LiveDatabases) -> LiveServer:
    """A migrated database with the development people, and a server over it that is not started."""
    return LiveServer(tmp_path_factory.mktemp("live"), live_databases.copy())


@pytest.fixture(scope="session")
def live_server_url(prepared_server: LiveServer) -> Iterator[str]:
    """`manage.py runserver` on a free port, signed in to as demo, demo2 and admin."""
    prepared_server.start("manage.py", "runserver", "--noreload", str(prepared_server.port))
    yield prepared_server.url
    prepared_server.stop()


@pytest.fixture
def new_server(tmp_path: Path, live_databases: LiveDatabases) -> Iterator[Callable[[], LiveServer]]:
    """Make further servers that are not started, each over a database of its own."""
    servers: list[LiveServer] = []

    def make() -> LiveServer:
        folder = tmp_path / f"server{len(servers)}"
        folder.mkdir()
        servers.append(LiveServer(folder, live_databases.copy()))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()
