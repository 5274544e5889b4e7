"""A name for each request, by which its lines in the log, its trace, and what a client saw are found together."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

HEADER = b"x-request-id"
"""The answer's header that tells it."""
_WELL_FORMED = re.compile(rb"[A-Za-z0-9._:-]{8,64}")

current: ContextVar[str] = ContextVar("star_request_id", default="")


def id_of(scope: MutableMapping[str, Any], trusted_header: bytes) -> str:
    """Return the id that the proxy gave a request in a header that the settings trust, or else a new one.

    Of a stranger none is taken: two requests with one id would be told apart by nobody.
    """
    if trusted_header:
        sent = [value for name, value in scope["headers"] if name == trusted_header]
        if len(sent) == 1 and _WELL_FORMED.fullmatch(sent[0]):
            return bytes(sent[0]).decode()
    return secrets.token_hex(16)


def telling(send: Send, request_id: str) -> Send:
    """Return a `send` that tells the client the id of its request."""

    def tell(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (HEADER, request_id.encode())]
        return send(message)

    return tell
