"""What a server lists: every page of it, and what a tool says of itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from mcpapp.client.arguments import nearest
from mcpapp.client.failures import ServerFailure, UsageFailure
from mcpapp.client.visible import one_line

if TYPE_CHECKING:
    import mcp_types as types
    from mcp.client import Client

_MAX_PAGES = 1000


async def every(fetch: Callable[..., Awaitable[Any]], field: str) -> list[Any]:
    """Return all items of a list of the server, page by page.

    Raises: ServerFailure when the pages do not end.
    """
    found: list[Any] = []
    seen: set[str] = set()
    cursor: str | None = None
    for _ in range(_MAX_PAGES):
        page = await fetch(cursor=cursor)
        found += getattr(page, field)
        cursor = page.next_cursor
        if cursor is None:
            return found
        if cursor in seen:
            break
        seen.add(cursor)
    raise ServerFailure("The server's list does not end.", "Tell whoever runs the server.")


async def tool_named(client: Client, name: str, *, anew: bool = False) -> types.Tool:
    """Return what the server says of a tool; `anew` asks it also where a list is kept.

    Raises: UsageFailure, with the nearest name, when it has no such tool.
    """
    tools = await every(partial(client.list_tools, cache_mode="refresh" if anew else "use"), "tools")
    for tool in tools:
        if tool.name == name:
            return tool  # type: ignore[no-any-return]
    raise UsageFailure(f"The server has no tool {one_line(name)}.", meant(name, [tool.name for tool in tools], "tools"))


def meant(name: str, names: list[str], command: str) -> str:
    """Return what to do after a name that the server does not know."""
    near = nearest(name, names)
    return f"Did you mean {one_line(near)}?" if near else f"`star {command}` lists what it has."


def effect(tool: types.Tool) -> str:
    """Return `read`, `write`, `destructive`, or `?` where the server does not say.

    A hint of the server, as MCP has it, and no proof. Saying both is taken for the worse.
    """
    hints = tool.annotations
    if hints is None or (hints.read_only_hint is None and hints.destructive_hint is None):
        return "?"
    if hints.destructive_hint:
        return "destructive"
    if hints.read_only_hint:
        return "read"
    return "write" if hints.destructive_hint is False else "?"
