"""What tells of changes to access tokens: the feeds by themselves, and the triggers of PostgreSQL."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import struct
import termios
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.utils import timezone
from oauth2_provider.models import get_access_token_model

from authapp import changes, direct, triggers
from authapp.changes import DataVersion, Notifications, ShortMemory, open_feed
from authapp.models import Application, Connection
from authapp.triggers import CHANNEL, MANY, missing_triggers
from tests.mcpapp.helpers import make_token

pytestmark = pytest.mark.anyio

Token = get_access_token_model()
TABLES = {
    "oauth2_provider_accesstoken",
    "auth_user",
    "authapp_application",
    "authapp_connection",
    "authapp_linkedidentity",
}


class Forgotten(list[Any]):
    """What a feed told to forget."""

    def forget(self, names: Collection[str] | None) -> None:
        self.append(None if names is None else sorted(names))


# --- SQLite ------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.sqlite3"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE things (name TEXT)")
    return path


@pytest.fixture
async def reader(file: Path) -> AsyncIterator[direct.SQLiteReader]:
    reader = direct.SQLiteReader("default", file)
    yield reader
    await reader.close()


async def test_sqlite_tells_of_each_commit_of_anybody_and_of_nothing_else(
    file: Path, reader: direct.SQLiteReader
) -> None:
    forgotten = Forgotten()
    feed = DataVersion(reader, forgotten.forget)
    await reader.fetch("SELECT name FROM things WHERE name = ?", "opens the log")
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        assert feed.are_known()
        forgotten.clear()
        for _ in range(3):
            assert feed.are_known()
            await reader.fetch("SELECT name FROM things WHERE name = ?", "own reading")
        assert forgotten == []
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO things VALUES ('rolled back')")
        assert feed.are_known()
        other.execute("ROLLBACK")
        assert feed.are_known()
        assert forgotten == []
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO things VALUES ('one')")
        assert feed.are_known()
        assert forgotten == [], "nobody sees it yet"
        other.execute("COMMIT")
        assert feed.are_known()
        assert forgotten == [None]
        assert feed.are_known()
        assert forgotten == [None], "told once"
    with closing(sqlite3.connect(file, isolation_level=None)) as another:
        another.execute("DELETE FROM things")
    assert feed.are_known()
    assert forgotten == [None, None]


async def test_the_reader_of_sqlite_writes_nothing(reader: direct.SQLiteReader) -> None:
    with pytest.raises(direct.OperationalError, match="readonly"):
        await reader.fetch("INSERT INTO things VALUES (?)", "x")


async def test_sqlite_tells_of_another_file_in_the_place_of_the_first(file: Path, reader: direct.SQLiteReader) -> None:
    forgotten = Forgotten()
    feed = DataVersion(reader, forgotten.forget)
    feed.are_known()
    forgotten.clear()
    with closing(sqlite3.connect(file)) as database:
        database.execute("VACUUM INTO ?", (f"{file}.backup",))
    feed.are_known()
    forgotten.clear()
    os.replace(f"{file}.backup", file)
    assert feed.are_known()
    assert forgotten == [None]


async def test_while_the_file_of_sqlite_cannot_be_read_changes_are_not_known(
    file: Path, reader: direct.SQLiteReader
) -> None:
    forgotten = Forgotten()
    feed = DataVersion(reader, forgotten.forget)
    assert feed.are_known()
    forgotten.clear()
    os.rename(file, f"{file}.away")
    assert not feed.are_known()
    assert forgotten == [None]
    os.rename(f"{file}.away", file)
    assert feed.are_known()
    assert forgotten == [None, None], "what happened in between nobody knows"


# --- Others ------------------------------------------------------------------------------------------------


async def test_where_nobody_tells_of_changes_everything_is_forgotten_each_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(changes, "time", SimpleNamespace(monotonic=lambda: now))
    forgotten = Forgotten()
    feed = ShortMemory(forgotten.forget)
    for seconds, expected in ((0.0, 0), (0.5, 0), (0.49, 0), (0.02, 1), (0.5, 1), (0.51, 2), (60.0, 3)):
        now += seconds
        assert feed.are_known()
        assert len(forgotten) == expected, now


async def test_the_feed_is_that_of_the_database(transactional_db: None) -> None:
    async with open_feed(Forgotten().forget) as feed:
        assert isinstance(feed, DataVersion if connection.vendor == "sqlite" else Notifications)
        assert direct.reader() is not None
    assert direct.reader() is None


async def test_a_database_that_is_neither_has_the_short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (direct, changes):
        monkeypatch.setattr(module, "connections", {"default": SimpleNamespace(vendor="oracle")})
    async with open_feed(Forgotten().forget) as feed:
        assert isinstance(feed, ShortMemory)


@pytest.mark.parametrize("name", [":memory:", "file:memorydb_default?mode=memory&cache=shared"])
async def test_of_a_database_in_memory_nothing_is_kept(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    in_memory = SimpleNamespace(vendor="sqlite", settings_dict={"NAME": name})
    for module in (direct, changes):
        monkeypatch.setattr(module, "connections", {"default": in_memory})
    async with open_feed(Forgotten().forget) as feed:
        assert direct.reader() is None
        assert not feed.are_known()


async def test_where_people_are_in_another_database_than_tokens_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where = {get_user_model(): "people"}
    router = SimpleNamespace(db_for_write=lambda model: where.get(model, "default"))
    monkeypatch.setattr(changes, "router", router)
    async with open_feed(Forgotten().forget) as feed:
        assert direct.reader() is None
        assert not feed.are_known()


def test_every_table_that_a_person_is_stored_in_is_watched(settings: Any) -> None:
    """A user model that inherits from another has its rows in both tables."""
    parent = SimpleNamespace(_meta=SimpleNamespace(db_table="people", pk=SimpleNamespace(column="id")))
    meta = SimpleNamespace(
        db_table="staff", pk=SimpleNamespace(column="person_ptr_id"), get_parent_list=lambda: [parent]
    )
    other = SimpleNamespace(_meta=SimpleNamespace(db_table="other"))
    settings.AUTH_USER_MODEL = "staff.Staff"
    models = {"staff.Staff": SimpleNamespace(_meta=meta)}
    found = triggers._tables(SimpleNamespace(get_model=lambda name: models.get(name, other)))
    people = [(table, kind, column) for table, kind, column, _ in found if kind == "user"]
    assert people == [("staff", "user", "person_ptr_id"), ("people", "user", "id")]


# --- PostgreSQL: the triggers ------------------------------------------------------------------------------

postgresql = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="PostgreSQL alone has the triggers")


def beside() -> Any:
    """Return a connection that is not Django's."""
    import psycopg

    parameters = connection.get_connection_params()
    parameters.pop("cursor_factory", None)
    return psycopg.connect(**parameters, autocommit=True)


