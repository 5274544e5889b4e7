"""What each client puts on the wire, as data: redirect URIs, first request, scope, registration, headers.

From the clients' sources, from what was recorded of them against real servers, and from what server authors published.
What a client draws anew each time, like a port or a session, is some value of that kind here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

LEGACY = "2025-11-25"
MODERN = "2026-07-28"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
OFFLINE_ACCESS = "offline_access"

_JSON = {"Accept": "application/json"}
_TYPESCRIPT = {**_JSON, "MCP-Protocol-Version": LEGACY}
_BOTH_GRANTS = ("authorization_code", "refresh_token")


class Probe(StrEnum):
    """What a client asks first."""

    GET = "GET"
    HEAD = "HEAD"
    POST = "POST"
    METADATA = "metadata"
    """It sees no 401: it goes to the protected resource metadata at the path of the resource."""


class ScopeRule(StrEnum):
    """Which scopes a client asks for."""

    CHALLENGE = "challenge"
    """Those of the challenge; without any, those of the protected resource metadata."""
    RESOURCE = "resource"
    """All of the protected resource metadata."""
    SERVER = "server"
    """All of the authorization server's metadata."""
    NONE = "none"
    """It names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One client. `key` is what it is called on the command line, `title` what people call it."""

    key: str
    title: str
    client_name: str
    redirect_uri: str
    """Where it has itself sent back to; one of `redirect_uris`, but for the port."""
    redirect_uris: tuple[str, ...]
    probe: Probe
    scope: ScopeRule
    adds_offline_access: bool = False
    """Whether it asks for it as well where the authorization server lists it."""
    grants: tuple[str, ...] = _BOTH_GRANTS
    narrows_grants: bool = False
    """Whether it registers for no other grant than those that the metadata lists."""
    auth_method: str | None = "none"
    """`token_endpoint_auth_method` of its registration; None leaves it out."""
    also_registers: Mapping[str, Any] = field(default_factory=dict)
    """Further members of its registration."""
    registers_scope: bool = False
    registers_resource_scopes: bool = False
    """Whether it registers for all scopes of the resource, whatever it asks for later."""
    document: str = ""
    """Its client ID metadata document, which it prefers to registering where the server takes them."""
    document_needs_none: bool = False
    """Whether it uses the document only where `none` is among the authentication methods."""
    asks_for_consent: bool = False
    """Whether it sends `prompt=consent` with `offline_access` (OIDC Core §11)."""
    needs_iss: bool = False
    """Whether it refuses an authorization response without `iss` (RFC 9207), announced or not."""
    era: str = LEGACY
    user_agent: str = "node"
    """Of its OAuth requests; "" for none."""
    mcp_user_agent: str | None = None
    """Of its MCP requests, if that is another."""
    discovery_headers: Mapping[str, str] = field(default_factory=lambda: _TYPESCRIPT)
    token_accept: str = "application/json"  # noqa: S105  (a media type)
    mcp_accept: str = "application/json, text/event-stream"
    names_version: bool = True
    """Whether its MCP requests say MCP-Protocol-Version."""

    def registration(self, *, scope: str, resource_scopes: str, offered: Sequence[str]) -> dict[str, Any]:
        """Return the body of its registration (RFC 7591 §2).

        `scope` is what it will ask for, `offered` are the grants of the metadata.
        """
        grants = (
            [grant for grant in self.grants if grant in offered] if self.narrows_grants and offered else self.grants
        )
        body: dict[str, Any] = {
            "client_name": self.client_name,
            "redirect_uris": list(self.redirect_uris),
            "grant_types": list(grants),
            "response_types": ["code"],
        }
        if self.auth_method is not None:
            body["token_endpoint_auth_method"] = self.auth_method
        body |= self.also_registers
        if self.registers_scope or self.registers_resource_scopes:
            body["scope"] = resource_scopes if self.registers_resource_scopes else scope
        return body


