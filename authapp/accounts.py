"""What kind of account it is: whose, and how much it may do."""

from __future__ import annotations

from typing import Any


def is_a_persons(user: Any) -> bool:
    """Return whether somebody can sign in to an account, or has: what a service does must not look like their doing."""
    return bool(user.has_usable_password() or getattr(user, "last_login", None))


def is_powerful(user: Any) -> bool:
    """Return whether an account is staff's or a superuser's, which pass many a check."""
    return bool(getattr(user, "is_superuser", False) or getattr(user, "is_staff", False))
