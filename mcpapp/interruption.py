"""End what the current task does when its time is over, or nobody waits for it any more.

`asyncio.timeout` and anyio's cancel scopes do the same, at the price of a small tool for each use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

_INSIST_SECONDS = 0.1

T = TypeVar("T")


class TookTooLong(TimeoutError):
    """It was interrupted because its time was over; no other TimeoutError is this one."""


class Interruption:
    """A cancellation of the task it is made in, which may come from a callback, and is told from anybody else's.

        interruption = Interruption()
        timer = interruption.after(5)
        try:
            ...
        except asyncio.CancelledError:
            if interruption.is_cause():
                ...  # it took too long
            raise
        finally:
            timer.cancel()
            interruption.close()

    Like within anyio's scopes, what catches it and goes on hears of it again.
    """

    __slots__ = ("_count", "_handle", "_loop", "_task")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._count = 0
        self._handle: asyncio.TimerHandle | None = None

    def after(self, seconds: float) -> asyncio.TimerHandle:
        """Interrupt when so much time has passed, unless what is returned is cancelled before."""
        return self._loop.call_later(seconds, self.interrupt)

    def interrupt(self) -> None:
        """Cancel the task, again and again until `close`."""
        assert self._task is not None  # noqa: S101  (coroutines run in tasks)
        self._count += 1
        self._task.cancel()
        self._handle = self._loop.call_later(_INSIST_SECONDS, self.interrupt)

    def is_cause(self) -> bool:
        """Return whether a CancelledError that was caught is this one and nobody else's; if so, it is taken back."""
        return self._take_back() and self._task is not None and self._task.cancelling() == 0

    def close(self) -> None:
        """Interrupt no more."""
        if self._count:
            self._take_back()
        if self._handle is not None:
            self._handle.cancel()

    def _take_back(self) -> bool:
        taken = self._count > 0
        while self._count and self._task is not None:
            self._count -= 1
            self._task.uncancel()
        return taken


async def in_time(work: Awaitable[T], seconds: float) -> T:
    """Return what `work` returns.

    Raises:
        TookTooLong: it did, and was interrupted.
    """
    interruption = Interruption()
    timer = interruption.after(seconds)
    try:
        return await work
    except asyncio.CancelledError:
        if interruption.is_cause():
            raise TookTooLong from None
        raise
    finally:
        timer.cancel()
        interruption.close()
