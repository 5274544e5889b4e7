"""The official conformance suite, in the mode that tests an authorization server; our scripted person signs in."""

from __future__ import annotations

import json
import queue
import re
import shlex
import subprocess
import threading
import time
from collections.abc import Callable

import httpx2
import pytest

from tests.clients.desk import TIMEOUT_SECONDS, Desk, end_group, free_port, installed, node
from tests.clients.person import Person
from tests.conftest import LiveServer

pytestmark = [pytest.mark.live, pytest.mark.clients]

SUITE = "@modelcontextprotocol/conformance/dist/index.js"
CHECKS = {"authorization-server-metadata", "authorization-server-metadata-cimd", "authorization-code-grant"}


def run_suite(desk: Desk, person: Person, *arguments: str) -> str:
    """Run the suite to its end, opening the pages that it asks for; return all it said."""
    command = (node(), installed(SUITE), "authorization", *arguments)
    suite = subprocess.Popen(
        command,
        cwd=desk.folder,
        env=desk.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert suite.stdout is not None
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in suite.stdout or ():
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    said: list[str] = []
    deadline = time.monotonic() + TIMEOUT_SECONDS
    end_of_wait = f"{shlex.join(command)}: still running after a minute"
    try:
        while (line := lines.get(timeout=max(0.1, deadline - time.monotonic()))) is not None:
            said.append(line)
            if found := re.search(r"https?://\S+/authorize/?\?\S+", line):
                back = person.approve(found[0])
                httpx2.get(back, trust_env=False, timeout=10)
    except queue.Empty:
        raise AssertionError(f"{end_of_wait}\n{''.join(said)}") from None
    finally:
        end_group(suite)
        suite.wait()
        suite.stdout.close()
    return "".join(said)


def test_the_official_suite_passes_against_the_authorization_server(
    new_server: Callable[[], LiveServer], desk: Desk
) -> None:
    """As a public client: where a server offers `none`, as ours does, the suite sends no secret even if it has one.

    Metadata documents are switched on, as they are on https; without them the suite warns.
    """
    server = new_server()
    server.environment["CLIENT_ID_METADATA_DOCUMENTS"] = "true"
    server.start("manage.py", "runserver", "--noreload", str(server.port))
    port, results = free_port(), desk.folder / "results"
    body = {"redirect_uris": [f"http://127.0.0.1:{port}/callback"], "token_endpoint_auth_method": "none"}
    client = httpx2.post(f"{server.url}/o/register/", json=body, trust_env=False).json()
    with Person("demo", "demo") as person:
        said = run_suite(
            desk,
            person,
            *("--url", server.url, "--client-id", client["client_id"]),
            *("-p", str(port), "--resource", f"{server.url}/star", "-o", str(results)),
        )
    checks = [check for file in results.rglob("checks.json") for check in json.loads(file.read_text())]
    assert [check for check in checks if check["status"] != "SUCCESS"] == [], said
    assert {check["id"] for check in checks} == CHECKS, said
    assert "Total: 3 passed, 0 failed" in said, said