@pytest.fixture
def heard(transactional_db: None) -> Iterator[Callable[[], list[str]]]:
    """Return what was notified since the last time that this was asked."""
    with beside() as listener:
        listener.execute(f"LISTEN {CHANNEL}")

        def hear() -> list[str]:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_notify(%s, 'the end')", [CHANNEL])
            said = []
            for notification in listener.notifies(timeout=30):
                if notification.payload == "the end":
                    return sorted(said)
                said.append(notification.payload)
            raise AssertionError("the end did not arrive")

        yield hear


@pytest.fixture
def rows(alice: Any, transactional_db: None) -> SimpleNamespace:
    make_token(alice)
    token = Token.objects.get()
    consent = Connection.objects.create(user=alice, application=token.application)
    return SimpleNamespace(token=token, user=alice, client=token.application, consent=consent)


@postgresql
def test_what_is_new_is_not_told(heard: Callable[[], list[str]], rows: SimpleNamespace) -> None:
    assert heard() == []


@postgresql
def test_what_matters_to_no_call_is_not_told(heard: Callable[[], list[str]], rows: SimpleNamespace) -> None:
    now = timezone.now() + timedelta(days=1)
    get_user_model().objects.update(last_login=now)
    Token.objects.update(updated=now)
    Application.objects.update(updated=now, last_authorized_at=now)
    Connection.objects.update(authorized_at=now)
    Token.objects.update(scope=rows.token.scope)  # to what it was
    Token.objects.filter(pk=0).update(scope="")
    Token.objects.filter(pk=0).delete()
    rows.token.save()
    assert heard() == []


@postgresql
def test_each_changed_row_is_told_by_its_name(heard: Callable[[], list[str]], rows: SimpleNamespace) -> None:
    Token.objects.update(scope="")
    assert heard() == [f"token:{rows.token.token_checksum}"]
    get_user_model().objects.update(is_active=False)
    assert heard() == [f"user:{rows.user.pk}"]
    Application.objects.update(disabled_at=timezone.now())
    assert heard() == [f"client:{rows.client.pk}"]
    Connection.objects.update(scope="mcp:write")
    assert heard() == [f"connection:{rows.consent.pk}"]
    Token.objects.update(token_checksum="other")
    assert heard() == [f"token:{rows.token.token_checksum}"], "the name by which it was known"
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM authapp_connection")
    assert heard() == [f"connection:{rows.consent.pk}"]


@postgresql
def test_a_row_among_others_is_told_alone(heard: Callable[[], list[str]], rows: SimpleNamespace, bob: Any) -> None:
    make_token(bob)
    Token.objects.filter(user=bob).update(expires=timezone.now())
    assert heard() == [f"token:{Token.objects.get(user=bob).token_checksum}"]


