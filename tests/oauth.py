"""The steps of the flow in process, as a client and a browser take them. Each returns the raw response."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from django.test import Client

ISSUER = "http://127.0.0.1:8000"
RESOURCE = f"{ISSUER}/star"
CALLBACK = "http://127.0.0.1:7777/callback"
HOST = "127.0.0.1:8000"


@dataclass(frozen=True)
class PKCE:
    """A verifier and its S256 challenge (RFC 7636 §4)."""

    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def browser(user: Any = None) -> Client:
    """A browser at the site, signed in as `user` if given; forms need their CSRF token."""
    client = Client(headers={"host": HOST})
    if user is not None:
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def register(**metadata: Any) -> Any:
    """POST /o/register/ with a body that VS Code could send, changed by `metadata` (None leaves a field out)."""
    body = {
        "client_name": "Test client",
        "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    } | metadata
    body = {name: value for name, value in body.items() if value is not None}
    return browser().post("/o/register/", body, content_type="application/json")


def registered(**metadata: Any) -> dict[str, Any]:
    """Return the client information of a new client."""
    response = register(**metadata)
    assert response.status_code == 201, response.content
    information: dict[str, Any] = response.json()
    return information


def authorization_url(client_id: str, pkce: PKCE, /, **parameters: Any) -> str:
    """Return an authorization request; a list repeats a parameter, None leaves it out."""
    query = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": CALLBACK,
        "code_challenge": pkce.challenge,
        "code_challenge_method": "S256",
        "state": "the-state",
        "scope": "mcp:tools",
        "resource": RESOURCE,
    } | parameters
    given = {name: value for name, value in query.items() if value is not None}
    return f"/o/authorize/?{urlencode(given, doseq=True)}"


def answer(response: Any) -> dict[str, str]:
    """Return the parameters of an authorization response."""
    assert response.status_code == 302, response.content
    return {name: values[0] for name, values in parse_qs(urlsplit(response["Location"]).query).items()}


def authorize(user: Any, client_id: str, pkce: PKCE, /, *, allow: bool = True, **parameters: Any) -> dict[str, str]:
    """Have `user` press Allow (or Deny); return the parameters of the redirect."""
    url = authorization_url(client_id, pkce, **parameters)
    return answer(browser(user).post(url, {"allow": "true" if allow else ""}))


def redeem(
    client_id: str, code: str, pkce: PKCE, /, *, headers: dict[str, str] | None = None, **parameters: Any
) -> Any:
    """POST /o/token/ with a code."""
    form = {
        "grant_type": "authorization_code",
        "client_id": client_id,
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": pkce.verifier,
        "resource": RESOURCE,
    } | parameters
    return post_form("/o/token/", {name: value for name, value in form.items() if value is not None}, headers)


def refresh(client_id: str, refresh_token: str, /, **parameters: Any) -> Any:
    """POST /o/token/ with a refresh token."""
    form = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": refresh_token} | parameters
    return post_form("/o/token/", {name: value for name, value in form.items() if value is not None})


def post_form(path: str, form: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
    """POST a form as programs do: no cookie, no CSRF token, which are checked here."""
    client = Client(enforce_csrf_checks=True, headers={"host": HOST})
    return client.post(
        path, urlencode(form, doseq=True), content_type="application/x-www-form-urlencoded", headers=headers or {}
    )


def connected(
    user: Any, client: dict[str, Any] | None = None, **parameters: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Register, authorize and redeem; return the client information and the token response."""
    client = client or registered()
    pkce = PKCE()
    code = authorize(user, client["client_id"], pkce, **parameters)["code"]
    response = redeem(client["client_id"], code, pkce)
    assert response.status_code == 200, response.content
    return client, response.json()
