"""The Python servers that are compared with ours, and ours with a part replaced; made by `uvicorn --factory`.

Each serves one tool like `public-info`: no arguments, a structured result of three strings. None imports Django unless
it is ours.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from typing_extensions import TypedDict

RESOURCE = "https://127.0.0.1/star"
ISSUER = "https://127.0.0.1"


class PublicInfo(TypedDict):
    """What the tool returns."""

    server: str
    resource: str
    time: str


async def public_info() -> PublicInfo:
    """Tell which server this is and what time it has."""
    return PublicInfo(server="Star", resource=RESOURCE, time=time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()))


def plain_server() -> Any:
    """The MCP SDK's own server with the tool; nobody has to sign in."""
    from mcp.server.mcpserver import MCPServer

    server: Any = MCPServer("plain", log_level="WARNING")
    server.tool("public-info", title="About this server")(public_info)
    return server


def plain_sdk() -> Any:
    """The SDK's own application, stateless, with the replies it gives by default."""
    return plain_server().streamable_http_app(streamable_http_path="/star", stateless_http=True)


def plain_sdk_json() -> Any:
    """The same with JSON replies in both eras."""
    return plain_server().streamable_http_app(streamable_http_path="/star", stateless_http=True, json_response=True)


def fastmcp_jwt() -> Any:
    """The package fastmcp with its own verifier of JWTs and a local key; stateless, JSON replies."""
    from fastmcp import FastMCP
    from fastmcp.server.auth.providers.jwt import JWTVerifier

    verifier = JWTVerifier(
        public_key=os.environ["BENCH_PUBLIC_KEY"], issuer=ISSUER, audience=RESOURCE, required_scopes=["mcp:tools"]
    )
    server: Any = FastMCP("peer", auth=verifier)
    server.tool(public_info, name="public-info", title="About this server")
    return server.http_app(path="/star", stateless_http=True, json_response=True)


def open_door() -> Any:
    """Ours without authentication: who has called first is taken for the caller of all that follow, unasked."""
    from config.asgi import application
    from mcpapp import asgi
    from mcpapp.identity import Identity

    authenticate = asgi.authenticate
    known: Identity | None = None

    async def constant(headers: Any, resource: str, verifier: Any) -> Any:
        nonlocal known
        if known is None:
            answer = await authenticate(headers, resource, verifier)
            if not isinstance(answer, Identity):
                return answer
            known = answer
        return known

    asgi.authenticate = constant
    return application


def switched_log() -> Any:
    """Ours with the log of calls, which SIGUSR1 switches on and SIGUSR2 off, and with a tool that reads one row.

    Of two processes that serve the same, one takes up to a twentieth longer: what the log costs shows in one alone.
    """
    import django

    django.setup(set_prefix=False)
    from django.contrib.auth import get_user_model

    from mcpapp.identity import current_identity
    from mcpapp.registry import tool

    @tool("reads-a-row")
    def reads_a_row() -> PublicInfo:
        person = get_user_model().objects.get(pk=current_identity().user_id)
        return PublicInfo(server=person.get_username(), resource=RESOURCE, time="")

    from config.asgi import application, resource_server

    log = resource_server.call_log
    signal.signal(signal.SIGUSR1, lambda *_: setattr(resource_server, "call_log", log))
    signal.signal(signal.SIGUSR2, lambda *_: setattr(resource_server, "call_log", None))
    return application
