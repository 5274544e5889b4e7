"""`manage.py runserver` and uvicorn serve the whole site, stop at once, and say in a sentence why they cannot start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.clients.person import Person
from tests.conftest import ROOT, LiveServer, free_port
from tests.over_http import log_in

pytestmark = pytest.mark.live


def get(url: str) -> httpx2.Response:
    return httpx2.get(url, trust_env=False, timeout=10)


def access_token(server_url: str, username: str = "demo") -> str:
    with Person(username, username) as person:
        return log_in(server_url, person).access_token


def test_runserver_serves_pages_static_files_admin_and_the_endpoint(live_server_url: str) -> None:
    assert get(f"{live_server_url}/").status_code == 200
    assert get(f"{live_server_url}/static/admin/css/base.css").headers["content-type"].startswith("text/css")
    assert get(f"{live_server_url}/admin/login/").status_code in {200, 302}
    assert get(f"{live_server_url}/star").status_code == 401
    assert get(f"{live_server_url}/nothing").status_code == 404


@pytest.mark.parametrize("path", ["%2e%2e/settings.py", "..%2f..%2fconfig/settings.py", "%00", "a" * 3000, ""])
def test_odd_static_paths_are_client_errors(live_server_url: str, path: str) -> None:
    assert 400 <= get(f"{live_server_url}/static/{path}").status_code < 500


@pytest.mark.parametrize("host", ["evil.example", "", "a" * 3000, "[", "127.0.0.1:x"])
def test_an_odd_host_header_is_a_client_error(live_server_url: str, host: str) -> None:
    for path in ("/", "/star", "/o/authorize/", "/.well-known/oauth-authorization-server"):
        response = httpx2.get(f"{live_server_url}{path}", headers={"Host": host}, trust_env=False)
        assert 400 <= response.status_code < 500, (path, response.text)


def test_the_url_that_runserver_prints_is_the_one_it_serves(new_server: Callable[[], LiveServer]) -> None:
    """Whatever port is given on the command line, issuer and resource have it."""
    server = new_server()
    server.environment.pop("PORT")
    server.start("manage.py", "runserver", "--nothreading", f"127.0.0.1:{server.port}")
    assert get(f"{server.url}/.well-known/oauth-protected-resource/star").json()["resource"] == f"{server.url}/star"
    assert get(f"{server.url}/.well-known/oauth-authorization-server").json()["issuer"] == server.url
    said = server.log.read_text()
    assert f"Paste this URL into your client:  {server.url}/star" in said
    assert "demo / demo, demo2 / demo2, admin / admin" in said
    assert f'"url": "{server.url}/star"' in said
    assert f"claude mcp add --transport http star {server.url}/star" in said


def test_runserver_reloads_when_the_code_changes(new_server: Callable[[], LiveServer]) -> None:
    server = new_server()
    server.start("manage.py", "runserver", str(server.port))
    module = ROOT / "mcpapp" / "tools.py"
    before = module.stat()
    started = server.log.read_text().count("Application startup complete")
    try:
        deadline = time.monotonic() + 30
        changes = 0
        while server.log.read_text().count("Application startup complete") == started:
            assert time.monotonic() < deadline, server.log.read_text()
            # The reloader looks once a second and may not have looked at all yet: change it until it notices.
            changes += 1
            os.utime(module, (before.st_atime, before.st_mtime + changes))
            time.sleep(1.5)
    finally:
        os.utime(module, (before.st_atime, before.st_mtime))


@pytest.mark.parametrize("options", [["--noreload"], []], ids=["noreload", "autoreload"])
def test_ctrl_c_stops_at_once_even_with_an_open_stream(
    new_server: Callable[[], LiveServer], options: list[str]
) -> None:
    server = new_server()
    server.environment["DJANGO_SETTINGS_MODULE"] = "tests.settings_with_sessions"
    server.start("manage.py", "runserver", *options, str(server.port))
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}}
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    headers = {
        "Authorization": f"Bearer {access_token(server.url)}",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2025-11-25",
    }
    with httpx2.Client(trust_env=False, timeout=20) as http:
        session = http.post(f"{server.url}/star", json=hello, headers=headers).headers["mcp-session-id"]
        with http.stream("GET", f"{server.url}/star", headers=headers | {"Mcp-Session-Id": session}) as stream:
            assert stream.status_code == 200
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert server.process is not None
            began = time.monotonic()
            os.killpg(server.process.pid, signal.SIGINT)  # what a terminal sends: to the reloader and its child
            server.process.wait(10)
            assert time.monotonic() - began < 5
    assert "Traceback" not in server.log.read_text()


def test_a_port_in_use_is_one_sentence_and_a_failure(prepared_server: LiveServer) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "manage.py", "runserver", str(port)],
            cwd=ROOT,
            env=prepared_server.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode != 0
    assert f"Port {port} is in use." in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_uvicorn_with_several_workers_serves_a_login_that_any_of_them_continues(
    new_server: Callable[[], LiveServer],
) -> None:
    server = new_server()
    server.start("-m", "uvicorn", "config.asgi:application", "--port", str(server.port), "--workers", "3")
    token = access_token(server.url, "demo2")
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "protected-data", "arguments": {}}}
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    for _ in range(12):  # a new connection each time, so that the workers take turns
        response = httpx2.post(f"{server.url}/star", json=body, headers=headers, trust_env=False, timeout=20)
        assert "demo2" in response.text
    assert "code=" not in server.log.read_text(), "no code in the access log"


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "missing"
    environment = os.environ | {
        "DEBUG": "true",
        "DATABASE_URL": f"sqlite:///{folder / 'db.sqlite3'}",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PORT": str(free_port()),
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "migrate"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert str(folder) in done.stderr


def test_a_burst_of_bad_requests_leaves_the_database_to_the_others(new_server: Callable[[], LiveServer]) -> None:
    """Django makes error pages in threads of their own; what these open must be given back to the pool."""
    server = new_server()
    server.environment["DATABASE_POOL_SIZE"] = "3"
    server.start("-m", "uvicorn", "config.asgi:application", "--port", str(server.port))
    headers = {
        "Content-Type": "multipart/form-data",  # without a boundary
        "Cookie": f"csrftoken={'b' * 32}; sessionid={'a' * 32}",
    }

    def bad_request(_: int) -> int:
        url = f"{server.url}/accounts/login/"
        return httpx2.post(url, content=b"x=1", headers=headers, trust_env=False, timeout=30).status_code

    with ThreadPoolExecutor(30) as pool:
        assert set(pool.map(bad_request, range(60))) == {400}
    began = time.monotonic()
    assert get(f"{server.url}/connected-apps/").status_code == 302
    assert time.monotonic() - began < 5
