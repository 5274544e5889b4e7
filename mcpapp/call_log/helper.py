"""The process beside a busy worker that writes its calls, as the worker sees it; all of this blocks, so in a thread."""

from __future__ import annotations

import marshal
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.db import OperationalError, connections

from mcpapp.call_log.plan import Plan
from mcpapp.call_log.process import DONE, FAILED, LATER, LENGTH
from mcpapp.call_log.rows import Facts

PIPE_BYTES = 512 * 1024
"""A batch without long arguments has half of it. One user may have 64 MiB of pipes in all (pipe(7))."""


class CannotHelp(Exception):
    """No process can write for this one: it cannot be started, or the database is in this process's memory."""


class NotWritten(Exception):
    """What was sent cannot be written, now or later."""


class Helper:
    """One process. It ends when this one does."""

    def __init__(self, plan: Plan) -> None:
        """Start it, and wait until it is ready.

        Raises:
            CannotHelp: it does not start.
        """
        connection = connections[plan.alias]
        if connection.vendor == "sqlite" and connection.is_in_memory_db():  # type: ignore[attr-defined]
            raise CannotHelp("the database is in memory")
        options = {key: value for key, value in connection.settings_dict["OPTIONS"].items() if key != "pool"}
        database = {**connection.settings_dict, "OPTIONS": options, "CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
        configuration = {"database": database, "use_tz": settings.USE_TZ, "time_zone": settings.TIME_ZONE}
        try:
            hello = pickle.dumps((plan, configuration))
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mcpapp.call_log.process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
            )
        except Exception as error:  # what cannot be pickled raises anything
            raise CannotHelp(f"{type(error).__name__}: {error}") from error
        _widen(self._process.stdin)
        try:
            self._ask(hello)
        except OperationalError as error:
            self.stop(0)
            raise CannotHelp("it ended at once") from error

    def write(self, calls: Sequence[Facts], clock: float, dropped: int) -> None:
        """Have calls written, as `store.write` does.

        Raises:
            django.db.OperationalError: the database does not answer, or the process has ended.
            NotWritten: it cannot be written.
        """
        message: Any = (calls, clock, dropped)
        self._ask(marshal.dumps(message))

    @property
    def has_ended(self) -> bool:
        """Whether it is no more."""
        return self._process.poll() is not None

    def stop(self, seconds: float) -> None:
        """Let it end; after some seconds, end it."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None  # noqa: S101  (asked for)
            with suppress(OSError):  # it has ended before it took everything
                pipe.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it, from any thread: whoever waits for its answer waits no more."""
        self._process.kill()
        self._process.wait()

    def _ask(self, message: bytes) -> None:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # noqa: S101  (asked for, as the other)
        assert stdout is not None  # noqa: S101
        try:
            stdin.write(LENGTH.pack(len(message)))
            stdin.write(message)
            stdin.flush()
            word, _, text = stdout.readline().strip().partition(b" ")
        except OSError as error:
            self.kill()
            raise OperationalError("The process that writes calls has ended.") from error
        if word == FAILED:
            raise NotWritten(text.decode())
        if word == LATER:
            raise OperationalError(text.decode())
        if word != DONE:
            self.kill()
            raise OperationalError("The process that writes calls has ended.")


def _widen(pipe: Any) -> None:
    """Let a pipe take a whole batch at once, where that can be said (Linux).

    Otherwise it takes 64 KiB, and for each further piece the thread waits for its turn with Python, which it takes from
    the event loop.
    """
    if sys.platform != "linux":
        return
    import fcntl  # which not every system has

    with suppress(OSError):  # this user has as much in pipes as one may have
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