_VSCODE = Profile(
    key="vscode",
    title="VS Code",
    client_name="Visual Studio Code",
    redirect_uri="http://127.0.0.1:33418/",
    redirect_uris=(
        "https://insiders.vscode.dev/redirect",
        "https://vscode.dev/redirect",
        "http://127.0.0.1/",
        "http://127.0.0.1:33418/",
    ),
    probe=Probe.POST,
    scope=ScopeRule.CHALLENGE,
    grants=(*_BOTH_GRANTS, DEVICE_CODE),
    narrows_grants=True,
    also_registers={"client_uri": "https://code.visualstudio.com", "application_type": "native"},
    registers_resource_scopes=True,
    document="https://vscode.dev/oauth/client-metadata.json",
    user_agent="Visual Studio Code/1.119.0",
    mcp_accept="text/event-stream, application/json",
    names_version=False,
)
_CURSOR = Profile(
    key="cursor",
    title="Cursor",
    client_name="Cursor",
    redirect_uri="cursor://anysphere.cursor-mcp/oauth/callback",
    redirect_uris=(
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "https://www.cursor.com/agents/mcp/oauth/callback",
        "http://localhost:8787/callback",
    ),
    probe=Probe.POST,
    scope=ScopeRule.CHALLENGE,
    also_registers={"application_type": "web"},  # some versions say so, scheme and all
    user_agent="Cursor/3.14.0",
)
_CLAUDE = Profile(
    key="claude",
    title="Claude",
    client_name="Claude",
    redirect_uri="https://claude.ai/api/mcp/auth_callback",
    redirect_uris=("https://claude.ai/api/mcp/auth_callback", "https://claude.com/api/mcp/auth_callback"),
    probe=Probe.POST,
    scope=ScopeRule.CHALLENGE,
    auth_method="client_secret_post",
    registers_scope=True,
    document="https://claude.ai/oauth/mcp-oauth-client-metadata",
    document_needs_none=True,
    user_agent="python-httpx/0.28.1",
    mcp_user_agent="Claude-User",
    discovery_headers={"Accept": "*/*", "MCP-Protocol-Version": LEGACY},
)
_CLAUDE_CODE = Profile(
    key="claude-code",
    title="Claude Code",
    client_name="Claude Code (mcp_doctor)",
    redirect_uri="http://localhost:54213/callback",
    redirect_uris=("http://localhost:54213/callback",),
    probe=Probe.METADATA,
    scope=ScopeRule.RESOURCE,
    adds_offline_access=True,
    also_registers={"application_type": "native"},
    registers_scope=True,
    document="https://claude.ai/oauth/claude-code-client-metadata",
    asks_for_consent=True,
    user_agent="claude-code/2.1.330 (cli)",
)
_CODEX = Profile(
    key="codex",
    title="Codex",
    client_name="Codex",
    redirect_uri="http://127.0.0.1:51847/callback",
    redirect_uris=("http://127.0.0.1:51847/callback",),
    probe=Probe.GET,
    scope=ScopeRule.CHALLENGE,
    adds_offline_access=True,
    document="https://chatgpt.com/oauth/codex/client.json",
    user_agent="",  # its HTTP library sends none
    discovery_headers={"MCP-Protocol-Version": LEGACY},
)
_GEMINI = Profile(
    key="gemini",
    title="Gemini CLI",
    client_name="Gemini CLI MCP Client",
    redirect_uri="http://localhost:52993/oauth/callback",
    redirect_uris=("http://localhost:52993/oauth/callback",),
    probe=Probe.HEAD,
    scope=ScopeRule.SERVER,
    registers_scope=True,
    needs_iss=True,
    discovery_headers={},
    token_accept="application/json, application/x-www-form-urlencoded",  # noqa: S106  (media types)
)
_CHATGPT = Profile(
    key="chatgpt",
    title="ChatGPT",
    client_name="ChatGPT",
    # A new connector has a URI of its own, older ones share the other.
    redirect_uri="https://chatgpt.com/connector/oauth/mcp-doctor",
    redirect_uris=(
        "https://chatgpt.com/connector/oauth/mcp-doctor",
        "https://chatgpt.com/connector_platform_oauth_redirect",
    ),
    probe=Probe.POST,
    scope=ScopeRule.NONE,  # as when it connects again
    user_agent="openai-mcp/1.0.0",
    discovery_headers=_JSON,
)
_INSPECTOR = Profile(
    key="inspector",
    title="MCP Inspector",
    client_name="MCP Inspector",
    redirect_uri="http://127.0.0.1:6276/oauth/callback",
    redirect_uris=("http://127.0.0.1:6276/oauth/callback",),
    probe=Probe.POST,
    scope=ScopeRule.RESOURCE,
    adds_offline_access=True,
    also_registers={
        "client_uri": "https://github.com/modelcontextprotocol/inspector",
        "application_type": "native",
    },
    registers_scope=True,
    asks_for_consent=True,
    era=MODERN,
)
_MCP_REMOTE = Profile(
    key="mcp-remote",
    title="mcp-remote",
    client_name="MCP CLI Proxy",
    redirect_uri="http://localhost:14187/oauth/callback",
    redirect_uris=("http://localhost:14187/oauth/callback",),
    probe=Probe.GET,
    scope=ScopeRule.CHALLENGE,
    adds_offline_access=True,
    also_registers={
        "client_uri": "https://github.com/modelcontextprotocol/mcp-cli",
        "software_id": "2e6dc280-f3c3-4e01-99a7-8181dbd1d23d",
        "software_version": "0.15.1",
    },
    registers_scope=True,
    asks_for_consent=True,
)
_PYTHON_SDK = Profile(
    key="python-sdk",
    title="MCP Python SDK",
    client_name="Python SDK",
    redirect_uri="http://127.0.0.1:53121/callback",
    redirect_uris=("http://127.0.0.1:53121/callback",),
    probe=Probe.POST,
    scope=ScopeRule.CHALLENGE,
    adds_offline_access=True,
    auth_method=None,
    registers_scope=True,
    asks_for_consent=True,
    era=MODERN,
    user_agent="python-httpx2/2.16.2",
    discovery_headers={"MCP-Protocol-Version": MODERN},
)
_FASTMCP = replace(  # built on the Python SDK
    _PYTHON_SDK,
    key="fastmcp",
    title="fastmcp",
    client_name="FastMCP Client",
    redirect_uri="http://localhost:54771/callback",
    redirect_uris=("http://localhost:54771/callback",),
    era=LEGACY,
)

PROFILES: dict[str, Profile] = {
    profile.key: profile
    for profile in (
        _VSCODE,
        _CURSOR,
        _CLAUDE,
        _CLAUDE_CODE,
        _CODEX,
        _GEMINI,
        _CHATGPT,
        _INSPECTOR,
        _MCP_REMOTE,
        _PYTHON_SDK,
        _FASTMCP,
    )
}
DEFAULT = ("vscode", "cursor", "claude", "claude-code")
"""Whose way is walked when nobody says whose."""
