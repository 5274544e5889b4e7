"""ID tokens (OIDC Core §2): made beside an access token where `openid` was granted, and read when one comes back.

None is stored, nor anything about it. They are added as a token modifier, oauthlib's own seam, to plain grants:
oauthlib's OpenID Connect grants also judge `prompt` and `claims`, which the authorization endpoint does by itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from dataclasses import dataclass
from typing import Any

import jwt
from oauth2_provider.oauth2_validators import OAuth2Validator
from oauthlib.common import Request

from authapp import conf
from authapp.grants.issuing import kept
from authapp.models import Application
from authapp.openid import signing_keys
from authapp.openid.claims import claims
from authapp.openid.subjects import subject

MAXIMUM_NONCE_LENGTH = 255
MAXIMUM_HINT_LENGTH = 8192
_KID = re.compile(r"[A-Za-z0-9_-]{43}")  # RFC 7638 with SHA-256


class IDTokens(OAuth2Validator):
    """The part of the validator that keeps DOT from looking for rows of ID tokens: there are none."""

    def _load_id_token(self, token: str) -> None:
        """Find none."""
        return


def add_id_token(token: dict[str, Any], token_handler: Any, request: Request) -> dict[str, Any]:
    """Add the ID token to a token response; oauthlib calls this for each response of a grant it is registered with."""
    if "openid" in token["scope"].split() and conf.openid() and kept(request, "user") is not None:
        token["id_token"] = make(
            request.user,
            request.client,
            issuer=conf.issuer_at(request.headers),
            access_token=token["access_token"],
            scopes=token["scope"].split(),
            nonce=kept(request, "openid_nonce"),
            auth_time=kept(request, "authenticated_at"),
        )
    return token


def make(
    user: Any,
    application: Application,
    *,
    issuer: str,
    access_token: str,
    scopes: list[str],
    nonce: str | None = None,
    auth_time: int | None = None,
) -> str:
    """Return a signed ID token.

    Args:
        nonce: as the client sent it; None after a refresh (OIDC Core §12.2).
        auth_time: when the person proved who they are, in Unix seconds; None if the site does not know.
    """
    now = int(time.time())
    signer = signing_keys.signer(application.id_token_signed_response_alg or conf.ID_TOKEN_ALGORITHMS[0])
    payload = claims(user, scopes) | {
        "iss": issuer,
        "sub": subject(user, application),
        "aud": application.client_id,
        "iat": now,
        "exp": now + conf.id_token_seconds(),
        "at_hash": _half_hash(access_token),
    }
    if auth_time is not None:
        payload["auth_time"] = auth_time
    if nonce:
        payload["nonce"] = nonce
    return jwt.encode(payload, signer.private_key, algorithm=signer.algorithm, headers={"kid": signer.kid})


# --- Between the authorization and the token request ---------------------------------------------------------


def to_remember(request: Request) -> tuple[str | None, dict[str, int] | None]:
    """Return what a code keeps for its ID token: the nonce, and `auth_time` as a claim."""
    if "openid" not in (kept(request, "scopes") or ()) or not conf.openid():
        return None, None
    authenticated_at = kept(request, "authenticated_at")
    return kept(request, "nonce"), None if authenticated_at is None else {"auth_time": authenticated_at}


def recall(request: Request, grant: Any) -> None:
    """Put what a code kept on the token request."""
    if "openid" in grant.scope.split():
        request.openid_nonce = grant.nonce
        request.authenticated_at = json.loads(grant.claims or "{}").get("auth_time")


# --- An ID token that comes back -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hint:
    """An ID token of this server: whom it is about, and which client it was for. It may have expired."""

    application: Application
    subject: str

    def is_about(self, user: Any) -> bool:
        """Return whether it is about a person."""
        return bool(user.is_authenticated) and self.subject == subject(user, self.application)


def read_hint(text: str) -> Hint | None:
    """Return what `id_token_hint` says (OIDC Core §3.1.2.1, RP-Initiated Logout §2); None unless it is ours.

    Expired ones count, as the specifications ask; so do those that a retired key signed. A client that is disabled has
    none.
    """
    try:
        header = jwt.get_unverified_header(text) if len(text) <= MAXIMUM_HINT_LENGTH else {}
        kid, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(kid, str) or not _KID.fullmatch(kid) or algorithm not in conf.ID_TOKEN_ALGORITHMS:
            return None
        key = signing_keys.verification_key(kid, algorithm)
        if key is None:
            return None
        payload = jwt.decode(
            text,
            key,
            algorithms=[algorithm],
            options={"verify_exp": False, "verify_aud": False, "require": ["iss", "sub", "aud", "iat", "exp"]},
        )
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return None
    if payload["iss"] not in conf.issuers():
        return None
    application = Application.objects.filter(client_id=payload["aud"]).first()
    if application is None or not application.is_usable(None):
        return None
    return Hint(application, payload["sub"])


def _half_hash(value: str) -> str:
    """Return the left half of the SHA-256, which both algorithms here use (OIDC Core §3.1.3.6)."""
    return base64.urlsafe_b64encode(hashlib.sha256(value.encode()).digest()[:16]).rstrip(b"=").decode()
