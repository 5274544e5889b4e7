"""Asking a person to sign in, through the SDK's OAuth provider: discovery, registration, PKCE, state and `iss` are its.

What is ours is around it: how the person is asked, by a browser of this machine or on another device, and what is kept.
No private name of the SDK is needed: its flow is driven from outside, as an HTTP client drives it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2
from pydantic import ValidationError

from mcpapp.client import browser, console
from mcpapp.client.device import GRANT_TYPE, DeviceFlow, refused
from mcpapp.client.failures import SignInFailure
from mcpapp.client.loopback import Loopback
from mcpapp.client.options import Options
from mcpapp.client.refreshing import client_authentication, is_token, take_tokens
from mcpapp.client.sdk import (
    LATEST_HANDSHAKE_VERSION,
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthClientProvider,
    OAuthFlowError,
    OAuthRegistrationError,
    OAuthToken,
)
from mcpapp.client.sign_ins import SignIn
from mcpapp.client.urls import is_safe
from mcpapp.client.visible import one_line
from mcpapp.client.wrong_url import named_resource


class _ClientRefused(Exception):
    """The authorization server does not take the client that is kept: it forgot it, or it looks at ports, or scopes."""


class _SignedInOnADevice(Exception):
    """Ends the flow of the SDK where it would wait for a browser: the tokens are there."""


async def sign_in(
    http: httpx2.AsyncClient,
    options: Options,
    kept: SignIn,
    refusal: httpx2.Response,
    keep: Callable[[SignIn], None],
) -> None:
    """Have a person sign in to the server that answered `refusal`: 401, or 403 with insufficient_scope.

    `kept` is what is known of the server; it has the tokens afterwards, and `keep` was called with it. The caller
    holds its lock.
    Raises: SignInFailure, and what the SDK and the HTTP client raise.
    """
    if options.client_id and kept.client.get("client_id") != options.client_id:
        kept.client = {"client_id": options.client_id, "token_endpoint_auth_method": "none"}
        kept.tokens = {}
    flow = _PersonFlow(http, options, kept, keep)
    try:
        await flow.run(refusal)
    except _ClientRefused:
        kept.client = {}
        await _PersonFlow(http, options, kept, keep).run(refusal)
    except OAuthRegistrationError as error:
        if options.client_id:
            raise
        raise SignInFailure(
            f"{one_line(kept.url)} registers no clients: {one_line(str(error))}",
            "Check the URL. If those who run the server gave you a client, name it with --client-id.",
        ) from None
    except OAuthFlowError as error:
        # Before anybody was found who signs people in, it is the URL that is wrong, most of the time.
        if flow.has_found_a_server or not (named := await named_resource(http, kept.url)):
            raise
        raise SignInFailure(f"The sign-in failed: {one_line(str(error))}", f"Did you mean {named}?") from error


class _PersonFlow:
    """One attempt. It is the SDK's storage as well."""

    def __init__(
        self, http: httpx2.AsyncClient, options: Options, kept: SignIn, keep: Callable[[SignIn], None]
    ) -> None:
        self._http = http
        self._options = options
        self._kept = kept
        self._keep = keep
        self._loopback = Loopback()
        self._metadata: dict[str, Any] = {}
        self._state = ""
        self._is_step_up = False
        # A client of this attempt's own registration is taken as it is; so is one that the person named.
        self._may_be_refused = bool(kept.client) and not options.client_id
        self._provider: OAuthClientProvider | None = None

    @property
    def has_found_a_server(self) -> bool:
        """Whether an authorization server said what it is (RFC 8414)."""
        return bool(self._metadata)

    async def run(self, refusal: httpx2.Response) -> None:
        await self._listen()
        metadata = OAuthClientMetadata.model_validate(
            {
                "client_name": f"star on {socket.gethostname()}",
                "redirect_uris": [self._loopback.redirect_uri],
                "grant_types": ["authorization_code", "refresh_token"],
                "token_endpoint_auth_method": "none",
                "application_type": "native",
            }
        )
        self._is_step_up = refusal.status_code == 403
        self._provider = OAuthClientProvider(self._kept.url, metadata, self, self._ask, self._answer)
        try:
            await self._drive(self._provider, refusal)
        except _SignedInOnADevice:
            pass
        finally:
            await self._loopback.finished()

    async def _listen(self) -> None:
        """Listen where the kept client is registered, as some servers compare the port too; or register it anew."""
        registered = _port_of(self._kept.client)
        if registered and not self._options.client_id:
            try:
                await self._loopback.listen(registered)
            except OSError:
                self._kept.client = {}
                self._may_be_refused = False
            else:
                return
        await self._loopback.listen()

    async def _drive(self, provider: OAuthClientProvider, refusal: httpx2.Response) -> None:
        """Send what the SDK's flow wants sent, until it has tokens and would repeat the request."""
        request = httpx2.Request("POST", self._kept.url, headers=_protocol_version(refusal))
        flow = provider.async_auth_flow(request)
        try:
            outgoing = await anext(flow)
            response = refusal  # to the request itself, which was sent before
            while True:
                outgoing = await flow.asend(response)
                if outgoing is request:
                    return
                if not is_safe(str(outgoing.url)):
                    raise SignInFailure(f"The server's sign-in is not encrypted: {one_line(str(outgoing.url))}.")
                response = await self._http.send(outgoing)
                if not self._metadata:
                    await self._look_for_metadata(provider, response)
        except StopAsyncIteration:
            return
        finally:
            await flow.aclose()

    async def _look_for_metadata(self, provider: OAuthClientProvider, response: httpx2.Response) -> None:
        """Keep the authorization server's metadata as it is: the SDK's model of it leaves out what devices need.

        It is read here before the flow goes on, so that the registration can ask for what the server offers.
        """
        if response.status_code != 200 or "json" not in response.headers.get("content-type", ""):
            return
        await response.aread()
        try:
            document = response.json()
        except (ValueError, RecursionError):
            return
        if isinstance(document, dict) and "token_endpoint" in document and "issuer" in document:
            self._metadata = document
            offered = document.get("grant_types_supported")
            grants = provider.context.client_metadata.grant_types
            if isinstance(offered, list) and GRANT_TYPE in offered and GRANT_TYPE not in grants:
                grants.append(GRANT_TYPE)

    # What the SDK asks when it is the person's turn.

    async def _ask(self, authorization_url: str) -> None:
        url = httpx2.URL(authorization_url)
        if not is_safe(authorization_url):
            raise SignInFailure(f"The server's sign-in page is not encrypted: {one_line(authorization_url)}.")
        wanted = _union(url.params.get("scope", ""), self._options.scope)
        if wanted:
            url = url.copy_set_param("scope", wanted)
            self._sdk.context.client_metadata.scope = wanted  # what is granted if the server does not say
        self._state = url.params["state"]
        if self._asks_on_a_device():
            await self._sign_in_on_a_device(url, wanted)
        if self._may_be_refused:
            await self._look_whether_the_client_is_known(url)
        if self._options.no_browser or not browser.has_browser():
            console.say(f"Open this page in a browser of this machine to sign in:\n\n{url}\n")
            if not self._options.no_browser:
                port = self._loopback.port
                console.say(f"From another machine, connect first with: ssh -L {port}:127.0.0.1:{port} …")
        else:
            console.say(f"Your browser opens to sign you in to {one_line(self._kept.url)}.")
            console.say(f"If it does not, open this page:\n\n{url}\n")
            browser.open_page(str(url))
        console.say("Waiting for you to sign in. Ctrl-C gives up.")

    async def _answer(self) -> AuthorizationCodeResult:
        try:
            answer = await self._loopback.answer(self._state, self._options.timeout)
        except TimeoutError:
            raise SignInFailure(
                f"Nobody signed in within {self._options.timeout:.0f} seconds.",
                "Run the command again. If the page did not know this client, run `star logout` first.",
            ) from None
        if answer.error:
            if self._may_be_refused and answer.error in ("invalid_scope", "unauthorized_client"):
                raise _ClientRefused
            raise refused({"error": answer.error, "error_description": answer.error_description})
        return AuthorizationCodeResult(code=answer.code, state=answer.state, iss=answer.issuer)

    def _asks_on_a_device(self) -> bool:
        offered = bool(self._metadata.get("device_authorization_endpoint"))
        if self._options.device and not offered:
            raise SignInFailure("This server signs in nobody on another device.", "Leave out --device.")
        return self._options.device or (offered and not self._options.no_browser and not browser.has_browser())

    async def _sign_in_on_a_device(self, url: httpx2.URL, scope: str) -> None:
        asked = {name: url.params[name] for name in ("scope", "resource") if url.params.get(name)}
        client, headers = client_authentication(self._kept.client)
        try:
            answer = await DeviceFlow(self._http, self._metadata, self._options.timeout).tokens(client, headers, asked)
        except SignInFailure as failure:
            if self._may_be_refused and failure.code in ("invalid_client", "unauthorized_client", "invalid_scope"):
                raise _ClientRefused from None
            raise
        self._take(answer, scope)
        raise _SignedInOnADevice

    async def _look_whether_the_client_is_known(self, url: httpx2.URL) -> None:
        """Ask for the page as a browser would: what it says to a client it does not take, it tells the person alone.

        RFC 6749 4.1.2.1: it must not lead back to us then, so that we would wait for nothing.
        """
        response = await self._http.get(url)
        if response.status_code in (400, 401):
            raise _ClientRefused

    # The SDK's storage.

    async def get_tokens(self) -> OAuthToken | None:
        """What was granted before, which a step-up keeps."""
        if not self._is_step_up:
            return None
        try:
            return OAuthToken.model_validate(self._kept.tokens)
        except ValidationError:
            return None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep what was granted now."""
        self._take(tokens.model_dump(exclude_none=True), self._sdk.context.client_metadata.scope or "")

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """The client that was registered before."""
        try:
            return OAuthClientInformationFull.model_validate(self._kept.client)
        except ValidationError:
            return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Keep a new registration, with the address that the browser comes back to."""
        self._may_be_refused = False
        self._kept.client = client_info.model_dump(mode="json", exclude_none=True)
        self._kept.client["redirect_uris"] = [self._loopback.redirect_uri]
        self._keep(self._kept)

    def _take(self, answer: dict[str, Any], scope: str) -> None:
        if not is_token(answer.get("access_token")):
            raise SignInFailure("The authorization server gave no token.", "Tell those who run it.")
        context = self._sdk.context
        self._kept.tokens = {}
        take_tokens(self._kept, answer, scope)
        base = context.get_authorization_base_url(context.server_url)
        self._kept.server = self._metadata or {"token_endpoint": urljoin(base, "/token")}
        known = context.protected_resource_metadata
        self._kept.resource = known.model_dump(mode="json", exclude_none=True) if known else {}
        if context.should_include_resource_param(context.protocol_version):
            self._kept.resource["resource"] = context.get_resource_url()
        else:
            self._kept.resource.pop("resource", None)
        self._keep(self._kept)

    @property
    def _sdk(self) -> OAuthClientProvider:
        if self._provider is None:
            raise RuntimeError("the flow has not begun")
        return self._provider


