"""An MCP server whose authorization server means harm: `python -m tests.star.hostile_server PORT KIND`.

It sends the browser back with a code, and answers at one place with what `KIND` names. With `fine` it means no harm.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

DEEP = b"[" * 200_000 + b"]" * 200_000
SCOPE = "read"


def kinds(base: str) -> dict[str, dict[str, Callable[[], tuple[int, dict[str, str], bytes]]]]:
    """Return the answers of each kind, by path."""

    def document(**changes: Any) -> bytes:
        return json.dumps({**metadata(base), **changes}).encode()

    def token(**changes: Any) -> bytes:
        return json.dumps({"access_token": "at", "token_type": "Bearer", "expires_in": 3600, **changes}).encode()

    def plain(body: bytes, **headers: str) -> Callable[[], tuple[int, dict[str, str], bytes]]:
        return lambda: (200, headers, body)

    where = "/.well-known/oauth-authorization-server"
    return {
        "fine": {},
        "huge-metadata": {where: plain(document(padding="x" * 3_000_000))},
        "bomb": {where: plain(gzip.compress(document(padding="x" * 50_000_000)), **{"Content-Encoding": "gzip"})},
        "deep-metadata": {where: plain(DEEP)},
        "other-issuer": {where: plain(document(issuer="https://other.example"))},
        "unencrypted": {where: plain(document(token_endpoint="http://collector.example/token"))},
        "huge-token": {"/token": plain(token(access_token="a" * 3_000_000))},
        "deep-token": {"/token": plain(DEEP)},
        "line-break": {"/token": plain(token(access_token="at\r\nX-Injected: 1"))},
        "no-ascii": {"/token": plain(token(access_token="tök"))},
        "no-text": {"/token": plain(token(access_token=["at"]))},
        "empty": {"/token": plain(token(access_token=""))},
        "endless-life": {"/token": plain(token(expires_in=1e400))},
        "escapes": {"/token": lambda: (400, {}, b'{"error":"x\\u001b[2J","error_description":"\\u202e\\u001b]0;hi"}')},
        "elsewhere": {"/token": lambda: (307, {"Location": f"{base.replace('127.0.0.1', 'localhost')}/stolen"}, b"")},
    }


def metadata(base: str) -> dict[str, Any]:
    return {
        "issuer": base,
        "authorization_endpoint": f"{base}/authorize",
        "token_endpoint": f"{base}/token",
        "registration_endpoint": f"{base}/register",
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "authorization_response_iss_parameter_supported": True,
    }


def make(port: int, kind: str) -> ThreadingHTTPServer:
    """Return the server; what it was asked is printed."""
    base = f"http://127.0.0.1:{port}"
    special = kinds(base)[kind]

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            print(self.command, urlsplit(self.path).path, flush=True)  # noqa: T201  (the test reads it)

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path in special:
                return self.answer(*special[url.path]())
            if url.path.startswith("/.well-known/oauth-protected-resource"):
                known = {"resource": f"{base}/mcp", "authorization_servers": [base], "scopes_supported": [SCOPE]}
                return self.answer(200, {}, json.dumps(known).encode())
            if url.path == "/.well-known/oauth-authorization-server":
                return self.answer(200, {}, json.dumps(metadata(base)).encode())
            if url.path == "/authorize":
                asked = {name: values[0] for name, values in parse_qs(url.query).items()}
                back = urlencode({"code": "c", "state": asked["state"], "iss": base})
                return self.answer(302, {"Location": f"{asked['redirect_uri']}?{back}"}, b"")
            return self.answer(404, {}, b"{}")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = urlsplit(self.path).path
            if path in special:
                return self.answer(*special[path]())
            if path == "/register":
                return self.answer(201, {}, json.dumps({**json.loads(body), "client_id": "client"}).encode())
            if path == "/token":
                answer = {"access_token": "at", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "rt"}
                return self.answer(200, {}, json.dumps(answer).encode())
            where = f'{base}/.well-known/oauth-protected-resource/mcp", scope="{SCOPE}'
            return self.answer(401, {"WWW-Authenticate": f'Bearer resource_metadata="{where}"'}, b"{}")

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    make(int(sys.argv[1]), sys.argv[2]).serve_forever()
