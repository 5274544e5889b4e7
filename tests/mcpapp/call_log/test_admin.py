"""The owner reads the log of calls, searches it and takes it out; nobody changes it, and staff need the permission."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from mcpapp import admin as call_admin
from mcpapp.models import Refusal
from tests.mcpapp.call_log.made import LIST, made
from tests.oauth import browser

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(django_user_model: Any) -> Any:
    return django_user_model.objects.create_user("staff", password="x", is_staff=True)


def test_staff_see_calls_with_the_permission_and_nothing_without(staff: Any) -> None:
    made()
    assert browser(staff).get(LIST).status_code == 403
    staff.user_permissions.add(Permission.objects.get(codename="view_toolcall"))
    page = browser(staff).get(LIST)
    assert page.status_code == 200
    assert "my-orders" in page.content.decode()
    assert "1.5 ms" in page.content.decode()


def test_nobody_changes_adds_or_deletes_one(admin_user: Any) -> None:
    call = made()
    owner = browser(admin_user)
    assert owner.get(f"{LIST}add/").status_code == 403
    assert owner.get(f"{LIST}{call.pk}/delete/").status_code == 403
    page = owner.get(f"{LIST}{call.pk}/change/")
    assert page.status_code == 200
    assert '<input type="submit"' not in page.content.decode()
    owner.post(f"{LIST}{call.pk}/change/", {"tool": "another"})
    owner.post(LIST, {"action": "delete_selected", "_selected_action": call.pk})
    call.refresh_from_db()
    assert call.tool == "my-orders"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("alice", {"one", "two"}),
        ("bob", {"three"}),
        ("alice client-2", {"two"}),
        ("client-2", {"two", "three"}),
        ("three", {"three"}),
        ("ali", set()),
        ("alice nobody", set()),
        ("' OR 1=1 --", set()),
    ],
)
def test_whole_words_are_looked_for(admin_user: Any, words: str, found: set[str]) -> None:
    made(tool="one")
    made(tool="two", client_id="client-2")
    made(tool="three", client_id="client-2", username="bob")
    page = browser(admin_user).get(LIST, {"q": words})
    assert {call.tool for call in page.context["cl"].result_list} == found


def test_a_page_takes_a_few_queries_and_counts_no_further_than_pages_are_turned(
    admin_user: Any, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    monkeypatch.setattr(call_admin, "MAXIMUM_COUNT", 7)
    for _ in range(20):
        made()
    client = browser(admin_user)
    with django_assert_max_num_queries(8):
        page = client.get(LIST)
    assert page.context["cl"].result_count == 7
    with django_assert_max_num_queries(12):
        client.get(LIST, {"q": "alice my-orders", "outcome__exact": "ok"})


# --- Every view asks for its permission -----------------------------------------------------------------------------

REFUSALS = "/admin/mcpapp/refusal/"


def refused(number: int = 0) -> Refusal:
    now = timezone.now()
    return Refusal.objects.create(
        hour=now.replace(minute=0, second=0, microsecond=0),
        reason="expired",
        ip_address=f"192.0.2.{number}",
        requests=3,
        last_at=now,
    )


@pytest.mark.parametrize(
    ("permission", "other", "base", "make"),
    [("view_toolcall", "view_refusal", LIST, made), ("view_refusal", "view_toolcall", REFUSALS, refused)],
)
def test_each_page_needs_the_permission_of_its_model(
    staff: Any, django_user_model: Any, permission: str, other: str, base: str, make: Callable[[], Any]
) -> None:
    row = make()
    pages = [base, f"{base}{row.pk}/change/", f"{base}{row.pk}/history/", f"{base}?p=2", f"{base}?q=x"]

    def answers() -> set[int]:
        owner = browser(django_user_model.objects.get(pk=staff.pk))
        return {owner.get(page).status_code for page in pages}

    def is_listed() -> bool:
        return base in browser(django_user_model.objects.get(pk=staff.pk)).get("/admin/").content.decode()

    assert (answers(), is_listed()) == ({403}, False)
    staff.user_permissions.add(Permission.objects.get(codename=other))
    assert (answers(), is_listed()) == ({403}, False)
    staff.user_permissions.add(Permission.objects.get(codename=permission))
    assert (answers(), is_listed()) == ({200}, True)
    staff.is_staff = False
    staff.save()
    assert answers() == {302}, "who is no staff is asked to sign in as somebody who is"


@pytest.mark.parametrize(
    ("base", "make"), [(LIST, lambda number: made(username=f"user-{number}")), (REFUSALS, refused)]
)
def test_a_list_asks_as_often_for_sixty_rows_as_for_two(admin_user: Any, base: str, make: Callable[[int], Any]) -> None:
    owner = browser(admin_user)

    def queries(rows: int) -> int:
        with CaptureQueriesContext(connection) as captured:
            page = owner.get(base)
        assert page.context["cl"].result_count == rows
        return len(captured)

    for number in range(2):
        make(number)
    few = queries(2)
    for number in range(2, 60):
        make(number)
    assert queries(60) == few <= 8


def test_a_call_takes_a_few_queries_however_many_there_are(admin_user: Any, django_assert_max_num_queries: Any) -> None:
    calls, owner = [made(connection_key="1") for _ in range(60)], browser(admin_user)
    with django_assert_max_num_queries(6):  # session, user, call; user, client and connection that it names
        owner.get(f"{LIST}{calls[0].pk}/change/")
