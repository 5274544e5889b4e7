"""The issuers whose tokens are taken, as `MCPAPP["TOKEN_ISSUERS"]` lists them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from mcpapp import conf

ASYMMETRIC = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
"""What a token may be signed with. Never HMAC: a key that is published would be the secret."""
ENTRA_AUTHORITY = "https://login.microsoftonline.com"
MAXIMUM_LEEWAY_SECONDS = 60

_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_KNOWN = frozenset(
    {
        "profile",
        "issuer",
        "name",
        "tenant",
        "authority",
        "v1_issuer",
        "audiences",
        "scopes",
        "algorithms",
        "jwks_uri",
        "subject_claim",
        "create_users",
        "accept_roles",
        "announced",
        "leeway_seconds",
    }
)


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """One issuer, and what is expected of its tokens."""

    issuer: str
    """Its identifier (RFC 8414 §2), under which people are linked to it and clients are told of it."""
    accepted: frozenset[str]
    """Every `iss` that its tokens may have: Entra has another one for tokens of version 1."""
    name: str
    profile: Literal["oidc", "entra"]
    tenant: str
    audiences: frozenset[str]
    """One of them must be in `aud`. They stand for all resources of this server."""
    scopes: tuple[tuple[str, str], ...]
    """Its scope values, and what they are here; those that are not listed are nothing here."""
    algorithms: frozenset[str]
    jwks_uri: str
    """Where its keys are; empty: where its configuration document says."""
    subject_claim: str
    create_users: bool
    """Whether who is not linked to a user yet is given a new one."""
    accept_roles: bool
    """Whether a token may have `roles` (Entra): people have them as well as applications."""
    announced: bool
    """Whether clients are told of it, as one of the authorization servers."""
    leeway_seconds: int

    @property
    def configuration_url(self) -> str:
        """Where its configuration document is (OpenID Connect Discovery §4)."""
        return f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"

    def is_of_the_family(self, iss: str) -> bool:
        """Return whether an `iss` is another tenant's of the same provider, whose tokens look the same."""
        if self.profile != "entra":
            return False
        for known in self.accepted:  # by the text: what a stranger writes need not be a URL
            before, tenant, after = known.partition(self.tenant)
            other = iss.removeprefix(before).removesuffix(after)
            if tenant and len(other) == len(iss) - len(before) - len(after) and other and "/" not in other:
                return True
        return False


def token_issuers() -> tuple[TokenIssuer, ...]:
    """Return the issuers.

    Raises:
        ImproperlyConfigured: one cannot be understood.
    """
    return _read(repr(conf.token_issuer_entries()), conf.scopes_supported(), settings.DEBUG)


@lru_cache(maxsize=8)
def _read(shown: str, scopes_supported: tuple[str, ...], debug: bool) -> tuple[TokenIssuer, ...]:
    """Read the entries anew when they are others: `shown` says so, for dicts cannot be a key."""
    found = tuple(_issuer(one, scopes_supported, debug) for one in conf.token_issuer_entries())
    accepted = [iss for issuer in found for iss in issuer.accepted]
    if len(accepted) != len(set(accepted)):
        raise ImproperlyConfigured("An issuer is listed twice.")
    return found


