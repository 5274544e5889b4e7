"""What verifying an access token costs a call: kept, looked up, among many tokens, and in a flood of made-up ones.

    python -m tests.bench.verification [--rounds 15] [--count 200] [--largest 1000000] [--flood-seconds 4]

DATABASE_URL may name a PostgreSQL server, whose user may create databases; otherwise it is SQLite. The database is made
for this and dropped. What is compared runs in turn, round by round; figures are CPU time of the process that serves, so
another program on the machine moves them little; compare the ratios. Needs Linux (/proc).
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

from tests.bench import flood, in_process, lookups, processes, site
from tests.bench.in_process import our_server, run
from tests.bench.issued import measure_issued
from tests.bench.site import ERAS, Call

# --- A crowd ----------------------------------------------------------------------------------------------


async def measure_crowd(token: str) -> None:
    """Print how many lookups 50 calls make that come at once with a token that is not kept."""
    async with our_server() as application:
        reads = flood.counted_reads()
        application.verifier._cache.forget(None)
        before = reads()
        await asyncio.gather(*(Call(ERAS[0], token).send(application) for _ in range(50)))
        print(f"\n50 calls at once with one token that was not kept: {reads() - before} lookup  (goal: 1)")


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--count", type=int, default=200, help="calls of each kind in a round")
    parser.add_argument(
        "--largest", type=int, default=lookups.SIZES[-1], help="the most tokens that lookups are measured with"
    )
    parser.add_argument("--flood-seconds", type=float, default=4, help="seconds of each part of the flood of servers")
    parser.add_argument("--rate", type=int, default=10_000, help="made-up tokens a second that the flood aims at")
    parser.add_argument(
        "--only",
        choices=("calls", "issued", "lookups", "crowd", "refusals", "flood"),
        nargs="*",
        help="these parts alone",
    )
    options = parser.parse_args()
    processes.require_proc()
    parts = options.only or ["calls", "issued", "crowd", "refusals", "flood", "lookups"]
    with site.own_site(os.environ.get("DATABASE_URL", "")) as folder:
        measure(parts, options, folder)


def measure(parts: list[str], options: argparse.Namespace, folder: Path) -> None:
    """Measure the parts that are wanted."""
    from django.db import connection

    tokens = site.make_tokens(500)
    print(f"Database: {connection.vendor}")
    if "calls" in parts:
        in_process.tell(run(in_process.measure_calls(tokens[0], options.rounds, options.count)))
    if "issued" in parts:
        run(measure_issued(tokens[0], options.rounds, options.count))
    if "crowd" in parts:
        run(measure_crowd(tokens[0]))
    if "refusals" in parts:
        run(flood.measure_refusals(tokens, options.rounds, options.rate))
    if "flood" in parts:
        for workers in (1, 2):
            run(flood.measure_flood(workers, tokens[0], folder, options.flood_seconds, options.rate))
    if "lookups" in parts:
        lookups.tell(lookups.measure(tokens, [size for size in lookups.SIZES if size <= options.largest]))


if __name__ == "__main__":
    main()
