"""The admin of refusals: who was turned away at the door of the MCP endpoint, why, and what to do about it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from mcpapp.models import Refusal

_FIXES: dict[str, Any] = {
    Refusal.Reason.NO_TOKEN: _(
        "Usual before a client has signed in. From one that has, a proxy takes the Authorization header away."
    ),
    Refusal.Reason.MALFORMED: _("The client, or a proxy, sends more than one credential or a damaged one."),
    Refusal.Reason.UNKNOWN: _("The client has to sign in again."),
    Refusal.Reason.EXPIRED: _("Usual once in an hour: the client refreshes. Again and again: it does not."),
    Refusal.Reason.OTHER_RESOURCE: _("The URL in the client must be exactly that of this server."),
    Refusal.Reason.ORIGIN: _("If that page may call, add its origin to ALLOWED_ORIGINS."),
    Refusal.Reason.HOST: _(
        "If people use that name, add it to ALLOWED_HOSTS; behind a proxy, hand on the Host header."
    ),
}


@admin.register(Refusal)
class RefusalAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Refusals, counted by the hour."""

    list_display = ("last_at", "reason", "requests", "client_id", "ip_address", "user_agent", "detail", "what_to_do")
    list_filter = ("reason", ("last_at", admin.DateFieldListFilter))
    search_fields = ("client_id", "ip_address")
    search_help_text = _("A client ID or an address.")
    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody makes one up."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes one."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """They are deleted when they are old, by `clear_old_calls`."""
        return False

    @admin.display(description=_("what to do"))
    def what_to_do(self, refusal: Refusal) -> str:
        """Say what the owner of the site can do about it."""
        # A member equals its text; a reason of a site's own lookup, or of a newer release, is merely not found.
        return str(_FIXES.get(refusal.reason, "–"))
