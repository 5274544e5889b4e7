"""Typed access to `settings.AUTHAPP`.

Everything the authorization server says about itself comes from here, never from a request's Host header:
the header only chooses among the issuers that the settings list. `authapp.seams` has what other apps give to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.urls import reverse
from oauth2_provider.settings import oauth2_settings

from authapp import seams

_HOST_PATTERN = re.compile(r"\*|\.?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
GRANT_TYPES_WITH_A_PERSON = ("authorization_code", DEVICE_CODE)
GRANT_TYPES_OF_THE_OWNER = ("client_credentials", JWT_BEARER)
"""Only for clients that the site's owner made: no registration and no document of a client gives them."""
SUPPORTED_GRANT_TYPES = ("authorization_code", "refresh_token")
"""What a client may always register (RFC 7591 §2); `supported_grant_types` has the rest."""
SCOPES_OF_PEOPLE = frozenset({"offline_access", "openid", "profile", "email", "address", "phone"})
"""What only means something where a person signs in: refresh tokens, and what OpenID Connect tells of people."""
ID_TOKEN_ALGORITHMS = ("RS256", "ES256")
"""Signatures of ID tokens; a client that names none gets the first (OIDC Core §15.1)."""
SUPPORTED_RESPONSE_TYPES = ("code",)
SUPPORTED_AUTH_METHODS = ("none", "client_secret_post", "client_secret_basic", "private_key_jwt")

account_check = seams.account_check
authenticated_at = seams.authenticated_at
calls_url = seams.calls_url
client_usage = seams.client_usage
connection_usage = seams.connection_usage
see_as = seams.see_as
tool_catalog = seams.tool_catalog


def _setting(name: str, default: Any) -> Any:
    return getattr(settings, "AUTHAPP", {}).get(name, default)


def grant_types() -> tuple[str, ...]:
    """Return the grants that the settings give the token endpoint (RFC 8414 §2); trusted issuers add one."""
    return (*supported_grant_types(), *(("client_credentials",) if client_credentials() else ()))


def client_credentials() -> bool:
    """Return whether clients that the owner made for services get tokens without a person (RFC 6749 §4.4)."""
    return bool(_setting("CLIENT_CREDENTIALS", False))


def app_token_seconds() -> int:
    """Return for how many seconds an access token of a service lives."""
    return int(_setting("APP_TOKEN_SECONDS", 3600))


def secret_overlap_seconds() -> int:
    """Return for how many seconds the secret of a client still works after it got a new one."""
    return int(_setting("SECRET_OVERLAP_SECONDS", 7 * 24 * 3600))


def issuers() -> tuple[str, ...]:
    """Return the issuer identifiers (RFC 8414 §2); the first is the canonical one."""
    return tuple(_setting("ISSUERS", ()))


def resources() -> tuple[str, ...]:
    """Return the resource indicators (RFC 8707 §2) that tokens are issued for; the first is the default."""
    return tuple(_setting("RESOURCES", ()))


def with_implied(scopes: Iterable[str]) -> frozenset[str]:
    """Return scopes and all they imply, like `{"mcp:write": ["mcp:tools"]}` (MCP authorization: scope hierarchies)."""
    implied: dict[str, Iterable[str]] = _setting("IMPLIED_SCOPES", {})
    closed: set[str] = set()
    pending = list(scopes)
    while pending:
        scope = pending.pop()
        if scope not in closed:
            closed.add(scope)
            pending.extend(implied.get(scope, ()))
    return frozenset(closed)


def notify_new_connections() -> bool:
    """Return whether people get a mail when a client is connected to their account for the first time."""
    return bool(_setting("NOTIFY_NEW_CONNECTIONS", False))


def private_use_redirect_uris() -> frozenset[str]:
    """Return the redirect URIs with a private-use scheme (RFC 8252 §7.1) that may be registered, each in full."""
    return frozenset(_setting("PRIVATE_USE_REDIRECT_URIS", ()))


def client_hosts_allowed() -> tuple[str, ...]:
    """Return the hosts whose metadata documents are accepted, besides those that the admin allows; none means all."""
    return _hosts("CLIENT_HOSTS_ALLOWED", _setting("CLIENT_HOSTS_ALLOWED", ()))


def client_hosts_denied() -> tuple[str, ...]:
    """Return the hosts whose metadata documents are refused, whatever allows them."""
    return _hosts("CLIENT_HOSTS_DENIED", _setting("CLIENT_HOSTS_DENIED", ()))


def is_host_pattern(text: str) -> bool:
    """Return whether a text is a host, a domain with a leading dot for every name under it, or `*`."""
    return bool(_HOST_PATTERN.fullmatch(text))


def _hosts(name: str, entries: Iterable[str]) -> tuple[str, ...]:
    patterns = tuple(entry.strip().lower() for entry in entries)
    for pattern in patterns:
        if not is_host_pattern(pattern):
            # A host that is never met would deny nothing, and nobody would notice.
            raise ImproperlyConfigured(f"{name} has {pattern!r}, which is no host like app.example or .example.")
    return patterns


