"""A resource, and a tool that says it changed, for real servers."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

from mcpapp.registry import resource, tool


@resource("book://all", mime_type="text/plain")
def books() -> str:
    """Every book."""
    return "Books"


@resource("book://staff", mime_type="text/plain", allowed=lambda identity: identity.user.is_staff)
def staff_books() -> str:
    """The books of the staff."""
    return "Books"


@tool("lend", atomic=True)
def lend(context: Context[Any, Any], fails: bool = False) -> str:
    """Lend a book, and fail after that if told to."""
    async_to_sync(context.notify_resource_updated)("book://all")
    if fails:
        raise ToolError("It was lent already.")
    return "Lent."
