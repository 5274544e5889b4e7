"""How many clients one address may register: a token bucket in Django's cache (RFC 7591 §3 allows such a limit).

With `REDIS_URL` all workers share the buckets; without, each worker has its own, and so lets through its own burst.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse

from authapp import conf
from authapp.errors import error_response

logger = logging.getLogger(__name__)

_LOCK_EXPIRES_SECONDS = 5
_LOCK_WAIT_SECONDS = 1
_LOCK_RETRY_SECONDS = 0.005


def refuse_registration(request: HttpRequest) -> HttpResponse | None:
    """Take a token from the bucket of the address a request came from; return the refusal when it is empty.

    A cache that is down refuses nobody.
    """
    burst = conf.registration_burst()
    if not burst:
        return None
    address = address_group(request.META.get("REMOTE_ADDR", ""))
    interval = max(1, round(60_000 / conf.registration_refill_per_minute()))
    try:
        wait = Bucket(f"authapp:registration:{address}", burst, interval).take()
    except Exception:  # each cache has its own errors
        logger.exception("Registrations are not limited: the cache does not work.")
        return None
    if not wait:
        return None
    seconds = math.ceil(wait / 1000)
    logger.warning("Too many registrations from %s.", address)
    # RFC 7591 has no code for it. Clients know this one (RFC 6749 §4.1.2.1); the status says the rest (RFC 6585 §4).
    response = error_response(
        "temporarily_unavailable",
        f"Too many clients were registered from this address. Try again in {seconds} s.",
        status=429,
    )
    response["Retry-After"] = str(seconds)
    return response


def address_group(remote_addr: str) -> str:
    """Return what shares a bucket: an IPv4 address, or the /64 that one IPv6 host has to itself.

    Only ever from REMOTE_ADDR: the ASGI server has put the client's address there if it trusts the proxy, and a
    header that anyone can send must not choose the bucket. What is no address (a Unix socket has none) shares one.
    """
    try:
        address = ip_address(remote_addr)
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return str(ip_network((int(address), 64), strict=False))
        address = address.ipv4_mapped  # how a socket for both families writes IPv4
    return str(address)


@dataclass(frozen=True)
class Bucket:
    """A token bucket that is kept as one number: the time when it will be full again, in Unix milliseconds."""

    key: str
    capacity: int
    interval: int
    """Milliseconds in which one token comes back."""

    def take(self) -> int:
        """Take a token and return 0; return the milliseconds until there is one when there is none."""
        if wait := self._state()[1]:
            return wait  # most answers during a flood: without the lock
        with _lock(f"{self.key}:lock"):
            full_at, wait, now = self._state()
            if not wait:
                full_at += self.interval
                cache.set(self.key, full_at, timeout=math.ceil((full_at - now) / 1000))
        return wait

    def _state(self) -> tuple[int, int, int]:
        """Return when the bucket will be full, for how long there is no token, and what time it is."""
        now = int(time.time() * 1000)
        full_at = max(cache.get(self.key, 0), now)
        return full_at, max(0, full_at - now - (self.capacity - 1) * self.interval), now


@contextmanager
def _lock(key: str) -> Iterator[None]:
    """Let one at a time read and write a bucket, in all processes that share the cache.

    The cache can add a key atomically and little else. Whoever has waited long goes on without the lock: then two may
    take the same token, which is better than nobody getting one when a process died with the lock.
    """
    deadline = time.monotonic() + _LOCK_WAIT_SECONDS
    while not (locked := cache.add(key, 1, timeout=_LOCK_EXPIRES_SECONDS)) and time.monotonic() < deadline:
        time.sleep(_LOCK_RETRY_SECONDS)
    try:
        yield
    finally:
        if locked:
            cache.delete(key)
