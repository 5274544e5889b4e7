"""What verifying an access token costs a call: kept, looked up, among many tokens, and in a flood of made-up ones.

    python -m tests.bench.verification [--rounds 15] [--count 200] [--largest 1000000] [--flood-seconds 4]

DATABASE_URL may name a PostgreSQL server, whose user may create databases; otherwise it is SQLite. The database is made
for this and dropped. What is compared runs in turn, round by round; figures are CPU time of the process that serves, so
another program on the machine moves them little; compare the ratios. Needs Linux (/proc).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.bench import flood, site
from tests.bench.site import ERAS, Call, progress

SIZES = (1_000, 10_000, 100_000, 1_000_000)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run on the event loop that uvicorn takes."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        new_event_loop = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(coroutine)


async def cost(work: Callable[[], Awaitable[Any]], count: int, clock: Callable[[], float] = time.process_time) -> float:
    """Return the microseconds of CPU of this process for each of `count` repetitions, or of another clock."""
    gc.collect()
    before = clock()
    for _ in range(count):
        await work()
    return (clock() - before) / count * 1e6


# --- Calls -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def plain_sdk() -> AsyncIterator[Any]:
    """The same tool on the SDK's own server, without authentication and without Django."""
    from mcp.server.mcpserver import MCPServer
    from typing_extensions import TypedDict

    class PublicInfo(TypedDict):
        server: str
        resource: str
        time: str

    # pydantic looks names of annotations up in the module
    globals()["PublicInfo"] = PublicInfo
    server: Any = MCPServer("plain", log_level="WARNING")

    @server.tool("public-info", title="About this server")
    async def public_info() -> PublicInfo:
        """Tell which server this is and what time it has."""
        return PublicInfo(server="Star", resource=site.RESOURCE, time=time.strftime("%Y-%m-%dT%H:%M:%S+00:00"))

    application = server.streamable_http_app(streamable_http_path="/star", stateless_http=True)
    async with server.session_manager.run():
        yield application


@asynccontextmanager
async def our_server() -> AsyncIterator[Any]:
    """The ASGI application of /star, running, when it may keep what it looked up."""
    from mcpapp import brake
    from mcpapp.asgi import ResourceServer

    brake.FREE_PER_SECOND = 10**9  # what a refusal costs is measured here, not how long it waits
    application = ResourceServer()
    async with application.running():
        feed = application._verifier._cache.feed
        for _ in range(200):
            if feed is not None and feed.are_known():
                break
            await asyncio.sleep(0.05)
        else:
            raise SystemExit("No feed of changes: nothing would be kept.")
        yield application


