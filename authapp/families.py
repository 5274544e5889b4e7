"""Token families: what one authorization turned into lives and ends together.

A family's row is locked before anything about its tokens is read or changed. So a refresh that runs beside a revocation
either comes first, and what it made is revoked too, or comes second and is refused; there is no between.
"""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from oauth2_provider.models import get_refresh_token_model

from authapp import audit, conf
from authapp.models import TokenFamily


def lock(family: uuid.UUID | None) -> TokenFamily | None:
    """Lock a family until the transaction ends; None for one that is not known."""
    if family is None:
        return None
    return next(iter(TokenFamily.objects.select_for_update(of=("self",)).filter(family=family)), None)


def is_alive(family: TokenFamily | None) -> bool:
    """Return whether a family may still get tokens: known, not ended, and not past its greatest age."""
    if family is None or family.ended_at is not None:
        return False
    greatest_age = conf.family_maximum_seconds()
    return not greatest_age or family.created_at + timedelta(seconds=greatest_age) > timezone.now()


def end(family: TokenFamily) -> None:
    """Revoke every token of a family that is locked.

    Refresh tokens stay as revoked rows, so that a replay of one is still recognised (RFC 9700 §4.14.2).
    """
    if family.ended_at is None:
        family.ended_at = timezone.now()
        family.save(update_fields=["ended_at"])
    get_refresh_token_model().revoke_family(family.family)


def revoke_all(families: QuerySet[TokenFamily], request: HttpRequest) -> int:
    """End families at the will of the person of a request, and write down each; return how many."""
    with transaction.atomic():
        for family in families.filter(ended_at=None).select_related("application", "user"):
            audit.record(
                audit.Action.TOKEN_REVOKED,
                request.META,
                application=family.application,
                user=family.user,
                by=request.user.get_username(),
            )
        return end_all(families)


def end_all(families: QuerySet[TokenFamily]) -> int:
    """Lock and end families, in an order that cannot deadlock; return how many."""
    locked = list(families.filter(ended_at=None).order_by("pk").select_for_update(of=("self",)))
    for family in locked:
        end(family)
    return len(locked)
