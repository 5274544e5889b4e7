"""What some client stumbles over sooner or later: odd ports, stale clients, spoiled tokens, two refreshes at once.

And what no server may let through: a code twice, a wrong verifier, a token that was revoked. A client of the doctor's
own tries all of it, so that no other client's way is disturbed.
"""

from __future__ import annotations

import asyncio
import secrets

from mcpapp.doctor.authorization import Request, authorize
from mcpapp.doctor.calls import Conversation, begin, challenge_in
from mcpapp.doctor.clients import Probe, Profile, ScopeRule
from mcpapp.doctor.edge import check_edge
from mcpapp.doctor.pages import leads_to
from mcpapp.doctor.reading import described, origin_of, query_of, text
from mcpapp.doctor.registration import Client, forget, register
from mcpapp.doctor.tokens import Tokens, code_form, is_dead, post, redeem, refresh, refresh_form, revoke
from mcpapp.doctor.walk import Walk
from mcpapp.doctor.web import Unreachable

DOCTOR = Profile(
    key="mcp_doctor",
    title="",
    client_name="mcp_doctor",
    redirect_uri="http://localhost:49152/callback",
    redirect_uris=("http://localhost:49152/callback",),
    probe=Probe.POST,
    scope=ScopeRule.CHALLENGE,
    user_agent="mcp_doctor",
)
"""Nobody's client: what it meets matters to those whom the checks name."""
OTHER_PORT = "http://localhost:61342/callback"
_HEARD_SECONDS = 2.0
"""In which all workers of a site should have heard of a revocation."""


async def look(walk: Walk) -> None:
    """Look for all of it; the edge as well, while there is a token."""
    try:
        await _look(walk)
    finally:
        walk.target.access_token = None


async def _look(walk: Walk) -> None:
    unknown = Client(DOCTOR, f"mcp-doctor-unknown-{secrets.token_hex(8)}", DOCTOR.redirect_uri)
    await _stale_client(walk, unknown)
    await _unknown_client(walk, unknown)
    client = await register(walk, DOCTOR) if walk.found.endpoint("registration_endpoint") else None
    tokens = None
    try:
        if client is not None:
            await _nobody(walk, client)
            tokens = await _sign_in(walk, client)
            tokens = await _refresh(walk, client, tokens) if tokens else None
        walk.target.access_token = tokens.access_token if tokens else None
        await check_edge(walk.web, walk.target, walk.report, walk.titles)
        if client is not None and tokens is not None:
            conversation = await begin(walk, DOCTOR, tokens.access_token)
            if conversation is not None:
                await _step_up(walk, tokens, conversation)
                await _revoke(walk, client, tokens, conversation)
    finally:
        if client is not None:
            await forget(walk, client)


async def _stale_client(walk: Walk, unknown: Client) -> None:
    request = Request(unknown, unknown.redirect_uri, " ".join(walk.found.default_scopes))
    try:
        answer = await walk.web.request("GET", request.url(walk), {"Accept": "text/html"})
    except Unreachable as error:
        walk.wrong("authorization.unreachable", f"{error}.")
        return
    walk.well("authorization.unreachable")
    told = answer.status in (400, 401)
    problem = "" if told else f"A request of an unknown client is answered {described(answer)}."
    walk.judge("authorization.stale-client", problem)


async def _nobody(walk: Walk, client: Client) -> None:
    """Send somebody who is not signed in; without access, each client's way has shown it."""
    if walk.site is None:
        return
    request = Request(client, client.redirect_uri, " ".join(walk.found.default_scopes))
    walk.report.secrets.add(request.verifier, request.state)
    try:
        answer = await walk.web.request("GET", request.url(walk), {"Accept": "text/html"})
    except Unreachable as error:
        walk.wrong("authorization.unreachable", f"{error}.")
        return
    location = leads_to(answer)
    code = query_of(location).get("code", "") if request.is_answered_at(location) else ""
    walk.report.secrets.add(code)
    walk.judge("authorization.nobody-asked", "A code came back though nobody has signed in." if code else "")


async def _unknown_client(walk: Walk, unknown: Client) -> None:
    form = {"grant_type": "authorization_code", "code": "unknown", "code_verifier": secrets.token_urlsafe(48)}
    form |= {"redirect_uri": unknown.redirect_uri}
    answer = await post(walk, unknown, walk.found.endpoint("token_endpoint"), form)
    if answer is not None:
        told = answer.status == 401 and text(answer.document, "error") == "invalid_client"
        problem = "" if told else f"An unknown client is answered {described(answer)}."
        walk.judge("token.invalid-client-status", problem)