def _issuer(entry: Any, scopes_supported: tuple[str, ...], debug: bool) -> TokenIssuer:
    if not isinstance(entry, Mapping) or not entry.keys() <= _KNOWN:
        unknown = ", ".join(sorted(set(entry) - _KNOWN)) if isinstance(entry, Mapping) else repr(entry)
        raise ImproperlyConfigured(f"An issuer is an object with keys of {sorted(_KNOWN)}; not known: {unknown}.")
    profile = entry.get("profile", "oidc")
    if profile not in ("oidc", "entra"):
        raise ImproperlyConfigured(f"profile is 'oidc' or 'entra', not {profile!r}.")
    tenant = ""
    if profile == "entra":
        tenant = str(entry.get("tenant", "")).lower()
        if not _GUID.fullmatch(tenant):
            raise ImproperlyConfigured(
                f"tenant is the ID of one tenant (a GUID), not {entry.get('tenant')!r}: "
                "'common' and 'organizations' would let every organisation in."
            )
        authority = str(entry.get("authority", ENTRA_AUTHORITY)).rstrip("/")
        issuer = f"{authority}/{tenant}/v2.0"
        v1_issuer = str(entry.get("v1_issuer") or f"https://sts.windows.net/{tenant}/")
        accepted = frozenset({issuer, v1_issuer})
        jwks_uri = str(entry.get("jwks_uri") or f"{authority}/{tenant}/discovery/v2.0/keys")
        subject_claim = "oid"
        if "issuer" in entry or "subject_claim" in entry:
            raise ImproperlyConfigured("issuer and subject_claim follow from the tenant with profile 'entra'.")
    else:
        issuer = str(entry.get("issuer", ""))
        accepted = frozenset({issuer})
        jwks_uri = str(entry.get("jwks_uri", ""))
        subject_claim = entry.get("subject_claim", "sub")
        if not isinstance(subject_claim, str) or not subject_claim:
            raise ImproperlyConfigured(f"subject_claim is the name of a claim, not {subject_claim!r}.")
    for url in accepted:
        require_url(url, debug)
    if jwks_uri:
        require_url(jwks_uri, debug, with_query=True)
    audiences = _texts(entry, "audiences")
    if not audiences:
        raise ImproperlyConfigured(f"{issuer}: audiences is empty; a token must have been issued for this server.")
    algorithms = _texts(entry, "algorithms") or ("RS256",)
    if not set(algorithms) <= ASYMMETRIC:
        raise ImproperlyConfigured(f"{issuer}: algorithms are some of {sorted(ASYMMETRIC)}.")
    scopes = entry.get("scopes", {scope: scope for scope in scopes_supported})
    if (
        not isinstance(scopes, Mapping)
        or not scopes
        or not all(isinstance(theirs, str) and theirs and ours in scopes_supported for theirs, ours in scopes.items())
    ):
        raise ImproperlyConfigured(f"{issuer}: scopes leads from its scopes to ours: {list(scopes_supported)}.")
    leeway = entry.get("leeway_seconds", 30)
    if isinstance(leeway, bool) or not isinstance(leeway, int) or not 0 <= leeway <= MAXIMUM_LEEWAY_SECONDS:
        raise ImproperlyConfigured(f"{issuer}: leeway_seconds is from 0 to {MAXIMUM_LEEWAY_SECONDS}.")
    return TokenIssuer(
        issuer=issuer,
        accepted=accepted,
        name=str(entry.get("name") or urlsplit(issuer).hostname),
        profile=profile,
        tenant=tenant,
        audiences=frozenset(audiences),
        scopes=tuple(sorted(scopes.items())),
        algorithms=frozenset(algorithms),
        jwks_uri=jwks_uri,
        subject_claim=subject_claim,
        create_users=_flag(entry, "create_users", False),
        accept_roles=_flag(entry, "accept_roles", False),
        announced=_flag(entry, "announced", True),
        leeway_seconds=leeway,
    )


def _texts(entry: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = entry.get(name, ())
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) and one for one in value):
        raise ImproperlyConfigured(f"{name} is a list of texts, not {value!r}.")
    return tuple(value)


def _flag(entry: Mapping[str, Any], name: str, default: bool) -> bool:
    value = entry.get(name, default)
    if not isinstance(value, bool):
        raise ImproperlyConfigured(f"{name} is true or false, not {value!r}.")
    return value


def require_url(url: Any, debug: bool, *, with_query: bool = False) -> None:
    """Refuse what a key must not come from: anything but https, or http on loopback in development.

    Raises:
        ImproperlyConfigured: it is no such URL.
    """
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        is_loopback = debug and parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost"}
        is_plain = str(url).isascii() and str(url).isprintable() and " " not in str(url) and "@" not in parts.netloc
        is_good = is_plain and parts.hostname and (parts.scheme == "https" or is_loopback) and not parts.fragment
        is_good = is_good and (with_query or not parts.query) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good:
        raise ImproperlyConfigured(f"{url!r} is no https URL of an issuer or its keys.")
