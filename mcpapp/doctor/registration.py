"""How a client makes itself known: it registers (RFC 7591), or its identifier is the URL of its metadata document."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from mcpapp.doctor.clients import Profile
from mcpapp.doctor.discovery import takes_documents
from mcpapp.doctor.reading import described, origin_of, text, texts
from mcpapp.doctor.walk import Walk
from mcpapp.doctor.web import Unreachable

_WITH_A_SECRET = ("client_secret_post", "client_secret_basic")


@dataclass(slots=True)
class Client:
    """A client that the authorization server knows."""

    profile: Profile
    client_id: str
    redirect_uri: str
    auth_method: str = "none"
    client_secret: str = field(default="", repr=False)
    registration: dict[str, Any] = field(default_factory=dict, repr=False)
    """The client information response; empty for a client with a document."""

    @property
    def is_document(self) -> bool:
        """Whether its identifier is the URL of its document."""
        return not self.registration


async def identify(walk: Walk, profile: Profile) -> Client | None:
    """Return the client as the authorization server knows it; None if it will not."""
    if _prefers_document(walk, profile):
        return Client(profile, profile.document, profile.redirect_uri)
    if not walk.found.endpoint("registration_endpoint"):
        walk.wrong("discovery.no-way-to-register", "Only documents are taken, and it has none.", profile.title)
        return None
    return await register(walk, profile)


def _prefers_document(walk: Walk, profile: Profile) -> bool:
    if not profile.document or not takes_documents(walk):
        return False
    methods = texts(walk.found.server_metadata, "token_endpoint_auth_methods_supported")
    return not profile.document_needs_none or "none" in methods


async def register(walk: Walk, profile: Profile) -> Client | None:
    """Register a client; return None if that fails."""
    found = walk.found
    body = profile.registration(
        scope=found.scope_of(profile),
        resource_scopes=" ".join(found.resource_scopes),
        offered=texts(found.server_metadata, "grant_types_supported"),
    )
    headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": profile.user_agent}
    answer = await walk.ask(
        "registration.refused",
        "POST",
        found.endpoint("registration_endpoint"),
        headers,
        json.dumps(body),
        profile.title,
    )
    if answer is None:
        return None
    saw = f"The registration is answered {described(answer)}."
    if answer.status == 429:
        walk.wrong("registration.limited", saw, profile.title)
        return None
    if not 200 <= answer.status < 300:
        walk.wrong("registration.refused", saw, profile.title)
        return None
    information = answer.document
    walk.report.secrets.add(text(information, "client_secret"), text(information, "registration_access_token"))
    client_id = text(information, "client_id")
    if not client_id:
        walk.wrong("registration.unusable", f"{saw[:-1]}, without a client_id.", profile.title)
        return None
    for check in ("registration.limited", "registration.refused", "registration.unusable"):
        walk.well(check, profile.title)
    walk.judge("registration.status", "" if answer.status == 201 else saw, profile.title)
    _judge(walk, profile, body, information)
    return Client(
        profile,
        client_id,
        profile.redirect_uri,
        # RFC 7591 §2: what is not named is client_secret_basic, but for who has no secret.
        text(information, "token_endpoint_auth_method")
        or body.get("token_endpoint_auth_method")
        or ("client_secret_basic" if text(information, "client_secret") else "none"),
        text(information, "client_secret"),
        information,
    )


def _judge(walk: Walk, profile: Profile, body: dict[str, Any], information: dict[str, Any]) -> None:
    title = profile.title
    uris = information.get("redirect_uris")
    same = uris is None or uris == body["redirect_uris"]
    walk.judge("registration.redirect-uris-changed", "" if same else "The redirect URIs come back as others.", title)
    asked, got = body.get("token_endpoint_auth_method"), text(information, "token_endpoint_auth_method")
    changed = bool(asked and got and asked != got)
    walk.judge(
        "registration.auth-method-changed",
        f"It asked for {asked} and was registered with {got}." if changed else "",
        title,
    )
    secret = text(information, "client_secret")
    if got in _WITH_A_SECRET:
        walk.judge("registration.no-secret", "" if secret else f"There is no client_secret for {got}.", title)
    if secret:
        has_end = isinstance(information.get("client_secret_expires_at"), int)
        walk.judge(
            "registration.secret-expiry-missing",
            "" if has_end else "client_secret comes without client_secret_expires_at.",
            title,
        )
    grants = information.get("grant_types")
    dropped = isinstance(grants, list) and "refresh_token" in body["grant_types"] and "refresh_token" not in grants
    walk.judge("registration.no-refresh", "It is registered without refresh_token." if dropped else "", title)


async def forget(walk: Walk, client: Client) -> None:
    """Delete a registration (RFC 7592 §2.3), or note that it stays behind."""
    if client.is_document:
        return
    uri = text(client.registration, "registration_client_uri")
    token = text(client.registration, "registration_access_token")
    at_home = origin_of(uri) == origin_of(walk.found.endpoint("registration_endpoint"))
    if not (uri and token and at_home):
        walk.left_behind[client.client_id] = "The server offers no way to delete it."
        return
    try:
        answer = await walk.web.request("DELETE", uri, {"Authorization": f"Bearer {token}"})
    except Unreachable as error:
        walk.left_behind[client.client_id] = f"Deleting it failed: {error}."
        return
    if answer.status not in (200, 204):
        walk.left_behind[client.client_id] = f"Deleting it was answered {described(answer)}."


def judge_left_behind(walk: Walk) -> None:
    """Tell which clients stay behind."""
    left = walk.left_behind
    if not left:
        walk.well("registration.left-behind")
        return
    noun = "client stays" if len(left) == 1 else "clients stay"
    named = ", ".join(list(left)[:20])
    walk.wrong("registration.left-behind", f"{len(left)} {noun} behind: {named}. {next(iter(left.values()))}")
