"""Services for tests: a client that the owner made, with its service user and its secret."""

from __future__ import annotations

import base64
import json
import time
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from django.contrib.auth import get_user_model
from jwt.algorithms import ECAlgorithm

from authapp.models import Application
from tests.oauth import ISSUER, post_form

SECRET = "s" * 40


def robot(name: str = "robot") -> Any:
    """Make a service user: one that nobody can sign in to."""
    return get_user_model().objects.create_user(name)


def service(user: Any = None, **fields: Any) -> Application:
    """Make a service as the owner would; `fields` change it."""
    values: dict[str, Any] = {
        "name": "Nightly",
        "client_type": Application.CLIENT_CONFIDENTIAL,
        "authorization_grant_type": Application.GRANT_CLIENT_CREDENTIALS,
        "client_secret": SECRET,
        "scope": "mcp:tools",
        "service_user": user,
    }
    client: Application = Application.objects.create(**values | fields)
    return client


def basic(client_id: str, secret: str = SECRET) -> dict[str, str]:
    """Return the header of HTTP Basic, encoded as RFC 6749 §2.3.1 has it."""
    credentials = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
    return {"authorization": "Basic " + base64.b64encode(credentials.encode()).decode()}


def ask(client: Application, /, *, secret: str | None = SECRET, **parameters: Any) -> Any:
    """POST /o/token/ as a service, with HTTP Basic unless `secret` is None."""
    form = {"grant_type": "client_credentials"} | parameters
    headers = basic(client.client_id, secret) if secret is not None else {}
    return post_form("/o/token/", {name: value for name, value in form.items() if value is not None}, headers)


class Key:
    """A key of a service, and what it signs."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        public = json.loads(ECAlgorithm.to_jwk(self.private.public_key()))
        self.jwks = {"keys": [public | {"kid": "one", "alg": "ES256", "use": "sig"}]}

    def assertion(self, client_id: str, **claims: Any) -> dict[str, str]:
        """Return what proves a client at the token endpoint (RFC 7523 §2.2)."""
        now = int(time.time())
        said = {"iss": client_id, "sub": client_id, "aud": ISSUER, "iat": now, "exp": now + 60, "jti": uuid4().hex}
        return {
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": jwt.encode(said | claims, self.private, "ES256", headers={"kid": "one"}),
        }


def token_of(client: Application, /, **parameters: Any) -> str:
    response = ask(client, **parameters)
    assert response.status_code == 200, response.content
    token: str = response.json()["access_token"]
    return token
