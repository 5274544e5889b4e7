"""Build the MCP server: the SDK's `MCPServer` with the tools of the installed apps."""

from __future__ import annotations

from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import MCPServer

from mcpapp import conf
from mcpapp.database import own_connections
from mcpapp.identity import SCOPE_KEY, acting_as
from mcpapp.registry import ToolDefinition, add_tools


def build_server(tools: dict[str, ToolDefinition]) -> MCPServer[Any]:
    """Return an MCP server that serves `tools`."""
    server: MCPServer[Any] = MCPServer(
        name=conf.server_name(),
        title=conf.server_title(),
        instructions=conf.instructions(),
        version=conf.server_version(),
        website_url=conf.resources()[0].rpartition("/")[0] or None,
        middleware=[with_caller],
        log_level="WARNING",
    )
    add_tools(server, tools)
    return server


async def with_caller(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Run each message as the person whose token came with it.

    The identity is taken from the message's own HTTP request: with sessions, a message is handled by a task that an
    earlier request of perhaps another token started.
    """
    identity = ctx.request.scope.get(SCOPE_KEY) if ctx.request is not None else None
    async with own_connections():
        with acting_as(identity):
            return await call_next(ctx)
