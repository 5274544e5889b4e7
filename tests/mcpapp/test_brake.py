"""A flood of refused requests is slowed down; honest calls and single refusals are not."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
from asgiref.sync import sync_to_async

from mcpapp import brake
from mcpapp.brake import Brake
from mcpapp.registry import Catalog, tool
from tests.mcpapp.helpers import call, make_token, send, serving

pytestmark = pytest.mark.anyio


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A clock that stands still, and few refusals that are free."""
    monkeypatch.setattr(brake, "FREE_PER_SECOND", 3)
    monkeypatch.setattr(brake, "DELAY_SECONDS", 3600.0)

    class Clock:
        seconds = 100.0

        def monotonic(self) -> float:
            return self.seconds

    clock = Clock()
    monkeypatch.setattr(brake, "time", clock)
    return clock


async def test_refusals_beyond_the_free_ones_of_a_second_wait(now: Any) -> None:
    one = Brake()
    with anyio.fail_after(5):
        for _ in range(3):
            await one.refuse()
    late = asyncio.create_task(one.refuse())
    await asyncio.sleep(0.05)
    assert not late.done()
    now.seconds += 1
    with anyio.fail_after(5):
        await one.refuse()
    late.cancel()


async def test_no_more_wait_than_memory_is_given_to(now: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brake, "MAXIMUM_WAITING", 5)
    one = Brake()
    tasks = [asyncio.create_task(one.refuse()) for _ in range(20)]
    await asyncio.sleep(0.05)
    assert sum(not task.done() for task in tasks) == 5
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert one._waiting == 0


@pytest.mark.django_db(transaction=True)
async def test_a_flood_waits_and_an_honest_call_does_not(catalog: Catalog, alice: Any, now: Any) -> None:
    tool("work")(lambda: "done")
    token = await sync_to_async(make_token)(alice)
    async with serving() as endpoint:
        flood = [asyncio.create_task(send(endpoint, f"made-up-{number}", "tools/list")) for number in range(10)]
        with anyio.fail_after(5):
            while sum(task.done() for task in flood) < 3:  # noqa: ASYNC110  (they tell nobody)
                await asyncio.sleep(0.01)
            assert (await call(endpoint, token, "work"))["content"][0]["text"] == "done"
        assert {task.result().status_code for task in flood if task.done()} == {401}
        assert sum(not task.done() for task in flood) == 7
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)