def client_document_stale_seconds() -> int:
    """Return for how long a client's last good document counts after its time, while no newer one can be had."""
    return int(_setting("CLIENT_DOCUMENT_STALE_SECONDS", 7 * 24 * 3600))


def private_key_hosts() -> frozenset[str]:
    """Return the hosts whose key sets may have any address, and on loopback plain http; each as it stands in the URL.

    That is `host`, or `host:port` where the URL has a port.
    """
    return frozenset(_setting("PRIVATE_KEY_HOSTS", ()))


def device_flow() -> bool:
    """Return whether devices without a browser can be connected (RFC 8628)."""
    return bool(_setting("DEVICE_FLOW", True))


def supported_grant_types() -> tuple[str, ...]:
    """Return the grants that a client may register."""
    return (*SUPPORTED_GRANT_TYPES, *((DEVICE_CODE,) if device_flow() else ()))


def device_code_seconds() -> int:
    """Return for how many seconds a person may answer, and a device fetch the answer (RFC 8628 §3.2)."""
    return int(_setting("DEVICE_CODE_SECONDS", 600))


def device_interval_seconds() -> int:
    """Return how many seconds a device waits between two polls (RFC 8628 §3.2)."""
    return int(_setting("DEVICE_INTERVAL_SECONDS", 5))


def device_authorizations_per_client() -> int:
    """Return for how many devices one client may wait at once; 0 for no limit."""
    # High, because a client that people share by its document's URL must not be easy to fill up.
    return int(_setting("DEVICE_AUTHORIZATIONS_PER_CLIENT", 1000))


def device_authorization_burst() -> int:
    """Return how many device authorizations one address may ask for at once; 0 for no limit."""
    return int(_setting("DEVICE_AUTHORIZATION_BURST", 30))


def device_authorization_refill_per_minute() -> float:
    """Return how many in a minute, after the burst; raises as the one for registrations does."""
    return _refill("DEVICE_AUTHORIZATION_REFILL_PER_MINUTE", _setting("DEVICE_AUTHORIZATION_REFILL_PER_MINUTE", 15))


def rotation_overlap_seconds() -> int:
    """Return for how many seconds a refresh token that was just rotated away still works."""
    return int(_setting("ROTATION_OVERLAP_SECONDS", 60))


def family_maximum_seconds() -> int:
    """Return how old a login may get however often it is refreshed, in seconds; 0 for no limit."""
    return int(_setting("FAMILY_MAXIMUM_SECONDS", 365 * 24 * 3600))


def registration_burst() -> int:
    """Return how many clients may be registered from one address at once; 0 for no limit."""
    return int(_setting("REGISTRATION_BURST", 60))


def registration_refill_per_minute() -> float:
    """Return how many clients may be registered from one address in a minute, after the burst.

    Raises:
        ImproperlyConfigured: it is none.
    """
    return _refill("REGISTRATION_REFILL_PER_MINUTE", _setting("REGISTRATION_REFILL_PER_MINUTE", 30))


def document_fetch_burst() -> int:
    """Return how many documents of clients one address may make us fetch at once; 0 for no limit."""
    return int(_setting("DOCUMENT_FETCH_BURST", 20))


def document_fetch_refill_per_minute() -> float:
    """Return how many in a minute, after the burst; raises as the one for registrations does."""
    return _refill("DOCUMENT_FETCH_REFILL_PER_MINUTE", _setting("DOCUMENT_FETCH_REFILL_PER_MINUTE", 12))


def _refill(name: str, value: Any) -> float:
    refill = float(value)
    if refill <= 0:
        raise ImproperlyConfigured(f"AUTHAPP['{name}'] must be more than 0.")
    return refill


def unused_client_days() -> int:
    """Return after how many days a client that nobody ever authorized may be deleted.

    Long, because its program may have kept the client ID and never register again, and its person may come late.
    """
    return int(_setting("UNUSED_CLIENT_DAYS", 90))


def audit_retention_days() -> int:
    """Return for how many days audit events are kept; 0 for ever."""
    return int(_setting("AUDIT_RETENTION_DAYS", 365))


def attempt_days() -> int:
    """Return for how many days attempts to connect are kept; 0 follows none."""
    return int(_setting("ATTEMPT_DAYS", 30))


def trusted_issuers() -> tuple[Any, ...]:
    """Return the identity providers whose ID-JAGs are accepted, unread (`authapp.trusted_issuers` reads them)."""
    entries = _setting("TRUSTED_ISSUERS", ())
    return tuple(entries) if isinstance(entries, list | tuple) else (entries,)


def linked_issuers() -> frozenset[str]:
    """Return the issuers whose subjects are linked to users besides those that are trusted with ID-JAGs."""
    return frozenset(_setting("LINKED_ISSUERS", ()))


