"""A lookup of access tokens as it is written first: the model, its user and its client, by Django's async ORM."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

from django.utils import timezone
from oauth2_provider.models import get_access_token_model


async def find_access_token(token: str) -> Any:
    """Return the token that is stored under this digest, or None."""
    checksum = hashlib.sha256(token.encode()).hexdigest()
    try:
        found = (
            await get_access_token_model()
            .objects.select_related("user", "application")
            .aget(token_checksum=checksum, expires__gt=timezone.now())
        )
    except get_access_token_model().DoesNotExist:
        return None
    return SimpleNamespace(
        user=found.user,
        client_id=found.application.client_id,
        client_name=found.application.name,
        scopes=found.scope.split(),
        resource=found.resource,
        expires_at=int(found.expires.timestamp()),
    )
