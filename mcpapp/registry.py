"""Where tools are declared and found.

A site adds tools in one place, any installed app's `mcp_tools.py`, which is found the way `admin.py` is:

    from mcpapp.registry import tool

    @tool("greet", scopes=["mcp:tools"], read_only=True)
    async def greet() -> str:
        \"\"\"Greet the person who is signed in.\"\"\"
        return f"Hello {current_user()}"
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.utils.module_loading import autodiscover_modules
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations

from mcpapp import conf
from mcpapp.identity import current_identity

Function = TypeVar("Function", bound=Callable[..., Any])


class DuplicateTool(ValueError):
    """Two tools have the same name."""


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A declared tool."""

    function: Callable[..., Any]
    name: str
    title: str | None
    description: str | None
    scopes: frozenset[str]
    annotations: ToolAnnotations


_tools: dict[str, ToolDefinition] = {}


def tool(
    name: str | None = None,
    *,
    title: str | None = None,
    description: str | None = None,
    scopes: Sequence[str] = ("mcp:tools",),
    read_only: bool = False,
    destructive: bool | None = None,
    idempotent: bool | None = None,
) -> Callable[[Function], Function]:
    """Declare a function as a tool.

    Arguments come from the signature, the schema from its annotations, the description from the docstring. A plain
    `def` runs in a thread with its own database connection, an `async def` on the event loop.

    Args:
        name: what clients call; the function's name with dashes if not given.
        scopes: every one of them must be granted; none for a tool that any connected person may use.
        read_only, destructive, idempotent: hints for clients (MCP tool annotations).

    Raises:
        DuplicateTool: the name is taken.
    """

    def declare(function: Function) -> Function:
        definition = ToolDefinition(
            function=function,
            name=name or function.__name__.replace("_", "-"),
            title=title,
            description=description,
            scopes=frozenset(scopes),
            annotations=ToolAnnotations(
                title=title,
                read_only_hint=read_only,
                destructive_hint=False if read_only else destructive,
                idempotent_hint=idempotent,
                open_world_hint=False,
            ),
        )
        known = _tools.get(definition.name)
        if known is not None and known.function.__qualname__ + known.function.__module__ != (
            function.__qualname__ + function.__module__
        ):
            raise DuplicateTool(
                f"Two tools are called {definition.name!r}: {known.function.__module__}.{known.function.__qualname__} "
                f"and {function.__module__}.{function.__qualname__}. Give one of them another name."
            )
        _tools[definition.name] = definition
        return function

    return declare


def discover() -> dict[str, ToolDefinition]:
    """Import every installed app's `mcp_tools` and the modules of the settings; return all tools by name."""
    for module in conf.tool_modules():
        import_module(module)
    autodiscover_modules("mcp_tools")
    return dict(_tools)


def add_tools(server: MCPServer[Any], tools: dict[str, ToolDefinition]) -> None:
    """Register tools with an MCP server, each guarded by its scopes."""
    for definition in tools.values():
        server.add_tool(
            _guarded(definition),
            name=definition.name,
            title=definition.title,
            description=definition.description,
            annotations=definition.annotations,
        )


def _guarded(definition: ToolDefinition) -> Callable[..., Awaitable[Any]]:
    """Check the scopes where the tool runs; the 403 before it is a courtesy that lets clients step up."""
    function = definition.function
    run: Callable[..., Awaitable[Any]] = (
        function if inspect.iscoroutinefunction(function) else sync_to_async(function, thread_sensitive=True)
    )

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        missing = definition.scopes - current_identity().scopes
        if missing:
            raise ToolError(f"This tool needs the scope {' '.join(sorted(missing))}, which was not granted.")
        return await run(*args, **kwargs)

    return call
