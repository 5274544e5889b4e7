"""Microsoft Entra as a website that signs people in meets it: a confidential client, ID tokens, disabled accounts.

Over real TLS and HTTP. People are by their object ID in `people`; who is at the browser is `at_the_browser`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.conftest import LiveServer
from tests.star.entra_provider import OTHER_TENANT, TENANT, EntraProvider

SITE_ID = "3f1c2d4e-5a6b-4c7d-8e9f-a0b1c2d3e4f5"
SITE_SECRET = "the~secret.of-the-registration"
ALICE = "11111111-2222-3333-4444-555555555555"
BOB = "66666666-7777-8888-9999-000000000000"
ABSENT = object()


class SignInProvider(EntraProvider):
    """The provider, at `url`; `with` serves it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.redirect_uris: set[str] = set()
        self.people: dict[str, dict[str, Any]] = {
            ALICE: {"preferred_username": "alice@contoso.example", "name": "Alice Liddell", "email": "alice@x.example"},
            BOB: {"preferred_username": "bob@contoso.example", "name": "Bob", "email": "bob@contoso.example"},
        }
        self.at_the_browser = ALICE
        self.disabled: dict[str, int] = {}
        """AADSTS codes by object ID."""
        self.claims: dict[str, Any] = {}
        """What is otherwise in the next ID tokens; ABSENT leaves a claim out."""
        self.headers: dict[str, Any] = {}
        self.signing_key: Any = None
        self.algorithm = "RS256"
        self.refuses: tuple[str, str] | None = None
        """Error and description with which the person comes back."""
        self.is_down = False
        self.answer: tuple[int, dict[str, Any]] | None = None
        """What the token endpoint answers to everything."""
        self.asked: list[dict[str, str]] = []
        """Authorization requests."""
        self.kid = "1"
        self.live: dict[str, str] = {}
        """Refresh tokens, and whose they are."""
        self.given: list[str] = []
        """All secrets that were handed out."""

    def serve(self, server: LiveServer, **settings: str) -> None:
        """Set a site up by its environment, as its owner does, so that its people sign in here."""
        server.environment |= {
            "ENTRA_TENANT_ID": TENANT,
            "ENTRA_CLIENT_ID": SITE_ID,
            "ENTRA_CLIENT_SECRET": SITE_SECRET,
            "ENTRA_AUTHORITY": self.url,
            "ENTRA_CREATE_USERS": "true",
            "PRIVATE_KEY_HOSTS": urlsplit(self.url).netloc,
            "SSL_CERT_FILE": str(self.certificate),
            **settings,
        }
        self.redirect_uris = {f"{server.url}/accounts/oidc/entra/login/callback/"}

    def rotate(self) -> None:
        """Sign with another key from now on, and publish no other."""
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.kid = secrets.token_hex(4)

    def refreshes(self) -> int:
        """Return how often a refresh token was redeemed, or tried to be."""
        return sum(form.get("grant_type") == "refresh_token" for form in self.forms)

    def _get(self, handler: Any) -> None:
        address = urlsplit(handler.path)
        if self.is_down:
            handler.answer(503, {})
        elif address.path == f"/{TENANT}/discovery/v2.0/keys":
            public = json.loads(RSAAlgorithm.to_jwk(self.key.public_key()))
            key = {name: public[name] for name in ("kty", "n", "e")} | {"kid": self.kid, "use": "sig", "x5t": self.kid}
            handler.answer(200, {"keys": [key]})
        elif address.path == f"/{TENANT}/oauth2/v2.0/authorize":
            self._sign_in(handler, dict(parse_qsl(address.query)))
        else:
            handler.answer(404, {"error": "not_found"})

    def _sign_in(self, handler: Any, asked: dict[str, str]) -> None:
        self.asked.append(asked)
        sound = (
            asked.get("client_id") == SITE_ID
            and asked.get("redirect_uri") in self.redirect_uris
            and asked.get("response_type") == "code"
            and asked.get("code_challenge_method") == "S256"
            and {"openid", "offline_access"} <= set(asked.get("scope", "").split())
            and len(asked.get("nonce", "")) > 20
            and len(asked.get("state", "")) > 10
        )
        if not sound:
            handler.answer(400, {"error": "invalid_request", "error_description": "AADSTS50011"})
            return
        if self.refuses:
            answer = dict(zip(("error", "error_description"), self.refuses, strict=True))
        else:
            code = secrets.token_urlsafe(24)
            self.given.append(code)
            self._codes[code] = asked | {"oid": self.at_the_browser}
            answer = {"code": code, "session_state": secrets.token_urlsafe(8)}
        handler.send_response(302)
        query = urlencode(answer | {"state": asked["state"]})
        handler.send_header("Location", f"{asked['redirect_uri']}?{query}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def _post(self, path: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if self.is_down:
            return 503, {}
        if path != f"/{TENANT}/oauth2/v2.0/token":
            return 404, {"error": "not_found"}
        self.forms.append(form)
        if self.answer:
            return self.answer
        if (form.get("client_id"), form.get("client_secret")) != (SITE_ID, SITE_SECRET):
            return 401, _error("invalid_client", 7000215)
        if form["grant_type"] == "authorization_code":
            asked = self._codes.pop(form["code"], None)
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
            right = asked and (challenge, form["redirect_uri"]) == (asked["code_challenge"], asked["redirect_uri"])
            if not asked or not right:
                return 400, _error("invalid_grant", 54005)
            return 200, self._pair(asked["oid"], asked["nonce"])
        oid = self.live.get(form.get("refresh_token", ""))
        if oid is None:
            return 400, _error("invalid_grant", 9002313)
        if code := self.disabled.get(oid):
            error = "interaction_required" if code in {50076, 50079} else "invalid_grant"
            return 400, _error(error, code)
        return 200, self._pair(oid, None)

    def _pair(self, oid: str, nonce: str | None) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": f"{self.url}/{TENANT}/v2.0",
            "aud": SITE_ID,
            "tid": TENANT,
            "oid": oid,
            "sub": f"pairwise-{oid[:8]}",
            "ver": "2.0",
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
            **self.people[oid],
            **({"nonce": nonce} if nonce else {}),
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not ABSENT}
        headers = {"kid": self.kid} | self.headers
        id_token = jwt.encode(claims, self.signing_key or self.key, algorithm=self.algorithm, headers=headers)
        access_token, refresh_token = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        # As Entra does, the old one goes on working.
        self.live[refresh_token] = oid
        self.given += [access_token, refresh_token, id_token]
        return {
            "token_type": "Bearer",
            "expires_in": 3600,
            "access_token": access_token,
            "refresh_token": refresh_token,
            "id_token": id_token,
        }


def _error(error: str, code: int) -> dict[str, Any]:
    description = f"AADSTS{code}: What Entra says at length. Trace ID: 0 Correlation ID: 0"
    return {"error": error, "error_description": description, "error_codes": [code]}


__all__ = ["ABSENT", "ALICE", "BOB", "OTHER_TENANT", "SITE_ID", "SITE_SECRET", "TENANT", "SignInProvider"]
