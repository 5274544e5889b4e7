"""Which tokens live, and until when, as conditions of the database: for lists, filters and counts of many.

The flows ask about one token, under a lock: `authapp.tokens` for a call, `authapp.grants.refresh` for a refresh.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Count, DateTimeField, Exists, ExpressionWrapper, F, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models import Value as Constant
from django.db.models.functions import Least
from django.utils import timezone
from oauth2_provider.models import get_access_token_model, get_refresh_token_model, refresh_token_expire_timedelta

from authapp import conf
from authapp.models import Connection, TokenFamily
from authapp.token_rows import activity_is_stored


@dataclass(frozen=True, slots=True)
class Life:
    """What a connection has now."""

    access_tokens: int = 0
    refresh_tokens: int = 0
    until: datetime | None = None
    """When the last of them ends; None where none lives, or one that lives never ends."""


def live_access_tokens() -> QuerySet[Any]:
    """Return the access tokens that have not expired, of clients that are enabled and people who are active."""
    tokens: QuerySet[Any] = get_access_token_model().objects.filter(_usable(), expires__gt=timezone.now())
    return tokens


def live_refresh_tokens() -> QuerySet[Any]:
    """Return the refresh tokens that were not used or revoked, within their time and their family's."""
    lifetime, greatest_age = refresh_token_expire_timedelta(), conf.family_maximum_seconds()
    family = TokenFamily.objects.filter(family=OuterRef("token_family"), ended_at=None)
    if greatest_age:
        family = family.filter(created_at__gt=timezone.now() - timedelta(seconds=greatest_age))
    tokens: QuerySet[Any] = get_refresh_token_model().objects.filter(
        _usable(), Exists(family), revoked=None, access_token__isnull=False
    )
    return tokens if lifetime is None else tokens.filter(access_token__expires__gt=timezone.now() - lifetime)


def refreshable_until() -> Any:
    """Return when a refresh token that is not used ends, as an expression over its row; null for never."""
    lifetime, greatest_age = refresh_token_expire_timedelta(), conf.family_maximum_seconds()
    ends = []
    if lifetime is not None:
        ends.append(ExpressionWrapper(F("access_token__expires") + lifetime, DateTimeField()))
    if greatest_age:
        made = TokenFamily.objects.filter(family=OuterRef("token_family")).values("created_at")
        ends.append(
            ExpressionWrapper(Subquery(made[:1]) + timedelta(seconds=greatest_age), output_field=DateTimeField())
        )
    if len(ends) == 2:
        return Least(*ends, output_field=DateTimeField())
    return ends[0] if ends else Constant(None, output_field=DateTimeField())


def lives_of(connections: Collection[Connection]) -> dict[int, Life]:
    """Return what connections have now, by their primary keys; for two statements however many there are."""
    by_pair = {(connection.user_id, connection.application_id): connection.pk for connection in connections}
    of_these: dict[str, Any] = {
        "user__in": {user for user, _ in by_pair},
        "application__in": {application for _, application in by_pair},
    }
    pairs = ("user", "application")
    access = live_access_tokens().filter(**of_these).order_by().values(*pairs)
    refresh = live_refresh_tokens().filter(**of_these).annotate(ends=refreshable_until()).order_by().values(*pairs)
    found: dict[int, dict[str, Any]] = {}
    for row in access.annotate(count=Count("pk"), last=Max("expires")):
        if (row["user"], row["application"]) in by_pair:
            found[by_pair[row["user"], row["application"]]] = {"access_tokens": row["count"], "until": row["last"]}
    for row in refresh.annotate(count=Count("pk"), last=Max("ends")):
        if (row["user"], row["application"]) in by_pair:
            life = found.setdefault(by_pair[row["user"], row["application"]], {})
            until = life.get("until")
            later = row["last"] if row["last"] is None or until is None else max(row["last"], until)
            life.update(refresh_tokens=row["count"], until=later)
    return {key: Life(**life) for key, life in found.items()}


def _usable() -> Q:
    usable = Q(application__isnull=False, application__disabled_at=None)
    if activity_is_stored() and any(field.name == "is_active" for field in get_user_model()._meta.concrete_fields):
        usable &= Q(user=None) | Q(user__is_active=True)
    return usable