@postgresql
def test_what_is_rolled_back_is_not_told(heard: Callable[[], list[str]], rows: SimpleNamespace) -> None:
    with transaction.atomic():
        Token.objects.all().delete()
        transaction.set_rollback(True)
    assert heard() == []


@postgresql
@pytest.mark.parametrize(
    "change", [lambda: Token.objects.update(scope=""), lambda: Token.objects.all()._raw_delete("default")]
)
def test_many_rows_at_once_are_told_as_everything(
    heard: Callable[[], list[str]], alice: Any, change: Callable[[], Any]
) -> None:
    def make(count: int) -> None:
        Token.objects.all().delete()
        Token.objects.bulk_create(
            [Token(user=alice, token=f"t{n}", expires=timezone.now(), scope="mcp:tools") for n in range(count)]
        )
        heard()

    make(MANY)
    names = sorted(f"token:{checksum}" for checksum in Token.objects.values_list("token_checksum", flat=True))
    change()
    assert heard() == names
    make(MANY + 1)
    change()
    assert heard() == ["*"]


@postgresql
def test_a_deleted_person_or_client_is_told_with_all_that_goes_with_it(
    heard: Callable[[], list[str]], rows: SimpleNamespace, bob: Any
) -> None:
    token, consent = f"token:{rows.token.token_checksum}", f"connection:{rows.consent.pk}"
    user_pk, client_pk = rows.user.pk, rows.client.pk
    rows.user.delete()
    assert heard() == sorted([token, consent, f"user:{user_pk}"])
    make_token(bob)
    other = f"token:{Token.objects.get().token_checksum}"
    rows.client.delete()
    assert heard() == sorted([other, f"client:{client_pk}"])


@postgresql
def test_a_truncate_is_told_as_everything(heard: Callable[[], list[str]], rows: SimpleNamespace) -> None:
    for table in sorted(TABLES):
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {table} CASCADE")
        assert set(heard()) == {"*"}, table


@postgresql
def test_a_session_that_has_switched_triggers_off_is_told_all_the_same(
    heard: Callable[[], list[str]], rows: SimpleNamespace
) -> None:
    """As a restore of data alone does."""
    with beside() as other:
        other.execute("SET session_replication_role = replica")
        other.execute("UPDATE auth_user SET is_active = false WHERE id = %s", (rows.user.pk,))
    assert heard() == [f"user:{rows.user.pk}"]


@contextmanager
def trigger_is(state: str, table: str) -> Iterator[None]:
    """Switch a trigger of a table, and on again."""
    with beside() as other:
        statement = f"ALTER TABLE {table} {{}} TRIGGER star_access_delete"
        other.execute(statement.format(state))
        try:
            yield
        finally:
            other.execute(statement.format("ENABLE ALWAYS"))


@postgresql
async def test_a_table_whose_trigger_is_switched_off_is_named(transactional_db: None) -> None:
    async with await direct.connect("default") as listener:
        assert await missing_triggers(listener) == []
        for table in sorted(TABLES):
            with trigger_is("DISABLE", table):
                assert await missing_triggers(listener) == [table]
            for half in ("ENABLE", "ENABLE REPLICA"):
                with trigger_is(half, table):
                    assert await missing_triggers(listener) == [table]
        await listener.execute("BEGIN")
        await listener.execute("DROP FUNCTION star_access_changed CASCADE")
        assert set(await missing_triggers(listener)) == TABLES
        await listener.execute("ROLLBACK")


# --- PostgreSQL: the feed ----------------------------------------------------------------------------------


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not holds():  # noqa: ASYNC110  (nobody tells)
            await anyio.sleep(0.01)


@asynccontextmanager
async def listening(forgotten: Forgotten) -> AsyncIterator[Notifications]:
    async with open_feed(forgotten.forget) as feed:
        assert isinstance(feed, Notifications)
        await until(feed.are_known)
        forgotten.clear()
        yield feed


@pytest.fixture
async def elsewhere(transactional_db: None) -> AsyncIterator[Any]:
    async with await direct.connect("default") as other:
        yield other


@postgresql
async def test_all_that_has_arrived_is_taken_in_before_changes_are_known(transactional_db: None) -> None:
    """However much it is: a worker may have been busy while hundreds of tokens were revoked."""
    forgotten = Forgotten()
    async with listening(forgotten) as feed:
        names = [f"token:{number:064}" for number in range(500)]
        with beside() as other:  # all of this in one go, while the event loop is busy with it
            other.execute("SELECT pg_notify(%s, name) FROM unnest(%s::text[]) AS name", [CHANNEL, names])
        arrived = 0
        while arrived < 500 * 92:  # bytes in one notification
            arrived = struct.unpack("i", fcntl.ioctl(feed._connection.pgconn.socket, termios.FIONREAD, b"    "))[0]
        assert feed.are_known()
        assert forgotten == [[name] for name in names]


