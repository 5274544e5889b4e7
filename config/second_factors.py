"""Passkeys, one-time codes and recovery codes, which are django-allauth's: what this site adds to them.

Imported only where they are installed.
"""

from __future__ import annotations

import logging

from allauth.mfa.adapter import DefaultMFAAdapter

from authapp.openid import sealing

logger = logging.getLogger(__name__)


class MFAAdapter(DefaultMFAAdapter):
    """django-allauth's adapter; the secrets that codes are made of are sealed in the database."""

    def encrypt(self, text: str) -> str:
        """Return what is stored of a secret."""
        return sealing.seal(text.encode())

    def decrypt(self, encrypted_text: str) -> str:
        """Return the secret; one that no key opens any more fits no code, so that recovery is up to the owner."""
        try:
            return sealing.unseal(encrypted_text).decode()
        except sealing.Unreadable:
            logger.error("A second factor cannot be read: SECRET_KEY was changed without SECRET_KEY_FALLBACKS.")
            return ""
