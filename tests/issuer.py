"""An identity provider on loopback, as the resource server meets it on the wire: configuration, keys, signed tokens.

Its tokens are shaped like Microsoft Entra's of version 1 and 2, or like those of any OpenID provider.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.keys import Key
from tests.oauth import RESOURCE

TENANT = "6f3c1f2e-0d0a-4c6b-9a57-1f0b7f1c9a11"
OTHER_TENANT = "b1d9a3c4-5e6f-4a7b-8c9d-0e1f2a3b4c5d"
API = "5d0c8e1a-3b2f-4c6d-9e8f-7a6b5c4d3e2f"
"""The application that stands for this server at the provider."""
CLIENT = "0b8f5a52-7d1c-4f6e-8a3b-2c4d5e6f7a8b"
OID = "11111111-2222-3333-4444-555555555555"


class Issuer:
    """The provider; `with` serves it. `keys` are published, the first of them signs."""

    def __init__(self) -> None:
        self.keys = [Key("RS256", kid="first")]
        self.requests: list[str] = []
        self.is_down = False
        """Connections are accepted and closed without an answer."""
        self.is_slow = threading.Event()
        """Requests wait until it is cleared, at most some seconds."""
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        """What is answered at a path instead: status, headers, body."""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                provider.requests.append(path)
                provider.wait()
                if provider.is_down:
                    self.close_connection = True
                    return
                status, headers, body = provider.answers.get(path) or provider.answer(path)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.v1 = f"{self.url}/sts/{TENANT}/"
        self.v2 = f"{self.url}/{TENANT}/v2.0"

    def __enter__(self) -> Issuer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(self) -> None:
        """Wait while it is slow."""
        end = time.monotonic() + 2
        while self.is_slow.is_set() and time.monotonic() < end:
            time.sleep(0.01)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        documents: dict[str, Any] = {
            f"/{TENANT}/discovery/v2.0/keys": {"keys": [key.public for key in self.keys]},
            "/keys": {"keys": [key.public for key in self.keys]},
            "/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
        }
        if path not in documents:
            return 404, {}, b"{}"
        return 200, {"Content-Type": "application/json"}, json.dumps(documents[path]).encode()

    def entra(self, **entry: Any) -> dict[str, Any]:
        """Return an entry of `TOKEN_ISSUERS` for it, as a tenant of Entra."""
        return {
            "profile": "entra",
            "tenant": TENANT,
            "authority": self.url,
            "v1_issuer": self.v1,
            "audiences": [API, f"api://{API}", RESOURCE],
            **entry,
        }

    def oidc(self, **entry: Any) -> dict[str, Any]:
        """Return an entry for it as any OpenID provider."""
        return {"issuer": self.url, "audiences": [RESOURCE], **entry}

    # Tokens

    def claims(self, version: int = 2, **changes: Any) -> dict[str, Any]:
        """Return what an access token of Entra says; a change to None leaves a claim out."""
        now = int(time.time())
        claims = {
            "aud": API if version == 2 else f"api://{API}",
            "iss": self.v2 if version == 2 else self.v1,
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
            "azp" if version == 2 else "appid": CLIENT,
            "name": "Alice Example",
            "oid": OID,
            "preferred_username" if version == 2 else "upn": "alice@contoso.example",
            "scp": "mcp:tools",
            "sub": "alice-at-this-api",
            "tid": TENANT,
            "uti": "xyz",
            "ver": f"{version}.0",
        } | changes
        return {name: value for name, value in claims.items() if value is not None}

    def plain_claims(self, **changes: Any) -> dict[str, Any]:
        """Return what an access token of an OpenID provider says (RFC 9068)."""
        now = int(time.time())
        claims = {
            "aud": RESOURCE,
            "iss": self.url,
            "iat": now,
            "exp": now + 600,
            "sub": "alice",
            "client_id": "some-client",
            "scope": "openid mcp:tools",
        } | changes
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, claims: dict[str, Any] | None = None, *, key: Key | None = None, **header: Any) -> str:
        """Sign claims with the first key, or another; what is None in `header` is left out."""
        return (key or self.keys[0]).sign(self.claims() if claims is None else claims, **header)
