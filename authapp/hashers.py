"""Hashing of generated client secrets.

A client secret is 128 random characters, so nobody can guess it offline and a slow hash protects nothing: it
only lets anyone burn the server's CPU (260–330 ms for each PBKDF2) by registering or exchanging.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from django.contrib.auth.hashers import BasePasswordHasher
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext_noop as _


class GeneratedSecretHasher(BasePasswordHasher):
    """One round of salted SHA-256. For secrets the server generated, never for passwords people choose."""

    algorithm = "generated_secret"

    def salt(self) -> str:
        """Return a fresh salt of 128 bits."""
        return secrets.token_hex(16)

    def encode(self, password: str, salt: str) -> str:
        """Return `generated_secret$salt$digest`."""
        if not salt or "$" in salt:
            raise ValueError("salt must be provided and cannot contain $.")
        digest = hashlib.sha256(f"{salt}{password}".encode()).hexdigest()
        return f"{self.algorithm}${salt}${digest}"

    def decode(self, encoded: str) -> dict[str, str]:
        """Split what `encode` made."""
        algorithm, salt, digest = encoded.split("$", 2)
        return {"algorithm": algorithm, "salt": salt, "hash": digest}

    def verify(self, password: str, encoded: str) -> bool:
        """Return whether the secret is the encoded one, in constant time."""
        return constant_time_compare(encoded, self.encode(password, self.decode(encoded)["salt"]))

    def safe_summary(self, encoded: str) -> Any:
        """Return what the admin may show: never the digest."""
        return {_("algorithm"): self.algorithm}

    def must_update(self, encoded: str) -> bool:
        """Nothing to upgrade."""
        return False

    def harden_runtime(self, password: str, encoded: str) -> None:
        """Do nothing: the time does not depend on the secret."""
