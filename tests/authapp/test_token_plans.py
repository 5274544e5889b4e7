"""The statement that reads a token: how a database finds what it joins, however many people and clients there are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.utils import timezone
from oauth2_provider.models import get_access_token_model

from authapp import token_rows
from authapp.models import Application, Connection

pytestmark = pytest.mark.django_db
PEOPLE = 2000


def read_rows(statement: str, checksum: str) -> list[Any]:
    """Return for each table that is read how many rows of it were looked at to find one token."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ANALYZE")
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", [checksum])
            found = cursor.fetchone()[0]
            plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
            return [(node["Alias"], node["Actual Rows"]) for node in nodes(plan) if "Alias" in node]
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}", [checksum])
        return [(step[3].split()[1], 1 if step[3].startswith("SEARCH") else PEOPLE) for step in cursor.fetchall()]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def test_a_client_that_everybody_has_connected_makes_no_lookup_slower() -> None:
    users = get_user_model().objects.bulk_create(
        get_user_model()(username=f"person-{number}", password="!") for number in range(PEOPLE)
    )
    clients = Application.objects.bulk_create(
        Application(client_id=f"client-{number}", client_type="public", authorization_grant_type="authorization-code")
        for number in range(100)
    )
    pairs = [(user, clients[0]) for user in users] + list(zip(users, clients[1:], strict=False))
    Connection.objects.bulk_create(Connection(user=user, application=client) for user, client in pairs)
    get_access_token_model().objects.bulk_create(
        get_access_token_model()(
            user=user,
            application=client,
            token_checksum=f"{number:064}",
            expires=timezone.now() + timedelta(hours=1),
            scope="mcp:tools",
            resource=[],
        )
        for number, (user, client) in enumerate(pairs)
    )
    statement = token_rows._query("default", "%s").statement
    found = read_rows(statement, f"{PEOPLE - 1:064}")
    assert {alias for alias, _ in found} == {"t", "a", "u", "c"}
    assert [alias for alias, rows in found if alias in {"t", "u", "c"} and rows > 10] == []
