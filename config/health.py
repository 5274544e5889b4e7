"""`/healthz` and `/readyz`, for what watches over the process: a container's runtime, a load balancer.

They are answered before Django and without its check of the Host header, because probes come by address. `/healthz`
says that the process answers, `/readyz` that it can serve (`config.readiness`): 503 with words that mean something to
the owner alone, and from the moment at which the server is told to end. While nobody asks it costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Protocol

from mcpapp.shutdown import told_of_shutdown

logger = logging.getLogger(__name__)

KEPT_SECONDS = 1.0
"""How long an answer counts: a flood of questions asks the database no oftener than that."""

Application = Callable[[Any, Any, Any], Awaitable[None]]


class Readiness(Protocol):
    """What knows whether the process can serve."""

    async def begin(self) -> None:
        """Look once at what need not be looked at again; the process has just started."""

    async def reasons(self) -> tuple[str, ...]:
        """Return why the process cannot serve, a word for each; nothing if it can."""


class Health:
    """An ASGI application that answers for another one, which it watches through its lifespan."""

    def __init__(self, application: Application, readiness: Readiness) -> None:
        self._application = application
        self._readiness = readiness
        self._state = "starting"
        self._reasons: tuple[str, ...] = ()
        self._reasons_count_until = 0.0
        self._checking: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a probe; hand on everything else."""
        if scope["type"] == "http":
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            if path == "/healthz":
                await _answer(scope, send, ())
                return
            if path == "/readyz":
                await _answer(scope, send, await self.reasons())
                return
        elif scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        await self._application(scope, receive, send)

    async def reasons(self) -> tuple[str, ...]:
        """Return why the process cannot serve, as it was found within the last second."""
        if self._state == "running" and monotonic() >= self._reasons_count_until:
            if self._checking is None:
                self._checking = asyncio.create_task(self._check())
            await asyncio.wait((self._checking,))  # which a caller that leaves does not cancel
        return self._reasons if self._state == "running" else (self._state,)

    async def _check(self) -> None:
        try:
            self._reasons = await self._readiness.reasons()
        except Exception:
            logger.exception("It could not be found out whether the process can serve.")
            self._reasons = ("unknown",)
        self._reasons_count_until = monotonic() + KEPT_SECONDS
        self._checking = None

    async def _lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        tasks: set[asyncio.Task[None]] = set()

        async def hear() -> Any:
            message = await receive()
            if message["type"] == "lifespan.shutdown":  # servers that end without a signal
                self._stop()
            return message

        async def tell(message: Any) -> None:
            if message["type"] == "lifespan.startup.complete" and self._state != "stopping":
                self._state, self._reasons_count_until = "running", 0.0
                tasks.add(asyncio.create_task(self._begin()))
            await send(message)

        self._state = "starting"
        try:
            with told_of_shutdown(self._stop):
                await self._application(scope, hear, tell)
        finally:
            self._stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _begin(self) -> None:
        try:
            await self._readiness.begin()
        except Exception:
            logger.exception("What is looked at once, at the start, could not be.")

    def _stop(self) -> None:
        self._state = "stopping"


async def _answer(scope: Any, send: Any, reasons: tuple[str, ...]) -> None:
    """Answer GET and HEAD, whatever else was sent; nothing keeps the answer."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    if scope["method"] in {"GET", "HEAD"}:
        status, text = (503, " ".join(reasons)) if reasons else (200, "ok")
    else:
        status, text = 405, ""
        headers.append((b"allow", b"GET, HEAD"))
    body = text.encode()
    headers += [(b"content-length", str(len(body)).encode()), (b"x-content-type-options", b"nosniff")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
