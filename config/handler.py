"""Run Django's pages under ASGI the way WSGI servers do: each request once through a pool of threads.

All views here are synchronous, and so is some middleware. Django's own ASGI handler then changes between event loop and
thread for every middleware (3 ms of CPU for each request, more than most of our views take), starts a thread and opens
a database connection for each request, and spools a body of any size to disk before anything looks at it.
"""

from __future__ import annotations

import asyncio
import contextvars
import io
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.core import signals
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.http import HttpResponse, HttpResponseBadRequest, HttpResponseBase
from django.urls import set_script_prefix

MAXIMUM_BODY_BYTES = 1024 * 1024
"""No page takes uploads; what a form or a JSON body may have is far less, and checked where it is read."""

BODY_SECONDS = 30
"""How long a body may take to arrive: it is kept in memory."""

THREADS = 16

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


class ThreadedHandler(ASGIHandler):
    """Django's handler with its synchronous middleware chain, in threads that keep their database connection."""

    def __init__(self) -> None:
        super().__init__()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="django")

    def load_middleware(self, is_async: bool = False) -> None:
        """Build the chain that WSGI would have."""
        super().load_middleware(is_async=False)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await read_body(receive, _content_length(scope))
        except ClientGone:
            return
        except TimeoutError:
            await self.send_response(HttpResponse(status=408, headers={"Connection": "close"}), send)
            return
        # A context of its own: what a request sets (language, URL prefix) ends with it.
        context = contextvars.copy_context()
        response = await self.run_in_thread(context.run, self._respond, scope, body)
        try:
            await self.send_response(response, send)
        finally:
            if response.streaming:
                await self.run_in_thread(context.run, response.close)

    def create_request(self, scope: Any, body_file: Any) -> Any:
        """Answer 400 to a request that Django refuses while it makes it: too many fields in a query, and a charset."""
        try:
            return super().create_request(scope, body_file)
        except SuspiciousOperation:
            return None, HttpResponseBadRequest()

    async def run_in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in one of the threads; return what it returns."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def _respond(self, scope: dict[str, Any], body: bytes | None) -> HttpResponseBase:
        """Return the response, closed already unless it streams: its content is whole then."""
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        request, response = self.create_request(scope, TooLarge() if body is None else io.BytesIO(body))
        if request is not None:
            response = self.get_response(request)
        assert response is not None  # noqa: S101  (one of the two is there)
        response._handler_class = self.__class__  # whom its closing signal names
        if not response.streaming:
            response.close()
        return response


class TooLarge(io.BytesIO):
    """A body that is gone: who reads it gets the exception by which every view says that it was too large."""

    def read(self, size: int | None = -1) -> bytes:
        """Raise.

        Raises:
            RequestDataTooBig: always.
        """
        raise RequestDataTooBig("The request body is too large.")


def _content_length(scope: Mapping[str, Any]) -> int:
    """Return what a request announces; an ASGI server has checked that it is a number, and others count as nothing."""
    text = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return int(text) if text.isdigit() and len(text) < 20 else 0


async def read_body(receive: Receive, announced: int = 0) -> bytes | None:
    """Return the whole body; None if it is larger than `MAXIMUM_BODY_BYTES`, and then nothing of it is kept.

    Raises:
        ClientGone: it ended early.
    """
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        size += len(chunk)
        too_large = max(size, announced) > MAXIMUM_BODY_BYTES
        if too_large:
            chunks.clear()
        else:
            chunks.append(chunk)
        if not message.get("more_body", False):
            return None if too_large else b"".join(chunks)
