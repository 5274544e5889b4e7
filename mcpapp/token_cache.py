"""Keep what was found out about access tokens, for as long as it is certainly still so.

A lookup costs more than many a call. What it found is used again only while a feed of changes
(`MCPAPP["TOKEN_CHANGES"]`) says that it knows every change up to now; without a feed nothing is kept. So there is no
lifetime during which a revoked token would still be accepted (docs/decisions/0010).

Tokens are never kept, only their SHA-256.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from typing import Generic, Protocol, TypeVar

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

    @property
    def look_up_again_at(self) -> float:
        """Unix time in seconds from when it counts no more by itself, since not all that it rests on is in the feed."""


class TooManyLookups(Exception):
    """So many tokens are being looked up that another has to wait outside."""


FoundT = TypeVar("FoundT", bound=Found)


class _Flight(Generic[FoundT]):
    """A lookup under way, for those who ask the same meanwhile."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self._landing: asyncio.Future[FoundT | None] | None = None

    async def wait(self) -> bool:
        """Return whether there is an outcome; there is none if who looked it up left before."""
        if self._landing is None:
            self._landing = asyncio.get_running_loop().create_future()
        await asyncio.wait((self._landing,))  # not the future itself: who stops waiting must not cancel it for all
        return not self._landing.cancelled()

    def outcome(self) -> FoundT | None:
        """Return what was found, or raise what was raised."""
        assert self._landing is not None  # noqa: S101  (asked after `wait`)
        return self._landing.result()

    def land(self, found: FoundT | None = None, error: BaseException | None = None) -> None:
        """Tell those who wait."""
        if self._landing is None or self._landing.done():
            return
        if error is None:
            self._landing.set_result(found)
        elif isinstance(error, Exception):
            self._landing.set_exception(error)
            self._landing.exception()  # those who wait raise it; if they all left, it is of no interest
        else:
            self._landing.cancel()


class TokenCache(Generic[FoundT]):
    """Looks tokens up, each once at a time, and remembers."""

    def __init__(
        self, lookup: Callable[[str], Awaitable[FoundT | None]], may_be_known: Callable[[str], bool] = lambda _: True
    ) -> None:
        self._lookup = lookup
        self._may_be_known = may_be_known
        self.feed: Feed | None = None
        self._are_known = False
        self._entries: OrderedDict[bytes, FoundT] = OrderedDict()
        self._refusals: OrderedDict[bytes, float] = OrderedDict()
        self._dependents: dict[str, set[bytes]] = {}
        self._flights: dict[bytes, _Flight[FoundT]] = {}
        self._lookups = 0
        self.hits = self.misses = 0
        """How many good tokens were known, and how many were looked up, since the start."""
        self._generation = 0
        """Rises with every change: what was looked up before one is not kept after it."""

    def kept(self, token: str) -> FoundT | None:
        """Return what is kept of a good token, if that is certainly still so; otherwise it has to be looked up."""
        key = hashlib.sha256(token.encode()).digest()
        if key not in self._entries or not self._are_known_now():
            return None
        entry = self._entry(key)  # asking the feed may have brought news of it
        if entry is not None:
            self.hits += 1
        return entry

    def _entry(self, key: bytes) -> FoundT | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.look_up_again_at <= time.time():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry

    def _are_known_now(self) -> bool:
        """Return whether the feed knew every change when a call had come that the event loop has work for now.

        It is asked once for all of them. What the loop runs before `_look_again` was waiting already when it was asked,
        so those calls had begun; a change after that came after they did.
        """
        if not self._are_known:
            if self.feed is None or not self.feed.are_known():
                return False
            self._are_known = True
            asyncio.get_running_loop().call_soon(self._look_again)
        return True

    def _look_again(self) -> None:
        self._are_known = False

    async def find(self, token: str) -> FoundT | None:
        """Return what the lookup says of a token; None for a bad one.

        Raises:
            TooManyLookups: try again later.
            Exception: whatever the lookup raises.
        """
        key = hashlib.sha256(token.encode()).digest()
        if key not in self._entries and not self._may_be_known(token):  # what is kept was asked about when it came
            return None
        while True:
            are_known = self.feed is not None and self.feed.are_known()  # this call may bring news to `forget`
            if are_known:
                if (entry := self._entry(key)) is not None:
                    self.hits += 1
                    return entry
                if (until := self._refusals.get(key)) is not None and time.monotonic() < until:
                    return None
                flight = self._flights.get(key)
                if flight is not None and flight.generation == self._generation:
                    if await flight.wait():
                        return flight.outcome()
                    continue  # the client that asked first has left: another one asks
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
        """Forget everything, also what is under way: the event loop it runs on may end."""
        self.feed = None
        self._are_known = False
        self.forget(None)
        self._flights.clear()

    async def _fly(self, key: bytes, token: str, are_known: bool) -> FoundT | None:
        """Look a token up, for all who ask meanwhile."""
        if self._lookups >= MAXIMUM_LOOKUPS:
            raise TooManyLookups
        flight: _Flight[FoundT] = _Flight(self._generation)
        if are_known:  # otherwise its answer is good for calls that began before it, and no other
            self._flights[key] = flight
        self._lookups += 1
        self.misses += 1
        try:
            found = await self._lookup(token)
            if are_known and flight.generation == self._generation:
                self._keep(key, found)
            flight.land(found)
        except BaseException as error:
            flight.land(error=error)
            raise
        finally:
            self._lookups -= 1
            if self._flights.get(key) is flight:
                del self._flights[key]
        return found

    def _keep(self, key: bytes, found: FoundT | None) -> None:
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

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        for name in entry.depends_on if entry is not None else ():
            if keys := self._dependents.get(name):
                keys.discard(key)
                if not keys:
                    del self._dependents[name]
