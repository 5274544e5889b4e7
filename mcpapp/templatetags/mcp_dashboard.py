"""`{% mcp_dashboard %}`: the use of the tools, for the first page of the admin."""

from __future__ import annotations

from typing import Any

from django import template

from mcpapp import conf
from mcpapp.dashboard import DEFAULT_PERIOD, PERIODS, dashboard

register = template.Library()


@register.inclusion_tag("mcpapp/admin/dashboard.html", takes_context=True)
def mcp_dashboard(context: Any) -> dict[str, Any]:
    """Show what the person who looks may see."""
    request = context["request"]
    asked = request.GET.get("days", "")
    days = int(asked) if asked in {str(period) for period in PERIODS} else DEFAULT_PERIOD
    return {
        "dashboard": dashboard(request.user, days),
        "periods": PERIODS,
        "resource": conf.resources()[0],
        "sees_calls": request.user.has_perm("mcpapp.view_toolcall"),
    }
