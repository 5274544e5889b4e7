"""What a public key of somebody else must be like before a signature is checked with it (RFC 7517, RFC 7518 §6).

The numbers come from a stranger: sizes are bounded on both sides, and each algorithm has just one kind of key.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm

ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
)
"""The signatures there are (RFC 7518 §3.1, RFC 8037 §3.1, RFC 9864 §2.2): no `none`, none with a shared secret."""

MINIMUM_RSA_BITS = 2048
MAXIMUM_RSA_BITS = 8192
MAXIMUM_RSA_EXPONENT = 2**32
MAXIMUM_KID_LENGTH = 255

_OF_CURVE = {
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA", "Ed25519"),
}
_OF_RSA = ALGORITHMS[:6]
# RFC 7518 §6.2.1, §6.3.1, RFC 8037 §2: members of a public key, each of which is checked where it is loaded.
_PUBLIC = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
# RFC 7518 §6.2.2, §6.3.2, §6.4.1, RFC 8037 §2: members of a private or symmetric key.
_SECRET = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")


class UnusableKey(Exception):
    """A key with which no signature is checked; the message is for its owner's developer."""


def require_public(key: Any) -> None:
    """Refuse what is no key, or more than a public one.

    Raises:
        UnusableKey: it has secret members, or is symmetric.
    """
    if not isinstance(key, Mapping) or not isinstance(key.get("kty"), str):
        raise UnusableKey("a key is an object with kty")
    if key["kty"] == "oct" or _SECRET & key.keys():
        raise UnusableKey("a key is private or symmetric; whoever published it must make another")


def is_known_type(key: Mapping[str, Any]) -> bool:
    """Return whether a key is of a type that signatures here have (RFC 7517 §5: others are ignored)."""
    return bool(_fitting(key))


def algorithms_of(key: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the algorithms whose signatures a key may check: those of its type that its own members allow.

    These are `alg`, `use` and `key_ops` (RFC 7517 §4).
    """
    fitting = _fitting(key)
    if "alg" in key:
        fitting = tuple(algorithm for algorithm in fitting if algorithm == key["alg"])
    operations = key.get("key_ops", ["verify"])
    is_for_signatures = key.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
    return fitting if is_for_signatures else ()


def verifies(key: Mapping[str, Any], algorithm: str, message: bytes, signature: bytes) -> bool:
    """Return whether a signature is the key's; the key's own limits are the caller's to ask (`algorithms_of`).

    Raises:
        UnusableKey: the key is malformed, too small or too large.
    """
    loaded = _load(key, "EdDSA" if algorithm == "Ed25519" else algorithm)
    return bool(loaded.Algorithm.verify(message, loaded.key, signature))


def require_usable(key: Mapping[str, Any]) -> None:
    """Load a key of a known type.

    Raises:
        UnusableKey: as `verifies` would.
    """
    if not _is_name(key.get("kid", "")):
        raise UnusableKey(f"kid is a string of at most {MAXIMUM_KID_LENGTH} characters")
    operations = key.get("key_ops", [])
    if not isinstance(operations, list) or not all(
        _is_name(text) for text in (key.get("alg", ""), key.get("use", ""), *operations)
    ):
        raise UnusableKey("alg and use are strings, and key_ops an array of strings")
    _load(key, _fitting(key)[0])


def worth_keeping(key: Mapping[str, Any]) -> dict[str, Any]:
    """Return a usable key without all that was not checked and no signature needs, like certificates (x5c, x5u)."""
    names = ("kty", "kid", "use", "key_ops", "alg", *_PUBLIC[key["kty"]])
    return {name: key[name] for name in names if name in key}


def decode_base64url(text: Any) -> bytes:
    """Decode base64url without padding (RFC 7515 §2), in its one spelling.

    Raises:
        ValueError: it is spelled in another way.
    """
    if not isinstance(text, str) or not _BASE64URL.fullmatch(text):
        raise ValueError("not base64url without padding")
    try:
        decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    # The last character has bits that mean nothing; two spellings would be two assertions.
    if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() != text:
        raise ValueError("not the canonical base64url")
    return decoded


def _is_name(text: Any) -> bool:
    return isinstance(text, str) and len(text) <= MAXIMUM_KID_LENGTH and text.isprintable()


def _fitting(key: Mapping[str, Any]) -> tuple[str, ...]:
    kind, curve = key.get("kty"), key.get("crv")
    if kind == "RSA":
        return _OF_RSA
    return _OF_CURVE.get((kind, curve), ()) if isinstance(kind, str) and isinstance(curve, str) else ()


def _load(key: Mapping[str, Any], algorithm: str) -> jwt.PyJWK:
    require_public(key)
    try:
        if key["kty"] == "RSA":
            _require_rsa_size(key)
        else:
            for name in ("x", "y") if key["kty"] == "EC" else ("x",):
                decode_base64url(key.get(name))
        public = {name: key[name] for name in ("kty", *_PUBLIC[key["kty"]]) if name in key}
        return jwt.PyJWK(public, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, UnsupportedAlgorithm) as error:
        raise UnusableKey(f"a key of type {key['kty'][:20]} cannot be used") from error


def _require_rsa_size(key: Mapping[str, Any]) -> None:
    bits = int.from_bytes(decode_base64url(key.get("n"))).bit_length()
    exponent = decode_base64url(key.get("e"))
    if not MINIMUM_RSA_BITS <= bits <= MAXIMUM_RSA_BITS:
        raise ValueError(f"an RSA key of {bits} bits")
    if len(exponent) > 8 or not 3 <= int.from_bytes(exponent) <= MAXIMUM_RSA_EXPONENT:
        raise ValueError("an RSA exponent out of range")
