"""Hear that the server is told to end, before it waits for open streams to end by themselves.

ASGI's `lifespan.shutdown` comes after the last request is over. A stream that waits for events is never over, so
without this a server waits for as long as it has patience, and then cuts the streams off.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, MethodType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def told_of_shutdown(tell: Callable[[], None]) -> Iterator[None]:
    """Have `tell` called on the event loop at SIGINT or SIGTERM; what the server does at them it does as before.

    Only where the ASGI server has a handler of its own in Python, and in the main thread, which alone may set one.
    """
    loop = asyncio.get_running_loop()
    ours: dict[signal.Signals, tuple[Any, Any]] = {}

    def chained(before: Callable[[int, FrameType | None], Any]) -> Any:
        def handle(_: Any, number: int, frame: FrameType | None) -> Any:
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(tell)
            return before(number, frame)

        # sse-starlette, which serves the SDK's older streams, finds uvicorn's server through the handler's `__self__`.
        return MethodType(handle, getattr(before, "__self__", before))

    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            before = signal.getsignal(number)
            if callable(before):
                ours[number] = (before, chained(before))
                signal.signal(number, ours[number][1])
    try:
        yield
    finally:
        for number, (before, handler) in ours.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, before)
