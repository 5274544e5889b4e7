"""What the list of clients says of their use: people, live tokens, calls, when last; and who vouches for them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Count, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from authapp import client_hosts, conf
from authapp.admin_display import PageFacts, moment
from authapp.client_actions import access_tokens
from authapp.models import Application, Connection

_USERNAME = get_user_model().USERNAME_FIELD


class ClientColumns(PageFacts):
    """The columns, for a ModelAdmin of clients."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Application]:
        """Count people and live tokens for each row of a page, without joining the two."""
        live = access_tokens().filter(expires__gt=timezone.now())
        queryset: QuerySet[Application] = super().get_queryset(request)  # type: ignore[misc]
        return queryset.annotate(  # type: ignore[no-any-return]
            people_count=_counted(Connection.objects.all()), live_tokens=_counted(live)
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Application], search_term: str
    ) -> tuple[QuerySet[Application], bool]:
        """Look for each word in the fields, and in the names of people, without a row for each person."""
        for word in search_term.split():
            of_person = Connection.objects.filter(**{f"user__{_USERNAME}__icontains": word})
            matching = Q(pk__in=of_person.values("application"))
            for name in self.search_fields:  # type: ignore[attr-defined]
                matching |= Q(**{f"{name}__icontains": word})
            queryset = queryset.filter(matching)
        return queryset, False

    def add_facts(self, rows: list[Any]) -> None:
        """Say how the clients are used."""
        usage = conf.client_usage()
        used = usage([application.client_id for application in rows]) if usage is not None else {}
        for application in rows:
            application.use = used.get(application.client_id)

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        """Leave out what nobody counts."""
        without = {"calls", "last_used"} if conf.client_usage() is None else set()
        return tuple(name for name in super().get_list_display(request) if name not in without)  # type: ignore[misc]

    @admin.display(description=_("people"), ordering="people_count")
    def people(self, application: Any) -> int:
        """Return how many people connected it."""
        return int(application.people_count)

    @admin.display(description=_("live tokens"), ordering="live_tokens")
    def tokens(self, application: Any) -> int:
        """Return how many access tokens have not expired."""
        return int(application.live_tokens)

    @admin.display(description=_("verified"), boolean=True)
    def is_verified(self, application: Application) -> bool:
        """Return whether all its redirects lead to the host that published its document."""
        uris = application.registered_redirect_uris
        return bool(uris) and all(client_hosts.is_verified(application, uri) for uri in uris)

    @admin.display(description=_("calls"))
    def calls(self, application: Any) -> str:
        """Return how many calls of tools it made, and how many failed."""
        use = application.use
        if use is None:
            return "0"
        failed = _("%d failed") % use.failed_calls if use.failed_calls else ""
        return f"{use.calls} ({failed})" if failed else str(use.calls)

    @admin.display(description=_("last used"))
    def last_used(self, application: Any) -> str:
        """Return when its last call was."""
        return "–" if application.use is None else moment(application.use.last_call_at)


def _counted(rows: QuerySet[Any]) -> Coalesce:
    counts = rows.filter(application=OuterRef("pk")).order_by().values("application").annotate(count=Count("pk"))
    return Coalesce(Subquery(counts.values("count"), output_field=IntegerField()), 0)
