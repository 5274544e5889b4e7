"""What is taken out of the log of calls: every column, as many rows as there are, in a bounded part of the memory."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from mcpapp import call_export
from mcpapp.models import ToolCall
from tests.mcpapp.call_log.made import LIST, made
from tests.oauth import browser

COLUMNS = [field.name for field in ToolCall._meta.fields]


def taken(who: Any, action: str, chosen: list[int], **more: Any) -> Any:
    return browser(who).post(LIST, {"action": action, "_selected_action": chosen, **more})


def text_of(response: Any) -> str:
    assert response.streaming
    return b"".join(response.streaming_content).decode()


@pytest.mark.django_db
def test_what_is_chosen_is_taken_out_with_every_column(admin_user: Any) -> None:
    calls = [made(tool="=cmd|' /C calc'!A0"), made(arguments='{"limit":10}')]
    chosen = [call.pk for call in calls]
    made(tool="not chosen")
    rows = list(csv.DictReader(io.StringIO(text_of(taken(admin_user, "export_csv", chosen)))))
    assert {row["tool"] for row in rows} == {"my-orders", "'=cmd|' /C calc'!A0"}, "no spreadsheet runs it"
    assert sorted(rows[0]) == sorted(COLUMNS)
    objects = [json.loads(line) for line in text_of(taken(admin_user, "export_json", chosen)).splitlines()]
    assert {one["arguments"] for one in objects} == {'["limit"]', '{"limit":10}'}
    assert sorted(objects[0]) == sorted(COLUMNS)
    assert [one["id"] for one in objects] == chosen[::-1], "the latest first"
    expected = {name: getattr(calls[1], name) for name in COLUMNS} | {"at": calls[1].at.isoformat()}
    assert objects[0] == expected


@pytest.mark.django_db
@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_no_cell_that_a_spreadsheet_would_take_for_a_formula_begins_with_its_sign(admin_user: Any, sign: str) -> None:
    """Those that OWASP names, and what its wide forms are turned into (OWASP, CSV Injection)."""
    call = made(client_name=f"{sign}1+1")
    (row,) = csv.DictReader(io.StringIO(text_of(taken(admin_user, "export_csv", [call.pk])), newline=""))
    assert row["client_name"] == f"'{sign}1+1"


def test_the_writer_and_the_export_have_the_columns_of_the_table() -> None:
    """One list: what is added to the table and not to it would be written by nobody, and missing here."""
    assert sorted(call_export.EXPORTED) == sorted(COLUMNS)
    assert call_export.EXPORTED[1:] == call_export.COLUMNS


@pytest.mark.django_db
def test_all_that_is_searched_for_is_taken_out_page_by_page_each_row_once(
    admin_user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_export, "PAGE", 3)
    same = timezone.now()
    calls = [made(at=same - timedelta(seconds=number // 5), request_id=str(number)) for number in range(20)]
    made(username="bob")
    response = browser(admin_user).post(
        f"{LIST}?q=alice&at__gte={same - timedelta(hours=1):%Y-%m-%dT%H:%M}",
        {"action": "export_json", "_selected_action": [calls[0].pk], "select_across": "1"},
    )
    found = [json.loads(line)["id"] for line in text_of(response).splitlines()]
    assert found == [call.pk for call in sorted(calls, key=lambda call: (call.at, call.pk), reverse=True)]


@pytest.mark.django_db
def test_each_page_is_read_by_the_index_from_where_the_one_before_ended(admin_user: Any) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
    call = made()
    made(at=call.at - timedelta(seconds=1))
    with CaptureQueriesContext(connection) as captured, pytest.MonkeyPatch.context() as patched:
        patched.setattr(call_export, "PAGE", 1)
        text_of(taken(admin_user, "export_json", [call.pk], select_across="1"))
    pages = [query["sql"] for query in captured if "arguments" in query["sql"] and "LIMIT" in query["sql"]]
    assert len(pages) == 3
    with connection.cursor() as cursor:
        cursor.execute(("EXPLAIN " if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN ") + pages[1])
        plan = str(cursor.fetchall())
    assert "mcpapp_call_at" in plan
    assert "Index Cond" in plan or "(at<?)" in plan, plan


@pytest.mark.django_db
@pytest.mark.parametrize("action", ["export_csv", "export_json"])
def test_only_who_may_see_calls_takes_them_out(action: str, django_user_model: Any) -> None:
    staff = django_user_model.objects.create_user("staff", password="x", is_staff=True)
    call = made()
    assert taken(staff, action, [call.pk]).status_code == 403
    staff.user_permissions.add(Permission.objects.get(codename="view_refusal"))
    assert taken(staff, action, [call.pk]).status_code == 403
    staff.user_permissions.add(Permission.objects.get(codename="view_toolcall"))
    staff = django_user_model.objects.get(pk=staff.pk)
    assert "my-orders" in text_of(taken(staff, action, [call.pk]))


# --- Memory ------------------------------------------------------------------------------------------------------

ROWS, ARGUMENTS = 4000, 2000


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_export, "PAGE", 100)


@pytest.fixture
def many(transactional_db: None) -> Iterator[None]:
    """As many calls as would take 8 MB at once, on a connection of this thread that ends with the test."""
    ToolCall.objects.bulk_create(
        (
            ToolCall(
                at=timezone.now() - timedelta(seconds=number),
                tool="big",
                outcome="ok",
                duration_us=1,
                request_bytes=1,
                response_bytes=1,
                arguments=f'{{"text":"{number:0{ARGUMENTS}}"}}',
            )
            for number in range(ROWS)
        ),
        batch_size=500,
    )
    yield
    connections.close_all()


class Watch:
    """What is sent, and the most memory that was in use meanwhile."""

    def __init__(self) -> None:
        self.bytes = self.lines = self.longest = 0

    def __enter__(self) -> Watch:
        tracemalloc.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    def take(self, part: bytes) -> None:
        self.bytes += len(part)
        self.lines += part.count(b"\n")
        self.longest = max(self.longest, len(part))

    def require_flat(self) -> None:
        assert self.lines == ROWS
        assert self.bytes > ROWS * ARGUMENTS
        assert self.longest < self.bytes / 20, "in pieces"
        assert self.peak < self.bytes / 2, "and never all of it at once"


@pytest.mark.anyio
@pytest.mark.usefixtures("many", "small_pages")
async def test_an_export_is_sent_as_it_is_read_over_asgi(admin_user: Any) -> None:
    """Django takes a plain iterator whole, on one thread for all, before it sends a byte of it."""
    from config.asgi import application

    watch = Watch()

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def take(message: Any) -> None:
            if message["type"] == "http.response.body":
                watch.take(message.get("body", b""))
                message = {**message, "body": b""}  # the transport keeps what it is sent
            await send(message)

        await application(scope, receive, take)

    cookies = {name: morsel.value for name, morsel in (await sync_to_async(browser)(admin_user)).cookies.items()}
    cookies["csrftoken"] = "x" * 32
    transport = httpx2.ASGITransport(watched)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", cookies=cookies) as client:
        form = {"action": "export_json", "_selected_action": "1", "select_across": "1", "csrfmiddlewaretoken": "x" * 32}
        with watch:
            response = await client.post(f"{LIST}?q=big", data=form)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("application/x-ndjson")
    watch.require_flat()


@pytest.mark.usefixtures("many", "small_pages")
def test_an_export_is_sent_as_it_is_read_over_wsgi(admin_user: Any) -> None:
    owner = browser(admin_user)
    form = {"action": "export_json", "_selected_action": "1", "select_across": "1"}
    with Watch() as watch:
        for part in owner.post(f"{LIST}?q=big", form).streaming_content:
            watch.take(part)
    watch.require_flat()
