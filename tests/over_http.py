"""A whole login at a real server, as a client of one's own would make it."""

from __future__ import annotations

from typing import NamedTuple

import httpx2

from tests.clients.person import Person
from tests.oauth import PKCE

CALLBACK = "http://127.0.0.1:1/callback"


class LoggedIn(NamedTuple):
    """What a person gave a client."""

    client_id: str
    access_token: str
    refresh_token: str


def log_in(server_url: str, person: Person, client_name: str = "Test") -> LoggedIn:
    """Register a client and let a person sign in to it."""
    pkce = PKCE()
    with httpx2.Client(base_url=server_url, trust_env=False) as http:
        body = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none", "client_name": client_name}
        client_id = http.post("/o/register/", json=body).json()["client_id"]
        query = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": CALLBACK,
            "code_challenge": pkce.challenge,
            "code_challenge_method": "S256",
        }
        answer = httpx2.URL(person.approve(str(httpx2.URL(f"{server_url}/o/authorize/", params=query))))
        form = {
            "grant_type": "authorization_code",
            "client_id": client_id,
            "redirect_uri": CALLBACK,
            "code": answer.params["code"],
            "code_verifier": pkce.verifier,
        }
        tokens = http.post("/o/token/", data=form).json()
    return LoggedIn(client_id, tokens["access_token"], tokens["refresh_token"])
