"""The page on which people see the clients they connected, and disconnect them."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe
from oauth2_provider.models import get_access_token_model, get_grant_model, get_refresh_token_model
from oauth2_provider.scopes import get_scopes_backend

from authapp import audit
from authapp.models import Connection
from authapp.redirect_uris import destination


@never_cache
@login_required
@require_safe
def connected_apps(request: HttpRequest) -> HttpResponse:
    """List the clients that the person who is signed in has connected, the latest first."""
    descriptions = get_scopes_backend().get_all_scopes()
    connections = (
        Connection.objects.filter(user=request.user.pk).select_related("application").order_by("-authorized_at")
    )
    return render(
        request,
        "authapp/connected_apps.html",
        {
            "connections": [
                {
                    "connection": connection,
                    "application": connection.application,
                    "scopes": [descriptions.get(scope, scope) for scope in connection.scope.split()],
                    "destinations": dict.fromkeys(
                        destination(uri) for uri in connection.application.registered_redirect_uris
                    ),
                }
                for connection in connections
            ]
        },
    )


@never_cache
@login_required
@require_POST
def disconnect_app(request: HttpRequest, pk: int) -> HttpResponse:
    """End one of the person's own connections."""
    connection = get_object_or_404(Connection.objects.select_related("application"), pk=pk, user=request.user.pk)
    name = str(connection.application)
    with transaction.atomic():
        audit.record(audit.Action.DISCONNECTED, request.META, application=connection.application, user=connection.user)
        disconnect(connection)
    messages.success(request, _("%(name)s is disconnected.") % {"name": name})
    return redirect("connected-apps")


def disconnect(connection: Connection) -> None:
    """End everything a person gave a client: codes, access tokens, refresh tokens, and the consent itself.

    Refresh tokens stay as revoked rows, so that a replay of one is still recognised (RFC 9700 §4.14.2).
    """
    owned: dict[str, Any] = {"user": connection.user_id, "application": connection.application_id}
    refresh_tokens = get_refresh_token_model()
    with transaction.atomic():
        get_grant_model().objects.filter(**owned).delete()
        live = refresh_tokens.objects.select_for_update().filter(**owned, revoked__isnull=True)
        for family in set(live.values_list("token_family", flat=True)):
            refresh_tokens.revoke_family(family)
        get_access_token_model().objects.filter(**owned).delete()
        connection.delete()
