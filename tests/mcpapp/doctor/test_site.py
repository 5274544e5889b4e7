"""The person that the doctor makes: signed, without a password, and never mistaken for anybody else."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.db import models

from mcpapp.doctor import site
from mcpapp.registry import discover
from tests.oauth import browser

pytestmark = pytest.mark.django_db


def test_the_person_has_no_password_and_no_right_and_is_gone_afterwards(alice: Any) -> None:
    with site.signed_in() as inside:
        person = inside.user
        assert person.username.startswith("mcp-doctor-")
        assert not person.has_usable_password()
        assert not person.is_staff
        assert not person.is_superuser
        assert Session.objects.count() == 1
        client = browser()
        client.cookies["sessionid"] = inside.cookies["sessionid"]
        assert person.username in client.get("/").content.decode(), "the site takes the session"
    assert list(get_user_model().objects.all()) == [alice]
    assert Session.objects.count() == 0


def test_they_are_gone_too_when_the_walk_fails(db: None) -> None:
    with pytest.raises(ZeroDivisionError), site.signed_in():
        raise ZeroDivisionError
    assert not get_user_model().objects.exists()
    assert not Session.objects.exists()


def test_a_person_whom_something_holds_on_to_is_told_of(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The finding "site.person-left"."""

    def held(user: Any) -> None:
        raise models.ProtectedError("held", {user})

    with monkeypatch.context() as patch, site.signed_in() as inside:
        patch.setattr(type(inside.user), "delete", held)
        name = inside.user.username
        assert inside.left_behind == ""
        with pytest.raises(models.ProtectedError):
            inside.user.delete()
        assert not site._removed(inside.user)
    assert name.startswith("mcp-doctor-")


def test_a_person_who_is_named_stays(alice: Any) -> None:
    with site.signed_in("alice") as inside:
        assert inside.user == alice
    assert get_user_model().objects.get() == alice
    assert not Session.objects.exists()


@pytest.mark.parametrize("name", ["nobody", "with\x00nul"])
def test_nobody_is_signed_in_who_is_not_there(alice: Any, name: str) -> None:
    with pytest.raises(site.NoPerson), site.signed_in(name):
        pass


def test_nobody_is_signed_in_who_is_not_active(alice: Any) -> None:
    alice.is_active = False
    alice.save()
    with pytest.raises(site.NoPerson, match="not active"), site.signed_in("alice"):
        pass


def left_over(*, seconds: int = 0, pid: int = 2**22 + 7, machine: str = "") -> Any:
    """Somebody whom a run of this machine left, whose process is no more."""
    name = f"mcp-doctor-{int(time.time()) - seconds:x}-{pid:x}-{machine or site._machine()}"
    user = get_user_model()(username=site._signed(name))
    user.set_unusable_password()
    user.save()
    return user


def test_people_of_killed_runs_are_removed(alice: Any) -> None:
    left_over()
    left_over(seconds=2 * site.LONGEST_RUN_SECONDS, pid=os.getpid(), machine="elsewher")
    assert site.remove_leftovers() == 2
    assert get_user_model().objects.get() == alice


def test_people_of_runs_that_go_on_are_left_alone(db: None) -> None:
    left_over(pid=os.getpid())
    left_over(machine="elsewher")
    assert site.remove_leftovers() == 0
    assert get_user_model().objects.count() == 2


def test_an_account_that_only_looks_like_one_is_never_removed(db: None) -> None:
    """Where people choose their names, somebody may choose such a one."""
    name = left_over(seconds=2 * site.LONGEST_RUN_SECONDS).username
    get_user_model().objects.all().delete()
    unsigned = name.rpartition("-")[0]
    for chosen in (f"{unsigned}-{'0' * 24}", unsigned, "mcp-doctor-", "mcp-doctor-x-y-z", f"{name}x"):
        user = get_user_model()(username=chosen)
        user.set_unusable_password()
        user.save()
    get_user_model().objects.create_user(name, password="a password of their own")
    assert site.remove_leftovers() == 0
    assert get_user_model().objects.count() == 6


def test_the_name_is_an_address_where_people_are_known_by_one(monkeypatch: pytest.MonkeyPatch, db: None) -> None:
    model = get_user_model()
    field = model._meta.get_field("username")
    monkeypatch.setattr(site.models, "EmailField", type(field))
    with site.signed_in() as inside:
        assert inside.user.username.endswith("@mcp-doctor.invalid")
        assert site._is_left_over(inside.user.username) is False
    assert issubclass(type(field), models.Field)


def test_the_tool_of_the_step_up_needs_more_and_an_argument(db: None) -> None:
    """Called without it, nothing of it runs, whoever lets it through."""
    inside = site.SignedIn(None, {})
    assert inside.tool_beyond(frozenset({"mcp:tools"})) == "disconnect-app"
    assert inside.tool_beyond(frozenset({"mcp:tools", "mcp:write"})) is None
    assert site.needs_argument(discover().tools["disconnect-app"])
    assert not site.needs_argument(discover().tools["protected-data"])
