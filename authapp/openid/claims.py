"""What a client is told of a person, by scope (OIDC Core §5.4); what the site does not know is left out."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.apps import apps

SUPPORTED = ("sub", "name", "given_name", "family_name", "preferred_username", "email", "email_verified")


def claims(user: Any, scopes: Collection[str]) -> dict[str, Any]:
    """Return the claims that scopes ask for, `sub` not among them."""
    found: dict[str, Any] = {}
    if "profile" in scopes:
        found |= {
            "name": user.get_full_name() if hasattr(user, "get_full_name") else "",
            "given_name": getattr(user, "first_name", ""),
            "family_name": getattr(user, "last_name", ""),
            "preferred_username": user.get_username(),
        }
    if "email" in scopes:
        found["email"] = getattr(user, user.get_email_field_name(), "")
    known = {name: value for name, value in found.items() if value}
    if "email" in known:
        known["email_verified"] = _is_verified(user, known["email"])
    return known


def _is_verified(user: Any, email: str) -> bool:
    """Return whether the site knows that the address is this person's: django-allauth does, Django by itself not."""
    if not apps.is_installed("allauth.account"):
        return False
    addresses = apps.get_model("account", "EmailAddress")._default_manager
    return bool(addresses.filter(user=user, email__iexact=email, verified=True).exists())
