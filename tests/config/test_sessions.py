"""Sessions under the digest of their key."""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from config.sessions import SessionStore, digest
from tests.oauth import HOST, browser

pytestmark = pytest.mark.django_db


def stored() -> str:
    return Session.objects.get().session_key


def test_the_key_in_the_cookie_is_not_what_is_stored(alice: Any) -> None:
    key = browser(alice).cookies["sessionid"].value
    assert stored() == digest(key) != key
    signed_in, replayed = (Client(headers={"host": HOST}) for _ in range(2))
    signed_in.cookies["sessionid"] = key
    assert signed_in.get("/connected-apps/").status_code == 200
    replayed.cookies["sessionid"] = stored()
    assert replayed.get("/connected-apps/").status_code == 302, "who reads the table is nobody"


def test_signing_in_changes_the_key_and_signing_out_deletes_the_session(alice: Any) -> None:
    person = browser()
    session = person.session
    session["seen"] = True
    session.save()
    before = person.cookies["sessionid"].value
    person.post("/accounts/login/", {"login": "alice", "password": "alice-password"})
    after = person.cookies["sessionid"].value
    assert before != after
    assert stored() == digest(after)
    person.post("/accounts/logout/")
    assert Session.objects.count() == 0


def test_a_session_whose_time_is_over_or_whose_key_is_unknown_is_empty(alice: Any) -> None:
    key = browser(alice).cookies["sessionid"].value
    assert "_auth_user_id" in SessionStore(key)
    assert "_auth_user_id" not in SessionStore(key[::-1])
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    gone = SessionStore(key)
    assert "_auth_user_id" not in gone
    assert gone.session_key is None, "a key that somebody chose is never used for a new session"


def test_the_asynchronous_methods_do_the_same() -> None:
    async def live() -> None:
        session = SessionStore()
        await session.aset("a", 1)
        await session.asave()
        key = session.session_key
        assert key is not None
        assert await session.aexists(key)
        again = SessionStore(key)
        assert await again.aget("a") == 1
        await again.acycle_key()
        assert not await session.aexists(key)
        assert await SessionStore(again.session_key).aget("a") == 1
        await again.aflush()

    async_to_sync(live)()
    assert Session.objects.count() == 0


def test_every_method_of_django_that_names_a_row_is_replaced() -> None:
    """A new one in an upgrade would look for the key itself, and find nothing."""
    naming = {
        name
        for name, function in vars(DatabaseSessionStore).items()
        if inspect.isfunction(function) and "session_key=" in inspect.getsource(function)
    }
    ours = set(vars(SessionStore))
    assert naming - ours == {"__init__", "_get_session_from_db", "_aget_session_from_db"}
