"""Say which looked-up access tokens may have changed, so that the resource server can keep the others.

`MCPAPP["TOKEN_CHANGES"]` points at `open_feed`. A feed calls `forget` with what changed before a call that starts after
the change asks `are_known()`; where it cannot promise that, `are_known()` is False and nothing kept may be used.
docs/decisions/0010 has the reasons.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import select
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Protocol

from django.contrib.auth import get_user_model
from django.db import connections, router
from oauth2_provider.models import get_access_token_model

from authapp import direct
from authapp.models import Application, Connection
from authapp.triggers import CHANNEL, STATE, missing_triggers

logger = logging.getLogger(__name__)

Forget = Callable[[Collection[str] | None], None]
"""Takes the keys of what changed, like `token:<SHA-256>`, `user:5`, `client:7`; None for everything."""

PROOF_SECONDS = 0.25
"""How often a notification is sent to ourselves."""
TRUST_SECONDS = 1.0
"""For how long one that arrived proves that the next would."""
RETRY_SECONDS = 0.5


class Feed(Protocol):
    """What the resource server asks."""

    def are_known(self) -> bool:
        """Return whether every change up to now has been passed to `forget`. Called before each use of what is kept."""


@asynccontextmanager
async def open_feed(forget: Forget) -> AsyncIterator[Feed]:
    """Open the feed of the database that access tokens are in, and the connection they are read by."""
    models = (get_access_token_model(), get_user_model(), Application, Connection)
    alias, *others = {router.db_for_write(model) for model in models}  # replicas are behind, and tell of nothing
    reader = await direct.open_reader(alias) if not others else None
    async with AsyncExitStack() as stack:
        if reader is not None:
            stack.push_async_callback(direct.close_reader, reader)
        if isinstance(reader, direct.SQLiteReader):
            yield DataVersion(reader, forget)
        elif isinstance(reader, direct.PostgreSQLReader):
            feed = Notifications(reader, forget)
            stack.push_async_callback(feed.close)
            feed.start()
            yield feed
        elif others or connections[alias].vendor == "sqlite":
            yield Nothing()
        else:
            yield ShortMemory(forget)


class Nothing:
    """A SQLite database in memory, or several databases: no change is told, so nothing may be kept."""

    def are_known(self) -> bool:
        """Return False."""
        return False


class DataVersion:
    """SQLite: the file says whether anybody has committed since. Exact, for every worker and every program."""

    def __init__(self, reader: direct.SQLiteReader, forget: Forget) -> None:
        self._reader = reader
        self._forget = forget
        self._seen: tuple[int, int] | None = None

    def are_known(self) -> bool:
        """Forget everything after a commit: a row is read again for less than a call costs."""
        try:
            version = self._reader.version()
        except (sqlite3.Error, OSError):
            self._forget(None)
            self._seen = None
            return False
        if version != self._seen:
            self._seen = version
            self._forget(None)
        return True


class Notifications:
    """PostgreSQL: triggers notify every worker of what changed (LISTEN/NOTIFY), whoever changed it.

    What is kept counts only while notifications are proven to arrive: one that the other connection sends to ourselves
    has to come back all the time. So a listener that is cut off, or that a pooler between us and the database deafens,
    costs speed and never honesty.
    """

    def __init__(self, reader: direct.PostgreSQLReader, forget: Forget) -> None:
        self._reader = reader
        self._forget = forget
        self._own_channel = f"{CHANNEL}_{secrets.token_hex(8)}"
        self._trusted_until = 0.0
        self._connection: Any = None
        self._socket: int | None = None
        self._poll: Any = None
        self._triggers: str | None = None
        self._lost = asyncio.Event()
        self._proofs: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None
        self._quiet = False

    def are_known(self) -> bool:
        """Take in what has reached this process, and return whether that is all there is."""
        self._take_in()
        return time.monotonic() < self._trusted_until

    def start(self) -> None:
        """Listen in the background until closed."""
        self._task = asyncio.create_task(self._run(), name="authapp.changes")

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._disconnect()

    async def _run(self) -> None:
        while True:
            try:
                await self._connect()
                while not self._lost.is_set():
                    await self._prove()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._lost.wait(), PROOF_SECONDS)
            except Exception as error:  # whatever it is, nothing kept counts until we listen again
                if not self._quiet:
                    logger.warning("Changes to access tokens cannot be listened for (%s); each is looked up.", error)
                self._quiet = True
            await self._disconnect()
            await asyncio.sleep(RETRY_SECONDS)

    async def _connect(self) -> None:
        self._lost.clear()
        connection = await direct.connect(
            self._reader.alias,
            # The kernel notices within seconds that the other machine is gone.
            keepalives=1,
            keepalives_idle=1,
            keepalives_interval=1,
            keepalives_count=2,
        )
        try:
            # First: what is changed between this and the check that follows shows at the next proof.
            (self._triggers,) = await (await connection.execute(STATE)).fetchone()
            if missing := await missing_triggers(connection):
                raise LookupError(f"run `manage.py migrate`: no trigger watches {', '.join(missing)}")
            await connection.execute(f'LISTEN "{CHANNEL}"')
            await connection.execute(f'LISTEN "{self._own_channel}"')
        except BaseException:
            await connection.close()
            raise
        self._connection = connection
        # A descriptor of our own: libpq closes its own the moment it finds the connection lost, and what is closed, or
        # somebody else's by then, can be neither watched nor left alone.
        self._socket = os.dup(connection.pgconn.socket)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        asyncio.get_running_loop().add_reader(self._socket, self._take_in)
        self._forget(None)  # what was kept until now may have changed while nobody listened

    async def _disconnect(self) -> None:
        self._distrust()
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _prove(self) -> None:
        """Send a notification to ourselves, through the other connection as everybody's would come."""
        proof = secrets.token_hex(8)
        self._proofs = {known: at for known, at in self._proofs.items() if at + TRUST_SECONDS > time.monotonic()}
        self._proofs[proof] = time.monotonic()
        statement = f"SELECT ({STATE}) FROM pg_notify('{self._own_channel}', {self._reader.placeholder})"  # noqa: S608  (names of our own)
        row = await self._reader.fetch(statement, proof)
        if row is None or row[0] != self._triggers:
            self._distrust()  # a change may have told nobody; connecting says which trigger is missing

    def _take_in(self) -> None:
        """Read all that the socket holds: more than one read takes, or a last word and then the end."""
        try:
            while self._socket is not None and self._poll.poll(0):
                self._connection.pgconn.consume_input()
                while (notification := self._connection.pgconn.notifies()) is not None:
                    self._receive(notification.relname.decode(), notification.extra.decode())
        except Exception:  # psycopg.OperationalError, above all
            self._distrust()

    def _receive(self, channel: str, text: str) -> None:
        if channel == self._own_channel:
            sent_at = self._proofs.pop(text, None)
            if sent_at is not None:
                self._trusted_until = sent_at + TRUST_SECONDS
                if self._quiet:
                    logger.warning("Changes to access tokens are listened for again.")
                self._quiet = False
        else:
            self._forget(None if text == "*" else [text])

    def _distrust(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            os.close(self._socket)
            self._socket = None
        self._trusted_until = 0.0
        self._proofs.clear()
        self._lost.set()
        self._forget(None)


class ShortMemory:
    """Other databases say nothing: what is kept counts for a second."""

    SECONDS = 1.0

    def __init__(self, forget: Forget) -> None:
        self._forget = forget
        self._since = time.monotonic()

    def are_known(self) -> bool:
        """Forget everything once a second."""
        now = time.monotonic()
        if now - self._since >= self.SECONDS:
            self._since = now
            self._forget(None)
        return True
