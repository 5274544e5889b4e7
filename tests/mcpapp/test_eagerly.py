"""A coroutine runs as far as it gets by itself; only what waits is looked after."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Any

import pytest

from mcpapp.eagerly import eagerly

pytestmark = pytest.mark.anyio


async def refuse(_: Awaitable[Any]) -> Any:
    raise AssertionError("it did not have to wait")


class Looked:
    """What looks after the rest, and says so."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, rest: Awaitable[Any]) -> Any:
        self.count += 1
        return await rest


async def test_what_does_not_wait_is_done_at_once() -> None:
    async def inner() -> int:
        return 1

    async def work() -> int:
        return await inner() + 1

    async def fails() -> None:
        raise LookupError("mine")

    assert await eagerly(work(), refuse) == 2
    with pytest.raises(LookupError, match="mine"):
        await eagerly(fails(), refuse)


async def test_what_waits_goes_on_in_the_same_task_and_context() -> None:
    variable: ContextVar[str] = ContextVar("variable")
    looked = Looked()
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def work() -> Any:
        variable.set("mine")
        task = asyncio.current_task()
        await asyncio.sleep(0)
        first = await future
        with pytest.raises(LookupError):
            await failing()
        async with asyncio.timeout(5):
            await asyncio.sleep(0.01)
        assert asyncio.current_task() is task
        return first, variable.get()

    async def failing() -> None:
        await asyncio.sleep(0)
        raise LookupError

    asyncio.get_running_loop().call_later(0.01, future.set_result, "came")
    assert await eagerly(work(), looked) == ("came", "mine")
    assert looked.count == 1
    assert variable.get() == "mine"


async def test_a_cancellation_reaches_it_and_what_it_makes_of_that_counts() -> None:
    heard: list[str] = []

    async def work() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            heard.append("cancelled")
            await asyncio.sleep(0)
            raise
        finally:
            heard.append("cleaned up")
        return "never"

    task = asyncio.create_task(eagerly(work(), Looked()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert heard == ["cancelled", "cleaned up"]


async def test_what_nobody_awaits_to_its_end_is_closed() -> None:
    heard: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            heard.append("closed")

    async def drops(_: Awaitable[None]) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await eagerly(work(), drops)
    assert heard == ["closed"]
