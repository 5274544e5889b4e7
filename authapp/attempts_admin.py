"""The admin of attempts to connect: how many came how far, and of each that is stuck why, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Case, CharField, Count, Q, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from authapp.admin_display import all_fields, link
from authapp.causes import PATIENCE, cause_of, last_stage
from authapp.models import ConnectionAttempt

FUNNEL_DAYS = 7
STATES = {
    "1stuck": _("stuck"),
    "2waiting": _("under way"),
    "3connected": _("connected, no call yet"),
    "4healthy": _("healthy"),
    "5retried": _("tried again later"),
}
"""In the order of the list."""


class StateFilter(admin.SimpleListFilter):
    """How an attempt stands."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Return the states."""
        return [(key[1:], name) for key, name in STATES.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the attempts of a state."""
        chosen = [key for key in STATES if key[1:] == self.value()]
        return queryset.filter(state__in=chosen) if chosen else queryset


class ConnectionAttemptAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Attempts to connect a client, the stuck ones first."""

    change_list_template = "authapp/admin/attempts.html"
    list_display = ("client", "person", "stage", "state_name", "cause", "fix", "last_at")
    list_filter = (StateFilter, ("started_at", admin.DateFieldListFilter), "problem")
    list_select_related = ("application", "user")
    list_per_page = 50
    show_full_result_count = False
    search_fields = ("client_id", "client_name", "username", "ip_address", "client_address")
    search_help_text = _("Search by client, user name or address.")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody makes an attempt up."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes one."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """They end by age alone."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[ConnectionAttempt]:
        """Say how each stands, as `authapp.causes.cause_of` does."""
        state = Case(
            When(was_retried=True, first_call_at=None, then=Value("5retried")),
            When(~Q(problem=""), was_retried=True, then=Value("5retried")),
            When(~Q(problem=""), then=Value("1stuck")),
            When(healthy_at__isnull=False, then=Value("4healthy")),
            When(first_call_at__isnull=False, then=Value("3connected")),
            When(last_at__gt=timezone.now() - PATIENCE, then=Value("2waiting")),
            default=Value("1stuck"),
            output_field=CharField(),
        )
        return ConnectionAttempt.objects.annotate(state=state).order_by(*self.get_ordering(request))

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Put the stuck ones on top."""
        return ("state", "-last_at")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Show all."""
        return (*all_fields(self, obj), "cause", "fix")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Add how many came how far."""
        if not self.has_view_permission(request):
            return super().changelist_view(request, extra_context)
        return super().changelist_view(
            request, {"funnel": funnel(), "funnel_days": FUNNEL_DAYS, **(extra_context or {})}
        )

    @admin.display(description=_("client"), ordering="client_name")
    def client(self, attempt: ConnectionAttempt) -> str:
        """Link to the client, or say what is known of it."""
        if attempt.application is not None:
            return link(attempt.application)
        return attempt.client_name or attempt.client_id or attempt.user_agent or "–"

    @admin.display(description=_("user"), ordering="username")
    def person(self, attempt: ConnectionAttempt) -> str:
        """Link to the person, or say where it came from."""
        return link(attempt.user) if attempt.user is not None else attempt.username or attempt.ip_address or "–"

    @admin.display(description=_("came as far as"))
    def stage(self, attempt: ConnectionAttempt) -> str:
        """Name the last stage that it reached."""
        names = dict(ConnectionAttempt.STAGES)
        return str(names.get(last_stage(attempt), "–"))

    @admin.display(description=_("state"), ordering="state")
    def state_name(self, attempt: Any) -> str:
        """Say how it stands."""
        return format_html('<span class="attempt-state {}">{}</span>', attempt.state[1:], STATES[attempt.state])

    @admin.display(description=_("why"))
    def cause(self, attempt: ConnectionAttempt) -> str:
        """Say why it does not go on."""
        return cause_of(attempt).cause or "–"

    @admin.display(description=_("what to do"))
    def fix(self, attempt: ConnectionAttempt) -> str:
        """Say what to do about it."""
        return cause_of(attempt).fix or "–"


def funnel() -> list[dict[str, Any]]:
    """Return of the attempts of the last days how many reached each stage, and how wide its bar is, in percent.

    A stage that is skipped, as a client that is known registers no more, counts as reached by who is further.
    """
    recent = ConnectionAttempt.objects.filter(last_at__gt=timezone.now() - timedelta(days=FUNNEL_DAYS))
    fields = [field for field, _name in ConnectionAttempt.STAGES]
    counts = {}
    for index, field in enumerate(fields):
        reached = Q()
        for later in fields[index:]:
            reached |= Q(**{f"{later}__isnull": False})
        counts[field] = Count("pk", filter=reached)
    found = recent.aggregate(**counts)
    most = max([*found.values(), 1])
    return [
        {"name": name, "count": found[field], "percent": round(100 * found[field] / most)}
        for field, name in ConnectionAttempt.STAGES
    ]
