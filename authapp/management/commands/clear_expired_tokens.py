"""Delete codes, tokens, audit events, used assertions, key sets and sessions whose time is over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from oauth2_provider.models import (
    get_access_token_model,
    get_grant_model,
    get_refresh_token_model,
    refresh_token_expire_timedelta,
)
from oauth2_provider.settings import oauth2_settings

from authapp import conf
from authapp.housekeeping import add_batch_size, delete_in_batches, require_batch_size
from authapp.models import AuditEvent, ConnectionAttempt, DeviceAuthorization, KeySet, TokenFamily, UsedAssertion


class Command(BaseCommand):
    """Delete each kind in batches, and say how many of each that were."""

    help = (
        "Delete authorization codes, device codes and access tokens that have expired, refresh tokens that have not "
        "been used for their whole lifetime, audit events older than AUTHAPP['AUDIT_RETENTION_DAYS'], attempts to "
        "connect older than AUTHAPP['ATTEMPT_DAYS'], used assertions that have expired, key sets that could not be had "
        "for long, and expired sessions. An access token stays while its refresh token lives. A refresh token that was "
        "used or revoked stays until its successor would have expired too, because a replay of it is a sign of "
        "theft; so does the record of which code a login came from. Takes the place of cleartokens and clearsessions."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the batch size."""
        add_batch_size(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Delete."""
        batch_size = require_batch_size(options)
        for name, rows in expired_rows():
            self.stdout.write(f"Deleted {delete_in_batches(rows, batch_size)} {name}.")
        if not _sessions_are_rows():
            _session_store().clear_expired()


def expired_rows() -> Iterator[tuple[str, QuerySet[Any]]]:
    """Yield what to delete, each kind before those that it would keep alive."""
    now = timezone.now()
    refresh_tokens = get_refresh_token_model().objects
    yield "authorization codes", get_grant_model().objects.filter(expires__lt=now)
    yield "device authorizations", DeviceAuthorization.objects.filter(expires_at__lt=now)

    # As authapp.validator judges a token that was never used. Without an access token it is worth nothing, and
    # without a lifetime it lives for ever.
    over = Q(revoked=None, access_token=None)
    lifetime = refresh_token_expire_timedelta()
    if lifetime:
        access_lifetime = timedelta(seconds=oauth2_settings.ACCESS_TOKEN_EXPIRE_SECONDS)
        family_over = now - lifetime - access_lifetime
        over |= Q(revoked=None, access_token__expires__lte=now - lifetime) | Q(revoked__lte=family_over)
    yield "refresh tokens", refresh_tokens.filter(over)

    bound = Exists(refresh_tokens.filter(access_token=OuterRef("pk"), revoked=None))
    yield "access tokens", get_access_token_model().objects.filter(~bound, expires__lt=now)

    if lifetime:
        members = Exists(refresh_tokens.filter(token_family=OuterRef("family")))
        yield "token families", TokenFamily.objects.filter(~members, created_at__lte=family_over)

    if days := conf.audit_retention_days():
        yield "audit events", AuditEvent.objects.filter(at__lt=now - timedelta(days=days))

    yield "attempts", ConnectionAttempt.objects.filter(last_at__lt=now - timedelta(days=conf.attempt_days()))

    yield "used assertions", UsedAssertion.objects.filter(expires_at__lt=now)

    # Neither is worth anything any more, nor keeps anybody from fetching it again.
    useless = Q(fresh_until=None) | Q(fresh_until__lt=now - timedelta(seconds=conf.client_document_stale_seconds()))
    untried = Q(tried_at=None) | Q(tried_at__lt=now - timedelta(days=1))
    yield "key sets", KeySet.objects.filter(useless & untried)

    if _sessions_are_rows():
        yield "sessions", _session_store().get_model_class().objects.filter(expire_date__lt=now)


def _session_store() -> Any:
    return import_module(settings.SESSION_ENGINE).SessionStore


def _sessions_are_rows() -> bool:
    """Return whether sessions are in the database; elsewhere their store knows how to clear them, as clearsessions."""
    return hasattr(_session_store(), "get_model_class")
