"""Seal what the database keeps and nobody may read there: encrypted with a key that comes from SECRET_KEY.

Fernet (AES-128-CBC with HMAC-SHA256) under a key derived by HKDF (RFC 5869). What a key of SECRET_KEY_FALLBACKS sealed
can be read, and is sealed anew by who reads it (`reseal`), so that the fallback can go.
"""

from __future__ import annotations

import base64
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


class Unreadable(Exception):
    """No key there is now sealed this: SECRET_KEY was changed without keeping the old one among the fallbacks."""


def seal(plain: bytes) -> str:
    """Return what may be stored."""
    return _fernet(settings.SECRET_KEY).encrypt(plain).decode()


def unseal(sealed: str) -> bytes:
    """Return what was sealed.

    Raises:
        Unreadable: with no key that is known now.
    """
    for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        try:
            return _fernet(key).decrypt(sealed)
        except InvalidToken:
            continue
    raise Unreadable


def reseal(sealed: str) -> str:
    """Return the same sealed with SECRET_KEY, and unchanged if it is already.

    Raises:
        Unreadable: with no key that is known now.
    """
    try:
        _fernet(settings.SECRET_KEY).decrypt(sealed)
    except InvalidToken:
        return seal(unseal(sealed))
    return sealed


@lru_cache(maxsize=16)
def _fernet(secret_key: str | bytes) -> Fernet:
    material = secret_key.encode() if isinstance(secret_key, str) else secret_key
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"authapp.openid.sealing").derive(material)
    return Fernet(base64.urlsafe_b64encode(derived))
