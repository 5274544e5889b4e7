"""What a test committed is gone before the next one, without Django's own `flush`, which takes its time."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command, get_commands
from django.db import connection, transaction

from authapp.models import Connection
from tests.emptying.management.commands import flush
from tests.oauth import connected

pytestmark = pytest.mark.django_db(transaction=True)


def emptied() -> None:
    call_command("flush", interactive=False, verbosity=0, reset_sequences=False)


def full() -> dict[str, int]:
    """Return how many rows each table has that has some."""
    counts = {}
    with connection.cursor() as cursor:
        for name in connection.introspection.django_table_names(only_existing=True, include_views=False):
            cursor.execute(f"SELECT COUNT(*) FROM {connection.ops.quote_name(name)}")  # noqa: S608
            if count := cursor.fetchone()[0]:
                counts[name] = count
    return counts


def test_all_that_was_committed_goes_and_what_migrate_makes_stays(alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_commands()["flush"] == "tests.emptying"
    emptied()
    before = full()
    assert before.keys() == {"django_content_type", "auth_permission"}
    types = set(ContentType.objects.values_list("pk", "app_label", "model"))

    def slow(*_: Any, **__: Any) -> None:
        raise AssertionError("Django's own ran")

    monkeypatch.setattr(flush.flush.Command, "handle", slow)
    group = Group.objects.create(name="With permissions")
    with transaction.atomic():
        group.permissions.set(Permission.objects.all()[:3])
    connected(group.user_set.create(username="of a group"))
    assert Connection.objects.exists()
    emptied()
    assert full() == before
    assert set(ContentType.objects.values_list("pk", "app_label", "model")) == types


def test_a_permission_that_a_test_made_or_took_away_is_as_before() -> None:
    emptied()
    before = full()
    Permission.objects.create(name="n", codename="c", content_type=ContentType.objects.latest("pk"))
    emptied()
    assert full() == before
    Permission.objects.latest("pk").delete()
    emptied()
    assert full() == before