@postgresql
async def test_after_a_loss_of_the_connection_changes_are_unknown_until_they_are_listened_for_again(
    elsewhere: Any,
) -> None:
    forgotten = Forgotten()
    async with listening(forgotten) as feed:
        for _ in range(3):
            pid = feed._connection.info.backend_pid
            await elsewhere.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
            assert not feed.are_known()
            assert forgotten[0] is None
            await until(feed.are_known)
            forgotten.clear()
            await elsewhere.execute(f"NOTIFY {CHANNEL}, 'user:1'")
            await until(lambda: feed.are_known() and bool(forgotten))
            assert forgotten == [["user:1"]]
            forgotten.clear()


@postgresql
async def test_a_listener_that_hears_nothing_is_not_trusted_for_long(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a pooler that gives LISTEN to one connection and the notifications to another."""
    monkeypatch.setattr(changes, "PROOF_SECONDS", 0.05)
    monkeypatch.setattr(changes, "TRUST_SECONDS", 0.5)
    async with listening(Forgotten()) as feed:
        await feed._connection.execute("UNLISTEN *")
        await until(lambda: not feed.are_known())
        await asyncio.sleep(0.2)
        assert not feed.are_known()


@postgresql
async def test_without_a_trigger_changes_are_never_known_and_the_log_says_which(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(changes, "RETRY_SECONDS", 0.05)
    with trigger_is("DISABLE", "auth_user"):
        async with open_feed(Forgotten().forget) as feed:
            await until(lambda: bool(caplog.records))
            await asyncio.sleep(0.3)
            assert not feed.are_known()
            (record,) = caplog.records  # said once, not every time that it is tried
            assert "run `manage.py migrate`: no trigger watches auth_user" in record.message


@postgresql
async def test_a_trigger_that_is_switched_off_under_the_listener_ends_its_trust(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "PROOF_SECONDS", 0.05)
    monkeypatch.setattr(changes, "RETRY_SECONDS", 0.05)
    forgotten = Forgotten()
    async with listening(forgotten) as feed:
        with trigger_is("DISABLE", "authapp_connection"):
            await until(lambda: not feed.are_known())
            assert None in forgotten
        await until(feed.are_known)


@postgresql
async def test_another_table_in_the_place_of_a_watched_one_ends_the_trust(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an online migration does: LIKE copies no triggers, and the old ones go with the old table."""
    monkeypatch.setattr(changes, "PROOF_SECONDS", 0.05)
    monkeypatch.setattr(changes, "RETRY_SECONDS", 0.05)
    async with listening(Forgotten()) as feed:
        async with await direct.connect("default") as other:
            await other.execute("ALTER TABLE authapp_connection RENAME TO connection_old")
            await other.execute("CREATE TABLE authapp_connection (LIKE connection_old INCLUDING ALL)")
            try:
                await until(lambda: not feed.are_known())
                await asyncio.sleep(0.3)
                assert not feed.are_known()
            finally:
                await other.execute("DROP TABLE authapp_connection")
                await other.execute("ALTER TABLE connection_old RENAME TO authapp_connection")
        await until(feed.are_known)


@postgresql
async def test_a_table_with_children_is_not_watched(transactional_db: None) -> None:
    """What is written to a child fires no trigger of its parent."""
    async with await direct.connect("default") as listener:
        await listener.execute("CREATE TABLE connection_child () INHERITS (authapp_connection)")
        try:
            assert await missing_triggers(listener) == ["authapp_connection"]
        finally:
            await listener.execute("DROP TABLE connection_child")
            await listener.execute("ANALYZE authapp_connection")  # which forgets that there were children
        assert await missing_triggers(listener) == []


@postgresql
def test_what_a_replication_applies_row_by_row_is_told(heard: Callable[[], list[str]], rows: SimpleNamespace) -> None:
    """An apply worker fires triggers for rows alone; here a session takes its role, with those for statements off."""
    with beside() as other:
        for name in ("update", "delete"):
            other.execute(f"ALTER TABLE auth_user DISABLE TRIGGER star_access_{name}")
        try:
            other.execute("UPDATE auth_user SET first_name = 'x' WHERE id = %s", (rows.user.pk,))
            assert heard() == [], "the one for rows is for replicas"
            other.execute("SET session_replication_role = replica")
            other.execute("UPDATE auth_user SET is_active = false WHERE id = %s", (rows.user.pk,))
            assert heard() == [f"user:{rows.user.pk}"]
        finally:
            other.execute("SET session_replication_role = origin")
            for name in ("update", "delete"):
                other.execute(f"ALTER TABLE auth_user ENABLE ALWAYS TRIGGER star_access_{name}")
