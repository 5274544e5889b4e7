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
from typing import Any

import httpx2
import jwt

from mcpapp.issuers.refusal import Refusal, Refused, Unavailable
from mcpapp.issuers.settings import TokenIssuer

logger = logging.getLogger(__name__)

FRESH_SECONDS = 3600
STALE_SECONDS = 24 * 3600
RETRY_SECONDS = 10
TIMEOUT_SECONDS = 3
"""Of each step; all of them have twice as long. Calls wait for it, and how many may wait is bounded."""
MAXIMUM_BYTES = 256 * 1024
MAXIMUM_KEYS = 100
MINIMUM_RSA_BITS = 2048


class KeysError(Exception):
    """The keys cannot be had; the message is for the log."""


class Keys:
    """The keys of one issuer."""

    def __init__(self, issuer: TokenIssuer) -> None:
        self._issuer = issuer
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._flight: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None

    async def find(self, kid: str) -> jwt.PyJWK:
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
            await asyncio.shield(task)
        if kid in self._keys:
            return self._keys[kid]
        if self._fetched_at < self._tried_at or not self._keys:
            raise Unavailable(Refusal.KEYS_UNAVAILABLE, "the issuer does not answer", self._issuer.issuer)
        raise Refused(Refusal.UNKNOWN_KEY, "the issuer has no key of this kid", self._issuer.issuer)

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


async def fetch_keys(issuer: TokenIssuer) -> dict[str, jwt.PyJWK]:
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
    keys: dict[str, jwt.PyJWK] = {}
    for entry in listed:
        key = _usable(entry, issuer.algorithms)
        if key is not None and key.key_id:
            keys[key.key_id] = key
    if not keys:
        raise KeysError("there is no key in it that a token could be signed with")
    return keys


def _usable(entry: Any, algorithms: frozenset[str]) -> jwt.PyJWK | None:
    """Return a key that signs with one of the algorithms; None for any other, which belongs to somebody else's use."""
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or "d" in entry:
        return None
    alg = entry.get("alg")
    if alg is not None and alg not in algorithms:
        return None
    try:
        key = jwt.PyJWK(entry, algorithm=alg)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if entry.get("kty") == "RSA" and key.key.key_size < MINIMUM_RSA_BITS:
        return None
    return key if entry.get("kty") in {"RSA", "EC", "OKP"} else None


async def _discovered(http: httpx2.AsyncClient, issuer: TokenIssuer) -> str:
    document = await _get(http, issuer.configuration_url)
    if document.get("issuer") != issuer.issuer:  # OpenID Connect Discovery §4.3
        raise KeysError("its configuration document is another issuer's")
    jwks_uri = document.get("jwks_uri")
    ours = httpx2.URL(issuer.issuer)
    if not isinstance(jwks_uri, str) or not (jwks_uri.startswith("https://") or httpx2.URL(jwks_uri).host == ours.host):
        raise KeysError("its configuration document names no https address of keys")
    return jwks_uri


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
