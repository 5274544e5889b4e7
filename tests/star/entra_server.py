"""An MCP server that takes the tokens of `EntraProvider` directly, as one behind an organisation's own sign-in does."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from typing import Any

import jwt
import uvicorn
from mcp.server import MCPServer

from tests.star.entra_provider import TENANT, EntraProvider

Scope = dict[str, Any]


class EntraServer:
    """The server, at `url`; `with` serves it. Tokens are checked by `provider`'s key, tenant, audience and scope."""

    def __init__(self, provider: EntraProvider) -> None:
        self.provider = provider
        self.tokens: list[str] = []
        """What was sent, in its order, each once."""
        self.demanded = ""
        """An authentication context (`acrs`) without which a token is answered with a claims challenge."""
        self.needed = ""
        """A scope without which a token is answered with 403."""
        self.refused: set[str] = set()
        self.refuses_everything = False
        mcp = MCPServer("Behind Entra")

        @mcp.tool()
        def greet(name: str) -> str:
            """Greet somebody."""
            return f"Hello, {name}."

        self._app = mcp.streamable_http_app(stateless_http=True, json_response=True)
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/mcp"
        config = uvicorn.Config(
            self._guarded, interface="asgi3", log_level="warning", timeout_graceful_shutdown=1, lifespan="on"
        )
        self._server = uvicorn.Server(config)

    def __enter__(self) -> EntraServer:
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._listener.close()

    async def _guarded(self, scope: Scope, receive: Any, send: Any) -> None:
        status, challenge = self._challenge(dict(scope["headers"])) if scope["type"] == "http" else (200, "")
        if not challenge:
            await self._app(scope, receive, send)
            return
        headers = [(b"www-authenticate", challenge.encode()), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def _challenge(self, headers: dict[bytes, bytes]) -> tuple[int, str]:
        """Return what a request is refused with, "" if it is not."""
        token = headers.get(b"authorization", b"").decode().removeprefix("Bearer ")
        if token and token not in self.tokens:
            self.tokens.append(token)
        try:
            claims = self.provider.verify(token)
        except jwt.InvalidTokenError:
            return 401, 'Bearer error="invalid_token"'
        if token in self.refused or self.refuses_everything:
            return 401, 'Bearer error="invalid_token"'
        # `scp` is in delegated tokens only; those of applications alone have `roles`.
        if claims["tid"] != TENANT or "mcp:tools" not in claims.get("scp", "").split():
            return 401, 'Bearer error="invalid_token"'
        if self.demanded and self.demanded not in claims.get("acrs", []):
            demand = {"access_token": {"acrs": {"essential": True, "value": self.demanded}}}
            encoded = base64.b64encode(json.dumps(demand).encode()).decode()
            return 401, f'Bearer realm="", error="insufficient_claims", claims="{encoded}"'
        if self.needed and self.needed not in claims["scp"].split():
            return 403, f'Bearer error="insufficient_scope", scope="{self.needed}"'
        return 200, ""
