"""The turn of a call among those of its tool, which it gives to another while it waits for a person.

Otherwise a few people who do not answer would close a tool to everybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

from mcp.server.mcpserver.utilities.context_injection import find_context_parameter


def may_ask(function: Callable[..., Any]) -> bool:
    """Return whether a function can ask in the middle of its call: it has the client in a parameter."""
    return find_context_parameter(function) is not None


class Turn:
    """A slot of a semaphore that can be left for a while."""

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots = slots
        self._has_slot = False
        self._waits = 0
        self._is_over = False

    async def __aenter__(self) -> None:
        """Wait for a slot."""
        await self._take()
        self._token = _turn.set(self)

    async def __aexit__(self, *_: object) -> None:
        """Give it back; what the call left running takes none any more."""
        _turn.reset(self._token)
        self._is_over = True
        self._give()

    @asynccontextmanager
    async def given_up(self) -> AsyncIterator[None]:
        """Let another have it for the code inside, and wait for one afterwards; who is cancelled needs none."""
        self._waits += 1
        self._give()
        try:
            yield
        finally:
            self._waits -= 1
            task = asyncio.current_task()
            if not (self._waits or self._has_slot or self._is_over or (task is not None and task.cancelling())):
                await self._take()

    async def _take(self) -> None:
        await self._slots.acquire()
        self._has_slot = True

    def _give(self) -> None:
        if self._has_slot:
            self._has_slot = False
            self._slots.release()


_turn: ContextVar[Turn | None] = ContextVar("mcpapp_turn", default=None)


@asynccontextmanager
async def turn_given_up() -> AsyncIterator[None]:
    """Let others have the turn of the call that runs this, for the code inside."""
    turn = _turn.get()
    if turn is None:
        yield
        return
    async with turn.given_up():
        yield
