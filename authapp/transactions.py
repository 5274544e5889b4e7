"""Do something in one transaction, and again when another one got in its way.

A client, a person or a token may be deleted while a request is using it. The database then refuses the insert that
points at it, or breaks a deadlock by ending one side. Nothing is lost by starting over: the second try sees what the
other request left.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from django.db import IntegrityError, OperationalError, transaction

Result = TypeVar("Result")

TRIES = 8
# PostgreSQL: serialization_failure, deadlock_detected.
_CONFLICTS = frozenset({"40001", "40P01"})


_under_way: ContextVar[bool] = ContextVar("authapp_transaction_under_way", default=False)


def is_under_way() -> bool:
    """Return whether this runs inside `in_transaction`, where nothing may wait for the network."""
    return _under_way.get()


def in_transaction(work: Callable[[], Result]) -> Result:
    """Return what `work` returns, committed.

    Raises:
        IntegrityError, OperationalError: of the last try, or at once when it is no conflict.
    """
    for tries_left in reversed(range(TRIES)):
        try:
            with transaction.atomic(), _marked():
                return work()
        except IntegrityError:
            if not tries_left:
                raise
        except OperationalError as error:
            if not tries_left or getattr(error.__cause__, "sqlstate", None) not in _CONFLICTS:
                raise
        # Those who met come back at different moments.
        time.sleep(random.uniform(0.005, 0.05))  # noqa: S311  (no secret)
    raise AssertionError("unreachable")


@contextmanager
def _marked() -> Iterator[None]:
    token = _under_way.set(True)
    try:
        yield
    finally:
        _under_way.reset(token)
