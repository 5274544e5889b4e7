"""A connection to the database beside Django's: for reads on the event loop that must not cost a thread.

An access token is looked up on every call. Through Django's ORM that is 1.2 ms of CPU, most of it for building SQL that
is always the same and for changing to a thread; here it is one prepared statement. Nothing is ever written through it.
`authapp.changes` opens it with the server and closes it; where there is none, callers use the ORM.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from django.db import OperationalError, connections

CONNECT_SECONDS = 5
READ_SECONDS = 4
"""psycopg may take another ten to give up a statement, but only for the one whose statement it is."""

Row = Sequence[Any]


class Reader(Protocol):
    """What both kinds can do."""

    alias: str
    """Whose database it is, as Django calls it."""
    placeholder: str

    async def fetch(self, statement: str, parameter: str) -> Row | None:
        """Return the first row of a statement with one parameter.

        Raises:
            django.db.OperationalError: the database does not answer.
        """

    async def close(self) -> None:
        """Close the connection."""


_open: dict[asyncio.AbstractEventLoop, list[Reader]] = {}


def reader() -> Reader | None:
    """Return the reader of the event loop this runs on, if one is open."""
    opened = _open.get(asyncio.get_running_loop())
    return opened[-1] if opened else None


async def open_reader(alias: str) -> Reader | None:
    """Open a reader for the event loop this runs on; None for a kind of database that has none."""
    connection = connections[alias]
    found: Reader | None = None
    if connection.vendor == "sqlite":
        name = str(connection.settings_dict["NAME"])
        if name != ":memory:" and not name.startswith("file:"):  # which may be in memory as well
            found = SQLiteReader(alias, Path(name))
    elif connection.vendor == "postgresql":
        found = PostgreSQLReader(alias)
    if found is not None:
        _open.setdefault(asyncio.get_running_loop(), []).append(found)
    return found


async def close_reader(found: Reader) -> None:
    """Close a reader that was opened on the event loop this runs on."""
    loop = asyncio.get_running_loop()
    _open[loop].remove(found)
    if not _open[loop]:
        del _open[loop]
    await found.close()


class SQLiteReader:
    """Reads a SQLite file on the event loop: in WAL mode no reader waits for a writer."""

    placeholder = "?"

    def __init__(self, alias: str, path: Path) -> None:
        self.alias = alias
        self._path = str(path)  # os.stat takes twice as long for a Path
        self._connection: sqlite3.Connection | None = None
        self._cursor: sqlite3.Cursor | None = None
        self._file: tuple[int, int] | None = None
        self._opened = 0

    def version(self) -> tuple[int, int]:
        """Return what changes whenever anybody has committed to the file, or put another file in its place.

        `PRAGMA data_version` speaks of the commits of other connections. This one makes none, so it speaks of all.

        Raises:
            sqlite3.Error, OSError: the file cannot be read.
        """
        self._current()
        assert self._cursor is not None  # noqa: S101  (it comes with the connection)
        return self._opened, self._cursor.execute("PRAGMA data_version").fetchone()[0]

    async def fetch(self, statement: str, parameter: str) -> Row | None:
        """Return the first row."""
        try:
            row: Row | None = self._current().execute(statement, (parameter,)).fetchone()
        except (sqlite3.Error, OSError) as error:
            raise OperationalError(str(error)) from error
        return row

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _current(self) -> sqlite3.Connection:
        status = os.stat(self._path)
        file = (status.st_dev, status.st_ino)
        if self._connection is None or file != self._file:
            if self._connection is not None:
                self._connection.close()  # a backup was put in the file's place
                self._connection = None  # the next may not open
            self._connection = sqlite3.connect(self._path, timeout=1, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA query_only = ON")
            self._cursor = self._connection.cursor()
            self._file = file
            self._opened += 1
        return self._connection


class PostgreSQLReader:
    """Reads from PostgreSQL on the event loop, and connects again after a restart."""

    placeholder = "$1"

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self._session: _Session | None = None
        self._lock = asyncio.Lock()

    async def fetch(self, statement: str, parameter: str) -> Row | None:
        """Return the first row, within a time that includes the wait for those who asked before."""
        import psycopg  # only installed where it is needed

        try:
            async with asyncio.timeout(READ_SECONDS), self._lock:
                try:
                    return await self._read(statement, parameter)
                except (psycopg.Error, OSError):  # the connection may have been long dead
                    return await self._read(statement, parameter)
        except (psycopg.Error, OSError, TimeoutError) as error:
            raise OperationalError(str(error) or "The database took too long.") from error

    async def _read(self, statement: str, parameter: str) -> Row | None:
        if self._session is None or not self._session.is_open:
            self._session = _Session(await connect(self.alias))
        try:
            return await self._session.fetch(statement, parameter)
        except BaseException:  # cancelled, too: it is in the middle of something
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class _Session:
    """A connection of psycopg's that is spoken to through `psycopg.pq`, libpq.

    A cursor costs twice as much: it watches the socket anew for each wait, and looks into what it is to do.
    """

    def __init__(self, connection: Any) -> None:
        from psycopg.adapt import Transformer

        self._connection = connection
        self._pgconn = connection.pgconn
        self._transformer = Transformer(connection)
        self._prepared: dict[str, bytes] = {}
        self._answered: asyncio.Future[None] | None = None
        # A descriptor of our own: libpq closes its own the moment it finds the connection lost.
        self._socket: int | None = os.dup(self._pgconn.socket)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._take_in)

    @property
    def is_open(self) -> bool:
        """Whether it was not found lost."""
        return self._socket is not None

    async def fetch(self, statement: str, parameter: str) -> Row | None:
        """Return the first row.

        Raises:
            psycopg.Error: the connection is lost, or the database refuses the statement.
        """
        name = self._prepared.get(statement)
        if name is None:
            name = b"star_%d" % len(self._prepared)
            self._pgconn.send_prepare(name, statement.encode())
            await self._result()
            self._prepared[statement] = name
        self._pgconn.send_query_prepared(name, [parameter.encode()])
        result = await self._result()
        if not result.ntuples:
            return None
        self._transformer.set_pgresult(result)
        row: Row = self._transformer.load_row(0, tuple)
        return row

    async def close(self) -> None:
        """Close the connection."""
        self._unwatch()
        await self._connection.close()

    async def _result(self) -> Any:
        import psycopg.errors
        from psycopg.pq import ExecStatus

        while self._pgconn.flush():  # noqa: ASYNC110  # hardly ever: a socket takes more at once than is sent
            await asyncio.sleep(0.001)
        results = []
        while True:
            while self._pgconn.is_busy():  # `get_result` would wait, and the event loop with it
                self._answered = self._loop.create_future()
                await self._answered
            result = self._pgconn.get_result()
            if result is None:  # by which libpq says that it is ready for the next
                break
            results.append(result)
        if not results:
            raise psycopg.OperationalError("The connection to the database is lost.")
        if results[0].status not in {ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK}:
            raise psycopg.errors.error_from_result(results[0])
        return results[0]

    def _take_in(self) -> None:
        import psycopg

        try:
            self._pgconn.consume_input()
            is_busy = self._pgconn.is_busy()
        except psycopg.Error as error:
            self._unwatch()
            self._answer(error)
        else:
            if not is_busy:
                self._answer(None)

    def _answer(self, error: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            if error is None:
                self._answered.set_result(None)
            else:
                self._answered.set_exception(error)

    def _unwatch(self) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            os.close(self._socket)
            self._socket = None


async def connect(alias: str, **options: Any) -> Any:
    """Return an asynchronous psycopg connection that reads values as Django's does; each statement is committed.

    Raises:
        psycopg.Error, OSError, TimeoutError: there is none to be had.
    """
    import psycopg.sql  # only installed where it is needed

    parameters = connections[alias].get_connection_params()
    parameters.pop("cursor_factory", None)
    parameters.pop("prepare_threshold", None)
    connection = await psycopg.AsyncConnection.connect(
        **{"connect_timeout": CONNECT_SECONDS} | parameters | options, autocommit=True, prepare_threshold=5
    )
    if role := connections[alias].settings_dict["OPTIONS"].get("assume_role"):
        try:
            await connection.execute(psycopg.sql.SQL("SET ROLE {}").format(psycopg.sql.Identifier(role)))
        except BaseException:
            await connection.close()
            raise
    return connection
