"""Public keys of clients and of issuers: JWK sets (RFC 7517 §5), and the addresses they are published at.

A set behind a `jwks_uri` is fetched before the transaction that needs it, as safely as a client's document
(authapp/safe_fetch.py), and kept: the keys that were had last go on counting for a while when no newer ones can be had.
"""

from __future__ import annotations

import http.client
import json
import logging
import re
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from django.db import connection
from django.db.models import Q
from django.utils import timezone
from oauth2_provider.cimd import CIMDError
from oauth2_provider.settings import oauth2_settings

from authapp import client_hosts, conf, json_web_keys, safe_fetch, throttling, transactions
from authapp.json_web_keys import UnusableKey
from authapp.models import KeySet
from authapp.safe_fetch import FetchError, Place

logger = logging.getLogger(__name__)

MAXIMUM_KEYS = 20
MAXIMUM_BYTES = 64 * 1024
"""Of a set: large providers publish certificates beside their keys."""
MAXIMUM_URI_LENGTH = 500
RETRY_SECONDS = 60
"""How long a set is not asked for again, whatever key somebody claims to have."""
FETCHES_AT_ONCE = 4

_PRIVATE_URL = re.compile(r"(https?)://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?(/[!-\"$-~]*)?")


class _Slots:
    """How many requests the network may hold up at one time: those that fetch, and those that wait for one of them."""

    def __init__(self) -> None:
        self.fetching = threading.BoundedSemaphore(FETCHES_AT_ONCE)
        self.waiting = threading.BoundedSemaphore(FETCHES_AT_ONCE)


# Apart, because strangers can name hosts that answer slowly, and trusted issuers must not be kept waiting by them.
_of_strangers, _of_owner = _Slots(), _Slots()


class KeySetError(Exception):
    """A key set, or the address of one, that cannot be used; the message is for its owner's developer."""


def parse(document: Any) -> list[dict[str, Any]]:
    """Return the usable public keys of a JWK set, without what is not needed of them; other types are left out.

    Raises:
        KeySetError: it is too large, malformed, or has a private or symmetric key, or one too weak.
    """
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or len(keys) > MAXIMUM_KEYS:
        raise KeySetError(f"a key set is an object whose keys are an array of at most {MAXIMUM_KEYS}")
    found = []
    try:
        for key in keys:
            json_web_keys.require_public(key)
            if json_web_keys.is_known_type(key):
                json_web_keys.require_usable(key)
                found.append(json_web_keys.worth_keeping(key))
        if len(json.dumps(found)) > MAXIMUM_BYTES:
            raise KeySetError(f"a key set has at most {MAXIMUM_BYTES} bytes")
    except UnusableKey as error:
        raise KeySetError(str(error)) from error
    return found


def require_fetchable(jwks_uri: str, *, is_strangers: bool = True) -> Place:
    """Take the address of a key set apart.

    Args:
        is_strangers: whether anybody but the site's owner gave it, who must not make us ask hosts of the intranet.

    Raises:
        KeySetError: it is not the plain https URL of a public host, nor one of AUTHAPP["PRIVATE_KEY_HOSTS"].
    """
    if len(jwks_uri) > MAXIMUM_URI_LENGTH:
        raise KeySetError(f"jwks_uri has at most {MAXIMUM_URI_LENGTH} characters")
    if not is_strangers and (match := _PRIVATE_URL.fullmatch(jwks_uri)):
        try:
            parts = urlsplit(jwks_uri)
            port = parts.port or (80 if parts.scheme == "http" else 443)
        except ValueError:
            raise KeySetError("jwks_uri has an impossible host or port") from None
        if parts.netloc in conf.private_key_hosts():
            return Place(str(parts.hostname), port, match[2] or "/", is_private=True, is_plain=parts.scheme == "http")
    try:
        return Place(*client_hosts.parse_url(jwks_uri, maximum_length=MAXIMUM_URI_LENGTH))
    except CIMDError:
        private = "" if is_strangers else "; a host of your own network is named in PRIVATE_KEY_HOSTS"
        raise KeySetError(f"jwks_uri is not a plain https URL with the name of a host and a path{private}") from None


def known(jwks_uri: str) -> list[dict[str, Any]]:
    """Return the keys that are stored for an address, none where their time is long over. The network is not asked."""
    stale = timezone.now() - timedelta(seconds=conf.client_document_stale_seconds())
    keys = KeySet.objects.filter(url=jwks_uri, fresh_until__gte=stale).values_list("keys", flat=True).first()
    return list(keys or ())