def identity_assertion_maximum_seconds() -> int:
    """Return how long an ID-JAG may be good for, from `iat` to `exp`."""
    return int(_setting("IDENTITY_ASSERTION_MAXIMUM_SECONDS", 300))


def asserted_token_seconds() -> int:
    """Return for how many seconds an access token lives at most that was issued on an identity provider's word."""
    return int(_setting("ASSERTED_TOKEN_SECONDS", 3600))


def account_check_seconds() -> int:
    """Return how often it is asked about one person, in seconds."""
    return int(_setting("ACCOUNT_CHECK_SECONDS", 3600))


def account_check_grace_seconds() -> int:
    """Return for how many seconds clients go on while it cannot be known."""
    return int(_setting("ACCOUNT_CHECK_GRACE_SECONDS", 24 * 3600))


def introspecting_clients() -> frozenset[str]:
    """Return the identifiers of confidential clients that are resource servers and may ask about any token."""
    return frozenset(_setting("INTROSPECTING_CLIENTS", ()))


def consent_remembered_seconds() -> int:
    """Return for how long a consent to a client that is proven to be the same is not asked for again; 0 for never."""
    return int(_setting("CONSENT_REMEMBERED_SECONDS", 30 * 24 * 3600))


def reauthenticate_url() -> str:
    """Return the page, or the name of its URL, on which a person who is signed in proves it again."""
    return str(_setting("REAUTHENTICATE_URL", "") or settings.LOGIN_URL)


def sign_up_url() -> str:
    """Return the page, or the name of its URL, on which people make an account; empty where nobody can."""
    return str(_setting("SIGN_UP_URL", ""))


def prompts_supported() -> frozenset[str]:
    """Return the values of `prompt` (OIDC Core §3.1.2.1) that mean something here."""
    return frozenset({"none", "login", "consent"} | ({"create"} if sign_up_url() else set()))


def openid() -> bool:
    """Return whether OpenID Connect is offered: not switched off, and `openid` is one of the site's scopes."""
    return bool(_setting("OPENID", True)) and "openid" in oauth2_settings.SCOPES


def id_token_seconds() -> int:
    """Return for how long an ID token is good: a client checks it when it gets it."""
    return int(_setting("ID_TOKEN_SECONDS", 600))


def jwks_max_age_seconds() -> int:
    """Return for how long clients may keep the published keys; a new key signs after that time."""
    return int(_setting("JWKS_MAX_AGE_SECONDS", 3600))


def subject_type() -> str:
    """Return `public` or `pairwise` (OIDC Core §8).

    Raises:
        ImproperlyConfigured: it is neither.
    """
    value = str(_setting("SUBJECT_TYPE", "public"))
    if value not in {"public", "pairwise"}:
        raise ImproperlyConfigured("AUTHAPP['SUBJECT_TYPE'] must be public or pairwise.")
    return value


def issuer(request: HttpRequest) -> str:
    """Return the issuer a request is talking to: the listed one with the request's host, else the canonical one."""
    return issuer_at(request.META)


def issuer_at(meta: Mapping[str, Any]) -> str:
    """Return what `issuer` does; `meta` is `request.META`, or the headers of an oauthlib request."""
    host = meta.get("HTTP_HOST", "")
    for candidate in issuers():
        if urlsplit(candidate).netloc == host:
            return candidate
    return issuers()[0]


def absolute_url(request: HttpRequest, view_name: str, **kwargs: str) -> str:
    """Return the URL of a view at the request's issuer."""
    return url_at(issuer(request), view_name, **kwargs)


def url_at(issuer: str, view_name: str, **kwargs: str) -> str:
    """Return the URL of a view at an issuer; a prefix in the issuer's path is part of `reverse` already."""
    parts = urlsplit(issuer)
    return f"{parts.scheme}://{parts.netloc}{reverse(view_name, kwargs=kwargs)}"


def default_resource(meta: Mapping[str, Any]) -> str:
    """Return the resource a request without `resource` is for: the one at its issuer; `meta` as in `issuer_at`."""
    own = urlsplit(issuer_at(meta))
    for candidate in resources():
        parts = urlsplit(candidate)
        if (parts.scheme, parts.netloc) == (own.scheme, own.netloc):
            return candidate
    return resources()[0]


def requested_resource(request: HttpRequest, asked: list[str]) -> str | None:
    """Return the one resource that tokens will be for, None if what is asked for is not ours (RFC 8707 §2.1)."""
    if not asked:
        return default_resource(request.META)
    canonical = {canonical_resource(value) for value in asked}
    return canonical.pop() if len(canonical) == 1 else None


def canonical_resource(value: str) -> str | None:
    """Return the listed resource that a `resource` parameter names, or None for a foreign or malformed one.

    The comparison is exact but for one trailing slash, which the MCP specification asks to tolerate.
    """
    for candidate in resources():
        if value in (candidate, candidate + "/"):
            return candidate
    return None
