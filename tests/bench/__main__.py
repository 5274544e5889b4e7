"""Measure Star beside other MCP servers, and write the figures into docs/performance.md.

    python -m tests.bench [--full] [--only http lookups …] [--gate]

`make bench` runs it (ARGS='--full'). A short run takes less than ten minutes, a full one about an hour. Measure on a
machine that does nothing else. DATABASE_URL may name a PostgreSQL server whose user may create databases, for calls;
otherwise they run on SQLite. What is made is dropped afterwards. Needs Linux (/proc).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench import (
    console_client,
    field,
    gate,
    in_process,
    lifetime,
    lookups,
    measured,
    report,
    rounds,
    site,
    token_endpoint,
)
from tests.bench.goals import judge
from tests.bench.peers import Peers, default_cache
from tests.bench.processes import ROOT, require_proc

PARTS = ("calls", "http", "lifetime", "lookups", "exchanges", "console")


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    whole = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = whole.add_argument
    add("--full", action="store_true", help="more rounds, longer ones, 10⁶ tokens, two more servers")
    add("--only", nargs="*", choices=PARTS, default=PARTS, help="these parts alone")
    add("--contenders", nargs="*", help="these servers alone (keys of tests/bench/field.py)")
    add("--without-node", action="store_true", help="leave the servers on Node out: nothing is installed")
    add("--cache", type=Path, default=default_cache(), metavar="DIR", help="where they are installed (%(default)s)")
    add("--postgresql", default="", metavar="URL", help="measure lookups and exchanges there too; may create databases")
    add("--rounds", type=int, help="rounds of each measurement (5; full: 11), or three fifths of it")
    add("--count", type=int, default=200, help="calls of each kind in a round in process (%(default)s)")
    add("--seconds", type=float, help="seconds under load of each server in a round (1.2; full: 4)")
    add("--connections", type=int, nargs="*", default=[1, 64], help="besides 16, for ours and the SDK's (1 64)")
    add("--node-warm-up", type=float, default=rounds.NODE_WARM_UP_SECONDS, help="seconds for each era (%(default)g)")
    add("--million", action="store_true", help="memory over a million calls instead of 100 000")
    add("--memory-calls", type=int, default=100_000, help="or over so many (%(default)s)")
    add("--docs", type=Path, default=ROOT / "docs", metavar="DIR", help="where performance.md is that is written into")
    add("--no-write", action="store_true", help="print the report only")
    gate.add_options(whole)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return the exit code."""
    options = parser().parse_args(arguments)
    require_proc()
    # So that what was started is ended, whichever way this is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with site.own_site(os.environ.get("DATABASE_URL", "")) as folder:
            return (
                gate.pass_or_fail(options)
                if options.gate
                else measure(options, folder, list(arguments or sys.argv[1:]))
            )
    except KeyboardInterrupt:
        site.progress("interrupted: nothing was written")
        return 130


def measure(options: argparse.Namespace, folder: Path, arguments: Sequence[str]) -> int:
    """Measure the parts that are wanted, print the report, and write it into the document."""
    wants, full = set(options.only), options.full
    number = options.rounds or (11 if full else 5)
    seconds = options.seconds or (4.0 if full else 1.2)
    found = measured.Measured(command=command_of(arguments), machine=measured.machine(), versions=measured.versions())
    found.database = "PostgreSQL" if os.environ.get("DATABASE_URL", "").startswith("postgres") else "SQLite"
    tokens = site.make_tokens(field.COLD_TOKENS if "http" in wants else 500)
    if "http" in wants or "lifetime" in wants:
        found.field_of = the_field(options, tokens, found)
    if "calls" in wants:
        with took("calls in process"):
            found.calls = in_process.run(in_process.measure_calls(tokens[0], number * 2, options.count))
    if "http" in wants:
        amount = rounds.Amount(number, seconds, tuple(options.connections), options.node_warm_up)
        with took("calls over HTTP"):
            found.http = rounds.measure(found.field_of, folder, amount)
    if "lifetime" in wants:
        ours = next((one for one in found.field_of if one.key == field.WARM), None)
        calls = 1_000_000 if options.million else options.memory_calls
        with took("start and memory"):
            found.lifetime = lifetime.measure(ours, folder, calls) if ours else None
    databases = {"SQLite": "", **({"PostgreSQL": options.postgresql} if options.postgresql else {})}
    for name, url in databases.items():
        if "lookups" in wants:
            with took(f"lookups on {name}"):
                sizes = (1_000, 100_000, 1_000_000) if full else (1_000, 100_000)
                found.lookups[name] = lookups.measure_elsewhere(url, sizes)
        if "exchanges" in wants:
            with took(f"exchanges on {name}"):
                found.exchanges[name] = token_endpoint.measure(300 if full else 100, 5 if full else 3, url)
    if "console" in wants:
        with took("the console client"):
            found.console = console_client.measure(tokens[0], folder, number)
    print(report.report(found))
    if not options.no_write:
        report.write(found, options.docs)
        site.progress(f"written into {report.DOCUMENT} and {report.CHART} in {options.docs}")
    missed = [goal.text for goal in judge(found) if goal.reached is False]
    site.progress(f"{len(missed)} goals were missed" + "".join(f"\n  {text}" for text in missed))
    return 0


def command_of(arguments: Sequence[str]) -> str:
    """Return the command for the document, without URLs, which may hold a password, and this machine's paths."""
    told = [re.sub(r"(?<![\w.])[/~].*", "DIR", re.sub(r"\w+://.*", "URL", one)) for one in arguments]
    return shlex.join(["python", "-m", "tests.bench", *told])


def the_field(options: argparse.Namespace, tokens: list[str], found: measured.Measured) -> list[field.Contender]:
    """Return who is measured; install what is missing."""
    needs_node = "http" in options.only and not options.without_node
    peers = Peers(options.cache) if needs_node else None
    if peers is not None:
        peers.install()
        found.versions |= peers.versions()
    wanted = options.contenders
    everybody = field.contenders(tokens, peers)
    if wanted and (unknown := set(wanted) - {one.key for one in everybody}):
        raise SystemExit(f"Unknown: {', '.join(sorted(unknown))}. There are {', '.join(one.key for one in everybody)}.")
    return [
        one for one in everybody if (one.key in wanted if wanted else options.full or one.key not in field.FULL_ONLY)
    ]


@contextlib.contextmanager
def took(what: str) -> Any:
    """Tell how long a part took."""
    started = time.monotonic()
    yield
    site.progress(f"{what}: {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
