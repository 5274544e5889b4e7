"""Two example tools: one for anyone connected, one that shows whom it runs as and something only that person has."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser, PermissionsMixin
from django.utils import timezone
from typing_extensions import TypedDict

from mcpapp import conf
from mcpapp.identity import current_identity
from mcpapp.registry import tool


class PublicInfo(TypedDict):
    """What `public-info` returns."""

    server: str
    resource: str
    time: str


class ProtectedData(TypedDict):
    """What `protected-data` returns."""

    username: str
    full_name: str
    groups: list[str]
    member_since: str
    client: str
    scopes: list[str]


@tool("public-info", title="About this server", public=True, read_only=True, idempotent=True)
async def public_info() -> PublicInfo:
    """Tell which server this is and what time it has. Needs no scope."""
    return PublicInfo(
        server=conf.server_title(),
        resource=current_identity().resource,
        time=timezone.now().isoformat(timespec="seconds"),
    )


@tool("protected-data", title="Your data on this site", scopes=["mcp:tools"], read_only=True, idempotent=True)
async def protected_data() -> ProtectedData:
    """Tell who is signed in, and the groups this person belongs to. Needs the scope mcp:tools."""
    identity = current_identity()
    user = identity.user
    groups = []
    if isinstance(user, PermissionsMixin):  # not every user model has groups
        groups = [name async for name in user.groups.order_by("name").values_list("name", flat=True)]
    return ProtectedData(
        username=user.get_username(),
        full_name=user.get_full_name() if isinstance(user, AbstractUser) else "",
        groups=groups,
        member_since=user.date_joined.date().isoformat() if isinstance(user, AbstractUser) else "",
        client=identity.client_name or identity.client_id,
        scopes=sorted(identity.scopes),
    )
