"""Tools that go wrong in every way that a tool can."""

from __future__ import annotations

import asyncio
import time

from mcp_types import CallToolResult, TextContent

from mcpapp.registry import tool

LARGE = 50_000_000


@tool("hangs", timeout=1)
async def hangs() -> str:
    """Wait for what never comes."""
    await asyncio.Event().wait()
    return "never"


@tool("hangs-in-a-thread", timeout=1)
def hangs_in_a_thread() -> str:
    """Keep a thread for longer than it may take."""
    time.sleep(3)
    return "too late"


@tool("raises")
def raises() -> str:
    """Fail with something that is not for clients."""
    raise RuntimeError("the password is swordfish")


@tool("large", read_only=True)
def large() -> CallToolResult:
    """Return fifty megabytes."""
    return CallToolResult(content=[TextContent(type="text", text="x" * LARGE)])
