"""Migrations are complete, and build the schema from nothing in whatever order Django picks."""

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader


@pytest.mark.django_db
def test_every_change_of_a_model_has_its_migration() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_the_client_exists_before_anything_points_at_it() -> None:
    graph = MigrationLoader(None).graph
    plan = graph.forwards_plan(("oauth2_provider", "0001_initial"))
    assert plan.index(("authapp", "0001_initial")) < plan.index(("oauth2_provider", "0001_initial"))


@pytest.mark.django_db
def test_the_lookup_of_a_token_uses_an_index() -> None:
    from oauth2_provider.models import get_access_token_model

    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:  # it scans a small table whatever indexes there are
            cursor.execute("SET LOCAL enable_seqscan = off")
    rows = get_access_token_model().objects.filter(token_checksum="x" * 64)
    plan = rows.explain()
    assert "INDEX" in plan.upper()
    if connection.vendor == "sqlite":
        assert "SCAN" not in plan
