"""Tokens of Microsoft Entra ID, for servers that take them directly: through msal, silently first.

One tenant, one public client, a person: there is no secret here with which a token without a person could be had.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import httpx2

from mcpapp.client import console
from mcpapp.client.failures import SignInFailure, UsageFailure
from mcpapp.client.options import EntraOptions, Options

if TYPE_CHECKING:
    import msal

PUBLIC_CLOUD = "https://login.microsoftonline.com"
# The tenant of everybody's personal accounts, which are no organisation's.
_PERSONAL_ACCOUNTS = "9188040d-6c67-4c5b-b112-36a304b66dad"
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DOMAIN = re.compile(r"(?!-)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+")
# As msal has it: what is left of a token's life must be enough for a call that takes its time.
_FRESH_SECONDS = 300
_MAX_CLAIMS_CHARACTERS = 8 * 1024
_HTTP_SECONDS = 30


class Store(Protocol):
    """Where what is known of one sign-in is kept, encrypted where the platform can."""

    def load(self) -> dict[str, Any] | None:
        """Return what was saved last, None if nothing is there."""

    def save(self, record: dict[str, Any]) -> None:
        """Keep a record in place of the one before."""

    def locked(self) -> AbstractAsyncContextManager[None]:
        """One process at a time; what is loaded inside stays true until the block ends."""


class EntraTokens:
    """The access tokens of one sign-in: kept, refreshed, and asked of the person when nothing else helps."""

    def __init__(self, entra: EntraOptions, options: Options, store: Store) -> None:
        self._entra = checked(entra)
        self._options = options
        self._store = store

    async def get(self, *, claims: str = "", refused: str = "") -> str:
        """Return an access token: from the cache, by a refresh, or after the person signed in.

        `claims` is the JSON of a claims challenge that the token has to meet; `refused` a token that the server did
        not take although its time is not over.

        Raises: Failure.
        """
        if token := self._kept(refused):
            return token
        async with self._store.locked():
            # Another process may have refreshed or signed in while this one waited.
            if token := self._kept(refused):
                return token
            record = self._store.load() or {}
            result = await asyncio.to_thread(self._silently, record, claims, bool(refused))
            if result is None:
                result = await self._with_the_person(record.get("username", ""), claims)
            return str(result["access_token"])

    def _kept(self, refused: str) -> str:
        """Return the token that is kept, "" if there is none that will do."""
        record = self._store.load() or {}
        same = record.get("entra") == self._entra._asdict()
        if not same or record["expires_at"] - time.time() < _FRESH_SECONDS or record["access_token"] == refused:
            return ""
        return str(record["access_token"])

    def _silently(self, record: dict[str, Any], claims: str, is_forced: bool) -> dict[str, Any] | None:
        """Refresh without the person; None if that is not to be had."""
        if record.get("entra") != self._entra._asdict():
            return None
        application, cache = self._application(record["msal"])
        for account in application.get_accounts():
            result = application.acquire_token_silent(
                self._scopes, account, force_refresh=is_forced, claims_challenge=claims or None
            )
            if result:
                return self._accepted(application, cache, result, record["username"])
        return None

    async def _with_the_person(self, username: str, claims: str) -> dict[str, Any]:
        """Have the person sign in, on this machine or on another one."""
        if not self._options.is_interactive:
            raise SignInFailure("Somebody has to sign in at Microsoft Entra.", "Run `star login` in a terminal.")
        application, cache = await asyncio.to_thread(self._application)
        if self._options.device:
            result = await self._on_another_device(application, claims)
        else:
            result = await self._in_the_browser(application, username, claims)
        return self._accepted(application, cache, result)

    async def _in_the_browser(self, application: Any, username: str, claims: str) -> dict[str, Any]:
        """RFC 8252, with PKCE, a state and a nonce of msal's."""
        import webbrowser

        from mcpapp.client.loopback import Loopback

        # What is registered with Entra is http://localhost, as for every program that uses msal.
        loopback = Loopback(host="localhost", path="")
        await loopback.listen()
        try:
            with warnings.catch_warnings():
                # msal would rather have the code in a form: here it comes in the URL, as RFC 8252 has it, and is of no
                # use without the verifier, which never leaves this process.
                warnings.simplefilter("ignore", UserWarning)
                flow = application.initiate_auth_code_flow(
                    self._scopes,
                    redirect_uri=loopback.redirect_uri,
                    login_hint=username or None,
                    prompt=None if username else "select_account",
                    claims_challenge=claims or None,
                )
            console.say(f"Open this page to sign in:\n{flow['auth_uri']}")
            if not self._options.no_browser:
                webbrowser.open(flow["auth_uri"])
            answer = await loopback.answer(self._options.timeout)
        except TimeoutError:
            raise SignInFailure("Nobody signed in in time.", "Run the command again.") from None
        finally:
            loopback.close()
        given = answer._asdict()
        answered = {name: given[name] for name in ("code", "state", "error", "error_description") if given[name]}
        try:
            exchange = application.acquire_token_by_auth_code_flow
            return dict(await asyncio.to_thread(exchange, flow, answered))
        except (ValueError, RuntimeError):
            # Another state, another nonce: not the answer to what was asked.
            raise SignInFailure("The browser brought an answer to another sign-in.", "Run the command again.") from None

    async def _on_another_device(self, application: Any, claims: str) -> dict[str, Any]:
        """RFC 8628."""
        flow = await asyncio.to_thread(application.initiate_device_flow, self._scopes, claims_challenge=claims or None)
        if "user_code" not in flow:
            raise _refusal(flow)
        console.say(f"Open {flow['verification_uri']} on any device and enter the code {flow['user_code']}.")
        flow["expires_at"] = min(flow["expires_at"], time.time() + self._options.timeout)
        try:
            poll = application.acquire_token_by_device_flow
            return dict(await asyncio.to_thread(poll, flow, claims_challenge=claims or None))
        finally:
            # Ends the polling in its thread where this task was cancelled.
            flow["expires_at"] = 0

    def _application(self, kept: str = "") -> tuple[msal.PublicClientApplication, msal.SerializableTokenCache]:
        """Make msal's public client over what it kept; asks the tenant for its endpoints.

        Raises: SignInFailure if there is no such tenant.
        """
        try:
            import msal
        except ImportError:
            raise UsageFailure(
                "Microsoft Entra needs the package msal.", "Install star with its extra `entra`."
            ) from None
        cache = msal.SerializableTokenCache()
        cache.deserialize(kept)
        try:
            application = msal.PublicClientApplication(
                self._entra.client_id,
                authority=f"{self._entra.authority}/{self._entra.tenant}",
                # The authority is the one that was named: nobody is asked whether there are others.
                instance_discovery=False,
                # Says that claims challenges are understood, so that servers send them.
                client_capabilities=["CP1"],
                token_cache=cache,
                http_client=httpx2.Client(timeout=_HTTP_SECONDS),
            )
        except ValueError:
            raise SignInFailure(
                f"{self._entra.authority} knows no tenant {self._entra.tenant}.", "Check `--tenant`."
            ) from None
        return application, cache

    def _accepted(self, application: Any, cache: Any, result: dict[str, Any], username: str = "") -> dict[str, Any]:
        """Return a result after it was checked and kept. Raises: SignInFailure."""
        if "access_token" not in result:
            raise _refusal(result)
        claims = result.get("id_token_claims")
        # A refresh may come without an ID token; the one of the sign-in was checked then. It came over TLS from the
        # tenant's own token endpoint (OpenID Connect Core 3.1.3.7), so that its signature adds nothing.
        if claims is None and not username:
            raise SignInFailure("Microsoft Entra did not say who signed in.")
        tenant = self._entra.tenant if _GUID.fullmatch(self._entra.tenant) else application.authority.tenant
        if claims is not None and (claims.get("tid") != tenant or not _GUID.fullmatch(str(tenant))):
            raise SignInFailure(
                "The account is not of the tenant that was asked for.",
                f"Sign in with an account of {self._entra.tenant}.",
            )
        record = {
            "entra": self._entra._asdict(),
            "username": str((claims or {}).get("preferred_username") or username or "somebody"),
            "access_token": result["access_token"],
            "expires_at": int(time.time()) + int(result["expires_in"]),
            "msal": cache.serialize(),
        }
        self._store.save(record)
        return result

    @property
    def _scopes(self) -> list[str]:
        return self._entra.scope.split()


