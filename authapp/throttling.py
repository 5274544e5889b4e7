"""What one address may make us do: register clients (RFC 7591 §3 allows such a limit), fetch documents of clients.

Each is a token bucket in Django's cache.

With `REDIS_URL` all workers share the buckets; without, each worker has its own, and so lets through its own burst.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse

# `_backoff_cache_key` is private in DOT; tests/authapp/test_private_seams.py holds it.
from oauth2_provider import cimd

from authapp import conf
from authapp.errors import error_response

logger = logging.getLogger(__name__)

USER_CODES_OF_A_PERSON = 10  # at once, and one a minute after that
USER_CODES_OF_AN_ADDRESS = 60  # at once, and six a minute after that: an office has one address


def refuse_registration(request: HttpRequest) -> HttpResponse | None:
    """Take a token from the bucket of the address a request came from; return the refusal when it is empty.

    A cache that is down refuses nobody.
    """
    seconds = _seconds_to_wait(
        "registration", request.META, conf.registration_burst(), conf.registration_refill_per_minute()
    )
    if not seconds:
        return None
    return too_many("Too many clients were registered from this address.", seconds)


def refuse_device_authorization(request: HttpRequest) -> HttpResponse | None:
    """Do the same for an address that asks for codes of devices (RFC 8628 §5.2)."""
    seconds = _seconds_to_wait(
        "device", request.META, conf.device_authorization_burst(), conf.device_authorization_refill_per_minute()
    )
    return too_many("Too many device codes were asked for from this address.", seconds) if seconds else None


def too_many(problem: str, seconds: int) -> HttpResponse:
    """Return the refusal that says for how long to wait.

    RFC 7591 and RFC 8628 have no code for it. Clients know this one (RFC 6749 §4.1.2.1); the status says the rest
    (RFC 6585 §4).
    """
    response = error_response("temporarily_unavailable", f"{problem} Try again in {seconds} s.", status=429)
    response["Retry-After"] = str(seconds)
    return response


def seconds_until_user_code(request: HttpRequest) -> int:
    """Take a token for each user code that is entered, right or wrong; return 0, or for how long to wait.

    The numbers are in docs/decisions/0015. Other limits let people through when the cache is down; this one does not,
    because nothing else keeps codes from being tried out.
    """
    buckets = (
        Bucket(f"authapp:user-code:person:{request.user.pk}", USER_CODES_OF_A_PERSON, 60_000),
        Bucket(
            f"authapp:user-code:address:{address_group(request.META.get('REMOTE_ADDR') or '')}",
            USER_CODES_OF_AN_ADDRESS,
            10_000,
        ),
    )
    try:
        # One after the other: who has none left must not use up what the others at the address have.
        wait = next((wait for bucket in buckets if (wait := bucket.take())), 0)
    except Exception:  # each cache has its own errors
        logger.exception("No user code can be entered: the cache does not work.")
        return 60
    if wait:
        logger.warning("Too many user codes were entered by user %s.", request.user.pk)
    return _seconds(wait)


class DocumentFetchLimit:
    """DOT asks this before it fetches a document (CIMD_REGISTRATION_PERMISSION_CLASSES).

    Fetches at one time are few (CIMD_MAX_CONCURRENT_FETCHES), and a stranger can name hosts that answer slowly: without
    a limit, one address could take all of them all the time, and no new client could connect.
    """

    def has_permission(self, request: Any, client_id: str) -> bool:
        """Return whether the address a request came from may make us fetch; `request` is Django's or oauthlib's.

        A document that failed a moment ago is not fetched again anyway, so asking for it costs no token.
        """
        if cache.get(cimd._backoff_cache_key(client_id)):
            return True
        # Never by asking for the attribute: oauthlib's request answers with a parameter of that name.
        return may_fetch(request.META if isinstance(request, HttpRequest) else request.headers)


def may_fetch(meta: Mapping[str, Any]) -> bool:
    """Take a token from the bucket for documents and keys of clients; return False when it is empty."""
    return not _seconds_to_wait("document", meta, conf.document_fetch_burst(), conf.document_fetch_refill_per_minute())


def _seconds_to_wait(what: str, meta: Mapping[str, Any], burst: int, refill_per_minute: float) -> int:
    """Take a token from the bucket of an address; return 0, or how long it takes until there is one."""
    if not burst:
        return 0
    address = address_group(meta.get("REMOTE_ADDR") or "")
    interval = max(1, round(60_000 / refill_per_minute))
    try:
        wait = Bucket(f"authapp:{what}:{address}", burst, interval).take()
    except Exception:  # each cache has its own errors
        logger.exception("The limit (%s) is off: the cache does not work.", what)
        return 0
    if wait:
        logger.warning("Too many requests (%s) from %s.", what, address)
    return _seconds(wait)


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
    """A token bucket that is kept as one number: the time when it will be full again, in Unix milliseconds.

    The number only ever changes by an atomic addition. So parallel requests, in all processes that share the cache,
    take different tokens, and none waits for another, but for the moment in which one of them says that it was full.
    """

    key: str
    capacity: int
    interval: int
    """Milliseconds in which one token comes back."""

    def take(self) -> int:
        """Take a token and return 0; return the milliseconds until there is one when there is none."""
        now = int(time.time() * 1000)
        most = self.capacity * self.interval
        lifetime = _seconds(most)
        full_at = cache.get(self.key)
        if full_at is None:
            cache.add(self.key, now, timeout=lifetime)
        elif full_at > now + 2 * most:
            # Nothing takes that much: the clock was set back, and nobody shall wait for it to come there again.
            cache.set(self.key, now, timeout=lifetime)
        elif full_at + self.interval > now + most:
            return int(full_at + self.interval - now - most)  # most answers during a flood: nothing is written
        elif full_at < now:
            # It has been full for a while, which must not count as more than full. One of parallel requests says so,
            # and the others take nothing before.
            if cache.add(f"{self.key}:full", 1, timeout=1):
                cache.incr(self.key, now - full_at)
            else:
                self._await_correction(now)
        full_at = cache.incr(self.key, self.interval)
        if full_at > now + most:  # others took the rest in between
            cache.decr(self.key, self.interval)
            return int(full_at - now - most)
        cache.touch(self.key, timeout=lifetime)
        return 0

    def _await_correction(self, now: int) -> None:
        """Wait until the one that saw the bucket full has said so, which takes it no longer than two commands."""
        for _ in range(20):
            if cache.get(self.key, now) >= now:
                return
            time.sleep(0.001)


def _seconds(milliseconds: int) -> int:
    return math.ceil(milliseconds / 1000)
