"""Secrets of clients: made here, shown once, replaced while the one before still works for a while.

They are stored as digests (`authapp.hashers`). Keys rotate by themselves: a client's `jwks` has as many as it likes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.hashers import identify_hasher, make_password
from django.utils import timezone
from oauth2_provider.generators import generate_client_secret
from oauth2_provider.oauth2_validators import OAuth2Validator
from oauth2_provider.settings import oauth2_settings
from oauthlib.common import Request

from authapp import audit, conf
from authapp.models import Application
from authapp.models.client import PRIVATE_KEY_JWT
from authapp.oauthlib_core import basic_credentials

logger = logging.getLogger(__name__)

MAXIMUM_OVERLAP_SECONDS = 366 * 24 * 3600


def replace(
    client: Application, meta: Mapping[str, Any], *, overlap_seconds: int | None = None, by: str = ""
) -> tuple[str, datetime | None]:
    """Give a client a new secret, in the caller's transaction.

    Args:
        meta: `request.META` of whoever does it, for the audit trail; empty without a request.
        overlap_seconds: how long the secret that it has now still works; 0 for not at all, None for what is set. The
            one before that ends now.
        by: their name.

    Returns:
        The secret, which nobody can be told again, and until when the one before works, if it does.

    Raises:
        ValueError: the client has no secret that its owner could replace, or the overlap is no sensible number.
    """
    if not may_be_replaced(client):
        raise ValueError("This client has no secret that its owner could replace.")
    overlap = conf.secret_overlap_seconds() if overlap_seconds is None else overlap_seconds
    if not 0 <= overlap <= MAXIMUM_OVERLAP_SECONDS:
        raise ValueError(f"The overlap must be from 0 to {MAXIMUM_OVERLAP_SECONDS} seconds.")
    client = Application.objects.select_for_update(of=("self",)).get(pk=client.pk)
    until = timezone.now() + timedelta(seconds=overlap) if overlap and client.client_secret else None
    client.previous_client_secret = _hashed(client.client_secret) if until else ""
    client.previous_client_secret_expires_at = until
    client.client_secret, client.hash_client_secret = secret, _ = generate_client_secret(), True
    client.save(
        update_fields=[
            "client_secret",
            "hash_client_secret",
            "previous_client_secret",
            "previous_client_secret_expires_at",
            "updated",
        ]
    )
    detail = {"previous_works_until": until.isoformat(timespec="seconds") if until else "", "by": by}
    audit.record(
        audit.Action.SECRET_REPLACED, meta, application=client, **{name: text for name, text in detail.items() if text}
    )
    return secret, until


def may_be_replaced(client: Application) -> bool:
    """Return whether a client has a secret of its owner's; one that registered itself would not learn of another."""
    is_the_owners = client.registration_source == Application.RegistrationSource.MANUAL
    by_key = client.token_endpoint_auth_method == PRIVATE_KEY_JWT
    return is_the_owners and client.client_type == Application.CLIENT_CONFIDENTIAL and not by_key


def _hashed(secret: str) -> str:
    try:
        identify_hasher(secret)
    except ValueError:  # of a client whose owner wanted it in clear
        return make_password(secret, hasher=oauth2_settings.CLIENT_SECRET_HASHER)
    return secret


class ClientSecrets(OAuth2Validator):
    """The part of the validator that knows a client by the secret before its present one."""

    def authenticate_client(self, request: Request, *args: Any, **kwargs: Any) -> bool:
        """Return whether a client proved who it is, by its secret or the previous one (DOT knows one)."""
        if super().authenticate_client(request, *args, **kwargs):
            return True
        client_id, secret = basic_credentials(request.headers) or (request.client_id, request.client_secret)
        client = self._load_application(client_id, request)
        if not secret or client is None or client.client_type != Application.CLIENT_CONFIDENTIAL:
            return False
        until = client.previous_client_secret_expires_at
        if not client.previous_client_secret or until is None or until <= timezone.now():
            return False
        if not self._check_secret(secret, client.previous_client_secret):
            return False
        logger.info("Client %s still uses its previous secret, which works until %s.", client.client_id, until)
        return True
