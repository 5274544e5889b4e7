"""After Ctrl-C, and when something fails, what stays behind is named and the rest is removed."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from mcpapp.doctor import way
from mcpapp.doctor.clients import PROFILES
from mcpapp.doctor.report import Finding, Level, Report
from mcpapp.doctor.site import signed_in
from mcpapp.doctor.target import Target
from mcpapp.doctor.walk import Walk
from mcpapp.doctor.web import Web
from mcpapp.management.commands import mcp_doctor

URL = "https://mcp.example/mcp"


@pytest.mark.parametrize("left", [True, False])
def test_ctrl_c_says_removed_only_of_what_is(left: bool, monkeypatch: Any) -> None:
    async def interrupted(target: Target, report: Report, *_: Any) -> None:
        level = Level.NOTE if left else Level.OK
        report.add("Registration", Finding("registration.left-behind", level, "1 client stays behind: abc."))
        raise KeyboardInterrupt

    monkeypatch.setattr(mcp_doctor, "_examine", interrupted)
    with pytest.raises(CommandError) as caught:
        call_command("mcp_doctor", URL)
    assert ("1 client stays behind: abc." in str(caught.value)) is left
    assert ("is removed" in str(caught.value)) is not left


@pytest.mark.anyio
async def test_a_walk_that_is_broken_off_names_the_clients_that_stay(monkeypatch: Any) -> None:
    async def yes(*_: Any) -> bool:
        return True

    async def cancelled(walk: Walk, _: Any) -> None:
        walk.left_behind["client-that-stays"] = "The server offers no way to delete it."
        raise asyncio.CancelledError

    monkeypatch.setattr(way.endpoint, "ask_first", yes)
    monkeypatch.setattr(way, "discover", yes)
    monkeypatch.setattr(way, "_follow", cancelled)
    report = Report(URL)
    with pytest.raises(asyncio.CancelledError):
        await way.examine(Web(), Target(URL), report, [PROFILES["vscode"]])
    assert "client-that-stays" in report.as_text()


@pytest.mark.django_db
def test_the_person_is_removed_though_the_session_cannot_be(monkeypatch: Any) -> None:
    people = get_user_model().objects
    before = people.count()
    store = import_module(settings.SESSION_ENGINE).SessionStore

    def broken() -> None:
        with signed_in():
            assert people.count() == before + 1
            monkeypatch.setattr(store, "flush", _fails)

    with pytest.raises(OSError, match="no cache"):
        broken()
    assert people.count() == before


def _fails(_: Any) -> None:
    raise OSError("no cache")
