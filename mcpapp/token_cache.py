"""Keep what was found out about access tokens, for as long as it is certainly still so.

A lookup costs more than many a call. What it found is used again only while a feed of changes
(`MCPAPP["TOKEN_CHANGES"]`) says that it knows every change up to now; without a feed nothing is kept. So there is no
lifetime during which a revoked token would still be accepted (docs/decisions/0010).

Tokens are never kept, only a digest of 256 bits.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

MAXIMUM_ENTRIES = 10_000
"""How many good tokens are kept; the one that was not used for longest goes first."""

MAXIMUM_REFUSALS = 10_000
REFUSAL_SECONDS = 2.0
"""How many bad tokens are kept, apart from the good ones, and for how long: a flood of them evicts only its own."""

MAXIMUM_LOOKUPS = 1000
"""How many lookups may be under way or wait; a flood of tokens that have to be looked up is refused beyond that."""


class Feed(Protocol):
    """What tells of changes. Whoever opens it passes `TokenCache.forget`."""

    def are_known(self) -> bool:
        """Return whether `forget` has heard of every change that was made until now."""


class Found(Protocol):
    """What a lookup found."""

    @property
    def depends_on(self) -> Collection[str]:
        """The names under which the feed tells of a change to it; empty if it tells of none."""


class TooManyLookups(Exception):
    """So many tokens are being looked up that another has to wait outside."""


FoundT = TypeVar("FoundT", bound=Found)


@dataclass(slots=True)
class _Flight(Generic[FoundT]):
    """A lookup under way."""

    generation: int
    task: asyncio.Task[FoundT | None]


class TokenCache(Generic[FoundT]):
    """Looks tokens up, each once at a time, and remembers."""

    def __init__(
        self, lookup: Callable[[str], Awaitable[FoundT | None]], may_be_known: Callable[[str], bool] = lambda _: True
    ) -> None:
        self._lookup = lookup
        self._may_be_known = may_be_known
        self.feed: Feed | None = None
        self._entries: OrderedDict[bytes, FoundT] = OrderedDict()
        self._refusals: OrderedDict[bytes, float] = OrderedDict()
        self._dependents: dict[str, set[bytes]] = {}
        self._flights: dict[bytes, _Flight[FoundT]] = {}
        self._lookups = 0
        self._generation = 0
        """Rises with every change: what was looked up before one is not kept after it."""

    async def find(self, token: str) -> FoundT | None:
        """Return what the lookup says of a token; None for a bad one.

        Raises:
            TooManyLookups: try again later.
            Exception: whatever the lookup raises.
        """
        # Not SHA-256: that comes from OpenSSL, whose code is seldom warm, and costs more than all the rest of this.
        key = hashlib.blake2b(token.encode(), digest_size=32).digest()
        if key not in self._entries and not self._may_be_known(token):  # what is kept was asked about when it came
            return None
        are_known = self.feed is not None and self.feed.are_known()  # this call may bring news to `forget`
        if are_known:
            if (entry := self._entries.get(key)) is not None:
                self._entries.move_to_end(key)
                return entry
            if (until := self._refusals.get(key)) is not None and time.monotonic() < until:
                return None
            flight = self._flights.get(key)
            if flight is not None and flight.generation == self._generation:
                return await asyncio.shield(flight.task)
        return await self._fly(key, token, are_known)

    def forget(self, names: Collection[str] | None) -> None:
        """Forget what depends on something that changed; everything if `names` is None."""
        self._generation += 1
        self._refusals.clear()
        if names is None:
            self._entries.clear()
            self._dependents.clear()
            return
        for name in names:
            for key in self._dependents.pop(name, ()):
                self._drop(key)

    def close(self) -> None:
        """Forget everything, and wait for no lookup any more: its event loop may end."""
        self.feed = None
        self.forget(None)
        for flight in self._flights.values():
            flight.task.cancel()
        self._flights.clear()

    async def _fly(self, key: bytes, token: str, are_known: bool) -> FoundT | None:
        """Look a token up in a task of its own: the client that asked first may leave, others wait for it too."""
        if self._lookups >= MAXIMUM_LOOKUPS:
            raise TooManyLookups
        self._lookups += 1
        flight = _Flight(self._generation, asyncio.create_task(self._look_up(key, token, are_known)))
        if are_known:  # otherwise its answer is good for calls that began before it, and no other
            self._flights[key] = flight

        def landed(task: asyncio.Task[Any]) -> None:
            self._lookups -= 1
            if self._flights.get(key) is flight:
                del self._flights[key]
            if not task.cancelled():
                task.exception()  # whoever waited has it; if nobody did, it is of no interest

        flight.task.add_done_callback(landed)
        return await asyncio.shield(flight.task)

    async def _look_up(self, key: bytes, token: str, are_known: bool) -> FoundT | None:
        generation = self._generation
        found = await self._lookup(token)
        if are_known and generation == self._generation:
            if found is None:
                self._refusals[key] = time.monotonic() + REFUSAL_SECONDS
                self._refusals.move_to_end(key)
                if len(self._refusals) > MAXIMUM_REFUSALS:
                    self._refusals.popitem(last=False)
            elif found.depends_on:
                self._entries[key] = found
                for name in found.depends_on:
                    self._dependents.setdefault(name, set()).add(key)
                if len(self._entries) > MAXIMUM_ENTRIES:
                    self._drop(next(iter(self._entries)))
        return found

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        for name in entry.depends_on if entry is not None else ():
            if keys := self._dependents.get(name):
                keys.discard(key)
                if not keys:
                    del self._dependents[name]
