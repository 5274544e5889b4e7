"""Slow a flood of refused requests down, so that it leaves time for honest calls.

A refusal costs little, and ten thousand a second cost a core all the same, most of it the ASGI server's. But answers of
one connection come in the order of its requests (RFC 9112 §9.3.2): while one waits, nothing more is read from it.
"""

from __future__ import annotations

import asyncio
import logging
import time

logger = logging.getLogger(__name__)

FREE_PER_SECOND = 1000
"""So many refusals in a second are answered at once: clients whose tokens have just expired, and more than those."""

DELAY_SECONDS = 1.0
MAXIMUM_WAITING = 400
"""So many answers wait at most, the rest are given at once: each is one of the 2000 that `manage.py serve` lets be
under way, and honest requests need theirs."""


class InThisSecond:
    """Counts what happens, anew in each second."""

    def __init__(self) -> None:
        self._second = 0
        self._count = 0

    def count(self) -> int:
        """Return the how manieth in this second it is."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._count = second, 0
        self._count += 1
        return self._count


class Brake:
    """Counts refusals in this process."""

    def __init__(self) -> None:
        self._refusals = InThisSecond()
        self._waiting = 0

    async def refuse(self) -> None:
        """Count one refusal, and wait before it is answered if there were too many in this second."""
        count = self._refusals.count()
        if count <= FREE_PER_SECOND or self._waiting >= MAXIMUM_WAITING:
            return
        if count == FREE_PER_SECOND + 1:
            logger.warning("More than %d requests in a second were refused; the others wait.", FREE_PER_SECOND)
        self._waiting += 1
        try:
            await asyncio.sleep(DELAY_SECONDS)
        finally:
            self._waiting -= 1
