"""Where the admin shows more of what a call of a tool names: a site's log of calls asks (`MCPAPP["CALL_LINKS"]`)."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

from authapp.models import Application, Connection


def links_of(request: HttpRequest, call: Any) -> dict[str, str]:
    """Return the pages of its client and of its connection, of those that exist and that this user may see."""
    rows = {
        "client_id": Application.objects.filter(client_id=call.client_id) if call.client_id else None,
        "connection_key": Connection.objects.filter(pk=call.connection_key)
        if call.connection_key.isdecimal()
        else None,
    }
    found = {}
    for name, queryset in rows.items():
        if queryset is None or not admin.site.get_model_admin(queryset.model).has_view_permission(request):
            continue
        key, meta = queryset.values_list("pk", flat=True).first(), queryset.model._meta
        if key is not None:
            found[name] = reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[key])
    return found
