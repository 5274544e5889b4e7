"""What `star` uses of the MCP SDK, imported once and in one place."""

from __future__ import annotations

import logging

from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import Implementation

# The SDK logs what it raises as well; a person is told once, by `console.run`.
logging.getLogger("mcp").addHandler(logging.NullHandler())

__all__ = ["Client", "Implementation", "streamable_http_client"]
