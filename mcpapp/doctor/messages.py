"""MCP messages of both eras, with the headers that go with them."""

from __future__ import annotations

import json
from typing import Any

from mcpapp.doctor.clients import LEGACY, MODERN, Profile

VERSION = "1.0.0"
ACCEPT = "application/json, text/event-stream"


def first_message(profile: Profile | None) -> tuple[dict[str, str], str]:
    """Return headers and body of the message that a client begins with."""
    if profile is not None and profile.era == MODERN:
        return message(profile, "server/discover", {})
    return message(profile, "initialize", initialize_params(profile))


def initialize_params(profile: Profile | None) -> dict[str, Any]:
    """Return what an older client says of itself."""
    name = profile.client_name if profile else "mcp_doctor"
    return {
        "protocolVersion": LEGACY,
        "capabilities": {},
        "clientInfo": {"name": name, "version": VERSION},
    }


def message(
    profile: Profile | None,
    method: str,
    params: dict[str, Any] | None = None,
    *,
    era: str | None = None,
    token: str = "",
    session: str = "",
    request_id: int = 1,
) -> tuple[dict[str, str], str]:
    """Return headers and body of one message of a client."""
    era = era or (profile.era if profile else LEGACY)
    headers = {"Accept": profile.mcp_accept if profile else ACCEPT, "Content-Type": "application/json"}
    if profile is not None:
        headers["User-Agent"] = profile.user_agent if profile.mcp_user_agent is None else profile.mcp_user_agent
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if session:
        headers["Mcp-Session-Id"] = session
    body: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if not method.startswith("notifications/"):
        body["id"] = request_id
    if era == MODERN:
        headers |= {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        if name := (params or {}).get("name"):
            headers["Mcp-Name"] = str(name)
        params = (params or {}) | {
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": {
                    "name": profile.client_name if profile else "mcp_doctor",
                    "version": VERSION,
                },
                "io.modelcontextprotocol/clientCapabilities": {},
            }
        }
    elif method != "initialize" and (profile is None or profile.names_version):
        headers["MCP-Protocol-Version"] = LEGACY
    if params is not None:
        body["params"] = params
    return headers, json.dumps(body)
