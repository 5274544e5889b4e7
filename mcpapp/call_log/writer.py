"""Write calls in batches, beside the calls: none waits for its row.

What is known of a call waits in memory for `FLUSH_SECONDS` at most, and that is what `kill -9` can lose. At a normal
stop everything is written. If the database is slower than the calls, or away, they wait up to `MAXIMUM_WAITING`;
further ones are dropped, counted, and the count is written with the next batch.

A thread writes until calls come so fast that it would be in the way of the event loop; then a process of its own does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from django.db import InterfaceError, OperationalError, connections

from mcpapp.call_log import store
from mcpapp.call_log.helper import CannotHelp, Helper
from mcpapp.call_log.plan import Plan
from mcpapp.call_log.redaction import names_of
from mcpapp.call_log.rows import Facts

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.5
BATCH = 4000
"""Calls that are written in one transaction, at most."""
BUSY = 200
"""Calls in a batch from which on a process of its own writes them: Python runs in one thread at a time, and each time
that the writer's has it, which is some dozen times a batch, the event loop waits and finds its caches cold."""
MAXIMUM_DEATHS = 3
"""After how many deaths of that process, without a batch written in between, the thread writes again."""
MAXIMUM_WAITING = 20_000
MAXIMUM_WAITING_BYTES = 16 * 1024 * 1024
"""How large the requests are together whose arguments wait; of further ones only the names do."""
RETRY_SECONDS = 1.0
STOP_SECONDS = 10.0
"""How long a normal stop waits for a database that does not answer."""
_WARN_SECONDS = 10.0
_SIZE, _ARGUMENTS = 7, 9
"""Places in what is known of a call."""


class Writer:
    """Writes batches, in one thread: by itself, or by a process once there is much to write."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._helper: Helper | None = None
        self._deaths = 0

    def write(self, calls: list[Facts], dropped: int) -> None:
        """Write calls, and that so many others were dropped.

        Raises:
            django.db.OperationalError, django.db.InterfaceError: nothing was written; later it may be.
            Exception: these can never be written.
        """
        clock = time.time() - time.perf_counter()
        helper = self._ready_helper(len(calls))
        if helper is None:
            store.write(self._plan, calls, clock, dropped)
            return
        helper.write(calls, clock, dropped)
        self._deaths = 0

    def stop(self) -> None:
        """End what was started; everything has been written by then, or never will be."""
        if self._helper is not None:
            self._helper.stop(STOP_SECONDS)
        connections.close_all()

    def kill(self) -> None:
        """End the process that writes, from another thread: `write` does not wait for it any longer."""
        if self._helper is not None:
            self._helper.kill()

    def _ready_helper(self, size: int) -> Helper | None:
        if self._helper is not None and self._helper.has_ended:
            self._helper.stop(0)
            self._helper = None
            self._deaths += 1
            logger.warning("The process that writes calls has ended.")
        elif self._helper is None and size < BUSY:
            return None
        if self._helper is None and self._deaths < MAXIMUM_DEATHS:
            try:
                self._helper = Helper(self._plan)
            except CannotHelp as error:
                self._deaths = MAXIMUM_DEATHS
                logger.warning("No process can write calls (%s); a thread does, which takes longer.", error)
        return self._helper


class CallLog:
    """The log of one process; `running` writes it."""

    def __init__(self) -> None:
        self._waiting: list[Facts] = []
        self._waiting_bytes = 0
        self.dropped = 0
        """Records that were dropped since the start."""
        self._untold = 0
        self._warned_at = 0.0
        self._is_stopping = False
        self._wake: asyncio.Event | None = None
        self._writing: asyncio.Task[None] | None = None

    def add(self, call: Facts) -> None:
        """Take a call that is over; on the event loop."""
        waiting = self._waiting
        if len(waiting) >= MAXIMUM_WAITING:
            self.dropped += 1
            self._untold += 1
            return
        if call[_ARGUMENTS]:
            if self._waiting_bytes < MAXIMUM_WAITING_BYTES:
                self._waiting_bytes += call[_SIZE]
            else:
                call = (*call[:_ARGUMENTS], names_of(call[_ARGUMENTS]))
        waiting.append(call)
        if len(waiting) == BATCH and self._wake is not None:
            self._wake.set()

    @property
    def waiting(self) -> int:
        """How many records wait to be written."""
        return len(self._waiting)

    @property
    def is_writing(self) -> bool:
        """Whether what is added is being written, or waits for the database to take it."""
        return self._writing is not None and not self._writing.done()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write what is added meanwhile, and at the end what is left."""
        self._wake = asyncio.Event()
        self._is_stopping = False
        loop, writer = asyncio.get_running_loop(), Writer(Plan.of_site())
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="mcp-call-log") as thread:
            self._writing = task = asyncio.create_task(self._write_for_ever(thread, writer))
            try:
                yield
            finally:
                self._is_stopping = True
                self._wake.set()
                giving_up = loop.call_later(STOP_SECONDS, writer.kill)
                await task
                giving_up.cancel()
                self._wake = None
                await loop.run_in_executor(thread, writer.stop)

    async def _write_for_ever(self, thread: ThreadPoolExecutor, writer: Writer) -> None:
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
                await loop.run_in_executor(thread, writer.write, batch, untold)
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
            self._waiting_bytes -= sum(
                call[_SIZE] for call in batch if call[_ARGUMENTS] and type(call[_ARGUMENTS]) is not tuple
            )

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
