"""How much may be called: by a person, a client, an address, of a tool, and at once (docs/decisions/0034).

Checked when a call has been read and before anything of it runs. Who is over a limit is told so twice: by HTTP 429 with
`Retry-After` and the RateLimit headers (draft-ietf-httpapi-ratelimit-headers), and by a JSON-RPC error in its body.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from starlette.responses import Response
from starlette.types import Scope

from mcpapp import conf
from mcpapp.challenge import rpc_refusal
from mcpapp.identity import Identity

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool

logger = logging.getLogger(__name__)

PLACES = ("person", "client", "address")
LIMITED_CODE = -32029
"""JSON-RPC's range for servers (§5.1); no SDK gives it a meaning of its own."""
REDIS_SECONDS = 0.5
"""How long a call waits for Redis at most."""
AWAY_SECONDS = 30.0
"""For how long Redis is left alone once it did not answer; until then each process counts for itself."""
IN_FLIGHT_RETRY_SECONDS = 1


class Limits:
    """The limits of one process."""

    def __init__(self) -> None:
        self._by_place, self._by_tool = _parsed(conf.rate_limits())
        self.has_rates = bool(self._by_place or self._by_tool)
        self._most = conf.calls_in_flight() or math.inf
        self.in_flight = 0
        """Calls under way; `mcpapp.asgi` counts them here."""
        self.counts: Counter[str] = Counter()
        """Calls that were refused, by what limit."""
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared: SlidingWindowCounterRateLimiter | None = None
        self._pool: ConnectionPool | None = None
        self._away_until = 0.0
        if self.has_rates and (url := conf.rate_limit_storage()):
            from redis.asyncio import ConnectionPool  # a tenth of a second, for those who have a Redis

            # Ours, so that its connections can be closed: the storage has no end.
            self._pool = ConnectionPool.from_url(
                url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS, max_connections=1000
            )
            options: dict[str, Any] = {"connection_pool": self._pool}  # which its types leave out
            storage = RedisStorage(f"async+{url}", implementation="redispy", key_prefix="star-limits", **options)
            self._shared = SlidingWindowCounterRateLimiter(storage)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Close the connections to Redis at the end; further calls open new ones."""
        try:
            yield
        finally:
            if self._pool is not None:
                await self._pool.disconnect()

    def may_refuse(self) -> bool:
        """Return whether `refused` has to be asked about a call."""
        return self.has_rates or self.in_flight > self._most

    async def refused(self, identity: Identity, message: Mapping[str, Any], scope: Scope) -> Response | None:
        """Return what to answer a call that is one too many; None if it may run, and then it has been counted."""
        if self.in_flight > self._most:
            self.counts["in_flight"] += 1
            text = "The server has as many calls under way as it takes. Try again shortly."
            headers = {"Retry-After": str(IN_FLIGHT_RETRY_SECONDS)}
            data = {"retry_after_seconds": IN_FLIGHT_RETRY_SECONDS, "limit": "in_flight"}
            return rpc_refusal(503, message.get("id"), LIMITED_CODE, text, data, headers)
        if not self.has_rates:
            return None
        for place, item, key in self._concerned(identity, message, scope):
            seconds = await self._seconds_to_wait(item, place, key)
            if seconds:
                self.counts[place] += 1
                return _too_many(message.get("id"), place, item, seconds)
        return None

    def _concerned(
        self, identity: Identity, message: Mapping[str, Any], scope: Scope
    ) -> Iterator[tuple[str, RateLimitItem, str]]:
        """Yield the limits that a call counts for, the narrowest first, and for whom."""
        address = _network(scope.get("client"))
        person = f"a{address}" if identity.is_anonymous else f"p{identity.user_id}"
        params = message.get("params")
        name = params.get("name") if isinstance(params, dict) else None
        if isinstance(name, str) and (of_tool := self._by_tool.get(name)):
            yield "tool", of_tool, f"{name}:{person}"
        if (of_person := self._by_place.get("person")) and not identity.is_anonymous:
            yield "person", of_person, person
        if (of_client := self._by_place.get("client")) and identity.client_id:
            yield "client", of_client, identity.client_id
        if (of_address := self._by_place.get("address")) and address:
            yield "address", of_address, address

    async def _seconds_to_wait(self, item: RateLimitItem, place: str, key: str) -> int:
        """Count one, and return after how many seconds to come again; 0 if it is not too many."""
        shared = self._shared
        if shared is not None and time.monotonic() >= self._away_until:
            try:
                seconds = await _hit(shared, item, place, key)
            except Exception as error:  # whatever Redis or the network has against it
                if not self._away_until:
                    logger.warning(
                        "Redis does not answer (%s): each process counts calls itself.", type(error).__name__
                    )
                self._away_until = time.monotonic() + AWAY_SECONDS
            else:
                if self._away_until:
                    logger.warning("Redis answers again: all processes count calls together.")
                    self._away_until = 0.0
                return seconds
        return await _hit(self._own, item, place, key)


async def _hit(limiter: SlidingWindowCounterRateLimiter, item: RateLimitItem, place: str, key: str) -> int:
    if await limiter.hit(item, place, key):
        return 0
    stats = await limiter.get_window_stats(item, place, key)
    return min(max(1, math.ceil(stats.reset_time - time.time())), item.get_expiry())


def _too_many(request_id: Any, place: str, item: RateLimitItem, seconds: int) -> Response:
    whose = {
        "person": "you may make",
        "client": "this client may make",
        "address": "this address may make",
        "tool": "one may make of this tool",
    }
    text = f"Too many calls: {item.amount} in {item.get_expiry()} s is what {whose[place]}. Try again in {seconds} s."
    headers = {
        "Retry-After": str(seconds),
        "RateLimit-Policy": f'"{place}";q={item.amount};w={item.get_expiry()}',
        "RateLimit": f'"{place}";r=0;t={seconds}',
    }
    return rpc_refusal(429, request_id, LIMITED_CODE, text, {"retry_after_seconds": seconds, "limit": place}, headers)


def _network(client: Any) -> str:
    """Return the address of a caller, of IPv6 the /64 that one household or machine has; empty if there is none."""
    try:
        address = ip_address(str(client[0]).partition("%")[0]) if client else None
    except ValueError:
        return ""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(IPv6Address(int(address) >> 64 << 64))
    return "" if address is None else str(address)


def _parsed(limits: Any) -> tuple[dict[str, RateLimitItem], dict[str, RateLimitItem]]:
    """Return the limits of people, clients and addresses, and those of tools.

    Raises:
        ImproperlyConfigured: one of them is none.
    """
    if not isinstance(limits, Mapping) or not set(limits) <= {*PLACES, "tools"}:
        raise ImproperlyConfigured(f"RATE_LIMITS must be an object with {', '.join(PLACES)} and tools.")
    tools = limits.get("tools", {})
    if not isinstance(tools, Mapping):
        raise ImproperlyConfigured("RATE_LIMITS: tools must be an object, of limits by the name of the tool.")
    places = {place: limits[place] for place in PLACES if limits.get(place)}
    return _items(places), _items(tools)


def _items(limits: Mapping[str, Any]) -> dict[str, RateLimitItem]:
    try:
        items = {name: parse(text) for name, text in limits.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ImproperlyConfigured(
            'RATE_LIMITS: a limit is written like "600/minute" or "10 per 30 second".'
        ) from error
    if any(item.amount < 1 for item in items.values()):
        raise ImproperlyConfigured("RATE_LIMITS: a limit is at least 1.")
    return items