def refresh(jwks_uri: str, *, kid: str | None = None, meta: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Fetch a key set that was never had, is past its time or has no key `kid`; at most once a minute.

    Does nothing in a transaction, where nobody may wait for the network. What goes wrong is logged and not raised: the
    keys that were had last go on counting.

    Args:
        meta: `request.META` where a stranger gave the address of the keys: it is that of a public host, and what one
            person can make us fetch has a limit. Nothing where the site's owner gave it.
    """
    if transactions.is_under_way() or not _is_due(jwks_uri, kid):
        return
    try:
        place = require_fetchable(jwks_uri, is_strangers=bool(meta))
    except KeySetError as error:
        logger.warning("The key set %r is not asked for: %s.", jwks_uri, error)
        return
    slots = _of_strangers if meta else _of_owner
    if not slots.fetching.acquire(blocking=False):
        logger.warning("The key set %r is not asked for: too many others are.", jwks_uri)
        return
    try:
        if _claim(jwks_uri, meta):
            _fetch_and_store(jwks_uri, place)
            return
    finally:
        slots.fetching.release()
    if not _has(jwks_uri, kid) and slots.waiting.acquire(blocking=False):
        try:
            _wait_for_another(jwks_uri)
        finally:
            slots.waiting.release()


def _is_due(jwks_uri: str, kid: str | None) -> bool:
    fresh = KeySet.objects.filter(url=jwks_uri, fresh_until__gt=timezone.now()).exists()
    return not fresh or (kid is not None and not _has(jwks_uri, kid))


def _has(jwks_uri: str, kid: str | None) -> bool:
    keys = known(jwks_uri)
    return any(key.get("kid") == kid for key in keys) if kid is not None else bool(keys)


def _claim(jwks_uri: str, meta: Mapping[str, Any]) -> bool:
    """Return whether it is for us to fetch: of parallel requests, in all processes, for one of them."""
    KeySet.objects.get_or_create(url=jwks_uri)
    now = timezone.now()
    not_tried = Q(tried_at=None) | Q(tried_at__lt=now - timedelta(seconds=RETRY_SECONDS))
    rows = KeySet.objects.filter(not_tried, url=jwks_uri)
    if meta and rows.exists() and not throttling.may_fetch(meta):
        return False
    busy_until = now + timedelta(seconds=oauth2_settings.CIMD_FETCH_TIMEOUT_SECONDS)
    return bool(rows.update(tried_at=now, busy_until=busy_until))


def _fetch_and_store(jwks_uri: str, place: Place) -> None:
    changed: dict[str, Any] = {"busy_until": None}
    try:
        if not connection.in_atomic_block:
            connection.close()  # given back to the pool: a slow host must not keep it from everybody else
        keys, seconds = safe_fetch.get(place, _read, maximum_bytes=MAXIMUM_BYTES)
        changed |= {"keys": keys, "fresh_until": timezone.now() + timedelta(seconds=seconds)}
    except (FetchError, KeySetError) as error:
        logger.warning("The key set %r cannot be had: %s.", jwks_uri, error)
    except Exception:  # whatever a stranger's host answers, the request goes on with the keys there are
        logger.exception("The key set %r cannot be had.", jwks_uri)
    KeySet.objects.filter(url=jwks_uri).update(**changed)


def _wait_for_another(jwks_uri: str) -> None:
    """Wait while another request is fetching: its keys are ours too."""
    while KeySet.objects.filter(url=jwks_uri, busy_until__gt=timezone.now()).exists():
        time.sleep(0.05)


def _read(response: http.client.HTTPResponse) -> tuple[list[dict[str, Any]], int]:
    """Read a response.

    Raises:
        KeySetError: it is no key set.
    """
    if response.status != 200:
        raise KeySetError(f"the host answered HTTP {response.status}")
    media_type = response.headers.get_content_type()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise KeySetError("the host answered with something else than JSON")
    if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise KeySetError("the key set is compressed, which was not asked for")
    body = response.read(MAXIMUM_BYTES + 1)
    if len(body) > MAXIMUM_BYTES:
        raise KeySetError(f"a key set has at most {MAXIMUM_BYTES} bytes")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise KeySetError("the key set is not valid JSON") from None
    return parse(document), safe_fetch.freshness_seconds(response.headers)
