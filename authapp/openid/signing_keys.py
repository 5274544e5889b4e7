"""The keys that sign ID tokens: made at first need, rotated with an overlap, published while anybody may need them.

Which key signs is read from the database each time, so that every worker follows a rotation at once; only the decoded
key is kept in the process.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Max, Q
from django.utils import timezone
from jwcrypto.jwk import JWK  # type: ignore[import-untyped]

from authapp import conf
from authapp.models import SigningKey
from authapp.openid import sealing

logger = logging.getLogger(__name__)

KEPT_DAYS = 365
"""How long a key stays known after it is published no more: an old ID token may still come as a hint at logout."""
_MAKE: dict[str, Callable[[], Any]] = {
    SigningKey.Algorithm.RS256: lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    SigningKey.Algorithm.ES256: lambda: ec.generate_private_key(ec.SECP256R1()),
}
_told_of: set[str] = set()


@dataclass(frozen=True, slots=True)
class Signer:
    """What signs now."""

    kid: str
    algorithm: str
    private_key: Any


def signer(algorithm: str) -> Signer:
    """Return the key that signs with an algorithm now; it is made if there is none."""
    found = _signer(algorithm)
    if found is None:
        ensure()
        found = _signer(algorithm)
    assert found is not None  # noqa: S101  (it was made, by this process or by the one that was faster)
    return found


def ensure() -> None:
    """Have a key of each algorithm that can sign, so that the published set does not change when one is first used.

    Safe in parallel: of several workers one makes each key. A key that cannot be read any more is retired, not deleted:
    what it signed can still be verified.
    """
    for algorithm in conf.ID_TOKEN_ALGORITHMS:
        number = _next_number(algorithm)  # before looking: who made one since has taken this number
        if _signer(algorithm) is None:
            try:
                with transaction.atomic():
                    _make(algorithm, number, timezone.now(), overlap_seconds())
            except IntegrityError:
                logger.debug("Another worker has made the %s key.", algorithm)


def published() -> list[dict[str, Any]]:
    """Return the JWK Set's keys (RFC 7517 §5): those that sign, will sign, or signed what may still be checked."""
    now = timezone.now()
    keys = SigningKey.objects.filter(Q(published_until=None) | Q(published_until__gt=now))
    return [_published(key) for key in keys.order_by("algorithm", "-number")]


def verification_key(kid: str, algorithm: str) -> Any:
    """Return the public key with an identifier, retired or not; None where there is none of that algorithm."""
    key = SigningKey.objects.filter(kid=kid, algorithm=algorithm).first()
    return JWK(**key.public_jwk).get_op_key("verify") if key is not None else None


def overlap_seconds() -> int:
    """Return how long a retired key is published: until all that it signed has expired, and caches are renewed."""
    return conf.id_token_seconds() + conf.jwks_max_age_seconds()


def rotate(algorithm: str, *, at_once: bool = False, overlap: int | None = None) -> SigningKey:
    """Make the next key of an algorithm and retire the ones before it; return it.

    It signs when every cached JWK Set has it, one max-age from now.

    Args:
        at_once: it signs now, for when the one before must not be used any more.
        overlap: for how many seconds the old one is published after that; `overlap_seconds()` if None.

    Raises:
        AlreadyRotating: the next key is published and does not sign yet.
        IntegrityError: another rotation came first.
    """
    now, number = timezone.now(), _next_number(algorithm)  # before looking, as in `ensure`
    waiting = SigningKey.objects.filter(algorithm=algorithm, retired_at=None, signs_from__gt=now).first()
    if waiting is not None and not at_once:
        raise AlreadyRotating(waiting)
    signs_from = now if at_once or number == 1 else now + timedelta(seconds=conf.jwks_max_age_seconds())
    with transaction.atomic():
        return _make(algorithm, number, signs_from, overlap_seconds() if overlap is None else overlap)


def tidy() -> None:
    """Seal private keys with today's SECRET_KEY, erase those that sign no more, delete keys of more than a year ago."""
    now = timezone.now()
    SigningKey.objects.filter(published_until__lt=now - timedelta(days=KEPT_DAYS)).delete()
    SigningKey.objects.filter(retired_at__lte=now).exclude(sealed_private_key="").update(sealed_private_key="")
    for key in SigningKey.objects.exclude(sealed_private_key=""):
        _is_readable(key)


class AlreadyRotating(Exception):
    """The next key waits for caches to have it; `key` is that one."""

    def __init__(self, key: SigningKey) -> None:
        super().__init__(str(key))
        self.key = key


# --- Rows ---------------------------------------------------------------------------------------------------


def _live(algorithm: str, now: datetime) -> list[SigningKey]:
    still_signs = Q(retired_at=None) | Q(retired_at__gt=now)
    return list(SigningKey.objects.filter(still_signs, algorithm=algorithm).order_by("-number"))


def _signer(algorithm: str) -> Signer | None:
    now = timezone.now()
    # Those that wait are looked at too: what is sealed with an old SECRET_KEY is sealed anew while that can be read.
    readable = [key for key in _live(algorithm, now) if _is_readable(key)]
    chosen = next((key for key in readable if key.signs_from <= now), None)
    if chosen is None:
        return None
    return Signer(chosen.kid, algorithm, _private_key(chosen.sealed_private_key, _secret_keys()))


def _is_readable(key: SigningKey) -> bool:
    """Return whether the private half can be read, and seal it anew where a fallback was needed."""
    try:
        sealed = sealing.reseal(key.sealed_private_key)
    except sealing.Unreadable:
        if key.kid not in _told_of:
            _told_of.add(key.kid)
            logger.error(
                "The signing key %s cannot be decrypted: SECRET_KEY was changed without SECRET_KEY_FALLBACKS. "
                "A new key takes its place.",
                key.kid,
            )
        return False
    if sealed != key.sealed_private_key:
        SigningKey.objects.filter(pk=key.pk, sealed_private_key=key.sealed_private_key).update(
            sealed_private_key=sealed
        )
        key.sealed_private_key = sealed
    return True


def _next_number(algorithm: str) -> int:
    highest: int | None = SigningKey.objects.filter(algorithm=algorithm).aggregate(highest=Max("number"))["highest"]
    return (highest or 0) + 1


def _make(algorithm: str, number: int, signs_from: datetime, overlap: int) -> SigningKey:
    """Store a new key, and let every other one of the algorithm sign until it does and be published a while longer."""
    private_key = _MAKE[algorithm]()
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    jwk = JWK.from_pyca(private_key)
    key = SigningKey.objects.create(
        algorithm=algorithm,
        number=number,
        kid=jwk.thumbprint(),
        public_jwk=json.loads(jwk.export_public()),
        sealed_private_key=sealing.seal(pem),
        signs_from=signs_from,
    )
    others = SigningKey.objects.filter(algorithm=algorithm).exclude(pk=key.pk)
    others.filter(Q(retired_at=None) | Q(retired_at__gt=signs_from)).update(
        retired_at=signs_from, published_until=signs_from + timedelta(seconds=overlap)
    )
    return key


def _published(key: SigningKey) -> dict[str, Any]:
    return {**key.public_jwk, "kid": key.kid, "alg": key.algorithm, "use": "sig"}


def _secret_keys() -> tuple[str | bytes, ...]:
    return (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)


@lru_cache(maxsize=16)
def _private_key(sealed: str, _secret_keys: tuple[str | bytes, ...]) -> Any:
    return load_pem_private_key(sealing.unseal(sealed), password=None)
