"""What the resource server answers instead of serving: RFC 6750 §3 challenges and plain HTTP errors, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Literal

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mcpapp import conf

BearerError = Literal["invalid_request", "invalid_token", "insufficient_scope"]
_STATUS: dict[BearerError | None, int] = {
    None: 401,
    "invalid_request": 400,
    "invalid_token": 401,
    "insufficient_scope": 403,
}


def challenge(
    resource: str, *, scopes: Iterable[str], error: BearerError | None = None, description: str = ""
) -> Response:
    """Return a Bearer challenge that tells a client where to sign in and what to ask for.

    Without `error`, nothing was sent to be wrong (RFC 6750 §3.1). `scopes` are all that the client should ask for,
    those it has included, so that stepping up never loses one.
    """
    return _challenge(conf.metadata_url(resource), " ".join(sorted(scopes)), error, description)


class _SentOften(Response):
    """A response that is made once. Middleware adds headers to what is sent, so each time that is another list."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": list(self.raw_headers)})
        await send({"type": "http.response.body", "body": self.body})


@lru_cache(maxsize=256)
def _challenge(metadata_url: str, scope: str, error: BearerError | None, description: str) -> Response:
    """Make a challenge; most that a server sends are the same, above all in a flood of made-up tokens."""
    parameters = {"error": error, "error_description": description if error else ""}
    parameters |= {"resource_metadata": metadata_url, "scope": scope}
    header = "Bearer " + ", ".join(f'{name}="{value}"' for name, value in parameters.items() if value)
    if error is None:
        body = {
            "detail": "This MCP server is protected by OAuth. A client that supports MCP authorization signs in by "
            "itself when it is given this URL.",
            "resource_metadata": metadata_url,
        }
    else:
        body = {"error": error, "error_description": description}
    return _json(body, _STATUS[error], {"WWW-Authenticate": header}, _SentOften)


def refusal(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Return an error that signing in would not mend."""
    return _json({"detail": detail}, status, headers)


def rpc_error(status: int, request_id: int | str, detail: str) -> Response:
    """Return an error about one JSON-RPC request: Invalid Request (JSON-RPC 2.0 §5.1)."""
    return _json({"jsonrpc": "2.0", "id": request_id, "error": {"code": -32600, "message": detail}}, status)


def rpc_refusal(
    status: int, request_id: Any, code: int, text: str, data: dict[str, Any], headers: dict[str, str]
) -> Response:
    """Return an error about a JSON-RPC request that its sender can do something about: what, is in `data`."""
    known_id = request_id if isinstance(request_id, int | str) else None  # JSON-RPC 2.0 §5: null if there is none
    error = {"code": code, "message": text, "data": data}
    return _json({"jsonrpc": "2.0", "id": known_id, "error": error}, status, headers)


def _json(
    body: dict[str, Any], status: int, headers: dict[str, str] | None = None, kind: type[Response] = Response
) -> Response:
    return kind(
        json.dumps(body),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
