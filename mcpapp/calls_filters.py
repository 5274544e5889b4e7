"""What the list of calls can be cut down to by its URL: one client, one person; and what that URL is.

A site's authorization server names `url_of_calls` in its settings (`AUTHAPP["CALLS_URL"]`) and links to it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from mcpapp.models import ToolCall


class _Exactly(admin.SimpleListFilter):
    """Calls with one value of an indexed column. It is beside the list only while it is in the URL."""

    column = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offer what was asked for."""
        value = self.value()
        return [(value, value)] if value else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[ToolCall]) -> QuerySet[ToolCall]:
        """Keep those calls."""
        value = self.value()
        return queryset.filter(**{self.column: value}) if value else queryset


class OfClient(_Exactly):
    """The calls of one client."""

    title = _("client")
    parameter_name = "client"
    column = "client_id"


class OfPerson(_Exactly):
    """The calls under one user name."""

    title = _("user name")
    parameter_name = "person"
    column = "username"


class OfKey(_Exactly):
    """Those of the person with one ID: beside the name, for which there is an index, as another may have had that."""

    title = _("user ID")
    parameter_name = "key"
    column = "user_key"


FILTERS = (OfClient, OfPerson, OfKey)


def url_of_calls(request: HttpRequest, *, client_id: str = "", user: Any = None) -> str | None:
    """Return where who asks sees the calls of a client or a person in the admin; None for who may not.

    Those that a person made under an earlier user name are not among them.
    """
    if not admin.site.is_registered(ToolCall) or not admin.site.get_model_admin(ToolCall).has_view_permission(request):
        return None
    longest = ToolCall._meta.get_field("username").max_length
    query = {"client": client_id} if user is None else {"person": user.get_username()[:longest], "key": str(user.pk)}
    return f"{reverse('admin:mcpapp_toolcall_changelist')}?{urlencode(query)}"
