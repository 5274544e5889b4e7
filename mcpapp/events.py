"""Tell clients that something changed: `subscriptions/listen` (MCP 2026-07-28).

To be called from anywhere: a view, a signal's receiver, a management command, a tool. Those who listen are told when
the transaction is committed, and of nothing that was rolled back. Each function has an asynchronous spelling.
"""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.utils.asyncio import async_unsafe
from mcp.server.subscriptions import PromptsListChanged, ResourcesListChanged, ResourceUpdated, ToolsListChanged

from mcpapp.bus import PersonsResourceUpdated, send


@async_unsafe("Use aresource_updated() in asynchronous code.")
def resource_updated(uri: str, *, user: Any = None) -> None:
    """Tell that what is read at a URI changed; those hear it who subscribed to it and may read it then.

    With `user`, it is told to this person alone. Without, a URI that a template made is read once more as each person
    who would hear of it: what the function refuses them, they are told nothing of.

    Raises:
        ValueError: the URI is empty, has control characters, or is longer than 2048 bytes; `user` is nobody who is
            stored.
        django.db.Error: the database does not answer.
    """
    if user is None:
        send(ResourceUpdated(uri))
        return
    key = getattr(user, "pk", None)
    if key is None:
        raise ValueError(f"user is a person who is stored, an instance of AUTH_USER_MODEL, not {user!r}.")
    send(PersonsResourceUpdated(uri, str(key)))


@async_unsafe("Use aresources_changed() in asynchronous code.")
def resources_changed() -> None:
    """Tell everybody who is connected that there are other resources now."""
    send(ResourcesListChanged())


@async_unsafe("Use atools_changed() in asynchronous code.")
def tools_changed() -> None:
    """Tell everybody who is connected that there are other tools now, or other people may use them."""
    send(ToolsListChanged())


@async_unsafe("Use aprompts_changed() in asynchronous code.")
def prompts_changed() -> None:
    """Tell everybody who is connected that there are other prompts now."""
    send(PromptsListChanged())


async def aresource_updated(uri: str, *, user: Any = None) -> None:
    """Asynchronous `resource_updated`."""
    await sync_to_async(resource_updated)(uri, user=user)


async def aresources_changed() -> None:
    """Asynchronous `resources_changed`."""
    await sync_to_async(resources_changed)()


async def atools_changed() -> None:
    """Asynchronous `tools_changed`."""
    await sync_to_async(tools_changed)()


async def aprompts_changed() -> None:
    """Asynchronous `prompts_changed`."""
    await sync_to_async(prompts_changed)()
