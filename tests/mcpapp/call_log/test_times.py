"""Calls are looked for from a moment on and before another one; what is none is said in the page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from tests.mcpapp.call_log.made import LIST, made
from tests.oauth import browser

pytestmark = pytest.mark.django_db

AT = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def hours(db: None) -> None:
    """A call in each hour from 09:30 to 14:30, of two people, with two clients."""
    for hour in range(9, 15):
        made(
            at=AT.replace(hour=hour, minute=30),
            tool=f"at-{hour}",
            username="alice" if hour % 2 else "bob",
            client_id="client-1" if hour < 12 else "client-2",
            outcome="ok" if hour != 13 else "crashed",
        )


def shown(page: Any) -> list[str]:
    return [call.tool for call in page.context["cl"].result_list]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, [14, 13, 12, 11, 10, 9]),
        ({"at__gte": "", "at__lt": ""}, [14, 13, 12, 11, 10, 9]),
        ({"at__gte": "2026-03-04T11:30"}, [14, 13, 12, 11]),
        ({"at__gte": "2026-03-04T11:30:01"}, [14, 13, 12]),
        ({"at__lt": "2026-03-04T11:30:00"}, [10, 9]),
        ({"at__gte": "2026-03-04T10:00", "at__lt": "2026-03-04T13:00"}, [12, 11, 10]),
        ({"at__gte": "2026-03-04 18:00:00+08:00", "at__lt": "2026-03-04 21:00:00+08:00"}, [12, 11, 10]),
        ({"at__gte": "2026-03-05T00:00"}, []),
        ({"at__gte": "2026-03-04T10:00", "q": "alice"}, [13, 11]),
        ({"at__gte": "2026-03-04T10:00", "q": "alice client-2"}, [13]),
        ({"at__gte": "2026-03-04T10:00", "q": "at-11"}, [11]),
        ({"at__gte": "2026-03-04T10:00", "outcome__exact": "crashed"}, [13]),
        ({"at__gte": "2026-03-04T10:00", "outcome__exact": "ok", "q": "bob"}, [14, 12, 10]),
    ],
)
def test_the_calls_between_two_moments_are_shown(
    admin_user: Any, hours: None, asked: dict[str, str], found: list[int]
) -> None:
    page = browser(admin_user).get(LIST, asked)
    assert page.status_code == 200
    assert shown(page) == [f"at-{hour}" for hour in found]


def test_moments_are_those_of_the_clock_that_the_page_shows(admin_user: Any, hours: None, settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    with timezone.override("Asia/Shanghai"):
        page = browser(admin_user).get(LIST, {"at__gte": "2026-03-04T18:00", "at__lt": "2026-03-04T20:00"})
    assert shown(page) == ["at-11", "at-10"]
    assert "Times are in Asia/Shanghai." in page.content.decode()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"at__gte": "yesterday"}, "Enter a valid date/time."),
        ({"at__lt": "2026-02-30T10:00"}, "Enter a valid date/time."),
        ({"at__lt": "0001-01-01T00:00:00+14:00"}, "Enter a valid date/time."),
        ({"at__gte": "9999-12-31T23:59:00-12:00"}, "Enter a valid date/time."),
        ({"at__gte": "\0"}, "Enter a valid date/time."),
        ({"at__gte": "'; DROP TABLE x --" * 200}, "Enter a valid date/time."),
        ({"at__gte": "2026-03-04T12:00", "at__lt": "2026-03-04T12:00"}, "The end must be after the beginning."),
    ],
)
def test_what_is_no_moment_is_told_and_no_other_calls_are_shown(
    admin_user: Any, hours: None, asked: dict[str, str], said: str
) -> None:
    page = browser(admin_user).get(LIST, asked)
    text = page.content.decode()
    assert page.status_code == 200
    assert shown(page) == []
    assert text.count(said) == 1
    assert 'class="errorlist' in text
    fine = browser(admin_user).get(LIST, {"at__gte": "2026-03-04T12:00"}).content.decode()
    assert "errorlist" not in fine


def test_the_form_keeps_what_else_is_searched_for_and_shows_what_was_asked(admin_user: Any, hours: None) -> None:
    asked = {"at__gte": "2026-03-04T10:00", "q": '"><script>', "outcome__exact": "ok", "o": "1", "p": "1"}
    text = browser(admin_user).get(LIST, asked).content.decode()
    form = text.partition('<form class="mcp-times"')[2].partition("</form>")[0]
    assert '<input type="hidden" name="q" value="&quot;&gt;&lt;script&gt;">' in form
    assert '<input type="hidden" name="outcome__exact" value="ok">' in form
    assert 'name="p"' not in form, "what is found then begins on its first page"
    assert form.count('type="datetime-local"') == 2
    assert 'name="at__gte" value="2026-03-04T10:00:00"' in form
    assert form.count("<label") == 2
    assert "style=" not in form
    assert "<script" not in form


def test_djangos_own_choices_fill_the_form(admin_user: Any) -> None:
    made(at=timezone.now() - timedelta(days=400), tool="old")
    made(tool="new")
    owner = browser(admin_user)
    page = owner.get(LIST)
    (spec,) = [spec for spec in page.context["cl"].filter_specs if spec.field_path == "at"]
    today = [choice["query_string"] for choice in spec.choices(page.context["cl"])][1]
    page = owner.get(LIST + today)
    assert shown(page) == ["new"]
    assert f'value="{timezone.localdate()}T00:00:00"' in page.content.decode()


def test_it_is_there_in_chinese(admin_user: Any) -> None:
    text = browser(admin_user).get(LIST, {"at__gte": "x"}, headers={"accept-language": "zh-hans"}).content.decode()
    form = text.partition('<form class="mcp-times"')[2].partition("</form>")[0]
    for words in ("起始时间", "早于", "时间按", "显示"):
        assert words in form
    assert "Enter" not in form


def test_only_who_may_see_calls_searches_them(hours: None, django_user_model: Any) -> None:
    staff = django_user_model.objects.create_user("staff", password="x", is_staff=True)
    assert browser(staff).get(LIST, {"at__gte": "2026-03-04T10:00"}).status_code == 403
    staff.user_permissions.add(Permission.objects.get(codename="view_toolcall"))
    staff = django_user_model.objects.get(pk=staff.pk)
    assert len(shown(browser(staff).get(LIST, {"at__gte": "2026-03-04T10:00"}))) == 5
