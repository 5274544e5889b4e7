"""A flood of made-up tokens: what a refusal costs, and what honest calls feel of ten thousand a second."""

from __future__ import annotations

import asyncio
import json
import secrets
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.bench import site
from tests.bench.in_process import cost, our_server
from tests.bench.processes import ROOT, ServerProcess, uvicorn
from tests.bench.site import ERAS, Call, ask, http_scope, progress

HONEST = 4
"""How many honest clients call, each one call after another."""
CONNECTIONS = 16
"""Over how many connections the made-up tokens come."""


def counted_reads() -> Callable[[], int]:
    """Return a function that says how often the database was read since, by the reader or by Django."""
    from django.db.backends.utils import CursorWrapper

    from authapp import direct

    reads = 0
    reader: Any = direct.reader()
    fetch, execute = reader.fetch, CursorWrapper.execute

    async def counted_fetch(statement: str, parameter: str) -> Any:
        nonlocal reads
        reads += "pg_notify" not in statement  # that is the feed's, which proves itself once a second
        return await fetch(statement, parameter)

    def counted_execute(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal reads
        reads += 1
        return execute(self, *args, **kwargs)

    reader.fetch, CursorWrapper.execute = counted_fetch, counted_execute  # type: ignore[method-assign]
    return lambda: reads


# --- In process --------------------------------------------------------------------------------------------


async def measure_refusals(tokens: list[str], rounds: int, rate: int) -> None:
    """Print what the refusal of each kind of token costs, how often the database was read for it, what it evicted."""
    import hashlib

    from oauth2_provider.models import get_access_token_model

    from authapp.tokens import PREFIX, generate_access_token

    revoked, kept = tokens.pop(), tokens[:100]
    await get_access_token_model().objects.filter(token_checksum=hashlib.sha256(revoked.encode()).hexdigest()).adelete()
    kinds: dict[str, Callable[[], str]] = {
        "made up": lambda: secrets.token_urlsafe(40),
        "made up, our prefix": lambda: PREFIX + secrets.token_urlsafe(44),
        "revoked, again and again": lambda: revoked,
        "well marked, unknown": generate_access_token,
    }
    figures: dict[str, list[float]] = {name: [] for name in kinds}
    reads: dict[str, int] = dict.fromkeys(kinds, 0)
    count = 1000
    async with our_server() as application:
        cache = application.verifier._cache
        counted = counted_reads()
        for token in kept:
            await application.verifier.verify(token, site.RESOURCE)
        for number in range(rounds + 1):
            for name, make in kinds.items():
                scopes = [
                    http_scope({"Host": site.HOST, "Authorization": f"Bearer {make()}", "Content-Length": "0"})
                    for _ in range(count)
                ]
                before, entries = counted(), set(cache._entries)

                async def refused(scopes: list[dict[str, Any]] = scopes) -> None:
                    status, _ = await ask(application, scopes.pop())
                    assert status == 401

                figure = await cost(refused, count)
                if number:
                    figures[name].append(figure)
                    reads[name] += counted() - before
                assert set(cache._entries) == entries, "nothing good was evicted"
                assert len(entries) == len(kept)
            progress(f"refusals: round {number} of {rounds}")
    print(
        f"\nA refusal in process, µs of CPU: median (least–most) of {rounds} × {count}; of one core at {rate:,}/s; "
        f"database reads\n({len(kept)} good tokens were kept all the time, and none was evicted)"
    )
    for name, values in figures.items():
        median = statistics.median(values)
        print(
            f"  {name:26} {median:5.0f}  ({min(values):.0f}–{max(values):.0f})  {median * rate / 1e4:4.0f} %"
            f"  {reads[name]} reads for {rounds * count}"
        )


# --- Servers -----------------------------------------------------------------------------------------------


class Honest:
    """Clients that call and wait for the answer, one call after another, over one connection each."""

    def __init__(self, port: int, token: str) -> None:
        self.port = port
        self.requests = [Call(era, token).over_http() for era in ERAS]
        self.waits: list[float] = []

    async def work(self, seconds: float) -> None:
        """Call for some time; the calls of both eras alternate."""
        self.waits = []
        await asyncio.gather(*(self._client(time.monotonic() + seconds) for _ in range(HONEST)))

    async def _client(self, until: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        number = 0
        while (started := time.monotonic()) < until:
            number += 1
            writer.write(self.requests[number % len(self.requests)])
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b" 200 " not in head[:16]:
                raise SystemExit(f"An honest call was refused: {head!r}")
            if b"transfer-encoding: chunked" in head:
                await reader.readuntil(b"\r\n0\r\n\r\n")
            else:
                await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
            self.waits.append(time.monotonic() - started)
        writer.close()


@asynccontextmanager
async def flooding(port: int, rate: int, seconds: float, prefix: str) -> AsyncIterator[dict[str, float]]:
    """Send made-up tokens from another process for some time; the figures are there at the end."""
    sender = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.flood_sender", *map(str, (port, rate, seconds, CONNECTIONS)), prefix),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert sender.stdout is not None
    await sender.stdout.readline()
    report: dict[str, float] = {}
    yield report
    report.update(json.loads(await sender.stdout.readline() or "{}"))
    if await sender.wait():
        raise SystemExit("The flood broke off.")


async def measure_flood(workers: int, token: str, folder: Path, seconds: float, rate: int) -> None:
    """Print what honest clients get with and without the flood, in turn, and what the flood reached."""
    rounds = 3
    calm: list[tuple[float, float, float]] = []
    flooded: list[tuple[float, float, float]] = []
    alone: list[tuple[float, float]] = []
    reports: list[dict[str, float]] = []
    with ServerProcess("ours", uvicorn("config.asgi:application", workers), folder) as server:
        await asyncio.sleep(2)  # the other workers, and the feed of changes
        honest = Honest(server.port, token)

        async def figures() -> tuple[float, float, float]:
            before = server.cpu_seconds()
            await honest.work(seconds)
            used = (server.cpu_seconds() - before) / seconds
            return len(honest.waits) / seconds, statistics.median(honest.waits) * 1000, used

        await honest.work(1)  # warm
        for number in range(rounds):
            calm.append(await figures())
            prefix = ("", "star_")[number % 2]
            async with flooding(server.port, rate, seconds + 1, prefix) as report:
                await asyncio.sleep(0.5)
                flooded.append(await figures())
            reports.append(report)
            before = server.cpu_seconds()
            async with flooding(server.port, rate, seconds, prefix) as report:
                pass
            alone.append((report["rate"], (server.cpu_seconds() - before) / max(report["answered"], 1) * 1e6))
            progress(f"flood, {workers} worker(s): round {number + 1} of {rounds}")

    def middle(values: Any) -> float:
        return statistics.median(values)

    refusal = middle(cpu for _, cpu in alone)
    print(
        f"\n{workers} worker(s) of uvicorn, {HONEST} honest clients, a flood that aims at {rate:,}/s over "
        f"{CONNECTIONS} connections; medians of {rounds} × {seconds:g} s\n"
        f"  the flood alone           {middle(r for r, _ in alone):7,.0f} refusals/s at {refusal:.0f} µs of server CPU "
        f"each: {rate:,}/s take {refusal * rate / 1e4:.0f} % of a core"
    )
    for name, rows in (("honest calls alone", calm), ("honest calls in the flood", flooded)):
        rates, waits, used = zip(*rows, strict=True)
        each = middle(cores / calls for cores, calls in zip(used, rates, strict=True)) * 1e6
        print(
            f"  {name:25} {middle(rates):7,.0f} calls/s, each after {middle(waits):.1f} ms; "
            f"server on {middle(used):.2f} cores, {each:.0f} µs a call"
        )
    print(
        f"  in it were {middle(r['rate'] for r in reports):,.0f} refusals/s, its sender on "
        f"{middle(r['cpu'] for r in reports):.2f} cores; honest calls kept "
        f"{middle(f[0] / c[0] for f, c in zip(flooded, calm, strict=True)):.2f} of their rate  (goal: at least 0.5)",
        flush=True,
    )
