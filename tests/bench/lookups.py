"""What looking an access token up costs among many: CPU, time, and how the database means to find the row.

    python -m tests.bench.lookups [SIZE …]

DATABASE_URL may name a PostgreSQL server, whose user may create databases; otherwise it is SQLite. Prints JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tests.bench import site
from tests.bench.in_process import cost, our_server, run
from tests.bench.processes import ROOT
from tests.bench.site import progress

SIZES = (1_000, 10_000, 100_000, 1_000_000)


@dataclass(frozen=True)
class Lookup:
    """What a lookup costs among so many tokens, medians in µs, and how the database means to find the row."""

    size: int
    statement: float
    """CPU through the prepared statement."""
    took: float
    """Time of the same."""
    orm: float
    """CPU through the ORM."""
    by_token: float | None
    """Time by the column `token`, which has no index; None where that takes too long."""
    plan: list[str]


async def measure_lookups(tokens: list[str], size: int, rounds: int) -> Lookup:
    """Return what a lookup costs at a size."""
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
    async with our_server():
        reader = direct.reader()
        assert reader is not None
        await cost(by_statement, 1000)
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
    median = {name: statistics.median(values) for name, values in figures.items() if values}
    return Lookup(size, median["statement"], median["took"], median["ORM"], median.get("token"), plan)


def measure(tokens: list[str], sizes: Sequence[int]) -> list[Lookup]:
    """Return what a lookup costs at each size, in this process, which is the site."""
    found = []
    for size in sizes:
        progress(f"lookups: {size:,} tokens")
        site.fill(size)
        found.append(run(measure_lookups(tokens, size, 5)))
    return found


def measure_elsewhere(url: str, sizes: Sequence[int]) -> list[Lookup]:
    """Return the same from a process of its own, with another database."""
    command = [sys.executable, "-m", "tests.bench.lookups", *map(str, sizes)]
    environment = {**os.environ, "DATABASE_URL": url}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"Lookups could not be measured: exit code {done.returncode}.")
    return [Lookup(**one) for one in json.loads(done.stdout)]


def tell(found: Sequence[Lookup]) -> None:
    """Print tables."""
    print(
        "\nA lookup in µs, medians: CPU of the prepared statement and the time it took; CPU through the ORM; time"
        "\nby the column `token`, which has no index\n     tokens    statement        took         ORM    by token"
    )
    for one in found:
        by_token = "–" if one.by_token is None else f"{one.by_token:.0f}"
        print(f"  {one.size:9,}{one.statement:12.0f}{one.took:12.0f}{one.orm:12.0f}{by_token:>12}")
    for one in found:
        print(f"\nHow the row is found among {one.size:,} tokens:\n  " + "\n  ".join(one.plan))


def main() -> None:
    """Measure, and print JSON."""
    sizes = [int(size) for size in sys.argv[1:]] or SIZES
    with site.own_site(os.environ.get("DATABASE_URL", "")):
        print(json.dumps([asdict(one) for one in measure(site.make_tokens(500), sizes)]))


if __name__ == "__main__":
    main()
