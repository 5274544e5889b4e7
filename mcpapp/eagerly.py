"""Run a coroutine as far as it gets by itself, before anything is set up for one that has to wait.

Most calls never wait: timers, and whoever looks after a call, would be made for nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


async def eagerly(work: Coroutine[Any, Any, T], otherwise: Callable[[Awaitable[T]], Awaitable[T]]) -> T:
    """Return what `work` returns; if it has to wait, `otherwise` awaits the rest of it, and may do more."""
    try:
        waited_for = work.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    try:
        return await otherwise(_Rest(work, waited_for))
    finally:
        work.close()  # if nobody awaited it to its end


class _Rest(Awaitable[T]):
    """What is left of a coroutine that waits for something."""

    def __init__(self, work: Coroutine[Any, Any, T], waited_for: Any) -> None:
        self._work = work
        self._waited_for = waited_for

    def __await__(self) -> Generator[Any, Any, T]:
        """Wait for it, and then go on, in the same task (PEP 492)."""
        waited_for = self._waited_for
        while True:
            thrown: BaseException | None = None
            sent: Any = None
            try:
                sent = yield waited_for
            except BaseException as error:  # a cancellation, above all
                thrown = error
            try:
                waited_for = self._work.send(sent) if thrown is None else self._work.throw(thrown)
            except StopIteration as done:
                value: T = done.value
                return value
