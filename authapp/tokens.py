"""Look up an access token for the resource server.

`find_access_token` is what `MCPAPP["TOKEN_LOOKUP"]` points at: the one seam between the two apps.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from django.contrib.auth.models import AbstractBaseUser
from django.utils import timezone
from oauth2_provider.models import get_access_token_model


@dataclass(frozen=True, slots=True)
class AccessTokenInfo:
    """What the authorization server knows of a live access token."""

    user: AbstractBaseUser
    client_id: str
    client_name: str
    scopes: frozenset[str]
    resource: tuple[str, ...]
    """RFC 8707 resource indicators the token is bound to."""
    expires_at: int
    """Unix time in seconds."""


async def find_access_token(token: str) -> AccessTokenInfo | None:
    """Return what an access token stands for, or None if it stands for nothing (any more).

    Nothing means: unknown, expired, without a user, of a user who is not active, or of a client that is disabled.
    The lookup is by SHA-256, the only form in which tokens are stored; that column is unique, hence indexed.
    """
    checksum = hashlib.sha256(token.encode()).hexdigest()
    row = (
        await get_access_token_model()
        .objects.select_related("user", "application")
        .filter(token_checksum=checksum)
        .afirst()
    )
    if row is None or row.expires <= timezone.now():
        return None
    if row.user is None or not row.user.is_active:
        return None
    if row.application is None or row.application.disabled_at is not None:
        return None
    return AccessTokenInfo(
        user=row.user,
        client_id=row.application.client_id,
        client_name=row.application.name,
        scopes=frozenset(row.scope.split()),
        resource=tuple(row.resource or ()),
        expires_at=int(row.expires.timestamp()),
    )
