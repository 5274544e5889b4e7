"""What a call costs in process, without sockets: in CPU of this process, or in functions called, which noise leaves."""

from __future__ import annotations

import asyncio
import gc
import itertools
import statistics
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from tests.bench import site
from tests.bench.site import ERAS, Call, progress

PLAIN, OPEN, KEPT, COLD, LOGGED = "plain SDK", "no authentication", "kept", "looked up", "kept and logged"
NAMES = (PLAIN, OPEN, KEPT, COLD, LOGGED)

CallFigures = dict[tuple[str, str], list[float]]
"""What a call costs, in microseconds of CPU or in function calls, by era and name, one for each round; those of a round
belong together."""

Clock = Callable[[], float]
"""Seconds of CPU so far, or millions of function calls."""


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run on the event loop that uvicorn takes."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        new_event_loop = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(coroutine)


@contextmanager
def function_calls() -> Iterator[Clock]:
    """Count what is called, in Python and in C, by this thread and by those that start now; give the count in millions.

    It is the same on a busy machine and on an idle one. What is slow without calling anything is not seen.
    """
    counted = itertools.count()

    def noted(_frame: Any, event: str, _argument: Any) -> None:
        if event in ("call", "c_call"):
            next(counted)

    def so_far() -> float:
        return next(counted) / 1e6

    before = sys.getprofile()
    threading.setprofile(noted)
    sys.setprofile(noted)
    try:
        yield so_far
    finally:
        sys.setprofile(before)
        threading.setprofile(before)


async def cost(
    work: Callable[[], Awaitable[Any]],
    count: int,
    clock: Clock = time.process_time,
    after: Callable[[], Awaitable[Any]] | None = None,
) -> float:
    """Return the microseconds of CPU of this process for each of `count` repetitions, or of another clock.

    What is to be done `after` all of them counts as theirs.
    """
    gc.collect()
    before = clock()
    for _ in range(count):
        await work()
    if after is not None:
        await after()
    return (clock() - before) / count * 1e6


@asynccontextmanager
async def plain_sdk() -> AsyncIterator[Any]:
    """The same tool on the SDK's own server, without authentication and without Django."""
    from tests.bench.applications import plain_server

    server = plain_server()
    application = server.streamable_http_app(streamable_http_path="/star", stateless_http=True)
    async with server.session_manager.run():
        yield application


@asynccontextmanager
async def our_server() -> AsyncIterator[Any]:
    """The ASGI application of /star, running, when it may keep what it looked up."""
    from mcpapp import brake
    from mcpapp.asgi import ResourceServer

    free, brake.FREE_PER_SECOND = brake.FREE_PER_SECOND, 10**9  # a refusal's cost is measured, not how long it waits
    try:
        application = ResourceServer()
        async with application.running():
            feed = application.verifier._cache.feed
            for _ in range(200):
                if feed is not None and feed.are_known():
                    break
                await asyncio.sleep(0.05)
            else:
                raise SystemExit("No feed of changes: nothing would be kept.")
            yield application
    finally:
        brake.FREE_PER_SECOND = free


async def measure_calls(
    token: str, rounds: int, count: int, clock: Clock = time.process_time, names: Sequence[str] = NAMES
) -> CallFigures:
    """Return what a call costs: plain, without authentication, with a kept token, with one that is looked up, logged.

    Without the last one nothing is logged, and no thread sums up what was.
    """
    import mcpapp.asgi
    from mcpapp.call_log import writer

    writer.BUSY = 10**9  # what another process writes is not in the CPU of this one
    figures: CallFigures = {(era, name): [] for era in ERAS for name in names}
    authenticate = mcpapp.asgi.authenticate
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(plain_sdk())
        application = await stack.enter_async_context(our_server())
        verifier = application.verifier
        identity = await verifier.verify(token, site.RESOURCE)

        async def constant(*_: Any) -> Any:
            return identity

        log = writer.CallLog()
        if LOGGED in names:
            await stack.enter_async_context(log.running())

        async def one(name: str, call: Call) -> None:
            if name == COLD:
                verifier._cache.forget(None)
            await call.send(plain if name == PLAIN else application)

        async def written() -> None:
            while log.waiting:  # noqa: ASYNC110  (nobody tells)
                await asyncio.sleep(0.01)

        try:
            mcpapp.asgi.authenticate = constant
            await Call(ERAS[0], None).send(application)  # refused, unless the door is open as it is meant to be
            for number in range(rounds + 1):
                for era in ERAS:
                    call = Call(era, token)
                    turn = number % len(names)
                    for name in (*names[turn:], *names[:turn]):
                        mcpapp.asgi.authenticate = constant if name == OPEN else authenticate
                        application.call_log = log if name == LOGGED else None
                        repetitions = count if number else max(count // 4, 1)
                        figure = await cost(lambda name=name, call=call: one(name, call), repetitions, clock, written)
                        if number:  # the first warms
                            figures[era, name].append(figure)
                progress(f"calls in process: round {number} of {rounds}")
        finally:
            mcpapp.asgi.authenticate = authenticate
    return figures


def speed(figures: CallFigures, era: str, name: str, other: str = PLAIN, other_era: str = "") -> float:
    """Return how many times as fast a call is as another: the median over pairs of one round."""
    pairs = zip(figures[era, name], figures[other_era or era, other], strict=True)
    return statistics.median(theirs / ours for ours, theirs in pairs)


def lookup_in_calls(figures: CallFigures, era: str) -> float:
    """Return what a lookup adds, in calls with a kept token."""
    pairs = zip(figures[era, COLD], figures[era, KEPT], strict=True)
    return statistics.median(cold / kept - 1 for cold, kept in pairs)


def tell(figures: CallFigures) -> None:
    """Print what calls cost in CPU."""
    print("\nCPU of a call of public-info in process, µs: median (least–most); speed relative to the plain SDK's")
    for era in ERAS:
        for name in NAMES:
            values = figures[era, name]
            print(
                f"  {era}  {name:18} {statistics.median(values):7.0f}  ({min(values):.0f}–{max(values):.0f})"
                f"  {speed(figures, era, name):.2f} of the plain SDK's speed"
            )
        print(f"  {era}  kept / no authentication {1 / speed(figures, era, KEPT, OPEN):.3f}  (goal: at most 1.03)")
        print(f"  {era}  a lookup adds {lookup_in_calls(figures, era):.2f} calls  (goal: at most 1)")
