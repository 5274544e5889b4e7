"""The statement by which access tokens are looked up."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection
from django.utils import timezone
from oauth2_provider.models import get_access_token_model

from authapp import token_rows
from authapp.models import Application
from tests.mcpapp.helpers import make_token

Token = get_access_token_model()
MANY = 5000


def plan(checksum: str) -> list[Any]:
    """Return how the database would run it."""
    statement = token_rows._query("default", "%s").statement
    with connection.cursor() as cursor:
        explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
        cursor.execute(f"{explain} {statement}", [checksum])
        return [row[-1] for row in cursor.fetchall()]


def test_a_token_is_found_by_the_index_on_its_checksum(alice: Any) -> None:
    make_token(alice)
    token = Token.objects.get()
    Application.objects.bulk_create([Application(name=f"client-{n}", client_id=f"client-{n}") for n in range(500)])
    get_user_model().objects.bulk_create([get_user_model()(username=f"person-{n}") for n in range(MANY)])
    Token.objects.bulk_create(
        [
            Token(
                user=user,
                application=token.application,
                token=f"t{user.pk}",
                expires=timezone.now(),
                scope="",
            )
            for user in get_user_model().objects.exclude(pk=alice.pk)
        ]
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # small tables are read as a whole, and the planner knows how many rows there are
    lines = plan(token.token_checksum)
    if connection.vendor == "sqlite":
        searched = [line for line in lines if line.startswith("SEARCH t ")]
        assert len(searched) == 1, lines
        assert "token_checksum=?" in searched[0]
        assert "INDEX" in searched[0]
        assert not [line for line in lines if line.startswith("SCAN")], lines
    else:
        assert any("Index Scan using" in line and "accesstoken" in line for line in lines), lines
        assert any("Index Cond" in line and "token_checksum" in line for line in lines), lines
        assert not [line for line in lines if "Seq Scan on oauth2_provider" in line or "Seq Scan on auth_user" in line]
