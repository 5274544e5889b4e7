"""What the pages of the admin look for in tables that grow has an index, on either database."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from authapp.models import ConnectionAttempt
from mcpapp.models import CallCount, CallDuration, ClientUsage, ConnectionUsage, Refusal, ToolCall
from tests.oauth import browser

pytestmark = pytest.mark.django_db

NOW = timezone.now()
CALLS = ToolCall.objects.all()
BETWEEN = {"at__gte": NOW - timedelta(days=2), "at__lt": NOW - timedelta(days=1)}
LOOKED_FOR: dict[str, Callable[[], Any]] = {
    "calls of a person": lambda: CALLS.filter(username="alice")[:50],
    "calls by a client": lambda: CALLS.filter(client_id="client")[:50],
    "calls of a tool": lambda: CALLS.filter(tool="protected-data")[:50],
    "calls since a time": lambda: ToolCall.objects.order_by().filter(at__gte=NOW - timedelta(days=1)),
    "calls between two times": lambda: CALLS.filter(**BETWEEN)[:50],
    "calls between two times, as they are counted": lambda: CALLS.order_by().filter(**BETWEEN)[:10_000],
    "calls of a person between two times": lambda: CALLS.filter(username="alice", **BETWEEN)[:50],
    "calls by a client between two times": lambda: CALLS.filter(client_id="client", **BETWEEN)[:50],
    "calls of a tool between two times": lambda: CALLS.filter(tool="protected-data", **BETWEEN)[:50],
    "calls that crashed": lambda: CALLS.exclude(outcome="ok").filter(outcome="crashed")[:50],
    "the latest calls": lambda: CALLS[:50],
    "counts of durations": lambda: CallDuration.objects.filter(hour__gte=NOW, tool__in=["a", "b"]),
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


FROM = {"at__gte": f"{NOW - timedelta(hours=30):%Y-%m-%dT%H:%M}"}
BEFORE = {"at__lt": f"{NOW - timedelta(hours=2):%Y-%m-%dT%H:%M}"}


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ({}, "mcpapp_call_at"),
        (FROM | BEFORE, "mcpapp_call_at"),
        (FROM | {"q": "alice"}, "mcpapp_call_username_at"),
        (FROM | BEFORE | {"q": "client-1"}, "mcpapp_call_client_at"),
        (BEFORE | {"q": "my-orders"}, "mcpapp_call_tool_at"),
        (BEFORE | {"outcome__exact": "crashed"}, "mcpapp_call_not_ok_at"),
    ],
)
def test_the_list_of_calls_is_read_from_one_index(admin_user: Any, asked: dict[str, str], index: str) -> None:
    """The query of the page itself."""
    rare = {number: number % 97 == 0 for number in range(2000)}
    ToolCall.objects.bulk_create(
        ToolCall(
            at=NOW - timedelta(minutes=number),
            username="alice" if rare[number] else f"user-{number % 40}",
            client_id="client-1" if rare[number] else f"id-{number % 40}",
            tool="my-orders" if rare[number] else f"tool-{number % 40}",
            outcome="crashed" if rare[number] else "ok",
            duration_us=1,
            request_bytes=1,
            response_bytes=1,
        )
        for number in range(2000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE mcpapp_toolcall")
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
    plan = browser(admin_user).get("/admin/mcpapp/toolcall/", asked).context["cl"].queryset[:50].explain()
    assert set(re.findall(r"mcpapp_call_\w+|mcpapp_toolcall_pkey", plan)) == {index}, plan
    assert "TEMP B-TREE FOR ORDER BY" not in plan, plan
