"""What the tests of enterprise-managed authorization share: a site that trusts a provider, and its clients."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from authapp import conf
from authapp.models import Application, AuditEvent, LinkedIdentity
from authapp.tokens import find_access_token
from tests.authapp.identity_provider import IdentityProvider
from tests.oauth import ISSUER, RESOURCE, post_form

SECRET = "the-secret-of-the-client"


def trust(settings: Any, provider: IdentityProvider, **changes: Any) -> None:
    """Let the site trust a provider (and no other), as the settings say it."""
    entry = {"issuer": provider.issuer, "jwks_uri": provider.jwks_uri, "name": "Example Inc."} | changes
    entry = {name: value for name, value in entry.items() if value is not None}
    settings.AUTHAPP = {**settings.AUTHAPP, "TRUSTED_ISSUERS": [entry], "PRIVATE_KEY_HOSTS": [provider.host]}


@pytest.fixture
def provider(settings: Any) -> Iterator[IdentityProvider]:
    """A provider that is running and trusted."""
    with IdentityProvider() as provider:
        trust(settings, provider)
        yield provider


def make_client(**changes: Any) -> Application:
    """Make a client as the site's owner does."""
    fields: dict[str, Any] = {
        "name": "Desk",
        "client_id": f"desk-{secrets.token_hex(4)}",
        "client_secret": SECRET,
        "client_type": Application.CLIENT_CONFIDENTIAL,
        "authorization_grant_type": conf.JWT_BEARER,
    }
    return Application.objects.create(**fields | changes)


@pytest.fixture
def client_of_owner(db: None) -> Application:
    return make_client()


def link(provider: IdentityProvider, user: Any, subject: str = "") -> LinkedIdentity:
    """Link the subject of a person, which is their user name if nothing is said."""
    return LinkedIdentity.objects.create(issuer=provider.issuer, subject=subject or user.username, user=user)


def assertion_for(provider: IdentityProvider, client: Application, user: Any = None, **changes: Any) -> str:
    """Return an ID-JAG as the site expects it, changed."""
    sound = {
        "sub": user.username if user is not None else "alice",
        "aud": ISSUER,
        "client_id": client.client_id,
        "resource": RESOURCE,
        "scope": "mcp:tools",
    }
    return provider.assertion(**sound | changes)


def exchange(client: Application, assertion: str | None, **parameters: Any) -> Any:
    """POST /o/token/ with an assertion."""
    form = {
        "grant_type": conf.JWT_BEARER,
        "client_id": client.client_id,
        "client_secret": SECRET,
        "assertion": assertion,
        "resource": RESOURCE,
    } | parameters
    return post_form("/o/token/", {name: value for name, value in form.items() if value is not None})


def user_of(response: Any) -> Any:
    """Return the user whose token an answer has, None for one that is not good."""
    assert response.status_code == 200, response.content
    found = async_to_sync(find_access_token)(response.json()["access_token"])
    return found.user if found else None


def reasons() -> list[str]:
    """Return why assertions were refused, as the audit trail has it."""
    events = AuditEvent.objects.filter(action=AuditEvent.Action.ASSERTION_REFUSED).order_by("pk")
    return [event.detail["reason"] for event in events]
