"""The first page of the admin shows the use of the tools from counts alone, to those who may see each of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.translation import override

from mcpapp.dashboard import dashboard, percentile
from mcpapp.models import CallCount, CallDuration, ClientUsage, ConnectionUsage, Refusal
from tests.oauth import browser

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _in_english() -> Iterator[None]:
    """Django leaves the language of the last request active."""
    with override("en"):
        yield


KINDS = ("callcount", "clientusage", "connectionusage", "refusal")


@pytest.fixture
def owner(db: None) -> Any:
    return get_user_model().objects.create_superuser("owner", password="owner-password")


@pytest.fixture
def counts(db: None) -> None:
    """Two tools, one slow and failing; two clients; what is older than a week."""
    now = timezone.now()
    hour = now.replace(minute=0, second=0, microsecond=0)

    def count(tool: str, outcome: str, calls: int, mean_ms: int, hours: int = 0) -> None:
        CallCount.objects.create(
            hour=hour - timedelta(hours=hours),
            tool=tool,
            outcome=outcome,
            calls=calls,
            total_us=calls * mean_ms * 1000,
            longest_us=mean_ms * 5000,
        )

    count("quick", "ok", 70, 1)
    count("quick", "ok", 20, 1, hours=30)
    count("slow", "asked", 5, 900)
    count("slow", "crashed", 5, 900)
    count("", "invalid", 3, 0)
    count("", CallCount.DROPPED, 9, 0)
    count("quick", "ok", 1000, 1, hours=24 * 20)
    for number, (client, calls, failed) in enumerate([("id-1", 80, 8), ("id-2", 23, 0)]):
        ClientUsage.objects.create(
            day=now.date(),
            client_id=client,
            client_name=f"Client {number}",
            calls=calls,
            failed_calls=failed,
            last_call_at=now,
        )
    ConnectionUsage.objects.create(connection_key="1", calls=4, last_call_at=now)
    ConnectionUsage.objects.create(connection_key="2", calls=4, last_call_at=now - timedelta(days=9))
    for reason, requests in (("no_token", 40), ("expired", 2)):
        Refusal.objects.create(hour=hour, reason=reason, requests=requests, last_at=now)


def test_the_figures_are_those_of_the_time_that_was_chosen(owner: Any, counts: None) -> None:
    week = dashboard(owner, 7)
    assert week is not None
    assert (week.calls, week.failed, week.dropped) == (103, 8, 9)
    assert [(line.name, line.count, line.note) for line in week.tools] == [("quick", 90, 0), ("slow", 10, 5)]
    assert [(line.name, line.mean, line.longest) for line in week.slowest] == [
        ("slow", "900", "4500"),
        ("quick", "1.0", "5.0"),
    ]
    assert week.clients is not None
    assert [(line.name, line.count, line.note) for line in week.clients] == [("Client 0", 80, 8), ("Client 1", 23, 0)]
    assert week.refusals is not None
    assert [(line.name, line.count) for line in week.refusals] == [
        ("no access token was sent", 40),
        ("the token has expired", 2),
    ]
    assert week.connections == 1
    assert len(week.bars) == 7
    assert sum(bar.fine + bar.failed for bar in week.bars) == 103
    day, month = dashboard(owner, 1), dashboard(owner, 30)
    assert day is not None
    assert month is not None
    assert (day.calls, len(day.bars), month.calls, len(month.bars)) == (83, 24, 1103, 30)


@pytest.mark.parametrize("days", [1, 7, 30])
def test_all_that_is_counted_has_a_bar(owner: Any, days: int) -> None:
    """A week that began in the middle of a day counted the rest of that day, of which there was no bar."""
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    CallCount.objects.bulk_create(
        CallCount(hour=hour - timedelta(hours=hours), tool="quick", outcome="ok", calls=1, total_us=1, longest_us=1)
        for hours in range(32 * 24)
    )
    found = dashboard(owner, days)
    assert found is not None
    assert sum(bar.fine for bar in found.bars) == found.calls
    assert found.calls == 24 if days == 1 else (days - 1) * 24 < found.calls <= days * 24


def durations(tool: str, calls: dict[int, int], hours: int = 0) -> None:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours)
    CallDuration.objects.bulk_create(
        CallDuration(hour=hour, tool=tool, bits=bits, calls=number) for bits, number in calls.items()
    )


def test_percentiles_are_those_of_the_time_that_was_chosen(owner: Any, counts: None) -> None:
    durations("slow", {20: 10})  # 524 to 1049 ms
    durations("quick", {9: 60, 10: 10})  # a quarter to half a millisecond, and up to one
    durations("quick", {9: 20}, hours=30)
    durations("quick", {20: 1000}, hours=24 * 20)
    week, month = dashboard(owner, 7), dashboard(owner, 30)
    assert week is not None
    assert month is not None
    assert [(line.name, line.median, line.p95) for line in week.slowest] == [
        ("slow", "786", "1022"),
        ("quick", "0.4", "0.8"),
    ]
    assert [(line.name, line.median, line.p95) for line in month.slowest][1] == ("quick", "5.0", "5.0"), "no longer"
    page = browser(owner).get("/admin/").content.decode()
    assert '<td class="count">786</td>' in page
    assert '<th scope="col">p95</th>' in page


def test_what_was_counted_before_there_were_histograms_has_no_percentiles(owner: Any, counts: None) -> None:
    week = dashboard(owner, 7)
    assert week is not None
    assert {(line.median, line.p95) for line in week.slowest} == {("–", "–")}


@pytest.mark.parametrize("durations", [[1] * 100, [*range(1, 2000)], [900, 1000, 2_000_000], [0], [7] * 99 + [10**8]])
@pytest.mark.parametrize("part", [0.5, 0.95, 1.0])
def test_a_percentile_is_right_but_for_a_factor_of_two(durations: list[int], part: float) -> None:
    histogram: dict[int, int] = {}
    for one in durations:
        histogram[one.bit_length()] = histogram.get(one.bit_length(), 0) + 1
    true = sorted(durations)[max(math.ceil(part * len(durations)) - 1, 0)]
    found = percentile(histogram, part, max(durations))
    assert found is not None
    assert true / 2 <= found <= max(2 * true, 0)
    assert found <= max(durations)
    assert percentile({}, part, 5) is None


def test_bars_stand_on_each_other_and_fit(owner: Any, counts: None) -> None:
    found = dashboard(owner, 1)
    assert found is not None
    last = found.bars[-1]
    assert (last.fine, last.failed) == (75, 8)
    assert last.failed_top == 0
    assert last.failed_height + last.fine_height == pytest.approx(100, abs=0.02)
    assert last.failed_top + last.failed_height == pytest.approx(last.fine_top, abs=0.02)


def test_the_first_page_of_the_admin_shows_them(owner: Any, counts: None) -> None:
    page = browser(owner).get("/admin/").content.decode()
    for words in ("103 calls, 8 of them failed.", "quick", "Client 0", "no access token was sent", "9 calls were not"):
        assert words in page
    assert 'aria-current="page">7 d' in page.replace("\n", "").replace("  ", "")
    assert browser(owner).get("/admin/?days=30").content.decode().count("1103 calls") == 1
    assert browser(owner).get("/admin/?days=999999999999").status_code == 200
    chinese = browser(owner).get("/admin/", headers={"accept-language": "zh-hans"}).content.decode()
    assert "工具使用情况" in chinese


def test_without_calls_it_says_what_to_do(owner: Any) -> None:
    page = browser(owner).get("/admin/").content.decode()
    assert "Connect a client with http://127.0.0.1:8000/star" in page


def test_a_name_that_a_client_chose_is_text(owner: Any) -> None:
    ClientUsage.objects.create(
        day=timezone.now().date(),
        client_id="x",
        client_name="<script>alert(1)</script>",
        calls=1,
        failed_calls=0,
        last_call_at=timezone.now(),
    )
    page = browser(owner).get("/admin/").content.decode()
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_who_may_see_nothing_of_it_sees_no_dashboard_and_asks_no_table(counts: None) -> None:
    staff = get_user_model().objects.create_user("staff", password="staff-password", is_staff=True)
    with CaptureQueriesContext(connection) as captured:
        page = browser(staff).get("/admin/").content.decode()
    assert "mcp-dashboard" not in page
    assert not [query for query in captured if "mcpapp_" in query["sql"].partition("FROM")[2]]


@pytest.mark.parametrize(
    ("model", "seen"),
    [
        ("callcount", "103 calls"),
        ("clientusage", "Client 0"),
        ("refusal", "no access token"),
        ("connectionusage", ": 1."),
    ],
)
def test_each_part_follows_the_permission_of_its_model(counts: None, model: str, seen: str) -> None:
    staff = get_user_model().objects.create_user("staff", password="staff-password", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename=f"view_{model}"))
    page = browser(get_user_model().objects.get(pk=staff.pk)).get("/admin/").content.decode()
    others = {"callcount": "103 calls", "clientusage": "Client 0", "refusal": "no access token"}
    assert seen in page
    assert not [words for other, words in others.items() if other != model and words in page]


def test_it_asks_as_often_for_much_as_for_little(owner: Any, counts: None) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            dashboard(owner, 30)
        return len(captured)

    few = queries()
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    CallCount.objects.bulk_create(
        CallCount(
            hour=hour - timedelta(hours=number),
            tool=f"tool-{number % 50}",
            outcome="failed",
            calls=1,
            total_us=1,
            longest_us=1,
        )
        for number in range(1, 600)
    )
    assert queries() == few
    assert few <= 7
