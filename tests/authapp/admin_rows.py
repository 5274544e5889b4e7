"""Many rows for lists of the admin, made at once; and people of the staff with some permissions."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from oauth2_provider.models import get_access_token_model, get_refresh_token_model

from authapp.models import (
    AccountCheck,
    Application,
    AuditEvent,
    Connection,
    IdentityCredential,
    LinkedIdentity,
    TokenFamily,
)
from mcpapp.models import ConnectionUsage
from tests.oauth import CALLBACK, RESOURCE, browser


def fill(number: int) -> None:
    """Make so many people, each with a client, a connection, tokens and what else the admin lists of them."""
    now, later = timezone.now(), timezone.now() + timedelta(hours=1)
    for _ in range(number):
        name = uuid.uuid4().hex
        user = get_user_model().objects.create(username=name)
        client = Application.objects.create(
            name=name,
            client_id=name,
            client_type="public",
            redirect_uris=CALLBACK,
            authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        )
        both: dict[str, Any] = {"user": user, "application": client}
        consent = Connection.objects.create(**both, scope="mcp:tools", resource=RESOURCE)
        ConnectionUsage.objects.create(connection_key=str(consent.pk), calls=1, last_call_at=now)
        family = TokenFamily.objects.create(**both, family=uuid.uuid4(), code_digest=name, scope="mcp:tools")
        both["resource"] = [RESOURCE]
        access = get_access_token_model().objects.create(
            **both, token_checksum=name * 2, expires=later, scope="mcp:tools"
        )
        get_refresh_token_model().objects.create(
            **both, token_checksum=name * 2, access_token=access, token_family=family.family
        )
        AuditEvent.objects.create(action="consent_given", user=user, application=client)
        AccountCheck.objects.create(user=user, next_at=later)
        identity = LinkedIdentity.objects.create(user=user, issuer="https://issuer.example", subject=name)
        IdentityCredential.objects.create(identity=identity, sealed=f"sealed-{name}")


def queries(person: Client, address: str) -> int:
    """Return how many statements a page asks."""
    with CaptureQueriesContext(connection) as captured:
        assert person.get(address).status_code == 200, address
    return len(captured)


def asks_as_often_for_sixty_as_for_two(person: Client, address: str) -> None:
    """See that a list asks no more statements for more rows."""
    fill(2)
    queries(person, address)
    few = queries(person, address)
    fill(58)
    assert queries(person, address) == few
    assert len(person.get(address).context["cl"].result_list) == 60


def clerk(*permissions: str) -> Client:
    """A browser of somebody of the staff with these permissions alone."""
    user, _ = get_user_model().objects.get_or_create(username="clerk", defaults={"is_staff": True})
    found = Permission.objects.filter(codename__in=permissions)
    assert found.count() == len(permissions)
    user.user_permissions.set(found)
    return browser(get_user_model().objects.get(pk=user.pk))
