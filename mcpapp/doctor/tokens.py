"""The token and revocation endpoints as clients use them (RFC 6749 §4.1.3, §6; RFC 7009)."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from mcpapp.doctor.authorization import Code
from mcpapp.doctor.reading import described, is_page, text
from mcpapp.doctor.registration import Client
from mcpapp.doctor.walk import Walk
from mcpapp.doctor.web import Answer

_BASIC = "client_secret_basic"


@dataclass(slots=True)
class Tokens:
    """What a client got."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    scope: frozenset[str]


async def post(walk: Walk, client: Client, url: str, form: dict[str, str]) -> Answer | None:
    """Send a form as the client, with what proves who it is."""
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": client.profile.token_accept}
    headers["User-Agent"] = client.profile.user_agent
    fields = form | {"client_id": client.client_id}
    if client.client_secret and client.auth_method == _BASIC:
        pair = f"{quote(client.client_id, safe='')}:{quote(client.client_secret, safe='')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    elif client.client_secret:
        fields["client_secret"] = client.client_secret
    answer = await walk.ask("token.unreachable", "POST", url, headers, urlencode(fields), client.profile.title)
    if answer is not None:
        names = ("access_token", "refresh_token", "id_token")
        walk.report.secrets.add(*(text(answer.document, name) for name in names))
    return answer


def code_form(walk: Walk, code: Code) -> dict[str, str]:
    """Return the form that redeems a code."""
    return {
        "grant_type": "authorization_code",
        "code": code.code,
        "redirect_uri": code.redirect_uri,
        "code_verifier": code.verifier,
        "resource": walk.target.resource,
    }


def refresh_form(walk: Walk, refresh_token: str) -> dict[str, str]:
    """Return the form that refreshes; clients name no scope in it."""
    return {"grant_type": "refresh_token", "refresh_token": refresh_token, "resource": walk.target.resource}


async def redeem(walk: Walk, client: Client, code: Code) -> Tokens | None:
    """Exchange a code for tokens; None if there are none."""
    answer = await post(walk, client, walk.found.endpoint("token_endpoint"), code_form(walk, code))
    document = _document(walk, client, answer, "token.refused")
    if answer is None or document is None:
        return None
    title = client.profile.title
    kind = text(document, "token_type")
    walk.judge("token.type", "" if kind.lower() == "bearer" else f"token_type is {kind or 'missing'}.", title)
    seconds = document.get("expires_in")
    lasts = isinstance(seconds, int | float) and seconds > 0
    walk.judge("token.no-expiry", "" if lasts else f"expires_in is {'missing' if seconds is None else seconds}.", title)
    caching = answer.headers.get("cache-control", "")
    walk.judge("token.cacheable", "" if "no-store" in caching.lower() else "no-store is missing.", title)
    refresh_token = text(document, "refresh_token")
    walk.judge("token.no-refresh-token", "" if refresh_token else "There is no refresh_token.", title)
    return Tokens(text(document, "access_token"), refresh_token, _scope(walk, client, code, document))


def _scope(walk: Walk, client: Client, code: Code, document: dict[str, Any]) -> frozenset[str]:
    resource_scopes = set(walk.found.resource_scopes)
    # Who names no scope should get those of the challenge, if there was one.
    wanted = code.scope or walk.found.challenge.get("scope", "")
    asked = set(wanted.split()) & resource_scopes
    # RFC 6749 §5.1: what is not named is what was asked for.
    named = document.get("scope")
    granted = frozenset(named.split() if isinstance(named, str) else code.scope.split() or asked)
    missing = " and ".join(sorted(asked - granted))
    walk.judge(
        "token.scope-missing", f"The scope {missing} is not in the token." if missing else "", client.profile.title
    )
    return granted


def _document(walk: Walk, client: Client, answer: Answer | None, refused: str) -> dict[str, Any] | None:
    """Return the token response in an answer; note what is wrong if there is none."""
    title = client.profile.title
    if answer is None:
        return None
    walk.well("token.unreachable", title)
    saw = f"The token endpoint answers {described(answer)}."
    if answer.status >= 500:
        walk.wrong("token.server-error", saw, title)
        return None
    walk.well("token.server-error", title)
    document = answer.document
    if not document or is_page(answer):
        walk.wrong("token.not-json", saw, title)
        return None
    walk.well("token.not-json", title)
    if answer.status >= 300 or not text(document, "access_token"):
        walk.wrong(refused, saw, title)
        return None
    walk.well(refused, title)
    return document


async def refresh(walk: Walk, client: Client, tokens: Tokens) -> Tokens | None:
    """Refresh as the client does; None if that brings nothing."""
    form = refresh_form(walk, tokens.refresh_token)
    answer = await post(walk, client, walk.found.endpoint("token_endpoint"), form)
    document = _document(walk, client, answer, "refresh.refused")
    if document is None:
        return None
    title = client.profile.title
    access_token = text(document, "access_token")
    walk.judge(
        "refresh.no-new-token", "" if access_token != tokens.access_token else "It is the same access token.", title
    )
    named = document.get("scope")
    granted = frozenset(named.split()) if isinstance(named, str) else tokens.scope
    lost = " and ".join(sorted(tokens.scope - granted))
    walk.judge("refresh.scope-lost", f"The scope {lost} is lost." if lost else "", title)
    return Tokens(access_token, text(document, "refresh_token") or tokens.refresh_token, granted)


async def revoke(walk: Walk, client: Client, tokens: Tokens) -> bool:
    """Revoke the refresh token, or the access token where there is no other; return whether that was accepted."""
    endpoint = walk.found.endpoint("revocation_endpoint")
    if not walk.judge("revocation.not-offered", "" if endpoint else "There is no revocation_endpoint."):
        return False
    form = {"token": tokens.refresh_token, "token_type_hint": "refresh_token"}
    if not tokens.refresh_token:
        form = {"token": tokens.access_token, "token_type_hint": "access_token"}
    answer = await post(walk, client, endpoint, form)
    if answer is None:
        return False
    problem = "" if answer.status == 200 else f"Revoking is answered {described(answer)}."
    return walk.judge("revocation.refused", problem, client.profile.title)


async def is_dead(walk: Walk, client: Client, tokens: Tokens) -> None:
    """Judge that a refresh token which was revoked brings nothing."""
    if not tokens.refresh_token:
        return
    endpoint = walk.found.endpoint("token_endpoint")
    answer = await post(walk, client, endpoint, refresh_form(walk, tokens.refresh_token))
    if answer is not None:
        lives = 200 <= answer.status < 300 and bool(text(answer.document, "access_token"))
        problem = "The revoked refresh token brought another access token." if lives else ""
        walk.judge("revocation.refresh-still-works", problem, client.profile.title)