async def _sign_in(walk: Walk, client: Client) -> Tokens | None:
    """Sign in on another port; then try a wrong verifier and a code twice."""
    code = await authorize(walk, client, OTHER_PORT, check="authorization.port-not-free")
    if code is None:
        code = await authorize(walk, client)
    if code is None:
        return None
    endpoint = walk.found.endpoint("token_endpoint")
    wrong = code_form(walk, code) | {"code_verifier": secrets.token_urlsafe(48)}
    answer = await post(walk, client, endpoint, wrong)
    if answer is not None:
        taken = bool(text(answer.document, "access_token"))
        problem = "A code was redeemed with a verifier that is not the one of its challenge." if taken else ""
        walk.judge("token.pkce-not-checked", problem)
    code = await authorize(walk, client)
    if code is None or await redeem(walk, client, code) is None:
        return None
    answer = await post(walk, client, endpoint, code_form(walk, code))
    if answer is not None:
        taken = bool(text(answer.document, "access_token"))
        walk.judge("token.code-replayed", "A code was redeemed a second time." if taken else "")
    code = await authorize(walk, client)  # the replay has ended what the last one gave
    return await redeem(walk, client, code) if code is not None else None


async def _refresh(walk: Walk, client: Client, tokens: Tokens) -> Tokens:
    """Spoil the access token, refresh at the origin's /token, and refresh with the old token once more."""
    spoiled = Conversation(walk, DOCTOR, f"{tokens.access_token[:-6]}spoilt")
    answer = await spoiled.say("call.spoiled-token", "tools/list", {})
    if answer is not None:
        good = answer.status == 401 and challenge_in(answer).get("error", "") in ("invalid_token", "")
        good = good and bool(challenge_in(answer))
        walk.judge("call.spoiled-token", "" if good else f"A spoiled token is answered {described(answer)}.")
    if not tokens.refresh_token:
        return tokens
    if origin_of(walk.found.endpoint("token_endpoint")) != walk.target.origin.lower():
        # What the issuer gave is not for the host of the resource.
        refreshed: Tokens | None = await refresh(walk, client, tokens)
        return await _judge_refreshed(walk, client, tokens, refreshed)
    answer = await post(walk, client, f"{walk.target.origin}/token", refresh_form(walk, tokens.refresh_token))
    access_token = text(answer.document, "access_token") if answer is not None else ""
    said = described(answer) if answer is not None else "not at all"
    walk.judge("token.root-alias", "" if access_token else f"A refresh at /token is answered {said}.")
    if answer is not None and access_token:
        newer = text(answer.document, "refresh_token") or tokens.refresh_token
        refreshed = Tokens(access_token, newer, tokens.scope)
    else:
        refreshed = await refresh(walk, client, tokens)
    return await _judge_refreshed(walk, client, tokens, refreshed)


async def _judge_refreshed(walk: Walk, client: Client, tokens: Tokens, refreshed: Tokens | None) -> Tokens:
    """Try the old refresh token, if there is a new one; return the tokens that are good now."""
    if refreshed is None or refreshed.refresh_token == tokens.refresh_token:
        return refreshed or tokens
    return await _refresh_again(walk, client, tokens, refreshed)


async def _refresh_again(walk: Walk, client: Client, tokens: Tokens, refreshed: Tokens) -> Tokens:
    """Send the refresh token that was just replaced once more, as a second window does."""
    endpoint = walk.found.endpoint("token_endpoint")
    answer = await post(walk, client, endpoint, refresh_form(walk, tokens.refresh_token))
    if answer is None:
        return refreshed
    good = bool(text(answer.document, "access_token"))
    problem = "" if good else f"The refresh token that was just replaced is answered {described(answer)}."
    walk.judge("refresh.old-token-ends-all", problem)
    if good:
        return refreshed
    code = await authorize(walk, client)  # it may have ended everything
    return (await redeem(walk, client, code) if code is not None else None) or refreshed


async def _step_up(walk: Walk, tokens: Tokens, conversation: Conversation) -> None:
    """Call something that needs more than was granted, without the argument that it cannot do without."""
    name = walk.site.tool_beyond(tokens.scope) if walk.site is not None else None
    if name is None:
        return
    answer = await conversation.say("call.step-up", "tools/call", {"name": name, "arguments": {}})
    if answer is None:
        return
    challenge = challenge_in(answer)
    asked = set(challenge.get("scope", "").split())
    held = tokens.scope & set(walk.found.resource_scopes)
    problem = ""
    if answer.status != 403 or challenge.get("error") != "insufficient_scope":
        problem = f"The tool {name} is answered {described(answer)}, without insufficient_scope."
    elif not asked > held or not challenge.get("resource_metadata"):
        problem = f"The challenge names the scope {' '.join(sorted(asked)) or 'nothing'}."
    walk.judge("call.step-up", problem)


async def _revoke(walk: Walk, client: Client, tokens: Tokens, conversation: Conversation) -> None:
    """Revoke, and see that it counts."""
    listed = await conversation.result("call.list-failed", "tools/list", {})
    if listed is None or not await revoke(walk, client, tokens):
        return
    deadline = asyncio.get_running_loop().time() + _HEARD_SECONDS
    while True:
        answer = await conversation.say("revocation.token-still-works", "tools/list", {})
        lives = answer is not None and answer.status == 200
        if not lives or asyncio.get_running_loop().time() > deadline:
            break
        await asyncio.sleep(0.2)
    problem = f"{_HEARD_SECONDS:g} seconds after it was revoked, the access token still works." if lives else ""
    walk.judge("revocation.token-still-works", problem)
    await is_dead(walk, client, tokens)
