"""Typed access to `settings.MCPAPP`.

The resource's name comes from here, never from a request's Host header: the header only chooses among the
resources that the settings list.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from mcpapp.verifier import AccessTokenInfo


def _setting(name: str, default: Any) -> Any:
    return getattr(settings, "MCPAPP", {}).get(name, default)


def resources() -> tuple[str, ...]:
    """Return the resource identifiers (RFC 9728 §1.2), which are the URLs people paste; the first is canonical."""
    return tuple(_setting("RESOURCES", ()))


def authorization_servers() -> tuple[str, ...]:
    """Return the issuers whose tokens are accepted, in the order clients are told them (RFC 9728 §2)."""
    return tuple(_setting("AUTHORIZATION_SERVERS", ()))


def token_lookup() -> Callable[[str], Awaitable[AccessTokenInfo | None]]:
    """Return the async callable that finds an access token."""
    lookup: Callable[[str], Awaitable[AccessTokenInfo | None]] = import_string(_setting("TOKEN_LOOKUP", ""))
    return lookup


def server_name() -> str:
    """Return the name the MCP server gives itself."""
    return str(_setting("SERVER_NAME", "star"))


def server_title() -> str:
    """Return the name shown to people."""
    return str(_setting("SERVER_TITLE", "Star"))


def server_version() -> str:
    """Return the version the MCP server gives itself."""
    return str(_setting("SERVER_VERSION", "0.1.0"))


def instructions() -> str:
    """Return what a model is told about this server's tools."""
    return str(_setting("INSTRUCTIONS", "Tools of this site. They run as the person who signed in."))


def scopes_supported() -> tuple[str, ...]:
    """Return the scopes of this resource (RFC 9728 §2); `offline_access` is the authorization server's, not ours."""
    return tuple(_setting("SCOPES_SUPPORTED", ()))


def default_scopes() -> tuple[str, ...]:
    """Return the scopes a client is told to ask for when it comes without a token (RFC 6750 §3)."""
    return tuple(_setting("DEFAULT_SCOPES", ()))


def implied_scopes() -> dict[str, frozenset[str]]:
    """Return which scopes a scope includes, e.g. `{"mcp:write": {"mcp:tools"}}`."""
    return {scope: frozenset(implied) for scope, implied in _setting("IMPLIED_SCOPES", {}).items()}


def tool_modules() -> tuple[str, ...]:
    """Return modules with tools besides every installed app's `mcp_tools`."""
    return tuple(_setting("TOOL_MODULES", ()))


def allowed_origins() -> tuple[str, ...]:
    """Return the web origins besides our own and loopback whose pages may call the server."""
    return tuple(_setting("ALLOWED_ORIGINS", ()))


def sessions() -> bool:
    """Return whether older clients get sessions; without them any worker answers any request."""
    return bool(_setting("SESSIONS", False))


def maximum_body_bytes() -> int:
    """Return how large a request may be."""
    return int(_setting("MAXIMUM_BODY_BYTES", 4 * 1024 * 1024))


def resource_for(host: str) -> str:
    """Return the resource a request is for: the listed one with its Host header, else the canonical one."""
    for candidate in resources():
        if urlsplit(candidate).netloc == host:
            return candidate
    return resources()[0]


def authorization_servers_for(resource: str) -> tuple[str, ...]:
    """Return the issuers to name for a resource: in development the one with the resource's own spelling."""
    netloc = urlsplit(resource).netloc
    own = tuple(issuer for issuer in authorization_servers() if urlsplit(issuer).netloc == netloc)
    return own or authorization_servers()


def metadata_url(resource: str) -> str:
    """Return where a resource's metadata is: the well-known name goes between host and path (RFC 9728 §3.1)."""
    parts = urlsplit(resource)
    return f"{parts.scheme}://{parts.netloc}/.well-known/oauth-protected-resource{parts.path}"
