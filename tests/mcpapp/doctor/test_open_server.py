"""A public server that asks nobody to sign in and has no metadata: nothing is wrong with it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from mcpapp.doctor.clients import PROFILES
from mcpapp.doctor.report import Level, Report
from mcpapp.doctor.target import Target
from mcpapp.doctor.way import examine
from mcpapp.doctor.web import Web
from tests.mcpapp.doctor.conftest import TRUST, wrong

pytestmark = pytest.mark.anyio
TOOL = {"name": "now", "annotations": {"readOnlyHint": True}, "inputSchema": {"type": "object"}}
RESULTS: dict[str, dict[str, Any]] = {
    "initialize": {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}},
    "tools/list": {"tools": [TOOL]},
    "tools/call": {"content": [{"type": "text", "text": "noon"}]},
}


class Open(BaseHTTPRequestHandler):
    """It has sessions, so a ping without one is answered 400; like Express with app.post alone, GET is 404."""

    protocol_version = "HTTP/1.1"
    wants_token_for = ""

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{}")
        method = message.get("method", "")
        if method == self.wants_token_for:
            return self._say(401)
        if method != "initialize" and not self.headers.get("Mcp-Session-Id"):
            return self._say(400, {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "No session"}})
        if method.startswith("notifications/"):
            return self._say(202)
        return self._say(200, {"jsonrpc": "2.0", "id": message["id"], "result": RESULTS.get(method, {})})

    def do_GET(self) -> None:
        self._say(404)

    do_HEAD = do_OPTIONS = do_DELETE = do_GET

    def _say(self, status: int, document: dict[str, Any] | None = None) -> None:
        body = json.dumps(document).encode() if document else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if document:
            self.send_header("Content-Type", "application/json")
            self.send_header("Mcp-Session-Id", "a-session")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def opened(kind: type[Open]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/mcp"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def examined(kind: type[Open], *clients: str) -> Report:
    with opened(kind) as url:
        report = Report(url)
        async with Web(report.secrets, verify=TRUST) as web:
            await examine(web, Target(url), report, [PROFILES[name] for name in clients])
    return report


async def test_a_server_that_asks_nobody_to_sign_in_is_walked_to_the_tools() -> None:
    report = await examined(Open, "vscode", "claude", "codex")
    assert wrong(report) == {}
    assert report.clients == {"VS Code": "", "Claude": "", "Codex": ""}
    passed = {finding.check for finding in report.findings if finding.level is Level.OK}
    assert passed >= {"call.list-failed", "call.tool-failed", "edge.slash", "edge.header-limit"}
    assert "call.token-not-accepted" not in passed


async def test_tools_that_want_a_token_which_nobody_can_get_are_found() -> None:
    class Half(Open):
        wants_token_for = "tools/list"

    report = await examined(Half, "vscode")
    assert "tools/list is answered 401" in wrong(report)["discovery.resource-metadata-missing"].saw
    assert report.clients == {"VS Code": "discovery"}
