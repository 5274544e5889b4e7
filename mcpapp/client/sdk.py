"""What `star` uses of the MCP SDK, imported in one place: without the SDK's server, where the process is our own."""

from __future__ import annotations

import logging

from mcpapp.client import lean_import

if lean_import.wanted:
    lean_import.import_client()

from mcp.client import Client
from mcp.client.auth import OAuthClientProvider, OAuthFlowError, OAuthRegistrationError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from mcp.shared.exceptions import MCPError
from mcp_types import Implementation
from mcp_types.version import LATEST_HANDSHAKE_VERSION

# The SDK logs what it raises as well; a person is told once, by `console.run`.
logging.getLogger("mcp").addHandler(logging.NullHandler())

__all__ = [
    "LATEST_HANDSHAKE_VERSION",
    "AuthorizationCodeResult",
    "Client",
    "Implementation",
    "MCPError",
    "OAuthClientInformationFull",
    "OAuthClientMetadata",
    "OAuthClientProvider",
    "OAuthFlowError",
    "OAuthRegistrationError",
    "OAuthToken",
    "streamable_http_client",
]
