"""A client of `subscriptions/listen` in the event loop of the test: httpx's ASGI transport waits for a whole answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any

from mcpapp.asgi import ResourceServer
from tests.mcpapp.helpers import MODERN, message

PATIENCE_SECONDS = 20
"""For what has to happen, however slow the machine is."""
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
UPDATED = "notifications/resources/updated"
TOOLS = "notifications/tools/list_changed"


def listen_request(uris: Collection[str] = (), lists: Collection[str] = ("tools",)) -> dict[str, Any]:
    """Return the arguments of an HTTP POST that listens."""
    wanted: dict[str, Any] = {f"{name}ListChanged": True for name in lists}
    if uris:
        wanted["resourceSubscriptions"] = list(uris)
    return message("subscriptions/listen", {"notifications": wanted}, era=MODERN)


class Stream:
    """What has arrived of one stream."""

    def __init__(self) -> None:
        self.status = 0
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.left = asyncio.Event()
        self.is_reading = asyncio.Event()
        self.is_reading.set()
        self.acknowledged: dict[str, Any] = {}

    async def next(self) -> dict[str, Any]:
        """Return the next JSON-RPC message."""
        return await asyncio.wait_for(self.messages.get(), PATIENCE_SECONDS)

    async def heard(self) -> str:
        """Return the URI that the next message is about, or its method, or `ended`."""
        got = await self.next()
        if "result" in got:
            return "ended"
        return str(got["params"].get("uri", got["method"]))

    def _take(self, text: str) -> None:
        for line in text.splitlines():
            if line.startswith(("data:", "{")):
                self.messages.put_nowait(json.loads(line.removeprefix("data:")))


@asynccontextmanager
async def opened(
    server: ResourceServer, token: str, uris: Collection[str] = (), lists: Collection[str] = ("tools",)
) -> AsyncIterator[Stream]:
    """Send a request to listen; leave at the end."""
    stream = Stream()
    request = listen_request(uris, lists)
    headers = {"Host": "127.0.0.1:8000", "Authorization": f"Bearer {token}", **request["headers"]}
    body = [{"type": "http.request", "body": request["content"].encode(), "more_body": False}]

    async def receive() -> dict[str, Any]:
        if body:
            return body.pop()
        await stream.left.wait()
        return {"type": "http.disconnect"}

    async def send(sent: Any) -> None:
        if sent["type"] == "http.response.start":
            stream.status = sent["status"]
            return
        stream._take(sent["body"].decode())
        await stream.is_reading.wait()

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/star",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    task = asyncio.create_task(server(scope, receive, send))
    try:
        yield stream
    finally:
        stream.left.set()
        stream.is_reading.set()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, PATIENCE_SECONDS)


@asynccontextmanager
async def listening(
    server: ResourceServer, token: str, uris: Collection[str] = (), lists: Collection[str] = ("tools",)
) -> AsyncIterator[Stream]:
    """Listen: what is told from now on is heard."""
    async with opened(server, token, uris, lists) as stream:
        first = await stream.next()
        assert first.get("method") == ACKNOWLEDGED, first
        stream.acknowledged = first["params"]["notifications"]
        yield stream
