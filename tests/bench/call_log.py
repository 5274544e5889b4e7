"""What the log of calls costs: the same server with the log on and off, in turn.

    python -m tests.bench.call_log [--servers 4] [--rounds 16] [--seconds 0.4] [--tools public-info reads-a-row]

DATABASE_URL may name a PostgreSQL server, as for tests.bench.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
from collections.abc import Iterator
from pathlib import Path

from tests.bench import load, rounds, site
from tests.bench.processes import ServerProcess, require_proc, uvicorn
from tests.bench.site import ERAS, Call, progress

TOOLS = {"public-info": "the shortest call", "reads-a-row": "a tool that reads one row by the ORM"}
Pair = tuple[rounds.Run, rounds.Run]
OFF, ON = signal.SIGUSR2, signal.SIGUSR1


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.call_log", description=__doc__)
    parser.add_argument("--servers", type=int, default=4, help="processes one after another (%(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=16, help="with the log and without, for each of them (%(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=0.4, help="under load each time (%(default)s)")
    parser.add_argument("--tools", nargs="*", choices=list(TOOLS), default=list(TOOLS), help="these alone")
    options = parser.parse_args()
    require_proc()
    with site.own_site(os.environ.get("DATABASE_URL", "")) as folder:
        token = site.make_tokens(1)[0]
        for name in options.tools:
            pairs: list[Pair] = []
            for number in range(options.servers):
                pairs += measure(name, token, folder, options.rounds, options.seconds)
                progress(f"{name}: server {number + 1} of {options.servers}")
            tell(TOOLS[name], pairs)


def measure(
    name: str, token: str, folder: Path, number: int, seconds: float
) -> Iterator[tuple[rounds.Run, rounds.Run]]:
    """Return runs of one server, each without the log and with it."""
    command = uvicorn("tests.bench.applications:switched_log", 1, "--factory")
    with ServerProcess("call-log", command, folder, {"CALL_LOG": "true"}) as server:
        request = Call(ERAS[0], token, tool=name).over_http().decode("latin-1")

        def run(state: signal.Signals, how_long: float) -> rounds.Run:
            server.send_signal(state)
            plan = load.Plan(
                port=server.port, request=request, values=[token], resource=site.RESOURCE, seconds=how_long
            )
            return rounds.measured(server, plan)[0]

        for state in (OFF, ON):
            run(state, 1.5)  # warms, and starts what writes
        for turn in range(number):
            found = {state: run(state, seconds) for state in ((OFF, ON) if turn % 2 else (ON, OFF))}
            yield found[OFF], found[ON]


def tell(what: str, pairs: list[Pair]) -> None:
    """Print medians, and ratios of pairs."""
    print(f"\n{what}: medians, and with the log relative to without it, of {len(pairs)} pairs")
    for title, runs in (("without", [one for one, _ in pairs]), ("with", [other for _, other in pairs])):
        cpu, rate, p99 = (statistics.median(getattr(run, key) for run in runs) for key in ("cpu", "rate", "p99"))
        print(f"  {title:8} {rate:7.0f} calls/s  {cpu:6.1f} µs of CPU, all processes  p99 {p99:.1f} ms")
    for title, ratios in (
        ("calls/s", [other.rate / one.rate for one, other in pairs]),
        ("CPU", [other.cpu / one.cpu for one, other in pairs]),
    ):
        median, lower, upper = rounds.quartiles(ratios)
        least, most = where_the_median_is(ratios)
        print(
            f"  {title:8} {median:.3f}  95 % sure: {least:.3f}–{most:.3f}  half of the pairs: {lower:.3f}–{upper:.3f}"
        )


def where_the_median_is(values: list[float]) -> tuple[float, float]:
    """Return between which two of these the median of all that could be measured is, in 95 of 100 cases.

    Nothing is assumed of how they are spread: of each, it is as likely above the median as below.
    """
    ordered, half = sorted(values), 0.98 * len(values) ** 0.5  # 1.96 standard deviations of a binomial at 1/2
    last = len(ordered) - 1
    return ordered[max(0, int(len(ordered) / 2 - half))], ordered[min(last, int(len(ordered) / 2 + half))]


if __name__ == "__main__":
    main()
