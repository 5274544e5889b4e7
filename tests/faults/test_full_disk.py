"""A disk that is full: what only reads goes on, what writes is told to come back, and nothing is lost.

The kernel refuses the worker to write files beyond a size (`RLIMIT_FSIZE`), which SQLite meets as it does a full disk:
the write fails.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.clients.person import Person
from tests.conftest import LiveDatabases, LiveServer
from tests.mcpapp.helpers import MODERN, message
from tests.mcpapp.workers import PATIENCE_SECONDS
from tests.over_http import LoggedIn, log_in

pytestmark = pytest.mark.live


@pytest.fixture
def server(tmp_path: Path, live_databases: LiveDatabases) -> Iterator[LiveServer]:
    if not live_databases.is_sqlite:
        pytest.skip("PostgreSQL's disk is another program's")
    server = LiveServer(tmp_path, live_databases.copy())
    server.start("-m", "uvicorn", "config.asgi:application", "--port", str(server.port), "--no-access-log")
    yield server
    server.stop()


@contextmanager
def full_disk(server: LiveServer) -> Iterator[None]:
    assert server.process is not None
    soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (soft, hard))


def call(server: LiveServer, token: str, number: int) -> httpx2.Response:
    request = message("tools/call", {"name": "protected-data", "arguments": {}}, era=MODERN)
    content = request["content"].replace('"id": 1', f'"id": "call-{number}"')
    headers = {**request["headers"], "Authorization": f"Bearer {token}"}
    return httpx2.post(f"{server.url}/star", content=content, headers=headers, trust_env=False)


def refreshed(server: LiveServer, login: LoggedIn) -> httpx2.Response:
    form = {"grant_type": "refresh_token", "client_id": login.client_id, "refresh_token": login.refresh_token}
    return httpx2.post(f"{server.url}/o/token/", data=form, trust_env=False)


def logged_calls(server: LiveServer) -> set[str]:
    code = (
        "from mcpapp.models import ToolCall; from django.db import connection\n"
        "print(*ToolCall.objects.values_list('request_id', flat=True))"
    )
    return set(server.manage("shell", "--no-imports", "-c", code).split())


def test_calls_go_on_writes_are_told_to_come_back_and_nothing_is_lost(server: LiveServer) -> None:
    with Person("demo", "demo") as person:
        login = log_in(server.url, person)
    assert call(server, login.access_token, 0).status_code == 200
    with full_disk(server):
        for number in range(1, 6):
            assert call(server, login.access_token, number).json()["result"]["isError"] is False
        refused = refreshed(server, login)
        assert refused.status_code == 503, refused.text
        assert int(refused.headers["retry-after"]) > 0
        registration = httpx2.post(
            f"{server.url}/o/register/", json={"redirect_uris": ["http://127.0.0.1:1/callback"]}, trust_env=False
        )
        assert registration.status_code == 503, registration.text
        page = httpx2.get(f"{server.url}/accounts/login/", trust_env=False)
        assert page.status_code in {200, 503}
        for response in (refused, registration, page):
            assert "Traceback" not in response.text
            assert "sqlite" not in response.text.lower()
    again = refreshed(server, login)
    assert again.status_code == 200, again.text
    assert call(server, again.json()["access_token"], 6).status_code == 200
    deadline = time.monotonic() + PATIENCE_SECONDS
    wanted = {f"call-{number}" for number in range(7)}
    while not wanted <= (found := logged_calls(server)):
        assert time.monotonic() < deadline, f"the calls {wanted - found} are not in the log"
        time.sleep(0.3)
