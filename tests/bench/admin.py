"""Measure the pages of the admin over many rows: `DATABASE_URL=… python -m tests.bench.admin`, an empty database.

Makes 1,000 clients, one of them with 500 people, 1,000 people, one of them with 200 connections, 10,000 logins,
1,000,000 calls with their counts, 20,000 refusals and 10,000 attempts, unless they are there from an earlier run, and
prints for each list, and for pages of single objects, the milliseconds and the number of queries.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import uuid
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ.setdefault("DEBUG", "true")

CLIENTS, PEOPLE, TOKENS, CALLS, REFUSALS, ATTEMPTS = 1_000, 1_000, 10_000, 1_000_000, 20_000, 10_000
PEOPLE_OF_ONE, CLIENTS_OF_ONE = 500, 200
DAYS = 90
TOOLS = [f"tool-{number}" for number in range(30)]


def seed() -> None:
    """Fill the tables, in the proportions of a site that is used."""
    from django.contrib.auth import get_user_model
    from oauth2_provider.models import get_access_token_model, get_refresh_token_model

    from authapp.models import Application, Connection, ConnectionAttempt, TokenFamily
    from mcpapp.models import CallCount, CallDuration, ClientUsage, ConnectionUsage, Refusal, ToolCall

    if ToolCall.objects.order_by("pk")[:1].exists():
        return
    now = datetime.now(UTC)
    users = get_user_model().objects.bulk_create(
        get_user_model()(username=f"person-{number}") for number in range(PEOPLE)
    )
    clients = Application.objects.bulk_create(
        Application(
            client_id=f"client-{number}",
            name=f"Client {number}",
            client_type="public",
            authorization_grant_type="authorization-code",
            redirect_uris=f"http://127.0.0.1:{5000 + number}/callback",
            registration_source="dcr",
        )
        for number in range(CLIENTS)
    )
    pairs = [(users[number % PEOPLE], clients[(number * 7 + number // PEOPLE) % CLIENTS]) for number in range(TOKENS)]
    consents = [
        *pairs,
        *((user, clients[0]) for user in users[:PEOPLE_OF_ONE]),
        *((users[0], client) for client in clients[:CLIENTS_OF_ONE]),
    ]
    Connection.objects.bulk_create(
        [Connection(user=user, application=client, scope="mcp:tools") for user, client in dict.fromkeys(consents)],
        batch_size=1000,
    )
    access_tokens = get_access_token_model().objects.bulk_create(
        [
            get_access_token_model()(
                user=user,
                application=client,
                token_checksum=f"{number:064}",
                scope="mcp:tools",
                expires=now + timedelta(minutes=number % 120 - 60),
            )
            for number, (user, client) in enumerate(pairs)
        ],
        batch_size=1000,
    )
    families = TokenFamily.objects.bulk_create(
        [
            TokenFamily(
                family=uuid.uuid4(), code_digest=f"{number:064}", user=user, application=client, scope="mcp:tools"
            )
            for number, (user, client) in enumerate(pairs)
        ],
        batch_size=1000,
    )
    get_refresh_token_model().objects.bulk_create(
        [
            get_refresh_token_model()(
                user=token.user,
                application=token.application,
                token_checksum=token.token_checksum,
                access_token=token,
                token_family=family.family,
            )
            for token, family in zip(access_tokens, families, strict=True)
        ],
        batch_size=1000,
    )
    outcomes = ["ok"] * 18 + ["failed", "denied"]
    calls = (
        ToolCall(
            at=now - timedelta(days=DAYS) * (1 - number / CALLS),
            user_key=str(users[number % PEOPLE].pk),
            username=users[number % PEOPLE].username,
            client_id=clients[number * 7 % CLIENTS].client_id,
            client_name=clients[number * 7 % CLIENTS].name,
            tool=TOOLS[number % 30],
            outcome=outcomes[number % 20],
            duration_us=1000 + number % 9000,
            request_bytes=300,
            response_bytes=900,
        )
        for number in range(CALLS)
    )
    while batch := list(islice(calls, 5000)):
        ToolCall.objects.bulk_create(batch, batch_size=1000)
    hour = now.replace(minute=0, second=0, microsecond=0)
    CallCount.objects.bulk_create(
        [
            CallCount(
                hour=hour - timedelta(hours=ago), tool=tool, outcome=outcome, calls=9, total_us=9000, longest_us=4000
            )
            for ago in range(DAYS * 24)
            for tool in TOOLS
            for outcome in ("ok", "failed")
        ],
        batch_size=1000,
    )
    CallDuration.objects.bulk_create(
        [
            CallDuration(hour=hour - timedelta(hours=ago), tool=tool, bits=bits, calls=6)
            for ago in range(DAYS * 24)
            for tool in TOOLS
            for bits in (9, 10, 12)
        ],
        batch_size=1000,
    )
    ClientUsage.objects.bulk_create(
        [
            ClientUsage(
                client_id=client.client_id,
                day=(now - timedelta(days=ago)).date(),
                client_name=client.name,
                calls=11,
                failed_calls=1,
                last_call_at=now - timedelta(days=ago),
            )
            for client in clients
            for ago in range(DAYS)
        ],
        batch_size=1000,
    )
    ConnectionUsage.objects.bulk_create(
        ConnectionUsage(connection_key=str(number), calls=9, last_call_at=now - timedelta(hours=number % 2000))
        for number in range(TOKENS)
    )
    Refusal.objects.bulk_create(
        [
            Refusal(
                hour=hour - timedelta(hours=number % 700),
                reason=["no_token", "expired", "unknown"][number % 3],
                ip_address=f"198.51.{number // 250 % 250}.{number % 250}",
                requests=3,
                last_at=now - timedelta(hours=number % 700),
            )
            for number in range(REFUSALS)
        ],
        batch_size=1000,
    )
    ConnectionAttempt.objects.bulk_create(
        [
            ConnectionAttempt(
                application=clients[number % CLIENTS],
                client_id=clients[number % CLIENTS].client_id,
                user=users[number % PEOPLE],
                started_at=now - timedelta(minutes=4 * number),
                last_at=now - timedelta(minutes=4 * number),
                shown_at=now - timedelta(minutes=4 * number),
                healthy_at=None if number % 10 == 0 else now,
                problem="redirect_uri" if number % 20 == 0 else "",
            )
            for number in range(ATTEMPTS)
        ],
        batch_size=1000,
    )


def pages() -> list[str]:
    """Return the first page of every list, and some searches and filters."""
    from django.contrib import admin
    from django.urls import get_resolver, reverse

    _ = get_resolver().url_patterns  # takes some models out of the admin again
    lists = [
        reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist") for model in admin.site._registry
    ]
    calls, clients = "/admin/mcpapp/toolcall/", "/admin/authapp/application/"
    old = datetime.now(UTC) - timedelta(days=DAYS / 2)
    between = f"at__gte={old:%Y-%m-%dT%H:%M}&at__lt={old + timedelta(days=3):%Y-%m-%dT%H:%M}"
    return [
        "/admin/",
        "/admin/?days=30",
        *sorted(lists),
        f"{calls}?q=person-7",
        f"{calls}?q=client-7",
        f"{calls}?q=tool-7",
        f"{calls}?outcome__exact=failed",
        f"{calls}?p=2",
        f"{calls}?{between}",
        f"{calls}?{between}&q=person-7",
        f"{calls}?{between}&q=tool-7&outcome__exact=denied",
        f"{clients}?q=Client",
        f"{clients}?o=5",
        f"{clients}1/change/",
        "/admin/authapp/connection/?client=1",
        "/admin/authapp/connection/?person=1",
        "/admin/oauth2_provider/accesstoken/?live=yes",
        "/admin/oauth2_provider/accesstoken/?live=no",
        "/admin/oauth2_provider/refreshtoken/?live=yes",
        "/admin/oauth2_provider/refreshtoken/?live=no",
        f"{calls}?client=client-7",
        f"{calls}?person=person-7&key=8",
        "/admin/authapp/connectionattempt/?state=stuck",
        "/admin/authapp/connectionattempt/?q=client-7",
    ]


def single_pages() -> dict[str, str]:
    """Return pages of single objects, with what is much about them."""
    from django.contrib.auth import get_user_model
    from django.urls import reverse
    from oauth2_provider.models import get_access_token_model

    from authapp.models import Application, ConnectionAttempt
    from mcpapp.models import Refusal, ToolCall

    rows = {
        f"a client with {PEOPLE_OF_ONE} people": Application.objects.get(client_id="client-0"),
        f"a person with {CLIENTS_OF_ONE} connections": get_user_model().objects.get(username="person-0"),
        "a call": ToolCall.objects.latest("at"),
        "a token": get_access_token_model().objects.latest("pk"),
        "an attempt": ConnectionAttempt.objects.latest("pk"),
        "a refusal": Refusal.objects.latest("pk"),
    }
    return {
        reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk]): name
        for name, row in rows.items()
    }


def measure(path: str, browser: Any) -> tuple[float, float, int]:
    """Return the first and the median milliseconds of a page, and how many queries it asks."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    took = []
    with CaptureQueriesContext(connection) as captured:
        for _ in range(5):
            began = time.perf_counter()
            response = browser.get(path)
            took.append(1000 * (time.perf_counter() - began))
            if response.status_code != 200:
                raise SystemExit(f"{path}: {response.status_code}")
    return took[0], statistics.median(took), len(captured) // 5


def main() -> None:
    """Seed, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()

    import django

    django.setup(set_prefix=False)
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.db import connection, reset_queries
    from django.test import Client

    call_command("migrate", verbosity=0)
    seed()
    reset_queries()  # so many are remembered, and no more counted
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    owner, _ = get_user_model().objects.get_or_create(username="owner", is_staff=True, is_superuser=True)
    browser = Client(headers={"host": "127.0.0.1:8000"})
    browser.force_login(owner, backend="django.contrib.auth.backends.ModelBackend")
    goal = 300 if connection.vendor == "postgresql" else 1000
    print(f"{connection.vendor}, goal {goal} ms\n{'first':>8} {'median':>8} {'queries':>8}  page")
    for path, name in {**dict.fromkeys(pages(), ""), **single_pages()}.items():
        first, median, queries = measure(path, browser)
        said = f" ({name})" if name else ""
        print(f"{first:8.0f} {median:8.0f} {queries:8}  {path}{said}{'  OVER THE GOAL' if median > goal else ''}")


if __name__ == "__main__":
    main()
