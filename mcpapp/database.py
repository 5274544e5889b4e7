"""Threads and database connections for calls, outside Django's request cycle.

Django opens a connection in each thread and gives it back when its own request ends. A call under /star is not such a
request: without care its connections are never given back, outlive a restart of the database, and everything queues on
the one thread that Django keeps for synchronous code. Here each call that needs the database has a thread to itself,
and in it a request starts and finishes as far as Django's signals are concerned. Threads are used again, their
connections with them (CONN_MAX_AGE decides for how long).
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.core import signals
from django.db import connections

from mcpapp import conf

logger = logging.getLogger(__name__)

MAXIMUM_IDLE = 16
"""How many threads wait for their next call. There may be more at work: `mcpapp.calls` bounds those."""


class _CallThread(ThreadPoolExecutor):
    """A thread that runs what one call has for it, in order; it starts with the first piece of work."""

    def __init__(self) -> None:
        super().__init__(max_workers=1, thread_name_prefix="mcp-call")
        self.is_used = False

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function; before the first of a call, a request starts."""
        if not self.is_used:
            self.is_used = True
            super().submit(_tell, signals.request_started)
        return super().submit(function, *args, **kwargs)

    def finish(self) -> None:
        """End the request after all that is still to run here, then wait for the next call; nobody waits for that."""
        context = contextvars.copy_context()  # what asgiref's `Local`s hold, caches among them, is found through it
        super().submit(context.run, _tell, signals.request_finished).add_done_callback(self._put_back)

    def close(self) -> None:
        """Wait for what is still to run, and end the thread."""
        with suppress(RuntimeError):  # it was closed before
            super().submit(connections.close_all)
        self.shutdown(wait=True)

    def _put_back(self, _: Future[Any]) -> None:
        if len(_idle) < MAXIMUM_IDLE:
            self.is_used = False
            _idle.append(self)
        else:
            super().submit(connections.close_all)
            self.shutdown(wait=False)


_idle: deque[_CallThread] = deque()
_all: weakref.WeakSet[_CallThread] = weakref.WeakSet()


def _tell(signal: Any) -> None:
    for receiver, result in signal.send_robust(sender=_CallThread):
        if isinstance(result, Exception):
            logger.error("%r failed.", receiver, exc_info=result)


class _Seat:
    """The thread of one call, once it needs one."""

    __slots__ = ("_thread", "is_over")

    def __init__(self) -> None:
        self._thread: _CallThread | None = None
        self.is_over = False

    def thread(self) -> _CallThread:
        if self._thread is None:
            try:
                self._thread = _idle.pop()
            except IndexError:
                self._thread = _CallThread()
                _all.add(self._thread)
        return self._thread

    def finish(self) -> None:
        self.is_over = True
        if self._thread is not None:
            self._thread.finish()


_seat: ContextVar[_Seat] = ContextVar("mcpapp_seat")


class _Usher(Executor):
    """Sends work to the thread of the call that it comes from."""

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function there.

        Raises:
            RuntimeError: the call is over, and its thread another's.
        """
        seat = _seat.get()
        if seat.is_over:
            raise RuntimeError("A task that was started in a call must not use the database after the call has ended.")
        return seat.thread().submit(function, *args, **kwargs)


# One for all calls, for entering one costs as much as many a tool. asgiref finds it through the two attributes by which
# `ThreadSensitiveContext.__aenter__` tells it.
_usher = _Usher()
_context = ThreadSensitiveContext(executor=_usher)
SyncToAsync.context_to_thread_executor[_context] = _usher


class own_connections(AbstractAsyncContextManager[None]):
    """Give the synchronous code called inside, so the ORM too, a thread of its own with its own connections.

    Costs next to nothing if there turns out to be none.
    """

    async def __aenter__(self) -> None:
        """Begin; a thread comes with the first that needs one."""
        self._seat = _Seat()
        self._tokens = _seat.set(self._seat), SyncToAsync.thread_sensitive_context.set(_context)

    async def __aexit__(self, *exc_info: Any) -> None:
        """Let the thread finish."""
        seat, context = self._tokens
        SyncToAsync.thread_sensitive_context.reset(context)
        _seat.reset(seat)
        self._seat.finish()


_slots: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = weakref.WeakKeyDictionary()
_has_slot: ContextVar[bool] = ContextVar("mcpapp_has_thread_slot", default=False)


def slots() -> asyncio.Semaphore:
    """Return what bounds how many threads work at once for this event loop, and so how many connections they take."""
    loop = asyncio.get_running_loop()
    if loop not in _slots:
        _slots[loop] = asyncio.Semaphore(conf.call_threads())
    return _slots[loop]


def has_slot() -> bool:
    """Return whether the code runs for one that has its slot: what it calls must not wait for another, or all might."""
    return _has_slot.get()


@contextmanager
def holding_slot() -> Iterator[None]:
    """Say of the code inside that it has a slot."""
    token = _has_slot.set(True)
    try:
        yield
    finally:
        _has_slot.reset(token)


@asynccontextmanager
async def thread_slot() -> AsyncIterator[None]:
    """Wait for a slot, unless there is one already, and keep it for the code inside."""
    if has_slot():
        yield
        return
    async with slots():
        with holding_slot():
            yield


def close_threads() -> None:
    """Wait for every thread and end it; further calls get new ones."""
    threads = list(_all)  # held: the deque may have the only other reference
    _idle.clear()
    for thread in threads:
        thread.close()
    _idle.clear()
