"""A client at the person's desk: registers itself, has a page to open, and waits on loopback for the answer."""

from __future__ import annotations

import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2

from tests.oauth import PKCE

ALL = "mcp:tools mcp:write offline_access"


class Client:
    """`authorize_path` is where it sends the browser; `answer()` is what came back."""

    def __init__(self, url: str, name: str, **metadata: Any) -> None:
        self.url = url
        self.pkce = PKCE()
        self._answers: queue.Queue[dict[str, str]] = queue.Queue()
        answers = self._answers

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                address = urlsplit(self.path)
                if address.path == "/callback":
                    answers.put(dict(parse_qsl(address.query)))
                body = b"<!doctype html><html lang=en><title>Back</title><p>Back in the client."
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.redirect_uri = metadata.pop("redirect_uri", f"http://127.0.0.1:{self._server.server_address[1]}/callback")
        self.http = httpx2.Client(base_url=url, trust_env=False, timeout=20)
        document = {
            "client_name": name,
            "redirect_uris": [self.redirect_uri],
            "token_endpoint_auth_method": "none",
            "application_type": "native",
            **metadata,
        }
        self.client_id = self.http.post("/o/register/", json=document).json()["client_id"]

    def close(self) -> None:
        self.http.close()
        self._server.shutdown()
        self._server.server_close()

    def authorize_path(self, scope: str = ALL, **changes: str) -> str:
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "code_challenge": self.pkce.challenge,
            "code_challenge_method": "S256",
            "state": "the-state",
            "scope": scope,
            "resource": f"{self.url}/star",
            **changes,
        }
        return f"/o/authorize/?{urlencode(query)}"

    def answer(self) -> dict[str, str]:
        return self._answers.get(timeout=15)

    def tokens(self) -> dict[str, Any]:
        """Redeem what came back."""
        form = {
            "grant_type": "authorization_code",
            "client_id": self.client_id,
            "code": self.answer()["code"],
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.pkce.verifier,
            "resource": f"{self.url}/star",
        }
        response = self.http.post("/o/token/", data=form)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def call(self, token: str, tool: str = "protected-data") -> httpx2.Response:
        """Call a tool."""
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}}
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2025-11-25",
        }
        return self.http.post("/star", json=body, headers=headers)
