"""What the pages of the admin look for in tables that grow has an index, on either database."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Exists, OuterRef, Subquery
from django.utils import timezone
from oauth2_provider.models import get_access_token_model, get_refresh_token_model

from authapp import account_checks, token_life
from authapp.models import AuditEvent, Connection, ConnectionAttempt, IdentityCredential, TokenFamily
from mcpapp.models import CallCount, CallDuration, ClientUsage, ConnectionUsage, Refusal, ToolCall
from tests.oauth import browser

pytestmark = pytest.mark.django_db

NOW = timezone.now()
ACCESS, REFRESH = get_access_token_model().objects, get_refresh_token_model().objects
PAIRS: dict[str, Any] = {"user__in": [1, 2], "application__in": [1, 2]}
THESE = Connection.objects.filter(pk__in=[1, 2])
CHOSEN = Exists(THESE.filter(user=OuterRef("user"), application=OuterRef("application")))
FAMILIES = [uuid.UUID(int=1), uuid.UUID(int=2)]
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
    "a page of connections of a client": lambda: Connection.objects.filter(application=1).order_by("-pk")[:100],
    "a page of connections of a person": lambda: Connection.objects.filter(user=1).order_by("-pk")[:100],
    "connections of the tokens on a page": lambda: Connection.objects.filter(**PAIRS).values("user", "pk"),
    "access tokens of connections": lambda: token_life.live_access_tokens().filter(**PAIRS),
    "refresh tokens of connections": lambda: (
        token_life.live_refresh_tokens().filter(**PAIRS).annotate(ends=token_life.refreshable_until())
    ),
    "access tokens of a person": lambda: ACCESS.filter(user=1).order_by("-pk")[:100],
    "refresh tokens of a client": lambda: REFRESH.filter(application=1).order_by("-pk")[:100],
    "what refresh tokens on a page are for": lambda: REFRESH.filter(pk__in=[1, 2]).annotate(
        granted=Subquery(TokenFamily.objects.filter(family=OuterRef("token_family")).values("scope")[:1]),
        lives=Exists(token_life.live_refresh_tokens().filter(pk=OuterRef("pk"))),
    ),
    "families of access tokens": lambda: ACCESS.filter(pk__in=[1, 2]).annotate(
        family=Subquery(REFRESH.filter(access_token=OuterRef("pk")).values("token_family")[:1])
    ),
    "what ends with families": lambda: ACCESS.filter(
        pk__in=REFRESH.filter(token_family__in=FAMILIES).values("access_token")
    ),
    "logins of connections": lambda: TokenFamily.objects.filter(CHOSEN, user__in=THESE.values("user"), ended_at=None),
    "tokens of connections": lambda: ACCESS.filter(CHOSEN, user__in=THESE.values("user")),
    "events of a client": lambda: AuditEvent.objects.filter(application=1).order_by("-at", "-pk")[:100],
    "events of a person": lambda: AuditEvent.objects.filter(user=1).order_by("-at", "-pk")[:100],
    "calls of who has a name now": lambda: CALLS.filter(username="alice", user_key="1")[:50],
    "checks that can be forgotten": lambda: account_checks.forgettable().filter(pk__in=[1, 2]).order_by("pk"),
}

PAGES: dict[str, Callable[[], Any]] = {
    "a page of connections": lambda: Connection.objects.select_related("user", "application").order_by("-pk")[:100],
    "a page of access tokens": lambda: ACCESS.select_related("user", "application").order_by("-pk")[:100],
    "a page of live access tokens": lambda: ACCESS.filter(
        Exists(token_life.live_access_tokens().filter(pk=OuterRef("pk")))
    ).order_by("-pk")[:100],
    "a page of refresh tokens": lambda: REFRESH.select_related("user", "application").order_by("-pk")[:100],
    "a page of ended refresh tokens": lambda: REFRESH.filter(
        ~Exists(token_life.live_refresh_tokens().filter(pk=OuterRef("pk")))
    ).order_by("-pk")[:100],
    "credentials": lambda: IdentityCredential.objects.select_related("identity__user").order_by("pk")[:100],
}


@pytest.mark.parametrize("name", LOOKED_FOR)
def test_what_is_looked_for_is_found_by_an_index(name: str) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:  # it scans a small table whatever indexes there are
            cursor.execute("SET LOCAL enable_seqscan = off")
    rows = LOOKED_FOR[name]()
    plan = rows.explain()
    assert "INDEX" in plan.upper() or "PRIMARY KEY" in plan, plan
    assert "Seq Scan" not in plan
    if connection.vendor == "sqlite":
        assert "SCAN" not in plan or "USING INDEX" in plan or "PRIMARY KEY" in plan, plan


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_read_in_the_order_of_its_keys_and_no_further(name: str) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:  # it sorts few rows whatever order they are in
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
            cursor.execute("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
    plan = PAGES[name]().explain()
    assert "Sort" not in plan
    assert "TEMP B-TREE" not in plan
    if connection.vendor == "postgresql":
        assert "Limit" in plan
        assert "Index Scan" in plan


def test_the_plan_of_a_page_in_another_order_says_so() -> None:
    """The positive control."""
    plan = ACCESS.order_by("-created")[:100].explain()
    assert "Sort" in plan or "TEMP B-TREE" in plan


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
