"""A server of fastmcp with an authorization server of its own: `python -m tests.star.fastmcp_server PORT`.

Its authorization server asks nobody: it sends the browser back with a code.
"""

from __future__ import annotations

import sys

from fastmcp import FastMCP
from fastmcp.server.auth.auth import ClientRegistrationOptions, RevocationOptions
from fastmcp.server.auth.providers.in_memory import InMemoryOAuthProvider
from fastmcp.server.dependencies import get_access_token


def make(port: int) -> FastMCP:
    provider = InMemoryOAuthProvider(
        base_url=f"http://127.0.0.1:{port}",
        client_registration_options=ClientRegistrationOptions(enabled=True, valid_scopes=["read"]),
        revocation_options=RevocationOptions(enabled=True),
        required_scopes=["read"],
    )
    server = FastMCP("fast", version="4.5.6", auth=provider)

    @server.tool
    def scopes(word: str) -> list[str]:
        """Return a word and what was granted."""
        token = get_access_token()
        return [word, *(token.scopes if token else [])]

    @server.resource("test://note")
    def note() -> str:
        """A note."""
        return "noted"

    @server.prompt
    def greet(name: str) -> str:
        """Greet somebody."""
        return f"Hello {name}"

    return server


if __name__ == "__main__":
    port = int(sys.argv[1])
    make(port).run("http", host="127.0.0.1", port=port, show_banner=False, log_level="WARNING")