async def measure_calls(token: str, rounds: int, count: int) -> None:
    """Print what a call costs: plain, without authentication, with a kept token, with one that is looked up."""
    import mcpapp.asgi

    names = ("plain SDK", "no authentication", "kept", "looked up")
    figures: dict[tuple[str, str], list[float]] = {(era, name): [] for era in ERAS for name in names}
    authenticate = mcpapp.asgi.authenticate
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(plain_sdk())
        application = await stack.enter_async_context(our_server())
        verifier = application._verifier
        identity = await verifier.verify(token, site.RESOURCE)

        async def constant(*_: Any) -> Any:
            return identity

        async def one(name: str, call: Call) -> None:
            if name == "looked up":
                verifier._cache.forget(None)
            await call.send(plain if name == "plain SDK" else application)

        for number in range(rounds + 1):
            for era in ERAS:
                call = Call(era, token)
                turn = number % len(names)
                for name in (*names[turn:], *names[:turn]):
                    mcpapp.asgi.authenticate = constant if name == "no authentication" else authenticate
                    figure = await cost(lambda name=name, call=call: one(name, call), count if number else count // 4)
                    if number:  # the first warms
                        figures[era, name].append(figure)
            mcpapp.asgi.authenticate = authenticate
            progress(f"calls: round {number} of {rounds}")
    print(f"\nCPU of a call of public-info in µs: median (least–most) of {rounds} × {count}")
    for era in ERAS:
        median = {name: statistics.median(figures[era, name]) for name in names}
        for name in names:
            values = figures[era, name]
            print(
                f"  {era}  {name:18} {median[name]:7.0f}  ({min(values):.0f}–{max(values):.0f})"
                f"  {median['plain SDK'] / median[name]:.2f} of the plain SDK's speed"
            )
        without, kept, cold = (figures[era, name] for name in names[1:])
        ratio = statistics.median(one / other for one, other in zip(kept, without, strict=True))
        lookup = statistics.median(one - other for one, other in zip(cold, kept, strict=True))
        print(f"  {era}  kept / no authentication {ratio:.3f}  (goal: at most 1.03)")
        print(f"  {era}  a lookup adds {lookup:.0f} µs, {lookup / median['kept']:.2f} calls  (goal: at most 1)")


async def measure_crowd(token: str) -> None:
    """Print how many lookups 50 calls make that come at once with a token that is not kept."""
    async with our_server() as application:
        lookups = flood.counted_reads()
        application._verifier._cache.forget(None)
        before = lookups()
        await asyncio.gather(*(Call(ERAS[0], token).send(application) for _ in range(50)))
        print(f"\n50 calls at once with one token that was not kept: {lookups() - before} lookup  (goal: 1)")


# --- Lookups -----------------------------------------------------------------------------------------------


async def measure_lookups(tokens: list[str], size: int, rounds: int) -> tuple[str, list[str]]:
    """Return a line with what a lookup costs at a size, and how the database means to find the row."""
    import hashlib

    from asgiref.sync import sync_to_async
    from django.db import connection
    from oauth2_provider.models import get_access_token_model

    from authapp import direct, token_rows
    from authapp.tokens import _read_with_orm, find_access_token
    from mcpapp.database import own_connections

    turn = 0

    def next_token() -> str:
        nonlocal turn
        turn += 1
        return tokens[turn % len(tokens)]

    async def by_statement() -> None:
        assert await find_access_token(next_token()) is not None

    async def by_orm() -> None:
        async with own_connections():
            assert await _read_with_orm(hashlib.sha256(next_token().encode()).hexdigest()) is not None

    async def by_token() -> None:
        async with own_connections():
            assert not await get_access_token_model().objects.filter(token="not there").aexists()

    figures: dict[str, list[float]] = {"statement": [], "took": [], "ORM": [], "token": []}
    plan: list[str] = []
    async with our_server():
        reader = direct.reader()
        assert reader is not None
        await cost(by_statement, 100)
        await cost(by_orm, 20)
        for _ in range(rounds):
            figures["statement"].append(await cost(by_statement, 500))
            figures["took"].append(await cost(by_statement, 500, time.perf_counter))
            figures["ORM"].append(await cost(by_orm, 50))
        if size <= 100_000:  # in a million the file is read from end to end for each
            figures["token"] = [await cost(by_token, 1, time.perf_counter) for _ in range(3)]
        statement = token_rows._query(reader.alias, reader.placeholder).statement
        checksum = hashlib.sha256(tokens[0].encode()).hexdigest()

        def explain() -> list[str]:
            with connection.cursor() as cursor:
                prefix = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
                cursor.execute(f"{prefix} {statement.replace(reader.placeholder, '%s')}", [checksum])
                return [str(row[-1]) for row in cursor.fetchall()]

        plan = await sync_to_async(explain)()
    median = {name: statistics.median(values) if values else None for name, values in figures.items()}
    cells = [f"{value:12.0f}" if value is not None else " " * 11 + "–" for value in median.values()]
    return f"  {size:9,} " + "".join(cells), plan


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--count", type=int, default=200, help="calls of each kind in a round")
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="the most tokens that lookups are measured with")
    parser.add_argument("--flood-seconds", type=float, default=4, help="seconds of each part of the flood of servers")
    parser.add_argument("--rate", type=int, default=10_000, help="made-up tokens a second that the flood aims at")
    parser.add_argument(
        "--only", choices=("calls", "lookups", "crowd", "refusals", "flood"), nargs="*", help="these parts alone"
    )
    options = parser.parse_args()
    parts = options.only or ["calls", "crowd", "refusals", "flood", "lookups"]
    with tempfile.TemporaryDirectory(prefix="star-bench-") as name:
        database, drop = site.own_database(os.environ.get("DATABASE_URL", ""), Path(name))
        try:
            site.set_up(database)
            measure(parts, options, Path(name))
        finally:
            from django.db import connections

            connections.close_all()
            drop()


def measure(parts: list[str], options: argparse.Namespace, folder: Path) -> None:
    """Measure the parts that are wanted."""
    from django.db import connection, connections

    tokens = site.make_tokens(500)
    print(f"Database: {connection.vendor}")
    if "calls" in parts:
        run(measure_calls(tokens[0], options.rounds, options.count))
    if "crowd" in parts:
        run(measure_crowd(tokens[0]))
    if "refusals" in parts:
        run(flood.measure_refusals(tokens, our_server, cost, options.rounds, options.rate))
    if "flood" in parts:
        for workers in (1, 2):
            run(flood.measure_flood(workers, tokens[0], folder, options.flood_seconds, options.rate))
    if "lookups" in parts:
        plans = {}
        print(
            "\nA lookup in µs, medians: CPU of the prepared statement and the time it took; CPU through the ORM; time"
            "\nby the column `token`, which has no index\n     tokens    statement        took         ORM    by token"
        )
        for size in SIZES:
            if size <= options.largest:
                progress(f"lookups: {size:,} tokens")
                site.fill(size)
                line, plans[size] = run(measure_lookups(tokens, size, 5))
                print(line, flush=True)
        for size, plan in plans.items():
            print(f"\nHow the row is found among {size:,} tokens:\n  " + "\n  ".join(plan))
    connections.close_all()


if __name__ == "__main__":
    main()
