"""Read and check JWTs that somebody signed to say who they are or whom they speak for (RFC 7519, RFC 7523 §3).

RFC 8725 is what can go wrong with them: the algorithms are a fixed list without shared secrets, keys come from the
caller and never from the token, and text has one spelling.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from authapp import json_web_keys
from authapp.json_web_keys import UnusableKey, decode_base64url
from authapp.models import UsedAssertion

ALGORITHMS = json_web_keys.ALGORITHMS
MAXIMUM_LENGTH = 8192
MAXIMUM_JTI_LENGTH = 255
MAXIMUM_LIFETIME_SECONDS = 600
LEEWAY_SECONDS = 30
KEPT_AFTER_EXPIRY_SECONDS = 300
"""For how long after its time a used assertion is remembered: more than any leeway."""
_DELETED_AT_ONCE = 3


class InvalidAssertion(Exception):
    """An assertion that proves nothing; the message is for the log."""


@dataclass(frozen=True)
class Assertion:
    """A JWT in parts."""

    header: dict[str, Any]
    claims: dict[str, Any]


def read(text: str) -> Assertion:
    """Take a JWT apart without asking who signed it: only good for choosing the keys to check it with.

    Raises:
        InvalidAssertion: it is not a signed JWT in its one spelling.
    """
    if not isinstance(text, str) or not text.isascii() or len(text) > MAXIMUM_LENGTH:
        raise InvalidAssertion(f"not ASCII of at most {MAXIMUM_LENGTH} characters")
    parts = text.split(".")
    if len(parts) != 3:
        raise InvalidAssertion("not the three parts of a signed JWT")
    try:
        header, claims = _object(parts[0]), _object(parts[1])
        decode_base64url(parts[2])
    except (ValueError, RecursionError) as error:
        raise InvalidAssertion(f"not base64url of JSON objects: {error}"[:200]) from error
    if header.get("alg") not in ALGORITHMS:
        raise InvalidAssertion("alg is not one of this server's")
    if "crit" in header or "b64" in header:
        raise InvalidAssertion("the header has extensions")  # RFC 7515 §4.1.11: none is understood here
    if not isinstance(header.get("kid", ""), str) or not isinstance(header.get("typ", ""), str):
        raise InvalidAssertion("kid or typ is no string")
    return Assertion(header, claims)


def verify(
    text: str,
    keys: Sequence[Mapping[str, Any]],
    *,
    audiences: Collection[str],
    issuer: str,
    typ: str | None = None,
    maximum_lifetime: int = MAXIMUM_LIFETIME_SECONDS,
    leeway: int = LEEWAY_SECONDS,
) -> Assertion:
    """Return an assertion that one of the keys signed, meant for us, now (RFC 7523 §3). Replay: see `use_once`.

    Args:
        keys: JWKs (RFC 7517); the one with the assertion's `kid`, or without a `kid` each that fits.
        audiences: what `aud` may be, exactly; one alone (draft-ietf-oauth-rfc7523bis).
        issuer: what `iss` is, exactly.
        typ: what the header's `typ` is, exactly; None for one that is absent or `JWT`.
        maximum_lifetime: how far ahead `exp` may be, in seconds.
        leeway: by how many seconds clocks may differ.

    Raises:
        InvalidAssertion: for any reason.
    """
    assertion = read(text)
    header_typ = assertion.header.get("typ")
    # RFC 8725 §3.11: a JWT of another kind must not pass for this one.
    if header_typ != typ if typ is not None else header_typ not in {None, "JWT", "jwt"}:
        raise InvalidAssertion("typ is that of another kind of JWT")
    _require_signature(text, assertion.header, keys)
    _require_claims(assertion.claims, audiences=audiences, issuer=issuer)
    _require_time(assertion.claims, maximum_lifetime=maximum_lifetime, leeway=leeway)
    return assertion


def use_once(assertion: Assertion) -> bool:
    """Record that a verified assertion was used; return False if it was before (RFC 7523 §3 item 7).

    The row is part of the transaction under way: if that is rolled back, the assertion was not used. Each use deletes
    a few that expired: whoever registers a client with a key could otherwise add as many as they like until the command
    that cleans up runs.
    """
    digest = hashlib.sha256(json.dumps([assertion.claims["iss"], assertion.claims["jti"]]).encode()).hexdigest()
    expires_at = datetime.fromtimestamp(assertion.claims["exp"] + KEPT_AFTER_EXPIRY_SECONDS, UTC)
    try:
        with transaction.atomic():
            UsedAssertion.objects.create(digest=digest, expires_at=expires_at)
    except IntegrityError:
        return False
    _delete_some_expired()
    return True


def _delete_some_expired() -> None:
    skips = connection.features.has_select_for_update_skip_locked
    expired = UsedAssertion.objects.select_for_update(skip_locked=skips).filter(expires_at__lte=timezone.now())
    if keys := list(expired.values_list("pk", flat=True)[:_DELETED_AT_ONCE]):
        UsedAssertion.objects.filter(pk__in=keys).delete()


def _object(part: str) -> dict[str, Any]:
    """Decode one part.

    Raises:
        ValueError, RecursionError: it is no JSON object in which every name stands once, or has text no database takes.
    """
    value = json.loads(decode_base64url(part).decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    if not isinstance(value, dict):
        raise ValueError("no object")
    _require_text(value)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _require_text(value: Any) -> None:
    if isinstance(value, str):
        value.encode()  # a lone surrogate has no UTF-8, which is a ValueError
        if "\x00" in value:
            raise ValueError("NUL")
    elif isinstance(value, dict):
        for name, item in value.items():
            _require_text(name)
            _require_text(item)
    elif isinstance(value, list):
        for item in value:
            _require_text(item)


def _require_signature(text: str, header: dict[str, Any], keys: Sequence[Mapping[str, Any]]) -> None:
    algorithm = header["alg"]
    fitting = [key for key in keys if algorithm in json_web_keys.algorithms_of(key)]
    if "kid" in header:
        fitting = [key for key in fitting if key.get("kid") == header["kid"]]
    if not fitting:
        raise InvalidAssertion("no key of the signer has this kid and algorithm")
    message, _, signature = text.rpartition(".")
    for key in fitting:
        try:
            if json_web_keys.verifies(key, algorithm, message.encode(), decode_base64url(signature)):
                return
        except UnusableKey:
            continue
    raise InvalidAssertion("the signature is not the signer's")


def _require_claims(claims: dict[str, Any], *, audiences: Collection[str], issuer: str) -> None:
    if claims.get("iss") != issuer:
        raise InvalidAssertion("iss is somebody else")
    audience = claims.get("aud")
    if isinstance(audience, list):
        audience = audience[0] if len(audience) == 1 else None
    if not isinstance(audience, str) or audience not in audiences:
        raise InvalidAssertion("aud is not this server, or not this server alone")
    if not isinstance(claims.get("sub"), str) or not claims["sub"]:
        raise InvalidAssertion("sub is missing or no string")
    if not isinstance(claims.get("jti"), str) or not 1 <= len(claims["jti"]) <= MAXIMUM_JTI_LENGTH:
        raise InvalidAssertion(f"jti is not a string of 1 to {MAXIMUM_JTI_LENGTH} characters")


def _require_time(claims: dict[str, Any], *, maximum_lifetime: int, leeway: int) -> None:
    now = time.time()
    times = {name: claims[name] for name in ("exp", "iat", "nbf") if name in claims}
    for name, value in times.items():
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not is_number and not (isinstance(value, float) and math.isfinite(value)):  # 1e400 is infinite
            raise InvalidAssertion(f"{name} is no number")
    if "exp" not in times:
        raise InvalidAssertion("exp is missing")
    if times["exp"] <= now - leeway:
        raise InvalidAssertion("expired")
    if times["exp"] > now + maximum_lifetime + leeway:
        raise InvalidAssertion(f"exp is more than {maximum_lifetime} s ahead")
    if times.get("iat", now) > now + leeway or times.get("nbf", now) > now + leeway:
        raise InvalidAssertion("not valid yet")
