"""What is sent to a client, counted."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import Message, Send

_VARY = (b"vary", b"Origin")


class Answer:
    """The `send` of a request.

    It adds what CORSMiddleware adds for a request that no web page made, which is most: caches must ask for others.
    """

    __slots__ = ("_send", "_varies", "body_bytes")

    def __init__(self, send: Send, *, varies: bool) -> None:
        self._send = send
        self._varies = varies
        self.body_bytes = 0

    def __call__(self, message: Message) -> Awaitable[None]:
        """Send a message of ASGI's."""
        if message["type"] == "http.response.start":
            if self._varies:
                message["headers"] = [*message.get("headers", ()), _VARY]
        else:
            self.body_bytes += len(message.get("body", b""))
        return self._send(message)
