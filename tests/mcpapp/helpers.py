"""Tokens of any shape in the database, and MCP messages of both eras."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import httpx2
from asgiref.sync import sync_to_async
from django.db import connection, connections
from django.utils import timezone
from oauth2_provider.models import get_access_token_model

from authapp.models import Application
from authapp.tokens import generate_access_token
from mcpapp.asgi import ResourceServer
from tests.oauth import CALLBACK, RESOURCE

ACCEPT = "application/json, text/event-stream"
MODERN = "2026-07-28"


def make_token(
    user: Any,
    *,
    scope: str = "mcp:tools",
    resource: list[str] | None = None,
    seconds: int = 3600,
    application: Application | None = None,
) -> str:
    """Store an access token and return it."""
    if application is None:
        application, _ = Application.objects.get_or_create(
            name="Tester",
            defaults={
                "redirect_uris": CALLBACK,
                "client_type": Application.CLIENT_PUBLIC,
                "authorization_grant_type": Application.GRANT_AUTHORIZATION_CODE,
            },
        )
    token = generate_access_token()
    get_access_token_model().objects.create(
        user=user,
        application=application,
        token_checksum=hashlib.sha256(token.encode()).hexdigest(),
        expires=timezone.now() + timedelta(seconds=seconds),
        scope=scope,
        resource=[RESOURCE] if resource is None else resource,
    )
    return token


def message(method: str, params: dict[str, Any] | None = None, *, era: str = "legacy") -> dict[str, Any]:
    """Return the arguments of an HTTP POST that sends one JSON-RPC request."""
    params = dict(params or {})
    headers = {"Accept": ACCEPT, "Content-Type": "application/json"}
    if era == MODERN:
        params["_meta"] = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        headers |= {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        if name := params.get("name", params.get("uri")):
            headers["Mcp-Name"] = name
    else:
        headers["MCP-Protocol-Version"] = "2025-11-25"
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return {"content": json.dumps(body), "headers": headers}


async def send(endpoint: httpx2.AsyncClient, token: str | None, method: str, params: Any = None, **options: Any) -> Any:
    """POST one message; return the response."""
    request = message(method, params, **options)
    if token is not None:
        request["headers"]["Authorization"] = f"Bearer {token}"
    return await endpoint.post("/star", **request)


async def heard(holds: Callable[[], Awaitable[bool]]) -> bool:
    """Return whether something that another connection changed holds from the next call on.

    At once on SQLite; on PostgreSQL a notification is there milliseconds after the commit (docs/decisions/0010), which
    are more where other tests keep both cores busy.
    """
    patience = 0.25 if connection.vendor == "postgresql" else 0.0
    until = time.monotonic() + patience
    while not (found := await holds()) and time.monotonic() < until:  # noqa: ASYNC110  (nobody tells)
        await anyio.sleep(0.005)
    return found


async def is_refused(endpoint: httpx2.AsyncClient, token: str, **options: Any) -> bool:
    """Return whether a token is refused after a change that ends it."""

    async def refused() -> bool:
        return bool((await send(endpoint, token, "tools/list", **options)).status_code == 401)

    return await heard(refused)


def payload(response: Any) -> dict[str, Any]:
    """Return the JSON-RPC message of a response, be it JSON or an event stream."""
    text = response.text
    if response.headers["content-type"].startswith("text/event-stream"):
        text = next(line.removeprefix("data:") for line in text.splitlines() if line.startswith("data:"))
    decoded: dict[str, Any] = json.loads(text)
    return decoded


async def call(
    endpoint: httpx2.AsyncClient, token: str, tool: str, era: str = "legacy", **arguments: Any
) -> dict[str, Any]:
    """Call a tool; return its result."""
    response = await send(endpoint, token, "tools/call", {"name": tool, "arguments": arguments}, era=era)
    assert response.status_code == 200, response.text
    result: dict[str, Any] = payload(response)["result"]
    return result


@asynccontextmanager
async def serving() -> AsyncIterator[httpx2.AsyncClient]:
    """Serve what is declared right now, and Django's settings as they are right now."""
    server = ResourceServer()
    async with (
        server.running(),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(server), base_url="http://127.0.0.1:8000") as client,
    ):
        yield client
    await sync_to_async(connections.close_all)()


async def listed(endpoint: httpx2.AsyncClient, token: str | None, what: str = "tools", **options: Any) -> list[str]:
    """Return the names of the tools, resources, templates or prompts that a caller is shown."""
    method = {"templates": "resources/templates/list"}.get(what, f"{what}/list")
    response = await send(endpoint, token, method, **options)
    assert response.status_code == 200, response.text
    key = {"templates": "resourceTemplates"}.get(what, what)
    return [one["name"] for one in payload(response)["result"][key]]
