"""The admin of the log of calls: to read, to search and to take out, never to change.

Made for millions of rows: nothing counts them all, and a search is for whole words, each of which has an index.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from mcpapp import call_export, calls_filters
from mcpapp.call_page import CallPage
from mcpapp.models import Outcome, ToolCall
from mcpapp.refusals_admin import RefusalAdmin
from mcpapp.time_filter import TimeFilter

__all__ = ["RefusalAdmin", "ToolCallAdmin"]

MAXIMUM_COUNT = 10_000
"""How far pages are counted."""


class OutcomeFilter(admin.ChoicesFieldListFilter):
    """Choose by how calls ended."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Say of what is not `ok` that it is not, too: the index of those is found by that alone on SQLite."""
        if self.lookup_val and Outcome.OK not in self.lookup_val:
            queryset = queryset.exclude(outcome=Outcome.OK)
        found: Any = super().queryset(request, queryset)
        return found  # type: ignore[no-any-return]


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than somebody would turn pages."""

    @cached_property
    def count(self) -> int:
        """Return how many rows there are, at most `MAXIMUM_COUNT`."""
        rows: Any = self.object_list
        return int(rows.order_by()[:MAXIMUM_COUNT].count())


@admin.register(ToolCall)
class ToolCallAdmin(CallPage, admin.ModelAdmin):  # type: ignore[type-arg, misc]
    """Calls of tools, the latest first."""

    list_display = ("at", "username", "client", "tool", "outcome", "duration", "sizes")
    list_filter = (("outcome", OutcomeFilter), ("at", TimeFilter), *calls_filters.FILTERS)
    search_fields = ("username", "client_id", "tool")
    search_help_text = _("A user name, a client ID or a tool, each in full; several words are all looked for.")
    list_per_page = 50
    sortable_by = ("at",)
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator
    show_full_result_count = False
    actions = ("export_csv", "export_json")

    class Media:
        """Our own few rules of style."""

        css = {"all": ("star/admin.css",)}

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody makes a call up."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes one."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Calls are deleted when they are old, by `clear_old_calls`."""
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Return the rows in which each word is, in full, one of the fields that have an index."""
        for word in search_term.split():
            fields = [name for name in self.search_fields if ToolCall.objects.filter(**{name: word}).exists()]
            if not fields:
                return queryset.none(), False
            matching = Q()
            for name in fields:
                matching |= Q(**{name: word})
            queryset = queryset.filter(matching)
        return queryset, False

    @admin.display(description=_("client"), ordering="client_id")
    def client(self, call: ToolCall) -> str:
        """Show the name, and the ID where there is none."""
        return call.client_name or call.client_id

    @admin.display(description=_("duration"))
    def duration(self, call: ToolCall) -> str:
        """Show milliseconds."""
        return f"{call.duration_us / 1000:.1f} ms"

    @admin.display(description=_("in / out"))
    def sizes(self, call: ToolCall) -> str:
        """Show bytes."""
        return f"{call.request_bytes:,} / {call.response_bytes:,}"

    @admin.action(description=_("Export as CSV"), permissions=["view"])
    def export_csv(self, request: HttpRequest, queryset: QuerySet[ToolCall]) -> StreamingHttpResponse:
        """Stream the chosen calls, or all that are searched for."""
        return call_export.as_csv(request, queryset)

    @admin.action(description=_("Export as JSON"), permissions=["view"])
    def export_json(self, request: HttpRequest, queryset: QuerySet[ToolCall]) -> StreamingHttpResponse:
        """Stream them as a JSON object in each line."""
        return call_export.as_json(request, queryset)
