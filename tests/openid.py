"""What a client of OpenID Connect does with what it gets, and how time passes for keys."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import jwt
from django.db.models import F

from authapp.models import SigningKey
from tests.oauth import ISSUER, PKCE, authorize, browser, connected, redeem

SCOPE = "openid profile email mcp:tools"


def key_set() -> dict[str, Any]:
    """GET /o/jwks/."""
    response = browser().get("/o/jwks/")
    assert response.status_code == 200, response.content
    found: dict[str, Any] = response.json()
    return found


def verified(id_token: str, client_id: str, *, keys: dict[str, Any] | None = None, issuer: str = ISSUER) -> Any:
    """Check an ID token as OIDC Core §3.1.3.7 says, with the published keys; return its claims."""
    kid = jwt.get_unverified_header(id_token)["kid"]
    key = jwt.PyJWKSet.from_dict(keys or key_set())[kid]
    return jwt.decode(id_token, key, algorithms=[key.algorithm_name], audience=client_id, issuer=issuer)


def signed_in(user: Any, client: dict[str, Any] | None = None, **parameters: Any) -> tuple[dict[str, Any], Any]:
    """Connect a client with `openid`; return the client and the token response."""
    return connected(user, client, **({"scope": SCOPE} | parameters))


def claims_of(user: Any, client_id: str, **parameters: Any) -> Any:
    """Authorize once more and return the claims of the ID token."""
    pkce = PKCE()
    code = authorize(user, client_id, pkce, **({"scope": SCOPE} | parameters))["code"]
    return verified(redeem(client_id, code, pkce).json()["id_token"], client_id)


def let_pass(seconds: int) -> None:
    """Let time pass for the keys."""
    ago = timedelta(seconds=seconds)
    SigningKey.objects.update(
        signs_from=F("signs_from") - ago,
        retired_at=F("retired_at") - ago,
        published_until=F("published_until") - ago,
    )
