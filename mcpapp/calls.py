"""Run what a site declared: in the right thread and transaction, within its limits, with errors that do not leak.

A plain function runs in a thread with its own database connection (`mcpapp.database`), an `async def` on the loop.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import NON_FIELD_ERRORS, ObjectDoesNotExist, PermissionDenied, ValidationError
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connections, transaction
from django.http import Http404
from django.utils.translation import gettext as _

from mcpapp import conf
from mcpapp.access import BadDeclaration
from mcpapp.call_log.record import tell
from mcpapp.database import has_slot, holding_slot, slots
from mcpapp.eagerly import eagerly
from mcpapp.interruption import TookTooLong, in_time
from mcpapp.models import Outcome
from mcpapp.turns import Turn, may_ask

logger = logging.getLogger(__name__)


_TOLD = (PermissionDenied, Http404, ObjectDoesNotExist, ValidationError, OperationalError, InterfaceError)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How something is run. None stands for what the settings say."""

    atomic: bool | None = None
    """One transaction for the call: kept if it returns, rolled back if it raises or is given up. None: what Django does
    for views, a transaction on each database with `ATOMIC_REQUESTS`."""
    timeout: float | None = None
    """Seconds, waiting for its turn included; 0 for no limit."""
    concurrency: int | None = None
    """How many calls run at once in one process; the others wait. 0 for no limit."""

    @classmethod
    def declared(
        cls, function: Callable[..., Any], atomic: bool | None, timeout: float | None, concurrency: int | None
    ) -> RunOptions:
        """Return what the arguments of a decorator mean.

        Raises:
            BadDeclaration: a transaction around an `async def`, which Django has none for; a limit below zero.
        """
        if atomic and inspect.iscoroutinefunction(function):
            raise BadDeclaration("atomic=True needs a plain def: Django's transactions do not cover an async def.")
        if (timeout or 0) < 0 or (concurrency or 0) < 0:
            raise BadDeclaration("timeout and concurrency cannot be negative; 0 means no limit.")
        return cls(atomic, timeout, concurrency)


class _Call:
    """One call that a thread works on, and whether anybody still waits for it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.has_started = False
        self.is_given_up = False


class _GivenUp(Exception):
    """Nobody waits for the result: undo what was done for it."""


_current: ContextVar[_Call | None] = ContextVar("mcpapp_call", default=None)


def is_given_up() -> bool:
    """Return whether nobody waits for this call any more: its client cancelled or left, or its time is over.

    A thread cannot be stopped from outside: a plain function that works for long should ask now and then, and return.
    (An `async def` is cancelled like any asyncio task.)
    """
    call = _current.get()
    return call is not None and call.is_given_up


def prepared(
    function: Callable[..., Any], options: RunOptions, failure: Callable[[str], Exception]
) -> Callable[..., Awaitable[Any]]:
    """Return an async callable with the same signature that runs `function`; made once per server and event loop.

    `failure` makes the exception by which a message is told to the client. What it tells are limits and the exceptions
    whose texts Django shows to people too; any other exception passes, and the SDK hides its text.
    """
    timeout = conf.call_timeout_seconds() if options.timeout is None else options.timeout
    concurrency = conf.call_concurrency() if options.concurrency is None else options.concurrency
    own_slots = asyncio.Semaphore(concurrency) if concurrency else None
    asks = may_ask(function)

    async def run_in_turn(*args: Any, **kwargs: Any) -> Any:
        with ExitStack() as held:
            for semaphore in (own_slots, None if has_slot() else slots()):
                if semaphore is not None:
                    await semaphore.acquire()
                    held.callback(semaphore.release)
            release = held.pop_all().close
        return await _run_in_thread(functools.partial(function, *args, **kwargs), options.atomic, release)

    async def run_on_loop(*args: Any, **kwargs: Any) -> Any:
        if own_slots is None:
            return await function(*args, **kwargs)
        if asks:
            async with Turn(own_slots):
                return await function(*args, **kwargs)
        await own_slots.acquire()
        try:
            return await function(*args, **kwargs)
        finally:
            own_slots.release()

    run_unlimited = run_on_loop if inspect.iscoroutinefunction(function) else run_in_turn

    async def run_in_time(rest: Awaitable[Any]) -> Any:
        try:
            return await in_time(rest, timeout)
        except TookTooLong:
            tell(Outcome.TIMED_OUT)
            raise failure(_out_of_time(timeout)) from None

    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        try:
            work = run_unlimited(*args, **kwargs)
            return await (eagerly(work, run_in_time) if timeout else work)
        except _TOLD as error:
            raise failure(_told(error)) from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and not task.cancelling():  # nobody cancelled this call: what it awaited was
                raise RuntimeError("It raised CancelledError by itself.") from error
            raise
        except (GeneratorExit, SystemExit) as error:
            raise RuntimeError(f"It raised {type(error).__name__}, which is not for a call to raise.") from error

    return run


def _out_of_time(seconds: float) -> str:
    return _("This took longer than %(seconds)g s and was given up.") % {"seconds": seconds}


def _told(error: Exception) -> str:
    """Return what a client is told of an exception that Django has an answer for."""
    match error:
        case ValidationError():
            return " ".join(_messages(error))
        case PermissionDenied():
            return str(error) or _("You may not do this.")
        case Http404():
            return str(error) or _("There is no such thing.")
        case ObjectDoesNotExist():
            return _("There is no such thing.")
    logger.error("The database did not answer a call.", exc_info=error)
    return _("The database does not answer right now. Try again shortly.")


def _messages(error: ValidationError) -> list[str]:
    """Return its messages, each with the field it is about: "This field is required." alone helps no model."""
    if not hasattr(error, "error_dict"):
        return [str(message) for message in error.messages]
    return [
        str(message) if field == NON_FIELD_ERRORS else f"{field}: {message}"
        for field, messages in error.message_dict.items()
        for message in messages
    ]


async def _run_in_thread(function: Callable[[], Any], atomic: bool | None, release: Callable[[], None]) -> Any:
    """Run a function in this call's thread; `release` is called on the loop when the thread is really done with it."""
    call = _Call()
    loop = asyncio.get_running_loop()

    def work() -> Any:
        with call.lock:
            if call.is_given_up:
                return None  # and its slot is free already
            call.has_started = True
        try:
            with ExitStack() as stack:
                for alias in _atomic_databases(atomic):
                    stack.enter_context(transaction.atomic(using=alias))
                result = function()
                if call.is_given_up:
                    raise _GivenUp
                return result
        except _GivenUp:
            return None
        except (StopIteration, GeneratorExit, SystemExit) as error:  # no future carries the first; none ends the server
            raise RuntimeError(f"It raised {type(error).__name__}.") from error
        finally:
            with suppress(RuntimeError):  # the loop is closed: the server has ended
                loop.call_soon_threadsafe(release)

    token = _current.set(call)
    try:
        with holding_slot():
            return await sync_to_async(work)()
    except BaseException:
        with call.lock:
            if not call.has_started and not call.is_given_up:
                release()
            call.is_given_up = True
        raise
    finally:
        _current.reset(token)


def _atomic_databases(atomic: bool | None) -> list[str]:
    if atomic is False:
        return []
    return [
        alias
        for alias in connections
        if connections.settings[alias]["ATOMIC_REQUESTS"] or (atomic and alias == DEFAULT_DB_ALIAS)
    ]
