"""Signing in to an MCP server through the SDK's OAuth provider: with a browser of this machine."""

from __future__ import annotations

import socket
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from mcpapp.client import console
from mcpapp.client.failures import SignInFailure
from mcpapp.client.loopback import Loopback
from mcpapp.client.options import Options


class _Memory:
    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client_info: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client_info

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client_info = client_info


@asynccontextmanager
async def sign_in_provider(url: str, options: Options) -> AsyncIterator[OAuthClientProvider]:
    """What signs the requests to the server at `url`, signing in when there is need."""
    loopback = Loopback()
    await loopback.listen()

    async def show(authorization_url: str) -> None:
        console.say(f"Open this page to sign in:\n{authorization_url}")
        if not options.no_browser:
            webbrowser.open(authorization_url)

    async def wait() -> AuthorizationCodeResult:
        try:
            answer = await loopback.answer(options.timeout)
        except TimeoutError:
            raise SignInFailure("Nobody signed in in time.", "Run the command again.") from None
        if answer.error:
            raise SignInFailure(f"The sign-in was refused ({answer.error}). {answer.error_description}".strip())
        return AuthorizationCodeResult(code=answer.code, state=answer.state, iss=answer.issuer)

    metadata = OAuthClientMetadata.model_validate(
        {
            "client_name": f"star on {socket.gethostname()}",
            "redirect_uris": [loopback.redirect_uri],
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": "none",
            "scope": options.scope or None,
        }
    )
    try:
        yield OAuthClientProvider(url, metadata, _Memory(), show, wait)
    finally:
        loopback.close()
