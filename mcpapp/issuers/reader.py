"""Read a signed token (RFC 7519, RFC 9068, RFC 8725): its form, its signature, and nothing of what it says yet."""

from __future__ import annotations

import base64
import binascii
import json
import re
import string
from dataclasses import dataclass
from typing import Any

import jwt

from mcpapp.issuers.keys import PublicKey
from mcpapp.issuers.refusal import Refusal, Refused

MAXIMUM_LENGTH = 16 * 1024
MAXIMUM_HEADER_LENGTH = 4096
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_LETTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt", "application/jwt"})


@dataclass(frozen=True, slots=True)
class Unverified:
    """A token as it came. Nothing in it is true yet; it tells whom to ask whether it is."""

    token: str
    alg: str
    kid: str
    claims: dict[str, Any]

    @property
    def iss(self) -> str:
        """Who is said to have issued it; empty if nobody is."""
        value = self.claims.get("iss")
        return value if isinstance(value, str) else ""


def looks_signed(token: str) -> bool:
    """Return whether a token has the form of a signed one; costs next to nothing."""
    return len(token) <= MAXIMUM_LENGTH and token.count(".") == 2 and _FORM.fullmatch(token) is not None


def read(token: str) -> Unverified:
    """Take a token apart.

    Raises:
        Refused: it is malformed, or says what this server does not understand (`crit`, RFC 7515 §4.1.11).
    """
    if not looks_signed(token):
        raise Refused(Refusal.MALFORMED, "not three parts of base64url, or too long")
    first, second, signature = token.split(".")
    if not _is_spelled_one_way(signature):
        raise Refused(Refusal.MALFORMED, "the signature is spelled in a way of which there are several")
    if len(first) > MAXIMUM_HEADER_LENGTH:
        raise Refused(Refusal.MALFORMED, "the header is too long")
    header, claims = _object(first, "header"), _object(second, "payload")
    alg, kid = header.get("alg"), header.get("kid")
    if not isinstance(alg, str):
        raise Refused(Refusal.MALFORMED, "the header has no alg")
    if not isinstance(kid, str) or not 0 < len(kid) <= 256:
        raise Refused(Refusal.MALFORMED, "the header has no kid")
    if "crit" in header or "b64" in header:
        raise Refused(Refusal.MALFORMED, "the header demands an extension")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise Refused(Refusal.MALFORMED, "typ is not that of an access token")
    return Unverified(token, alg, kid, claims)


def require_signature(unverified: Unverified, key: PublicKey) -> None:
    """Check the signature.

    Raises:
        Refused: it is not by this key, with an algorithm that is the key's.
    """
    if unverified.alg not in key.algorithms:
        raise Refused(Refusal.BAD_ALGORITHM, "not the one of its key")
    try:
        # Which kind of key and which curve goes with the algorithm is asked there.
        jwt.PyJWS().decode_complete(unverified.token, key=key.key, algorithms=[unverified.alg])
    except (jwt.PyJWTError, ValueError, TypeError):
        raise Refused(Refusal.BAD_SIGNATURE) from None


def _object(part: str, name: str) -> dict[str, Any]:
    try:
        text = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_without_repetition, parse_constant=_no_constant)
    except (ValueError, RecursionError, binascii.Error):
        raise Refused(Refusal.MALFORMED, f"the {name} is no JSON object of distinct names") from None
    if not isinstance(value, dict):
        raise Refused(Refusal.MALFORMED, f"the {name} is no JSON object of distinct names")
    return value


def _is_spelled_one_way(part: str) -> bool:
    """Return whether no bit of the last letter is left over: else one token would be many texts (RFC 4648 §3.5)."""
    left_over = {0: 0, 2: 4, 3: 2}.get(len(part) % 4)
    return left_over is not None and _LETTERS.index(part[-1]) & ((1 << left_over) - 1) == 0


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object with a name twice: two readers may take different ones (RFC 7519 §4)."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
