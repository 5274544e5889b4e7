"""The refresh token grant (RFC 6749 §6): rotation, with an overlap for parallel refreshes (docs/decisions/0005)."""

from __future__ import annotations

import hashlib
import logging
from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone
from oauth2_provider.models import get_refresh_token_model, refresh_token_expire_timedelta
from oauth2_provider.oauth2_validators import OAuth2Validator
from oauthlib.common import Request

from authapp import attempts, audit, conf, families
from authapp.models import Application, Rotation

logger = logging.getLogger(__name__)

# Parallel processes of one client are a handful; a refresh token that was stolen could make pairs all minute long.
MAXIMUM_SUCCESSORS = 25


class RefreshGrant(OAuth2Validator):
    """The refresh token's part of the validator."""

    def validate_refresh_token(
        self, refresh_token: str, client: Application, request: Request, *args: Any, **kwargs: Any
    ) -> bool:
        """Accept a live refresh token, and for a short while the one that was just rotated away.

        Clients refresh in parallel and lose answers. So a rotated token yields another pair of its family until a
        successor of it has itself been used, and for `ROTATION_OVERLAP_SECONDS` at most; a later or older replay is
        treated as theft and ends the family (RFC 9700 §4.14.2). docs/decisions/0005 has the reasons.
        """
        token = _find_refresh_token(refresh_token, client)
        family = families.lock(token.token_family) if token else None
        if connection.features.has_select_for_update:
            # Another request may have held the lock. (Where there are no row locks, this transaction came first.)
            token = _find_refresh_token(refresh_token, client)
        if token is not None:
            attempts.tell(request.headers, "refresh_refused", token.user)
        if token is None or family is None or not families.is_alive(family) or not token.user.is_active:
            return False
        if token.revoked is None:
            if not _is_alive(token):
                return False
        elif not _may_be_used_again(token):
            logger.warning("A refresh token of client %s was replayed; its family is revoked.", client.client_id)
            families.end(family)
            audit.record(audit.Action.REFRESH_REPLAYED, request.headers, application=client, user=token.user)
            return False
        elif Rotation.objects.filter(source=token).count() >= MAXIMUM_SUCCESSORS:
            return False
        request.token_family = family
        request.user = token.user
        request.refresh_token = refresh_token
        request.refresh_token_instance = token
        request.granted_resource = token.resource
        request.authenticated_at = family.authenticated_at
        return True

    def get_original_scopes(self, refresh_token: str, request: Request, *args: Any, **kwargs: Any) -> list[str]:
        """Return the scopes that the person granted, also after a refresh that asked for fewer (RFC 6749 §6)."""
        return list(request.token_family.scope.split())

    def is_within_original_scope(
        self, request_scopes: list[str], refresh_token: str, request: Request, *args: Any, **kwargs: Any
    ) -> bool:
        """Return whether every scope asked for is granted, or implied by one that is."""
        return conf.with_implied(request.token_family.scope.split()).issuperset(request_scopes)


def _find_refresh_token(refresh_token: str, client: Application) -> Any:
    """Return the row of a refresh token of this client, or None; of several the one that lives.

    DOT's unique key is (checksum, revoked), so that nothing but chance keeps a second row away.
    """
    found = list(
        get_refresh_token_model()
        .objects.filter(token_checksum=hashlib.sha256(refresh_token.encode()).hexdigest(), application=client)
        .select_related("user", "access_token")[:10]
    )
    return next((token for token in found if token.revoked is None), found[0] if found else None)


def _is_alive(token: Any) -> bool:
    """Return whether a refresh token that was never used is within its time, which slides with each refresh."""
    if token.access_token is None:
        return False
    lifetime = refresh_token_expire_timedelta()
    return lifetime is None or token.access_token.expires + lifetime > timezone.now()


def _may_be_used_again(token: Any) -> bool:
    """Return whether a rotated refresh token is inside the overlap: recent, and no successor used or ended."""
    overlap = timedelta(seconds=conf.rotation_overlap_seconds())
    if token.revoked + overlap <= timezone.now():
        return False
    successors = [rotation.successor for rotation in Rotation.objects.filter(source=token).select_related("successor")]
    return bool(successors) and all(
        successor.revoked is None and successor.access_token_id is not None for successor in successors
    )
