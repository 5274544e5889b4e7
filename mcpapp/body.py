"""The body of a request, read before the SDK reads it: to see what is asked for."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Any

from pydantic_core import from_json
from starlette.types import Message, Receive

from mcpapp.attendance import ClientLeft
from mcpapp.eagerly import eagerly
from mcpapp.interruption import in_time

BODY_SECONDS = 30
"""How long a body may take to arrive: it is kept in memory."""


_UNREAD = object()


class Body:
    """What has arrived of a body: all of it, or as much as shows that it is too large."""

    def __init__(self, content: bytes, receive: Receive, *, is_complete: bool) -> None:
        self.content = content
        self.is_complete = is_complete
        self.is_strict = True
        """Whether `message` was decoded as UTF-8 by the rules, so that every reader finds the same."""
        self._message: Any = _UNREAD
        self._receive = receive
        self._messages: list[Message] = [{"type": "http.request", "body": content, "more_body": not is_complete}]

    @classmethod
    async def read(cls, receive: Receive, most: int) -> Body:
        """Read until the end, or beyond `most` bytes.

        Raises:
            ClientLeft: it will never arrive; starlette would raise, which servers log with a traceback each time.
            TimeoutError: it did not arrive within `BODY_SECONDS`.
        """
        return await eagerly(cls._read(receive, most), _in_time)

    @classmethod
    async def _read(cls, receive: Receive, most: int) -> Body:
        message = await receive()
        content: bytes = message.get("body", b"")
        if message["type"] == "http.request" and not message.get("more_body", False) and len(content) <= most:
            return cls(content, receive, is_complete=True)  # nearly always all is there at once
        parts = bytearray(content)
        while message["type"] == "http.request" and message.get("more_body", False) and len(parts) <= most:
            message = await receive()
            parts += message.get("body", b"")
        if message["type"] != "http.request":
            raise ClientLeft
        return cls(bytes(parts), receive, is_complete=len(parts) <= most)

    async def receive(self) -> Message:
        """Receive it from its start, then what comes after it (ASGI); whoever does has it, and it is not kept here."""
        if not self._messages:
            return await self._receive()
        self.content = b""
        self._message = None
        return self._messages.pop()

    @property
    def message(self) -> Any:
        """The decoded JSON; None for what is none, or is not whole."""
        if self._message is _UNREAD:
            self._message = self._decoded() if self.is_complete else None
        return self._message

    def _decoded(self) -> Any:
        try:
            return from_json(self.content)
        except ValueError:
            self.is_strict = False
        try:
            # This one takes more: other encodings, lone surrogates. The SDK reads newer messages with it.
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None


async def _in_time(reading: Awaitable[Body]) -> Body:
    return await in_time(reading, BODY_SECONDS)
