"""What a verified token must say to be taken: whose it is, for whom, until when, and what its client may do."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcpapp.issuers.refusal import LacksScope, Refusal, Refused
from mcpapp.issuers.settings import TokenIssuer

MAXIMUM_SUBJECT_LENGTH = 255
_CLIENT_CLAIMS = ("azp", "appid", "client_id", "cid")
"""Of OpenID Connect and Entra 2, Entra 1, RFC 9068, Okta."""
_NAME_CLAIMS = ("app_displayname", "client_name")


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a token says that is taken."""

    subject: str
    client_id: str
    client_name: str
    scopes: frozenset[str]
    """Ours."""
    audiences: frozenset[str]
    """Those in `aud` that stand for this server."""
    expires_at: int
    """Unix time in seconds, the leeway included."""


def require(issuer: TokenIssuer, claims: Mapping[str, Any]) -> Accepted:
    """Return what verified claims say.

    Raises:
        Refused: they are not those of an access token of a person for this server, at this time.
        LacksScope: they are, and grant nothing here.
    """
    _require_issuer(issuer, claims)
    audiences = _require_audience(issuer, claims)
    expires_at = _require_time(issuer, claims)
    if issuer.profile == "entra":
        _require_delegated(issuer, claims)
    subject = claims.get(issuer.subject_claim)
    if not isinstance(subject, str) or not 0 < len(subject) <= MAXIMUM_SUBJECT_LENGTH or not _is_plain(subject):
        raise _refused(issuer, Refusal.MISSING_CLAIM, issuer.subject_claim)
    client_id = _first_text(claims, _CLIENT_CLAIMS)
    if issuer.profile == "oidc" and (why := _why_app_only(claims, subject)):
        raise _refused(issuer, Refusal.APP_ONLY, why)
    given = granted(claims)
    scopes = frozenset(ours for theirs, ours in issuer.scopes if theirs in given)
    if not scopes:
        wanted = ", ".join(theirs for theirs, _ in issuer.scopes)
        raise LacksScope(Refusal.MISSING_SCOPE, f"none of {wanted}", issuer.issuer)
    return Accepted(subject, client_id, _first_text(claims, _NAME_CLAIMS), scopes, audiences, expires_at)


def granted(claims: Mapping[str, Any]) -> frozenset[str]:
    """Return the scopes of a token: `scope` (RFC 9068 §2.2.3), or `scp` as Entra writes it, or a list as Okta does."""
    found: set[str] = set()
    for name in ("scope", "scp"):
        match claims.get(name):
            case str(text):
                found.update(text.split(" "))
            case [*words] if all(isinstance(word, str) for word in words):
                found.update(words)
    return frozenset(found - {""})


def _require_issuer(issuer: TokenIssuer, claims: Mapping[str, Any]) -> None:
    if claims.get("iss") not in issuer.accepted:
        raise _refused(issuer, Refusal.WRONG_ISSUER)


def _require_audience(issuer: TokenIssuer, claims: Mapping[str, Any]) -> frozenset[str]:
    aud = claims.get("aud")
    named = [aud] if isinstance(aud, str) else aud
    if not isinstance(named, list) or not named or not all(isinstance(one, str) for one in named):
        raise _refused(issuer, Refusal.MISSING_CLAIM, "aud")
    if issuer.audiences.isdisjoint(named):
        raise _refused(issuer, Refusal.WRONG_AUDIENCE, _shown(named[0]))
    return issuer.audiences.intersection(named)


def _require_time(issuer: TokenIssuer, claims: Mapping[str, Any]) -> int:
    now, leeway = time.time(), issuer.leeway_seconds
    expires_at = _seconds(issuer, claims, "exp")
    if expires_at is None:
        raise _refused(issuer, Refusal.MISSING_CLAIM, "exp")
    if expires_at + leeway <= now:
        raise _refused(issuer, Refusal.EXPIRED)
    for name in ("nbf", "iat"):
        begins_at = _seconds(issuer, claims, name)
        if begins_at is not None and begins_at - leeway > now:
            raise _refused(issuer, Refusal.NOT_YET_VALID, name)
    return int(expires_at) + leeway


def _seconds(issuer: TokenIssuer, claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    # The bound first: an integer may be too large to be asked whether it is finite.
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e11 or not math.isfinite(value):
        raise _refused(issuer, Refusal.MALFORMED, f"{name} is no time")
    return float(value)


def _require_delegated(issuer: TokenIssuer, claims: Mapping[str, Any]) -> None:
    """Refuse what is not of the one tenant, or not of a person (Microsoft identity platform, access token claims)."""
    if claims.get("tid") != issuer.tenant:
        raise _refused(issuer, Refusal.WRONG_TENANT, _shown(claims.get("tid")))
    is_first = claims.get("iss") != issuer.issuer
    if claims.get("ver") != ("1.0" if is_first else "2.0"):
        raise _refused(issuer, Refusal.MALFORMED, "ver and iss are of different versions")
    if claims.get("idtyp", "user") != "user":
        raise _refused(issuer, Refusal.APP_ONLY, "idtyp")
    if not isinstance(claims.get("scp"), str) or not str(claims["scp"]).strip():
        raise _refused(issuer, Refusal.APP_ONLY, "no scp: no person has delegated anything")
    if claims.get("roles") and not issuer.accept_roles:
        raise _refused(issuer, Refusal.ROLES, "roles, and accept_roles is off")


def _why_app_only(claims: Mapping[str, Any], subject: str) -> str:
    """Return by what a provider shows that a client acts for itself; empty if nothing does."""
    clients = {claims[name] for name in _CLIENT_CLAIMS if isinstance(claims.get(name), str)}
    if subject.removesuffix("@clients") in clients or subject in clients:  # RFC 9068 §2.2; the suffix is Auth0's
        return "sub is the client itself"
    if claims.get("gty") == "client-credentials":  # Auth0
        return "gty"
    if claims.get("idtyp") == "app":
        return "idtyp"
    name = claims.get("preferred_username")
    if isinstance(name, str) and name.startswith("service-account-"):  # Keycloak, where sub is one of a user
        return "preferred_username is that of a service account"
    return ""


def _first_text(claims: Mapping[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        value = claims.get(name)
        if isinstance(value, str) and 0 < len(value) <= 255 and value.isprintable():
            return value
    return ""


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _shown(value: Any) -> str:
    """Return a claim for the log: short, and nothing in it that is not plain."""
    text = str(value)[:80]
    return text if _is_plain(text) else repr(text)


def _refused(issuer: TokenIssuer, reason: Refusal, detail: str = "") -> Refused:
    return Refused(reason, detail, issuer.issuer)
