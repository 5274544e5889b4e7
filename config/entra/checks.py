"""System checks: combinations that would let somebody be taken for somebody else."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register

from authapp import conf


@register
def check_addresses(**_: Any) -> list[CheckMessage]:
    """Addresses that Entra told are noted with new accounts, and nobody has proved them."""
    by_email = any(isinstance(entry, dict) and entry.get("rule") == "email" for entry in conf.trusted_issuers())
    if not (settings.ENTRA.sign_in and settings.ENTRA.create_users and by_email):
        return []
    return [
        Warning(
            "With ENTRA_CREATE_USERS, the rule email of a trusted issuer finds people by unproven addresses.",
            hint="Let the trusted issuer find people by the rule linked.",
            id="entra.W001",
        )
    ]
