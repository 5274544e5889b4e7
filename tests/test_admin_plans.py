"""What the pages of the admin look for in tables that grow has an index, on either database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from authapp.models import ConnectionAttempt
from mcpapp.models import CallCount, ClientUsage, ConnectionUsage, Refusal, ToolCall

pytestmark = pytest.mark.django_db

NOW = timezone.now()
CALLS = ToolCall.objects.order_by("-id")
LOOKED_FOR: dict[str, Callable[[], Any]] = {
    "calls of a person": lambda: CALLS.filter(username="alice")[:50],
    "calls by a client": lambda: CALLS.filter(client_id="client")[:50],
    "calls of a tool": lambda: CALLS.filter(tool="protected-data")[:50],
    "calls since a time": lambda: ToolCall.objects.order_by().filter(at__gte=NOW - timedelta(days=1)),
    "calls that went wrong": lambda: CALLS.exclude(outcome="ok")[:50],
    "counts of the last days": lambda: CallCount.objects.filter(hour__gte=NOW - timedelta(days=7)),
    "use of clients on a page": lambda: ClientUsage.objects.filter(client_id__in=["a", "b"]),
    "use of clients of the last days": lambda: ClientUsage.objects.filter(day__gte=NOW.date()),
    "use of connections on a page": lambda: ConnectionUsage.objects.filter(connection_key__in=["1", "2"]),
    "connections that called": lambda: ConnectionUsage.objects.filter(last_call_at__gte=NOW),
    "refusals of the last days": lambda: Refusal.objects.order_by().filter(last_at__gte=NOW),
    "attempts of the last days": lambda: ConnectionAttempt.objects.order_by().filter(last_at__gte=NOW),
    "attempts of a client": lambda: ConnectionAttempt.objects.filter(client_id="client").order_by("-last_at")[:50],
    "attempts from an address": lambda: ConnectionAttempt.objects.filter(
        ip_address="127.0.0.1", last_at__gte=NOW
    ).order_by("-last_at"),
}


@pytest.mark.parametrize("name", LOOKED_FOR)
def test_what_is_looked_for_is_found_by_an_index(name: str) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:  # it scans a small table whatever indexes there are
            cursor.execute("SET LOCAL enable_seqscan = off")
    rows = LOOKED_FOR[name]()
    plan = rows.explain()
    assert "INDEX" in plan.upper(), plan
    assert "Seq Scan" not in plan
    if connection.vendor == "sqlite":
        assert "SCAN" not in plan or "USING INDEX" in plan or "PRIMARY KEY" in plan, plan


def test_the_plan_of_what_has_no_index_says_so() -> None:
    """The positive control."""
    plan = ToolCall.objects.order_by().filter(arguments="x").explain()
    assert "Seq Scan" in plan or plan.strip().startswith("3 0") or "SCAN mcpapp_toolcall" in plan
    assert "Index" not in plan
