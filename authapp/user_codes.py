"""User codes (RFC 8628 §6.1): eight letters that a person carries from a device to the page of this site.

20^8 codes are 34.6 bits. That is little, so guessing is limited (`authapp.throttling`), and the digest that is kept
has a key: without it, whoever reads the database could try all of them in seconds.
"""

from __future__ import annotations

import secrets
import unicodedata

from django.conf import settings
from django.utils.crypto import salted_hmac

ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
"""RFC 8628 §6.1: no vowels, so that no words come of it, and no letters that look like digits."""
LENGTH = 8
MAXIMUM_INPUT_LENGTH = 100
_SALT = "authapp.user_codes"


def generate() -> str:
    """Return a new code, in the form it is kept under: letters alone."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def shown(code: str) -> str:
    """Return a code as people read it: WDJB-MJHT."""
    return f"{code[:4]}-{code[4:]}"


def read(text: str) -> str | None:
    """Return the code that somebody typed, in any case and with any spaces and punctuation; None if it cannot be one.

    Letters and digits that no code has are not dropped: they are a mistake, and one that is made good in silence would
    make two codes of one.
    """
    if len(text) > MAXIMUM_INPUT_LENGTH:
        return None
    text = unicodedata.normalize("NFKC", text)  # keyboards for Chinese type letters of double width
    code = "".join(character for character in text if character.isalnum()).upper()
    return code if len(code) == LENGTH and set(code) <= set(ALPHABET) else None


def digest(code: str) -> str:
    """Return the form in which a new code is stored."""
    return _digest(code, settings.SECRET_KEY)


def digests(code: str) -> list[str]:
    """Return the forms in which a code may be stored: by today's key, and by those of SECRET_KEY_FALLBACKS."""
    return [_digest(code, key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]


def _digest(code: str, key: str | bytes) -> str:
    return salted_hmac(_SALT, code, secret=key, algorithm="sha256").hexdigest()
