"""A request that is killed (`kill -9`) before any one of the statements it sends to the database."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from django.db import connection, connections


def killed_before(statement: int, request: Callable[[], Any]) -> bool:
    """Make a request in a process of its own that dies before its how manieth statement; return whether it died.

    Where it has fewer statements its answer is lost all the same, as when the process dies before it is sent.
    """
    _hang_up()
    child = os.fork()
    if child == 0:
        try:
            _dying(statement, request)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the request itself failed"
    return os.WIFSIGNALED(status)


def _dying(statement: int, request: Callable[[], Any]) -> None:
    sent = 0

    def count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal sent
        sent += 1
        if sent == statement:
            os.kill(os.getpid(), signal.SIGKILL)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(count):
        request()
    os._exit(0)


def _hang_up() -> None:
    """Leave the child no connection of this process: both would talk over it."""
    for one in connections.all(initialized_only=True):
        one.close()
        if hasattr(one, "close_pool"):
            one.close_pool()


def each_statement(prepare: Callable[[], Any], request: Callable[[Any], Any], check: Callable[[Any], None]) -> int:
    """Kill a request before each of its statements, each time prepared anew; check what is left; return how many."""
    statement = 1
    while True:
        prepared = prepare()
        died = killed_before(statement, lambda prepared=prepared: request(prepared))
        check(prepared)
        if not died:
            return statement - 1
        statement += 1
