"""Whether this process can serve: the database answers and has every migration, and calls are being written down.

Asked over the connection that looks access tokens up (`authapp.direct`): no other is taken for it, and a pool that
pages have emptied for a moment takes no process out of a load balancer, which would leave more work to the others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor

from authapp import direct
from mcpapp.call_log.writer import CallLog

logger = logging.getLogger(__name__)

DATABASE_SECONDS = 2.0
"""How long the database may take for the least of questions."""
MIGRATIONS_SECONDS = 5.0
"""How often is looked for migrations that are not there yet; it takes a tenth of a second."""
CLOCK_SECONDS = 5.0
"""By how much the clock may differ from the database's before it is said: codes and tokens end by the clock."""

_STATEMENTS = {
    "sqlite": "SELECT count(*) FROM sqlite_master WHERE name = ?",  # which reads the file
    "postgresql": "SELECT $1::text",
}


class SiteReadiness:
    """Asks, for one process."""

    def __init__(self, call_log: CallLog | None) -> None:
        self._call_log = call_log
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="readiness")
        self._at_work: asyncio.Future[Any] | None = None
        self._missing: tuple[str, ...] = ()
        self._is_migrated = False
        self._migrations_count_until = 0.0

    async def begin(self) -> None:
        """Look at the migrations, and compare the clock with the database's."""
        await self.reasons()
        try:
            difference = await self._in_thread(_seconds_ahead)
        except (DatabaseError, TimeoutError):
            return  # `/readyz` says so
        if abs(difference) > CLOCK_SECONDS:
            logger.warning("The clock is %+.0f s from the database's: tokens would end too soon, or late.", difference)

    async def reasons(self) -> tuple[str, ...]:
        """Return a word for each of what is missing, and log it when that changes."""
        found: dict[str, str] = {}
        try:
            await self._ask_database()
            try:
                if not await self._has_migrations():
                    found["migrations"] = "there are migrations to apply (manage.py migrate)"
            except TimeoutError:  # the database has just answered; this takes longer beside a full load
                found["migrations"] = "it is not known yet whether there are migrations to apply"
        except (DatabaseError, TimeoutError) as error:
            found["database"] = f"the database does not answer ({str(error) or 'too slow'})"
        if self._call_log is not None and not self._call_log.is_writing:
            found["calls"] = "calls are not being written down"
        if found and self._missing != tuple(found):
            logger.warning("Not ready: %s.", "; ".join(found.values()))
        elif self._missing and not found:
            logger.info("Ready again.")
        self._missing = tuple(found)
        return self._missing

    async def _ask_database(self) -> None:
        """Ask for nothing in particular.

        Raises:
            DatabaseError, TimeoutError: there is no answer.
        """
        reader = direct.reader()
        statement = _STATEMENTS.get(connections[DEFAULT_DB_ALIAS].vendor)
        if reader is None or reader.alias != DEFAULT_DB_ALIAS or statement is None:
            await self._in_thread(_select)
            return
        async with asyncio.timeout(DATABASE_SECONDS):
            await reader.fetch(statement, "")

    async def _has_migrations(self) -> bool:
        """Return whether every migration of this code is applied; once it is so, it stays so."""
        if not self._is_migrated and time.monotonic() >= self._migrations_count_until:
            self._is_migrated = await self._in_thread(_is_migrated)
            self._migrations_count_until = time.monotonic() + MIGRATIONS_SECONDS
        return self._is_migrated

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        """Run a function in the one thread; while it hangs there, no other waits behind it.

        Raises:
            TimeoutError: it takes too long, or the one before still does.
        """
        if self._at_work is not None and not self._at_work.done():
            await asyncio.wait((self._at_work,), timeout=DATABASE_SECONDS)
            if not self._at_work.done():
                raise TimeoutError
        self._at_work = asyncio.get_running_loop().run_in_executor(self._thread, _with_connection, function)
        self._at_work.add_done_callback(_retrieve)
        done, _ = await asyncio.wait((self._at_work,), timeout=DATABASE_SECONDS)
        if not done:
            raise TimeoutError
        return self._at_work.result()


def _with_connection(function: Callable[[], Any]) -> Any:
    try:
        return function()
    finally:
        connections.close_all()


def _retrieve(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()  # asked for, or asyncio complains where nobody waited for it


def _select() -> None:
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT 1")


def _is_migrated() -> bool:
    executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())


def _seconds_ahead() -> float:
    """Return by how much this machine's clock is ahead of the database's; SQLite has none of its own."""
    connection = connections[DEFAULT_DB_ALIAS]
    if connection.vendor != "postgresql":
        return 0.0
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        row = cursor.fetchone()
    assert row is not None  # noqa: S101  (one is always there)
    return (datetime.now(UTC) - row[0]).total_seconds()
