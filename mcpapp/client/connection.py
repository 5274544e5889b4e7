"""A connection to an MCP server that signs in by itself when it is needed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from mcpapp.client.options import Options

if TYPE_CHECKING:
    from mcp.client import Client


@asynccontextmanager
async def connect(url: str, options: Options, **client_arguments: Any) -> AsyncIterator[Client]:
    """Connect to the MCP server at `url`; `client_arguments` go to the SDK's `Client`.

    Raises: Failure.
    """
    from mcp.client import Client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    from mcpapp.client.sign_in import sign_in_provider

    async with (
        sign_in_provider(url, options) as auth,
        create_mcp_http_client(auth=auth) as http,
        Client(streamable_http_client(url, http_client=http), **client_arguments) as client,
    ):
        yield client
