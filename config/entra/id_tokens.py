"""Check the ID token that a sign-in brought (OIDC Core §3.1.3.7): signature, tenant, audience, time, nonce."""

from __future__ import annotations

import hmac
import re
from typing import Any

import jwt
from django.conf import settings

from authapp import key_sets
from config.entra.requests_to_entra import EntraError

ALGORITHM = "RS256"
LEEWAY_SECONDS = 60
MAXIMUM_LENGTH = 64 * 1024
_OBJECT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class WrongToken(EntraError):
    """The ID token says nothing that counts here; the message is for the log."""


def verify(text: Any) -> dict[str, Any]:
    """Return the claims of an ID token of the one tenant for this site. Its nonce: see `require_nonce`.

    Raises:
        WrongToken: for any reason.
    """
    entra = settings.ENTRA
    if not isinstance(text, str) or len(text) > MAXIMUM_LENGTH:
        raise WrongToken("there is no ID token")
    try:
        claims: dict[str, Any] = jwt.decode(
            text,
            _key(text),
            algorithms=[ALGORITHM],
            audience=entra.client_id,
            issuer=entra.issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iat", "iss", "aud", "sub"], "strict_aud": True},
        )
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise WrongToken(f"{type(error).__name__}: {error}"[:200]) from None
    if claims.get("tid") != entra.tenant_id:
        raise WrongToken("tid is another tenant")
    if not isinstance(claims.get("oid"), str) or not _OBJECT_ID.fullmatch(claims["oid"]):
        raise WrongToken("oid is missing, or no object ID")
    return claims


def require_nonce(claims: dict[str, Any], nonce: Any) -> None:
    """Let only the ID token pass that was made for this very sign-in (OIDC Core §15.5.2).

    Raises:
        WrongToken: it is another one's.
    """
    found = claims.get("nonce")
    if not isinstance(found, str) or not isinstance(nonce, str) or not nonce:
        raise WrongToken("there is no nonce")
    if not hmac.compare_digest(found.encode(), nonce.encode()):
        raise WrongToken("the nonce is another sign-in's")


def _key(text: str) -> Any:
    """Return the tenant's key that a token names.

    Raises:
        WrongToken, jwt.PyJWTError: there is none.
    """
    header = jwt.get_unverified_header(text)
    kid = header.get("kid")
    if header.get("alg") != ALGORITHM or not isinstance(kid, str) or not kid:
        raise WrongToken("alg or kid is not what the tenant's tokens have")
    uri = settings.ENTRA.jwks_uri
    key_sets.refresh(uri, kid=kid)
    for key in key_sets.known(uri):
        if key.get("kid") == kid and key.get("kty") == "RSA":
            return jwt.PyJWK.from_dict(key, algorithm=ALGORITHM).key
    raise WrongToken("no key of the tenant has this kid")
