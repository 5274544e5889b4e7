"""Typed access to `settings.AUTHAPP`.

Everything the authorization server says about itself comes from here, never from a request's Host header:
the header only chooses among the issuers that the settings list.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

SUPPORTED_GRANT_TYPES = ("authorization_code", "refresh_token")
SUPPORTED_RESPONSE_TYPES = ("code",)
SUPPORTED_AUTH_METHODS = ("none", "client_secret_post", "client_secret_basic")


def _setting(name: str, default: Any) -> Any:
    return getattr(settings, "AUTHAPP", {}).get(name, default)


def issuers() -> tuple[str, ...]:
    """Return the issuer identifiers (RFC 8414 §2); the first is the canonical one."""
    return tuple(_setting("ISSUERS", ()))


def resources() -> tuple[str, ...]:
    """Return the resource indicators (RFC 8707 §2) that tokens are issued for; the first is the default."""
    return tuple(_setting("RESOURCES", ()))


def private_use_redirect_uris() -> frozenset[str]:
    """Return the redirect URIs with a private-use scheme (RFC 8252 §7.1) that may be registered, each in full."""
    return frozenset(_setting("PRIVATE_USE_REDIRECT_URIS", ()))


def rotation_overlap_seconds() -> int:
    """Return for how many seconds a refresh token that was just rotated away still works."""
    return int(_setting("ROTATION_OVERLAP_SECONDS", 60))


def family_maximum_seconds() -> int:
    """Return how old a login may get however often it is refreshed, in seconds; 0 for no limit."""
    return int(_setting("FAMILY_MAXIMUM_SECONDS", 365 * 24 * 3600))


def issuer(request: HttpRequest) -> str:
    """Return the issuer a request is talking to: the listed one with the request's host, else the canonical one."""
    host = request.META.get("HTTP_HOST", "")
    for candidate in issuers():
        if urlsplit(candidate).netloc == host:
            return candidate
    return issuers()[0]


def absolute_url(request: HttpRequest, view_name: str, **kwargs: str) -> str:
    """Return the URL of a view at the request's issuer; a prefix in the issuer's path is part of `reverse` already."""
    parts = urlsplit(issuer(request))
    return f"{parts.scheme}://{parts.netloc}{reverse(view_name, kwargs=kwargs)}"


def default_resource(request: HttpRequest) -> str:
    """Return the resource a token request without `resource` is bound to: the one at the request's issuer."""
    own = urlsplit(issuer(request))
    for candidate in resources():
        parts = urlsplit(candidate)
        if (parts.scheme, parts.netloc) == (own.scheme, own.netloc):
            return candidate
    return resources()[0]


def canonical_resource(value: str) -> str | None:
    """Return the listed resource that a `resource` parameter names, or None for a foreign or malformed one.

    The comparison is exact but for one trailing slash, which the MCP specification asks to tolerate.
    """
    for candidate in resources():
        if value in (candidate, candidate + "/"):
            return candidate
    return None
