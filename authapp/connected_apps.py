"""The page on which people see the clients they connected, and disconnect them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe
from oauth2_provider.models import get_access_token_model, get_grant_model
from oauth2_provider.scopes import get_scopes_backend

from authapp import audit, conf, families, trusted_issuers
from authapp.models import Connection, DeviceAuthorization, TokenFamily
from authapp.redirect_uris import destination
from authapp.transactions import in_transaction

PER_PAGE = 15
_SEEN = "connected_apps_seen_at"
"""Where the session keeps when the page was last looked at; what came after that is marked."""


@never_cache
@login_required
@require_safe
def connected_apps(request: HttpRequest) -> HttpResponse:
    """List the clients that the person who is signed in has connected, the latest first."""
    descriptions = get_scopes_backend().get_all_scopes()
    rows = Connection.objects.filter(user=request.user.pk).select_related("application")
    page = Paginator(rows.order_by("-authorized_at", "-pk"), PER_PAGE).get_page(request.GET.get("page"))
    connections = list(page.object_list)
    usage = conf.connection_usage()
    used = usage([connection.pk for connection in connections]) if usage else {}
    seen_at = request.session.get(_SEEN)
    request.session[_SEEN] = timezone.now().timestamp()
    issuers = {connection.issuer for connection in connections if connection.issuer}
    organisations = {issuer: trusted_issuers.display_name(issuer) for issuer in issuers}
    return render(
        request,
        "authapp/connected_apps.html",
        {
            "connections": [
                {
                    "connection": connection,
                    "application": connection.application,
                    "use": used.get(connection.pk),
                    "last": _ago(used[connection.pk].last_call_at) if connection.pk in used else "",
                    "is_new": seen_at is not None and connection.created_at.timestamp() > seen_at,
                    "organisation": organisations.get(connection.issuer, ""),
                    "scopes": [descriptions.get(scope, scope) for scope in connection.scopes],
                    "destinations": dict.fromkeys(
                        destination(uri) for uri in connection.application.registered_redirect_uris
                    ),
                }
                for connection in connections
            ],
            "page": page,
            "shows_use": usage is not None,
        },
    )


def _ago(at: datetime) -> str:
    now = timezone.now()
    if (now - at).total_seconds() < 60:
        return _("just now")
    return _("%(time)s ago") % {"time": timesince(at, now, depth=1)}


def status_of(user: Any) -> list[dict[str, Any]]:
    """Return a person's connections for a page of the other app (`MCPAPP["CONNECTION_STATUS"]`)."""
    rows = Connection.objects.filter(user=user.pk).values_list("pk", "application__name", "authorized_at")
    return [
        {"connection_id": pk, "client_name": name, "connected_at": authorized_at} for pk, name, authorized_at in rows
    ]


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def disconnect_app(request: HttpRequest, pk: int) -> HttpResponse:
    """End one of the person's own connections; a GET only leads to the page, from a sign-in in between."""
    if request.method != "POST":
        return redirect("connected-apps")
    connection = get_object_or_404(
        Connection.objects.select_related("application", "user"), pk=pk, user=request.user.pk
    )
    name = str(connection.application)
    end_connection(connection, request.META, by=str(request.user))
    messages.success(request, _("%(name)s is disconnected.") % {"name": name})
    return redirect("connected-apps")


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def disconnect_all(request: HttpRequest) -> HttpResponse:
    """End every connection of the person who is signed in; a GET only leads to the page."""
    if request.method != "POST":
        return redirect("connected-apps")
    connections = list(Connection.objects.select_related("application", "user").filter(user=request.user.pk))
    for connection in connections:
        end_connection(connection, request.META, by=str(request.user))
    if connections:
        messages.success(request, _("All clients are disconnected."))
    return redirect("connected-apps")


def end_connection(connection: Connection, meta: Mapping[str, Any], *, by: str) -> None:
    """End everything a person gave a client: codes, tokens, and the consent itself.

    Args:
        meta: `request.META` of whoever does it, for the audit trail; empty without a request.
        by: their name.
    """
    owned: dict[str, Any] = {"user": connection.user_id, "application": connection.application_id}

    def work() -> None:
        # An exchange of an assertion holds the connection, and its token is there once that is released.
        list(Connection.objects.select_for_update(of=("self",)).filter(**owned))
        audit.record(
            audit.Action.DISCONNECTED,
            meta,
            application=connection.application,
            user=connection.user,
            by=by,
        )
        # Codes first: a redemption that is under way holds its code, and its family is there once that is released.
        get_grant_model().objects.filter(**owned).delete()
        DeviceAuthorization.objects.filter(**owned).delete()
        families.end_all(TokenFamily.objects.filter(**owned))
        # What has no family, because it was not made by the flow.
        get_access_token_model().objects.filter(**owned).delete()
        Connection.objects.filter(**owned).delete()

    in_transaction(work)
