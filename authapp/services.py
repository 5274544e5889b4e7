"""Services: clients that the site's owner made and that act without a person (RFC 6749 §4.4).

Their access tokens have no person: `user` is NULL, which is the mark of an app-only token. At each use such a token is
mapped to the service user and the scopes that its client has then, so what the owner changes counts at once
(docs/decisions/0017). The token that manages a registration (RFC 7592) has no person either, and is none of these.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from oauth2_provider.models import get_access_token_model
from oauth2_provider.scopes import get_scopes_backend
from oauth2_provider.settings import oauth2_settings
from oauthlib.common import Request

from authapp import audit, conf
from authapp.models import Application

SCOPES_OF_PEOPLE = frozenset({"offline_access", "openid", "profile", "email", "address", "phone"})
"""What only means something where a person takes part: refresh tokens, and what OpenID Connect tells of people."""


def own_scopes(client: Application) -> list[str]:
    """Return the scopes that the owner gave a service, in their order; none recorded is none."""
    available = set(get_scopes_backend().get_available_scopes(application=client))
    return [scope for scope in dict.fromkeys(client.scope.split()) if scope in available - _never()]


def within_own_scopes(client: Application, scopes: Iterable[str]) -> bool:
    """Return whether a service may have scopes: its own, and what these imply."""
    return (conf.with_implied(own_scopes(client)) - _never()).issuperset(scopes)


def standing_scopes(client: Application, scopes: Iterable[str]) -> frozenset[str]:
    """Return what an app-only token with scopes is good for now, by what its client is now; empty if for nothing.

    Whether the client is enabled, and its service user active, is for the caller to see.
    """
    asked = frozenset(scopes)
    if not conf.client_credentials() or not client.is_service or oauth2_settings.DCR_REGISTRATION_SCOPE in asked:
        return frozenset()
    return asked & conf.with_implied(own_scopes(client)) - _never()


def user_of(client: Application) -> Any:
    """Return the user that the tools run as which a service calls; None if it may call none."""
    user = client.service_user if conf.client_credentials() and client.is_service else None
    return user if user is not None and user.is_active else None


def revoke(checksum: str, request: Request) -> bool:
    """Revoke an app-only token of the client of a request (RFC 7009 §2.1); return whether there was one."""
    found = get_access_token_model().objects.filter(
        token_checksum=checksum, application=request.client, user__isnull=True
    )
    if not found.exclude(scope__contains=oauth2_settings.DCR_REGISTRATION_SCOPE).delete()[0]:
        return False
    client: Application = request.client
    audit.record(audit.Action.TOKEN_REVOKED, request.headers, application=client, user=client.service_user)
    return True


def _never() -> frozenset[str]:
    return SCOPES_OF_PEOPLE | {oauth2_settings.DCR_REGISTRATION_SCOPE}
