"""The public keys of an issuer (RFC 7517), kept in the process, fetched beside the calls that need them.

Fetched once for all who wait, and again when they are old or when a token names a key that is not among them, yet
never more often than each `RETRY_SECONDS`: whatever strangers put into `kid`, the issuer is not asked more. While it
cannot be reached, the keys that were had last go on counting for `STALE_SECONDS`.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import time
from dataclasses import dataclass
from typing import Any

import httpx2
import jwt
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from mcpapp.issuers.refusal import Refusal, Refused, Unavailable
from mcpapp.issuers.settings import TokenIssuer, require_url

logger = logging.getLogger(__name__)

FRESH_SECONDS = 3600
STALE_SECONDS = 24 * 3600
RETRY_SECONDS = 10
TIMEOUT_SECONDS = 3
"""Of each step; all of them have twice as long."""
MAXIMUM_WAITING = 100
"""How many calls wait for the keys of an issuer; places in which a process looks up everybody's tokens are few."""
MAXIMUM_BYTES = 256 * 1024
MAXIMUM_KEYS = 100
MAXIMUM_KID_LENGTH = 256
MINIMUM_RSA_BITS = 2048


class KeysError(Exception):
    """The keys cannot be had; the message is for the log."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key, and which algorithms it verifies (RFC 8725 §3.1)."""

    key: Any
    algorithms: frozenset[str]
    """The one that its JWK names; those that the settings allow where it names none."""


class Keys:
    """The keys of one issuer."""

    def __init__(self, issuer: TokenIssuer) -> None:
        self._issuer = issuer
        self._keys: dict[str, PublicKey] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._flight: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None
        self._waiting = 0

    async def find(self, kid: str) -> PublicKey:
        """Return the key that a token names.

        Raises:
            Refused: the issuer has no such key.
            Unavailable: it cannot be asked, and what is known is not enough to tell.
        """
        age = time.monotonic() - self._fetched_at
        if age >= STALE_SECONDS:
            self._keys = {}
        if kid in self._keys:
            if age >= FRESH_SECONDS:
                self._begin()  # nobody waits for it
            return self._keys[kid]
        if (task := self._begin()) is not None:
            await self._wait(task)
        if kid in self._keys:
            return self._keys[kid]
        if self._fetched_at < self._tried_at or not self._keys:
            raise Unavailable(Refusal.KEYS_UNAVAILABLE, "the issuer does not answer", self._issuer.issuer)
        raise Refused(Refusal.UNKNOWN_KEY, "the issuer has no key of this kid", self._issuer.issuer)

    async def _wait(self, task: asyncio.Task[None]) -> None:
        if self._waiting >= MAXIMUM_WAITING:
            raise Unavailable(Refusal.KEYS_UNAVAILABLE, "too many wait for the issuer", self._issuer.issuer)
        self._waiting += 1
        try:
            await asyncio.shield(task)
        finally:
            self._waiting -= 1

    def _begin(self) -> asyncio.Task[None] | None:
        """Return the fetch that is under way, or a new one if it is time for one."""
        loop = asyncio.get_running_loop()
        if self._flight is not None and self._flight[0] is loop and not self._flight[1].done():
            return self._flight[1]
        if time.monotonic() - self._tried_at < RETRY_SECONDS:
            return None
        self._tried_at = time.monotonic()
        # In a context of its own: it belongs to no call, and outlives the one that began it.
        task = loop.create_task(self._fetch(), context=contextvars.Context())
        self._flight = (loop, task)
        return task

    async def _fetch(self) -> None:
        try:
            keys = await fetch_keys(self._issuer)
        except KeysError as error:
            logger.warning("The keys of %s cannot be had: %s.", self._issuer.issuer, error)
        except Exception:  # whatever its host answers, the keys that are known go on counting
            logger.exception("The keys of %s cannot be had.", self._issuer.issuer)
        else:
            self._keys = keys
            self._fetched_at = time.monotonic()


async def fetch_keys(issuer: TokenIssuer) -> dict[str, PublicKey]:
    """Return the usable signing keys that an issuer publishes, by `kid`.

    Raises:
        KeysError: they cannot be had, or are none.
    """
    timeout = httpx2.Timeout(TIMEOUT_SECONDS)
    try:
        async with (
            asyncio.timeout(2 * TIMEOUT_SECONDS),
            httpx2.AsyncClient(timeout=timeout, headers={"Accept-Encoding": "identity"}) as http,
        ):
            jwks_uri = issuer.jwks_uri or await _discovered(http, issuer)
            document = await _get(http, jwks_uri)
    except (httpx2.HTTPError, TimeoutError) as error:
        raise KeysError(f"{type(error).__name__}: {error}") from error
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > MAXIMUM_KEYS:
        raise KeysError(f"a key set has a list of at most {MAXIMUM_KEYS} keys")
    keys = dict(found for entry in listed if (found := _usable(entry, issuer)) is not None)
    if not keys:
        raise KeysError("there is no key in it that a token could be signed with")
    return keys


def _usable(entry: Any, issuer: TokenIssuer) -> tuple[str, PublicKey] | None:
    """Return a key that signs with one of the algorithms, and its `kid`; None for any other, which has another use."""
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or "d" in entry:
        return None
    kid, kty, alg, operations = (entry.get(name) for name in ("kid", "kty", "alg", "key_ops"))
    if not isinstance(kid, str) or not 0 < len(kid) <= MAXIMUM_KID_LENGTH or kty not in ("RSA", "EC", "OKP"):
        return None
    if operations is not None and (not isinstance(operations, list) or "verify" not in operations):
        return None
    if alg is not None and (not isinstance(alg, str) or alg not in issuer.algorithms):
        return None
    if not _signs_for(entry.get("issuer"), issuer):
        return None
    try:
        key = jwt.PyJWK(entry, algorithm=alg).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if kty == "RSA" and key.key_size < MINIMUM_RSA_BITS:
        return None
    return kid, PublicKey(key, issuer.algorithms if alg is None else frozenset({alg}))


def _signs_for(named: Any, issuer: TokenIssuer) -> bool:
    """Return whether a JWK is for the issuer's tokens: Entra says so in it, with `{tenantid}` for each tenant's own."""
    if issuer.profile != "entra" or named is None:
        return True
    return isinstance(named, str) and named.replace("{tenantid}", issuer.tenant) in issuer.accepted


async def _discovered(http: httpx2.AsyncClient, issuer: TokenIssuer) -> str:
    document = await _get(http, issuer.configuration_url)
    if document.get("issuer") != issuer.issuer:  # OpenID Connect Discovery §4.3
        raise KeysError("its configuration document is another issuer's")
    jwks_uri = document.get("jwks_uri")
    try:
        require_url(jwks_uri, settings.DEBUG, with_query=True)
    except ImproperlyConfigured:
        raise KeysError("its configuration document names no https address of keys") from None
    return str(jwks_uri)


async def _get(http: httpx2.AsyncClient, url: str) -> dict[str, Any]:
    """Return a JSON object. Redirects are not followed, and what is too large is not read."""
    async with http.stream("GET", url) as response:
        if response.status_code != 200:
            raise KeysError(f"{url} answered {response.status_code}")
        if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise KeysError(f"{url} answered something compressed, which was not asked for")
        body = b""
        async for part in response.aiter_raw():
            body += part
            if len(body) > MAXIMUM_BYTES:
                raise KeysError(f"{url} answered more than {MAXIMUM_BYTES} bytes")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise KeysError(f"{url} answered no JSON") from None
    if not isinstance(document, dict):
        raise KeysError(f"{url} answered no object")
    return document