class EntraAuth(httpx2.Auth):
    """Puts the token on requests to one server; a refusal leads to one more token, with the claims it demands."""

    def __init__(self, url: str, tokens: EntraTokens) -> None:
        self._origin = _origin(url)
        self._tokens = tokens

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Send a request with a token. Raises: Failure."""
        if _origin(str(request.url)) != self._origin:
            yield request
            return
        token = await self._tokens.get()
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code != 401:
            return
        claims = claims_challenge(response.headers.get("WWW-Authenticate", ""))
        token = await self._tokens.get(claims=claims, refused=token)
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == 401:
            raise SignInFailure(
                "The server does not take the token of this account.",
                "Check `--scope`, and that the server trusts the tenant.",
            )


def token_provider(entra: EntraOptions, options: Options, store: Store) -> Callable[[], Awaitable[str]]:
    """Return what gives a token for the scope of `entra` whenever it is called, as Azure OpenAI's client wants it."""
    return EntraTokens(entra, options, store).get


def checked(entra: EntraOptions) -> EntraOptions:
    """Return the options in one spelling, with the public cloud where no authority is named.

    Raises: UsageFailure if they do not name one tenant, an application and a scope.
    """
    tenant = entra.tenant.strip().lower()
    if not (_GUID.fullmatch(tenant) or _DOMAIN.fullmatch(tenant)) or tenant == _PERSONAL_ACCOUNTS:
        raise UsageFailure(
            "`--tenant` has to be one organisation: its ID or its domain.",
            "`common`, `organizations` and `consumers` are everybody's.",
        )
    client_id = entra.client_id.strip().lower()
    if not _GUID.fullmatch(client_id):
        raise UsageFailure("`--client-id` has to be the ID of an application that is registered in the tenant.")
    if not entra.scope.split():
        raise UsageFailure("`--scope` has to name what the server wants, like api://ITS-ID/mcp:tools.")
    authority = urlsplit(entra.authority or PUBLIC_CLOUD)
    if authority.scheme != "https" or not authority.hostname or authority.path.strip("/") or authority.query:
        raise UsageFailure("`--authority` has to be an https URL of a host, like https://login.microsoftonline.us.")
    return EntraOptions(tenant, client_id, " ".join(entra.scope.split()), f"https://{authority.netloc}")


def claims_challenge(header: str) -> str:
    """Return the JSON of the claims that a `WWW-Authenticate` header demands; "" if there are none to be read."""
    found = re.search(r'\bclaims="([A-Za-z0-9+/_=-]+)"', header[: 2 * _MAX_CLAIMS_CHARACTERS])
    if found is None or len(found[1]) > _MAX_CLAIMS_CHARACTERS:
        return ""
    text = found[1].rstrip("=").replace("+", "-").replace("/", "_")
    try:
        claims = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        return claims if isinstance(json.loads(claims), dict) else ""
    except (ValueError, RecursionError):  # binascii.Error and JSON's are ValueErrors
        return ""


def _refusal(result: dict[str, Any]) -> SignInFailure:
    error = str(result.get("error", "unknown"))
    if error == "authorization_pending":
        return SignInFailure("Nobody signed in in time.", "Run the command again.")
    if error in ("access_denied", "authorization_declined"):
        return SignInFailure("The sign-in was refused.")
    # The first line; what follows are numbers for the provider's support.
    said = str(result.get("error_description") or "").splitlines()[:1]
    return SignInFailure(" ".join([f"Microsoft Entra refused ({error}).", *said]))


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port
