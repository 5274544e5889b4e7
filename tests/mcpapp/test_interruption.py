"""What takes too long is ended, and told from what somebody else ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from mcpapp.interruption import Interruption

pytestmark = pytest.mark.anyio


async def in_time(work: Callable[[], Awaitable[str]], seconds: float = 0.02) -> str:
    interruption = Interruption()
    timer = interruption.after(seconds)
    try:
        return await work()
    except asyncio.CancelledError:
        if interruption.is_cause():
            return "too long"
        raise
    finally:
        timer.cancel()
        interruption.close()


async def test_what_takes_too_long_is_ended_and_the_task_goes_on() -> None:
    async def slow() -> str:
        await asyncio.sleep(60)
        return "never"

    async def quick() -> str:
        await asyncio.sleep(0)
        return "done"

    assert await in_time(quick) == "done"
    assert await in_time(slow) == "too long"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0.15)  # and it is not interrupted later


async def test_what_catches_it_hears_of_it_again() -> None:
    heard: list[str] = []

    async def stubborn() -> str:
        for _ in range(3):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                heard.append("heard")
        return "gave in"

    assert await in_time(stubborn) == "gave in"
    assert heard == ["heard"] * 3
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0.15)


@pytest.mark.parametrize("is_late", [False, True], ids=["alone", "with-ours"])
async def test_a_cancellation_of_somebody_elses_goes_on(is_late: bool) -> None:
    async def blocking() -> str:
        try:
            await asyncio.sleep(60)
        finally:
            if is_late:  # both at once: whoever else cancelled it still has it end
                await asyncio.shield(asyncio.sleep(0.05))
        return "never"

    task = asyncio.create_task(in_time(blocking, 0.03 if is_late else 60))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_one_within_another_ends_its_own_part_alone() -> None:
    async def inner() -> str:
        async def slow() -> str:
            await asyncio.sleep(60)
            return "never"

        found = await in_time(slow, 0.01)
        await asyncio.sleep(0.03)
        return f"inner {found}"

    assert await in_time(inner, 5) == "inner too long"

    async def outer() -> str:
        async def slow() -> str:
            await asyncio.sleep(60)
            return "never"

        return await in_time(slow, 5)

    assert await in_time(outer, 0.01) == "too long"
