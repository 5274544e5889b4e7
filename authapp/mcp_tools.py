"""Tools by which people manage the apps they connected; the site's own page does the same.

Read only where the app `mcpapp` is installed: no other module of this package knows of it.
"""

from __future__ import annotations

from typing import Annotated

from django.utils.translation import gettext as _
from oauth2_provider.scopes import get_scopes_backend
from pydantic import Field
from typing_extensions import TypedDict

from authapp.connected_apps import end_connection
from authapp.models import Connection
from mcpapp.identity import current_identity, current_user
from mcpapp.registry import tool


class ConnectedApp(TypedDict):
    """One app that a person connected."""

    connection_id: int
    name: str
    client_id: str
    may: list[str]
    """What it may do, in words."""
    connected_at: str
    is_this_one: bool


@tool("list-connected-apps", title="Apps you connected", scopes=["mcp:tools"], read_only=True, idempotent=True)
def list_connected_apps() -> list[ConnectedApp]:
    """List the apps that the person who is signed in has connected to this site, the latest first."""
    words = get_scopes_backend().get_all_scopes()
    connections = Connection.objects.filter(user=current_user()).select_related("application")
    return [
        ConnectedApp(
            connection_id=connection.pk,
            name=str(connection.application),
            client_id=connection.application.client_id,
            may=[str(words.get(scope, scope)) for scope in connection.scopes],
            connected_at=connection.created_at.isoformat(timespec="seconds"),
            is_this_one=connection.pk == current_identity().connection_id,
        )
        for connection in connections.order_by("-authorized_at")
    ]


@tool("disconnect-app", title="Disconnect an app", scopes=["mcp:write"], destructive=True)
def disconnect_app(
    connection_id: Annotated[int, Field(description="As list-connected-apps names it.")],
) -> str:
    """End what the person let an app do: its tokens stop working at once. It may be the app that asks for this."""
    connection = Connection.objects.select_related("application", "user").get(user=current_user(), pk=connection_id)
    name = str(connection.application)
    end_connection(connection, {}, by=str(current_user()))
    return _("%(name)s is disconnected.") % {"name": name}
