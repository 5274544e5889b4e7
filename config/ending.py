"""End a worker that was told to, also when a thread of it never does.

Python cannot end a thread, and waits for each one before it exits. A tool that hangs would keep its worker for ever,
and with it the supervisor, which waits for the old worker before it replaces the next one.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

logger = logging.getLogger(__name__)

LAST_SECONDS = 15
"""How long a worker has once its requests are over or given up: more than the 10 s for the log of calls."""
EXIT_CODE = 1

Application = Callable[[Any, Any, Any], Awaitable[None]]


class WorkerConfig(uvicorn.Config):
    """What a worker is started with. Only in a worker is the application loaded, and bounded in how long it ends."""

    def load(self) -> None:
        """Load the application, as uvicorn does."""
        super().load()
        self.loaded_app = ends_in_time(self.loaded_app)


def ends_in_time(application: Application) -> Application:
    """Return an ASGI application whose process ends a while after its lifespan was told to."""

    async def served(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await application(scope, receive, send)
            return

        async def hear() -> Any:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                timer = threading.Timer(LAST_SECONDS, _end)
                timer.daemon = True  # it keeps nobody that ends by itself
                timer.start()
            return message

        await application(scope, hear, send)

    return served


def _end() -> None:
    threads = [thread.name for thread in threading.enumerate() if not thread.daemon and thread.name != "MainThread"]
    logger.error("Not over %d s after the last request, so the process ends without: %s", LAST_SECONDS, threads)
    os._exit(EXIT_CODE)
