"""What the admin's page of one call says: every column, in groups, with links to whom and what it names."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from django.contrib import admin
from django.contrib.admin.exceptions import NotRegistered
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from mcpapp import conf
from mcpapp.call_log.redaction import MASK, policy_of
from mcpapp.models import ToolCall

SETTING = "CALL_LOG_ARGUMENTS"
"""What decides, in the environment and in `MCPAPP`."""


class CallPage:
    """The page, for a ModelAdmin of calls."""

    fieldsets = (
        (None, {"fields": ("at", "tool", "outcome", "duration_us", "request_bytes", "response_bytes")}),
        (_lazy("Who called"), {"fields": ("person", "user_key", "client_name", "linked_client", "linked_connection")}),
        (_lazy("Arguments"), {"fields": ("readable_arguments", "what_was_kept")}),
        (_lazy("The request"), {"fields": ("protocol_version", "request_id")}),
    )
    readonly_fields = ("person", "linked_client", "linked_connection", "readable_arguments", "what_was_kept")

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        """Look up what the page of a call links to."""
        call = context["original"]
        call.links = _link_to_user(self.admin_site, request, call)  # type: ignore[attr-defined]
        links_of = conf.call_links()
        if links_of is not None:
            call.links.update(links_of(request, call))
        return super().render_change_form(request, context, *args, **kwargs)  # type: ignore[misc]

    @admin.display(description=_lazy("user name"))
    def person(self, call: ToolCall) -> str:
        """Link to who called."""
        return _linked(call, "username") if call.user_key else _("nobody had signed in")

    @admin.display(description=_lazy("client ID"))
    def linked_client(self, call: ToolCall) -> str:
        """Link to what they called with."""
        return _linked(call, "client_id")

    @admin.display(description=_lazy("connection"))
    def linked_connection(self, call: ToolCall) -> str:
        """Link to the consent that it was done under."""
        return _linked(call, "connection_key")

    @admin.display(description=_lazy("arguments"))
    def readable_arguments(self, call: ToolCall) -> str:
        """Show them as JSON that is easy to read."""
        if not call.arguments:
            return "–"
        return format_html('<pre class="mcp-arguments" dir="ltr">{}</pre>', _indented(call.arguments))

    @admin.display(description=_lazy("what was kept of them"))
    def what_was_kept(self, call: ToolCall) -> str:
        """Say what is missing, and which setting decides that."""
        known = {"setting": SETTING, "now": policy_of(conf.call_log_arguments(), call.tool), "mask": MASK}
        if not call.arguments:
            text = _("Nothing: the call had none, or %(setting)s was off. For this tool it is %(now)s now.")
        elif call.arguments.startswith("["):
            text = _(
                "Their names alone: %(setting)s was names, or full and they were too long. For this tool it is "
                "%(now)s now."
            )
        else:
            text = _("All of them: %(setting)s was full. What looks like a secret is masked as %(mask)s.")
        return text % known


def _link_to_user(site: admin.AdminSite, request: HttpRequest, call: ToolCall) -> dict[str, str]:
    model = get_user_model()
    try:
        may_see = call.user_key and site.get_model_admin(model).has_view_permission(request)
        if not may_see or not model._default_manager.filter(pk=call.user_key).exists():
            return {}
    except (NotRegistered, ValidationError, ValueError):  # another model of users, or kind of keys, than it was then
        return {}
    meta = model._meta
    return {"username": reverse(f"{site.name}:{meta.app_label}_{meta.model_name}_change", args=[call.user_key])}


def _linked(call: Any, name: str) -> str:
    text, url = getattr(call, name) or "–", call.links.get(name)
    return format_html('<a href="{}">{}</a>', url, text) if url else text


def _indented(text: str) -> str:
    """Return JSON with its structure shown, and each character that would not be (RFC 8259 §7) by its number."""
    with suppress(ValueError, RecursionError):  # names that were too many are cut off
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    return "".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text)
