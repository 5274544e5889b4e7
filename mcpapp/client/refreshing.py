"""Requests to the authorization server without a person: a refresh (RFC 6749 6), a revocation (RFC 7009), who it is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from mcpapp.client.failures import ServerFailure
from mcpapp.client.sign_ins import SignIn
from mcpapp.client.urls import is_safe

if TYPE_CHECKING:
    import httpx2

MAX_TOKEN_LENGTH = 32 * 1024


def client_authentication(client: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the form parameters and the headers by which a client names and authenticates itself.

    `client` is a client information response (RFC 7591 3.2.1).
    """
    import base64
    from urllib.parse import quote

    client_id, secret = str(client.get("client_id", "")), str(client.get("client_secret") or "")
    method = client.get("token_endpoint_auth_method")
    if secret and method == "client_secret_basic":
        # RFC 6749 2.3.1: both are form-encoded first.
        pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
        return {"client_id": client_id}, {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    if secret and method == "client_secret_post":
        return {"client_id": client_id, "client_secret": secret}, {}
    return {"client_id": client_id}, {}


def is_token(value: Any) -> bool:
    """Return whether something can be sent as a token: visible ASCII (RFC 6749 A.12, A.17), of a bearable length."""
    return isinstance(value, str) and 0 < len(value) <= MAX_TOKEN_LENGTH and value.isascii() and value.isprintable()


def take_tokens(sign_in: SignIn, answer: dict[str, Any], asked_scope: str = "") -> None:
    """Put a token response into a sign-in; what it leaves out stays as it was (RFC 6749 5.1 and 6)."""
    expires_in = answer.get("expires_in")
    known = isinstance(expires_in, int | float) and not isinstance(expires_in, bool)
    sign_in.expires_at = time.time() + float(expires_in) if known and expires_in is not None else None
    kept = {"refresh_token": sign_in.refresh_token, "scope": asked_scope or " ".join(sign_in.scopes)}
    names = ("access_token", "refresh_token", "scope", "token_type")
    if not is_token(answer.get("refresh_token")):
        answer = {**answer, "refresh_token": None}
    sign_in.tokens = {name: answer.get(name) or kept.get(name) for name in names if answer.get(name) or kept.get(name)}


async def refresh(http: httpx2.AsyncClient, sign_in: SignIn) -> bool:
    """Get a new access token into a sign-in, whose lock the caller holds and which the caller writes.

    Returns: whether there is one; if not, the tokens are gone, and so is the client if the server knows it no more.
    Raises: ServerFailure if the authorization server cannot be reached: nothing is lost then.
    """
    import httpx2

    endpoint = str(sign_in.server.get("token_endpoint", ""))
    if not sign_in.refresh_token or not is_safe(endpoint):
        sign_in.tokens = {}
        return False
    form, headers = client_authentication(sign_in.client)
    form |= {"grant_type": "refresh_token", "refresh_token": sign_in.refresh_token}
    if resource := sign_in.resource.get("resource"):
        form["resource"] = str(resource)
    try:
        response = await http.post(endpoint, data=form, headers=headers)
    except httpx2.TransportError as error:
        raise ServerFailure(f"The authorization server cannot be reached: {error}", "Try again later.") from None
    if response.status_code >= 500 or response.status_code == 429:
        raise ServerFailure(f"The authorization server answered {response.status_code}.", "Try again later.")
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        answer = {}
    if isinstance(answer, dict):
        if response.status_code == 200 and is_token(answer.get("access_token")):
            take_tokens(sign_in, answer)
            return True
        if answer.get("error") in ("invalid_client", "unauthorized_client"):
            sign_in.client = {}
    sign_in.tokens = {}
    return False


async def revoke(http: httpx2.AsyncClient, sign_in: SignIn) -> bool:
    """Tell the authorization server that the sign-in ends (RFC 7009 2.1). Returns: whether it heard of it."""
    import httpx2

    endpoint = str(sign_in.server.get("revocation_endpoint", ""))
    if not is_safe(endpoint):
        return False
    form, headers = client_authentication(sign_in.client)
    for hint in ("refresh_token", "access_token"):
        token = str(sign_in.tokens.get(hint) or "")
        if not token:
            continue
        try:
            response = await http.post(endpoint, data=form | {"token": token, "token_type_hint": hint}, headers=headers)
        except httpx2.TransportError:
            return False
        if response.status_code != 200:
            return False
    return True


async def name_of(http: httpx2.AsyncClient, sign_in: SignIn) -> str:
    """Return who signed in, if the server tells (OpenID Connect Core 5.3); "" if it does not."""
    import httpx2

    endpoint = str(sign_in.server.get("userinfo_endpoint", ""))
    if "openid" not in sign_in.scopes or not is_safe(endpoint):
        return ""
    try:
        response = await http.get(endpoint, headers={"Authorization": f"Bearer {sign_in.access_token}"})
        answer = response.json()
    except (httpx2.TransportError, ValueError, RecursionError):
        return ""
    if response.status_code != 200 or not isinstance(answer, dict):
        return ""
    return next((str(answer[name]) for name in ("email", "preferred_username", "name", "sub") if answer.get(name)), "")
