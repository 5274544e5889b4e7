"""Tokens of Microsoft Entra ID, for servers that take them directly: through msal, silently first.

One tenant, one public client, a person: there is no secret here with which a token without a person could be had.
`Credentials` says when a token is needed, and holds the lock of the sign-in meanwhile.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import time
import warnings
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2

from mcpapp.client import browser, console
from mcpapp.client.failures import SignInFailure, UsageFailure
from mcpapp.client.options import EntraOptions, Options
from mcpapp.client.sign_ins import SignIn
from mcpapp.client.visible import one_line

if TYPE_CHECKING:
    import msal

PUBLIC_CLOUD = "https://login.microsoftonline.com"
# How Azure's own tools name the tenant and the application.
TENANT_VARIABLE = "AZURE_TENANT_ID"
CLIENT_VARIABLE = "AZURE_CLIENT_ID"
AUTHORITY_VARIABLE = "AZURE_AUTHORITY_HOST"
# The tenant of everybody's personal accounts, which are no organisation's.
_PERSONAL_ACCOUNTS = "9188040d-6c67-4c5b-b112-36a304b66dad"
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DOMAIN = re.compile(r"(?!-)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+")
_MAX_CLAIMS_CHARACTERS = 8 * 1024
_HTTP_SECONDS = 30
# Where the serialized cache of msal is in `SignIn.entra`, beside the options.
_MSAL = "msal"


def entra_of(sign_in: SignIn) -> EntraOptions | None:
    """Return how a kept sign-in gets its tokens, None if that is not from Entra, or cannot be read."""
    kept = {name: value for name in EntraOptions._fields if isinstance(value := sign_in.entra.get(name), str)}
    return EntraOptions(**kept) if len(kept) == len(EntraOptions._fields) else None


async def refresh(sign_in: SignIn, options: Options, refusal: httpx2.Response | None = None) -> bool:
    """Put a token into a sign-in without the person; `refusal` is the answer to the one that there was.

    Returns: whether there is one. Raises: SignInFailure if it is of another tenant.
    """
    entra = entra_of(sign_in)
    if entra is None:
        return False
    return await asyncio.to_thread(_Entra(entra, options, sign_in, refusal).silently)


async def sign_in(sign_in: SignIn, options: Options, refusal: httpx2.Response | None = None) -> None:
    """Have a person sign in, on this machine or on another one, with what `refusal` demands. Raises: Failure."""
    entra = options.entra or entra_of(sign_in)
    if entra is None:
        raise UsageFailure("The kept sign-in is damaged.", "Run `star logout`, and `star login … --entra` again.")
    flow = _Entra(entra, options, sign_in, refusal)
    # A wider scope may have been consented to elsewhere.
    if refusal is not None and refusal.status_code == 403 and await asyncio.to_thread(flow.silently):
        return
    await flow.with_the_person()


def token_provider(scope: str, options: Options | None = None) -> Callable[[], Awaitable[str]]:
    """Return what gives a token for `scope` whenever it is called, as the client of Azure OpenAI wants it.

    The tenant and the application are those of AZURE_TENANT_ID and AZURE_CLIENT_ID, in the cloud of
    AZURE_AUTHORITY_HOST.
    Raises: UsageFailure if those are not set.
    """
    from mcpapp.client.sign_ins import SignIns

    options = options or Options()
    tenant, client_id = os.environ.get(TENANT_VARIABLE, ""), os.environ.get(CLIENT_VARIABLE, "")
    if not tenant or not client_id:
        raise UsageFailure(
            "Which tenant and which application?", f"Put their IDs into {TENANT_VARIABLE} and {CLIENT_VARIABLE}."
        )
    entra = checked(EntraOptions(tenant, client_id, scope, os.environ.get(AUTHORITY_VARIABLE, "")))
    sign_ins = SignIns(options, kind="models")
    name = f"{entra.authority}/{entra.tenant}/{entra.client_id}/{entra.scope}"

    async def token() -> str:
        known = sign_ins.read(name) or SignIn(name)
        if not known.access_token:
            async with sign_ins.lock(name):
                known = sign_ins.read(name) or known
                if not known.access_token:
                    if not await refresh(known, options):
                        await _Entra(entra, options, known, None).with_the_person()
                    sign_ins.write(known)
        return known.access_token

    return token


class _Entra:
    """One attempt to get a token into a sign-in. `refusal` is the server's answer to the token before, if any."""

    def __init__(self, entra: EntraOptions, options: Options, sign_in: SignIn, refusal: httpx2.Response | None) -> None:
        self._options = options
        self._sign_in = sign_in
        header = ", ".join(refusal.headers.get_list("WWW-Authenticate")) if refusal is not None else ""
        self._claims = claims_challenge(header) or None
        # A token whose time is not over was refused: the one that msal keeps would be the same.
        self._is_forced = refusal is not None and refusal.status_code == 401
        is_step_up = refusal is not None and refusal.status_code == 403
        self._entra = entra._replace(scope=_wider(entra.scope, header)) if is_step_up else entra

    def silently(self) -> bool:
        """Refresh without the person. Returns: whether that was to be had. Raises: SignInFailure."""
        kept = self._sign_in.entra.get(_MSAL)
        if not isinstance(kept, str):
            return False
        application, cache = self._application(kept)
        for account in application.get_accounts():
            result = application.acquire_token_silent(
                self._scopes, account, force_refresh=self._is_forced, claims_challenge=self._claims
            )
            if result:
                self._take(application, cache, result, is_known=True)
                return True
        return False

    async def with_the_person(self) -> None:
        """Raises: SignInFailure."""
        application, cache = await asyncio.to_thread(self._application)
        if self._options.device or not (self._options.no_browser or browser.has_browser()):
            result = await self._on_another_device(application)
        else:
            result = await self._in_the_browser(application)
        self._take(application, cache, result)

    async def _in_the_browser(self, application: Any) -> dict[str, Any]:
        """RFC 8252, with PKCE, a state and a nonce of msal's."""
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
                    login_hint=self._sign_in.who or None,
                    prompt=None if self._sign_in.who else "select_account",
                    claims_challenge=self._claims,
                )
            if self._options.no_browser:
                console.say(f"Open this page in a browser of this machine to sign in:\n\n{flow['auth_uri']}\n")
            else:
                console.say("Your browser opens to sign you in at Microsoft Entra.")
                console.say(f"If it does not, open this page:\n\n{flow['auth_uri']}\n")
                browser.open_page(flow["auth_uri"])
            console.say("Waiting for you to sign in. Ctrl-C gives up.")
            answer = await loopback.answer(flow["state"], self._options.timeout)
        except TimeoutError:
            raise SignInFailure(
                f"Nobody signed in within {self._options.timeout:.0f} seconds.", "Run the command again."
            ) from None
        finally:
            await loopback.finished()
        given = answer._asdict()
        answered = {name: given[name] for name in ("code", "state", "error", "error_description") if given[name]}
        try:
            exchange = application.acquire_token_by_auth_code_flow
            return dict(await asyncio.to_thread(exchange, flow, answered))
        except RuntimeError:
            # Another nonce: the answer to what somebody else asked.
            raise SignInFailure("The browser brought an answer to another sign-in.", "Run the command again.") from None

    async def _on_another_device(self, application: Any) -> dict[str, Any]:
        """RFC 8628."""
        flow = await asyncio.to_thread(application.initiate_device_flow, self._scopes, claims_challenge=self._claims)
        if "user_code" not in flow:
            raise _refusal(flow)
        address, code = one_line(str(flow.get("verification_uri"))), one_line(str(flow["user_code"]))
        console.say(f"To sign in, open {address} on any device and type this code:\n\n    {code}\n\nWaiting…")
        flow["expires_at"] = min(flow["expires_at"], time.time() + self._options.timeout)
        try:
            poll = application.acquire_token_by_device_flow
            return dict(await asyncio.to_thread(poll, flow, claims_challenge=self._claims))
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
        hooks: dict[str, list[Any]] | None = None
        if self._options.verbose:
            from mcpapp.client.http_log import sync_hooks

            hooks = sync_hooks()
        try:
            cache.deserialize(kept)
            application = msal.PublicClientApplication(
                self._entra.client_id,
                authority=f"{self._entra.authority}/{self._entra.tenant}",
                # The authority is the one that was named: nobody is asked whether there are others.
                instance_discovery=False,
                # Says that claims challenges are understood, so that servers send them.
                client_capabilities=["CP1"],
                token_cache=cache,
                http_client=httpx2.Client(timeout=_HTTP_SECONDS, event_hooks=hooks),
            )
        except ValueError:
            raise SignInFailure(
                f"{self._entra.authority} knows no tenant {self._entra.tenant}.", "Check `--tenant`."
            ) from None
        return application, cache

    def _take(self, application: Any, cache: Any, result: dict[str, Any], *, is_known: bool = False) -> None:
        """Check a result and put it into the sign-in; `is_known` if the person was checked when they signed in.

        Raises: SignInFailure.
        """
        if "access_token" not in result:
            raise _refusal(result)
        # It came over TLS from the tenant's own token endpoint (OpenID Connect Core 3.1.3.7), so that its signature
        # adds nothing. A refresh may come without one.
        claims = result.get("id_token_claims")
        if claims is None and not is_known:
            raise SignInFailure("Microsoft Entra did not say who signed in.")
        tenant = self._entra.tenant if _GUID.fullmatch(self._entra.tenant) else str(application.authority.tenant)
        if claims is not None and (claims.get("tid") != tenant or not _GUID.fullmatch(tenant)):
            raise SignInFailure(
                "The account is not of the tenant that was asked for.",
                f"Sign in with an account of {self._entra.tenant}.",
            )
        kept = self._sign_in
        kept.entra = {**self._entra._asdict(), _MSAL: cache.serialize()}
        kept.tokens = {"access_token": result["access_token"], "token_type": "Bearer", "scope": self._entra.scope}
        kept.expires_at = time.time() + int(result["expires_in"])
        kept.client = {"client_id": self._entra.client_id}
        kept.server = {"issuer": f"{self._entra.authority}/{tenant}/v2.0"}
        kept.resource = {}
        if claims is not None:
            kept.who = str(claims.get("preferred_username") or claims.get("oid") or "")

    @property
    def _scopes(self) -> list[str]:
        return self._entra.scope.split()


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
    said = "".join(str(result.get("error_description") or "").splitlines()[:1])
    return SignInFailure(f"Microsoft Entra refused ({one_line(error)}). {one_line(said)}".strip())


def _wider(scope: str, header: str) -> str:
    """Return a scope with those that a challenge names (RFC 6750 3.1), of the same API and of no other.

    A server that could name any would be sent a token for the person's mail.
    """
    found = re.search(r'\bscope="([\x21\x23-\x5b\x5d-\x7e ]+)"', header)
    api = scope.split(maxsplit=1)[0].rpartition("/")[0]
    names = [each.removeprefix(f"{api}/") for each in (found[1].split() if found else [])]
    named = [f"{api}/{name}" for name in names if api and "/" not in name]
    return " ".join(dict.fromkeys([*scope.split(), *named]))
