"""What a call needs that takes a while: to end when its client leaves, and a connection that stays open until then.

Nearly every call is over before anybody has to look after it, so that begins only after a moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from mcpapp.eagerly import eagerly
from mcpapp.interruption import Interruption

UNATTENDED_SECONDS = 0.05
PING_SECONDS = 15.0
"""After how much silence something is sent, so that no proxy takes the connection for dead; the SDK's figure too."""

T = TypeVar("T")


class ClientLeft(Exception):
    """Nobody waits for the answer any more."""


async def attended(work: Coroutine[Any, Any, T], receive: Receive, keep_alive: Callable[[], Awaitable[None]]) -> T:
    """Return what `work` returns; `keep_alive` is awaited every `PING_SECONDS` until then.

    Raises:
        ClientLeft: the client closed the connection, and the work was cancelled.
    """

    async def attend(rest: Awaitable[T]) -> T:
        attendant = _Attendant(receive, keep_alive)
        try:
            return await rest
        except asyncio.CancelledError:
            if attendant.interruption.is_cause():
                raise ClientLeft from None
            raise
        finally:
            await attendant.stop()

    return await eagerly(work, attend)


class _Attendant:
    """Looks after the task it is made in."""

    def __init__(self, receive: Receive, keep_alive: Callable[[], Awaitable[None]]) -> None:
        self.interruption = Interruption()
        self._receive = receive
        self._keep_alive = keep_alive
        self._attending: asyncio.Task[None] | None = None
        self._is_sending = False
        self._is_over = False
        self._timer = asyncio.get_running_loop().call_later(UNATTENDED_SECONDS, self._begin)

    async def stop(self) -> None:
        """Look away; nothing is sent from here afterwards."""
        self._timer.cancel()
        self.interruption.close()
        self._is_over = True
        if self._attending is not None:
            if not self._is_sending:  # or nobody would know how much of it was sent: a slow client holds it up
                self._attending.cancel()
            await asyncio.wait((self._attending,))

    def _begin(self) -> None:
        self._attending = asyncio.create_task(self._attend())

    async def _attend(self) -> None:
        leaving = asyncio.create_task(self._until_left())
        try:
            while not self._is_over and not (await asyncio.wait((leaving,), timeout=PING_SECONDS))[0]:
                self._is_sending = True
                try:
                    await self._keep_alive()
                finally:
                    self._is_sending = False
        except OSError:  # sending failed: that is another way to hear of it
            pass
        finally:
            leaving.cancel()
        if not self._is_over:
            self.interruption.interrupt()

    async def _until_left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
