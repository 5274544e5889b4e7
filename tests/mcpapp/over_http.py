"""What is declared right now, served over real HTTP: streams stay open, and a client can be asked something."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import mcp
import uvicorn
from asgiref.sync import sync_to_async
from django.db import connections
from mcp.client.streamable_http import streamable_http_client

from mcpapp.asgi import ResourceServer


@asynccontextmanager
async def served(application: Any, **options: Any) -> AsyncIterator[str]:
    """Serve an ASGI application on a free port of loopback; give its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(application, log_level="warning", timeout_graceful_shutdown=1, **options)
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        with anyio.fail_after(10):
            while not server.started:  # noqa: ASYNC110  (uvicorn tells nobody)
                await anyio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


@asynccontextmanager
async def serving_over_http() -> AsyncIterator[str]:
    """Serve the endpoint alone on a free port; give the server's address."""
    try:
        async with served(ResourceServer(), lifespan="on") as address:
            yield address
    finally:
        await sync_to_async(connections.close_all)()


def bearer(token: str) -> httpx2.AsyncClient:
    """Return an HTTP client with a token."""
    return httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=20)


@asynccontextmanager
async def connected(url: str, token: str, era: str, **callbacks: Any) -> AsyncIterator[mcp.Client]:
    """Connect the SDK's client, which answers what the server asks by its callbacks."""
    async with bearer(token) as http:
        transport = streamable_http_client(f"{url}/star", http_client=http)
        async with mcp.Client(transport, mode=era, **callbacks) as client:
            yield client