async def refusal_of(http: httpx2.AsyncClient, url: str) -> httpx2.Response:
    """Ask a server for its refusal, which names the scopes it wants (RFC 6750 3).

    Returns: its 401; made up for a server that lets strangers in, or that refuses in another way.
    Raises: httpx2.TransportError if it cannot be reached.
    """
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": LATEST_HANDSHAKE_VERSION,
            "capabilities": {},
            "clientInfo": {"name": "star", "version": "1"},
        },
    }
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": LATEST_HANDSHAKE_VERSION,
    }
    request = http.build_request("POST", url, json=hello, headers=headers)
    response = await http.send(request, stream=True)
    await response.aclose()
    return response if response.status_code == 401 else httpx2.Response(401, request=request)


def _protocol_version(refusal: httpx2.Response) -> dict[str, str]:
    """The SDK decides by the version of the refused request whether the server knows resources (RFC 8707)."""
    name = "mcp-protocol-version"
    version = refusal.request.headers.get(name)
    return {name: version} if version else {}


def _union(first: str, second: str) -> str:
    return " ".join(dict.fromkeys([*first.split(), *second.split()]))


def _port_of(client: dict[str, Any]) -> int | None:
    uris = client.get("redirect_uris")
    if not isinstance(uris, list):
        return None
    for uri in uris:
        try:
            parts = urlsplit(str(uri))
            if parts.hostname == "127.0.0.1" and parts.port:
                return parts.port
        except ValueError:
            continue
    return None
