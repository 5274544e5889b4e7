"""Write records of calls in batches, beside the calls: a call never waits for its record.

A record waits in memory for `FLUSH_SECONDS` at most, and that is what `kill -9` can lose. At a normal stop everything
is written. If the database is slower than the calls, or away, records wait up to `MAXIMUM_WAITING`; further ones are
dropped, counted, and the count is written with the next batch.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from django.db import InterfaceError, OperationalError, close_old_connections, connections

from mcpapp.call_log import store
from mcpapp.call_log.record import CallRecord

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.5
BATCH = 500
"""Records that are written in one transaction, at most."""
MAXIMUM_WAITING = 20_000
MAXIMUM_WAITING_BYTES = 16 * 1024 * 1024
"""How large the requests are together whose arguments wait; of further ones only the names do."""
RETRY_SECONDS = 1.0
STOP_SECONDS = 10.0
"""How long a normal stop waits for a database that does not answer."""
_WARN_SECONDS = 10.0


class CallLog:
    """The log of one process; `running` writes it."""

    def __init__(self) -> None:
        self._waiting: list[CallRecord] = []
        self._waiting_bytes = 0
        self.dropped = 0
        """Records that were dropped since the start."""
        self._untold = 0
        self._warned_at = 0.0
        self._is_stopping = False
        self._wake: asyncio.Event | None = None

    def add(self, record: CallRecord) -> None:
        """Take the record of a call that is over; on the event loop."""
        record.end()
        waiting = self._waiting
        if len(waiting) >= MAXIMUM_WAITING:
            self.dropped += 1
            self._untold += 1
            return
        self._waiting_bytes += record.request_bytes
        if self._waiting_bytes > MAXIMUM_WAITING_BYTES:
            arguments = record.arguments
            record.arguments = dict.fromkeys(list(arguments)[:50]) if isinstance(arguments, dict) else None
        waiting.append(record)
        if len(waiting) >= BATCH and self._wake is not None:
            self._wake.set()

    @property
    def waiting(self) -> int:
        """How many records wait to be written."""
        return len(self._waiting)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write what is added meanwhile, and at the end what is left."""
        self._wake = asyncio.Event()
        self._is_stopping = False
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="mcp-call-log") as thread:
            task = asyncio.create_task(self._write_for_ever(thread))
            try:
                yield
            finally:
                self._is_stopping = True
                self._wake.set()
                await task
                self._wake = None
                await asyncio.get_running_loop().run_in_executor(thread, connections.close_all)

    async def _write_for_ever(self, thread: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        wake = self._wake
        assert wake is not None  # noqa: S101  (`running` has set it)
        give_up_at: float | None = None
        while True:
            if self._is_stopping:
                give_up_at = give_up_at or time.monotonic() + STOP_SECONDS
            elif len(self._waiting) < BATCH:
                await _until(wake, FLUSH_SECONDS)
            batch, untold = self._waiting[:BATCH], self._untold
            if not batch and (self._is_stopping or not untold):
                if self._is_stopping:
                    return
                continue
            try:
                await loop.run_in_executor(thread, _write, batch, untold)
            except (OperationalError, InterfaceError) as error:
                if give_up_at is not None and time.monotonic() > give_up_at:
                    logger.error("%d records of calls are lost: the database does not answer.", len(self._waiting))
                    return
                self._warn("Records of calls wait: the database does not take them.", error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            except Exception:
                # What cannot be written must not keep the rest from it.
                logger.exception("%d records of calls could not be written and are dropped.", len(batch))
                self.dropped += len(batch)
                self._untold += len(batch)
            else:
                self._untold -= untold
                if untold:
                    self._warn(f"{untold} records of calls were dropped: there were more than could be written.", None)
            del self._waiting[: len(batch)]
            self._waiting_bytes -= sum(record.request_bytes for record in batch)

    def _warn(self, text: str, error: Exception | None) -> None:
        if time.monotonic() - self._warned_at >= _WARN_SECONDS:
            self._warned_at = time.monotonic()
            logger.warning("%s", text, exc_info=error)


async def _until(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
    event.clear()


def _write(batch: list[CallRecord], dropped: int) -> None:
    close_old_connections()
    try:
        store.write(batch, dropped)
    finally:
        close_old_connections()
