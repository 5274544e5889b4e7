"""The owner reads the log of calls, searches it and takes it out; nobody changes it, and staff need the permission."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission

from mcpapp import admin as call_admin
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
