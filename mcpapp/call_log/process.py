"""The process that writes calls for a busy worker: `python -m mcpapp.call_log.process`, started by `Helper`.

It has no site, only Django's database layer, and ends when its standard input does: with the worker, however that ends.
"""

from __future__ import annotations

import marshal
import os
import pickle
import signal
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, BinaryIO

import django
from django.conf import settings
from django.db import InterfaceError, OperationalError, connections

from mcpapp.call_log import store
from mcpapp.call_log.plan import Plan

NICE = 5
"""Where processors are short, calls come before rows: these get a third of what a worker gets, and need a tenth."""
LENGTH = struct.Struct("!Q")
"""Stands before each message to this process."""
DONE, LATER, FAILED = b"done", b"later", b"failed"
"""The first word of a line that this process answers each message with; the rest says why."""


def main() -> None:
    """Write what arrives until nothing more does."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # they mean the worker, which says by itself when it is over
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    with suppress(AttributeError, OSError):
        os.nice(NICE)
    source, target = sys.stdin.buffer, sys.stdout.buffer
    hello = _message(source)
    if hello is None:
        return
    plan, configuration = pickle.loads(hello)  # noqa: S301  (from the worker that started this)
    _configure(plan, configuration)
    answer = DONE
    while True:
        target.write(answer + b"\n")
        target.flush()
        message = _message(source)
        if message is None:
            break
        calls, clock, dropped = marshal.loads(message)  # noqa: S302  (the same)
        answer = _written(plan, calls, clock, dropped)
    connections.close_all()


def _message(source: BinaryIO) -> bytes | None:
    """Return the next message; None at the end, and for what the worker could not send whole."""
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    message = source.read(length)
    return message if len(message) == length else None


def _configure(plan: Plan, configuration: Mapping[str, Any]) -> None:
    settings.configure(
        DATABASES={"default": {}, plan.alias: configuration["database"]},
        USE_TZ=configuration["use_tz"],
        TIME_ZONE=configuration["time_zone"],
    )
    django.setup(set_prefix=False)


def _written(plan: Plan, calls: list[Any], clock: float, dropped: int) -> bytes:
    """Write, and return what to answer."""
    try:
        store.write(plan, calls, clock, dropped)
    except (OperationalError, InterfaceError) as error:
        return _told(LATER, error)
    except Exception as error:
        return _told(FAILED, error)
    return DONE


def _told(word: bytes, error: Exception) -> bytes:
    """Return an answer in one line; further lines of a database's error may quote what was to be written."""
    first, *_ = str(error).splitlines() or [""]
    return word + f" {type(error).__name__}: {first[:500]}".encode("utf-8", "replace")


if __name__ == "__main__":
    main()
