"""Servers over real HTTP, measured in turn, round by round: CPU of a call, calls a second, waits."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.bench import load
from tests.bench.field import SDK, WARM, Contender
from tests.bench.processes import ServerProcess
from tests.bench.site import progress

CONNECTIONS = 16
"""What everybody is measured with."""
WARM_UP_SECONDS = 2.0
NODE_WARM_UP_SECONDS = 15.0
"""For each era: V8 compiles what is hot, and later again."""


@dataclass(frozen=True)
class Run:
    """One server under load for some seconds."""

    cpu: float
    """Microseconds of the server's CPU for each call."""
    rate: float
    """Calls a second."""
    p50: float
    p99: float


@dataclass(frozen=True)
class Case:
    """What was measured: runs of equal cases and rounds in one phase belong together."""

    phase: str
    key: str
    era: str
    connections: int
    workers: int


@dataclass
class Results:
    """The runs of all cases, one for each round."""

    runs: dict[Case, list[Run]] = field(default_factory=dict)

    def of(self, key: str, era: str, connections: int = CONNECTIONS, workers: int = 1) -> list[Run]:
        """Return the runs of a case in the first phase that has it."""
        for case, runs in self.runs.items():
            if (case.key, case.era, case.connections, case.workers) == (key, era, connections, workers):
                return runs
        return []

    def speed(
        self,
        one: tuple[str, str],
        other: tuple[str, str],
        connections: int = CONNECTIONS,
        workers: tuple[int, int] = (1, 1),
    ) -> tuple[float, float, float] | None:
        """Return how many times as fast one (key and era) is as another: CPU, pairs of a round; median and quartiles.

        None if they were never measured side by side.
        """
        for case, runs in self.runs.items():
            if (case.key, case.era, case.connections, case.workers) == (*one, connections, workers[0]):
                against = self.runs.get(Case(case.phase, *other, connections, workers[1]))
                if against:
                    return quartiles([theirs.cpu / ours.cpu for ours, theirs in zip(runs, against, strict=True)])
        return None


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, and the lower and upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return median, lower, upper


@dataclass(frozen=True)
class Amount:
    """How much is measured."""

    rounds: int = 5
    seconds: float = 1.2
    connections: tuple[int, ...] = (1, 64)
    """Besides `CONNECTIONS`, for the reference and ours."""
    node_warm_up: float = NODE_WARM_UP_SECONDS


def measure(contenders: Sequence[Contender], folder: Path, amount: Amount) -> Results:
    """Return the runs of all phases. In each, servers that are alive at the same time are measured in turn."""
    results, by_key = Results(), {contender.key: contender for contender in contenders}
    python = [contender for contender in contenders if not contender.is_node]
    reference = [by_key[key] for key in (SDK, WARM) if key in by_key]
    _phase("Python", [(one, 1) for one in python], [CONNECTIONS], folder, amount, results)
    for contender in contenders:
        if contender.is_node:  # one alive at a time, beside what it is compared with
            _phase(
                contender.title, [(one, 1) for one in (*reference, contender)], [CONNECTIONS], folder, amount, results
            )
    amount = replace(amount, rounds=-(-amount.rounds * 3 // 5))  # less depends on what follows
    if amount.connections:
        _phase("connections", [(one, 1) for one in reference], amount.connections, folder, amount, results)
    both = [(one, workers) for one in reference for workers in (1, 2)]
    _phase("workers", both, [CONNECTIONS], folder, amount, results)
    return results


def _phase(
    name: str,
    members: Sequence[tuple[Contender, int]],
    connections: Sequence[int],
    folder: Path,
    amount: Amount,
    results: Results,
) -> None:
    """Start the members (with so many workers each), warm them, and measure them in turn."""
    if not members:
        return
    with ExitStack() as stack:
        servers = []
        for contender, workers in members:
            server = ServerProcess(contender.key, contender.command(workers), folder, contender.environment)
            stack.callback(server.stop)
            server.start()
            server.wait_for(lambda c=contender, s=server: c.answers(s))
            servers.append((contender, workers, server))
        time.sleep(2)  # the other workers, and the feeds of changes
        for contender, _, server in servers:
            seconds = amount.node_warm_up if contender.is_node else min(WARM_UP_SECONDS, amount.seconds)
            for era in contender.eras:
                contender.used(load.run(contender.plan(era, server, connections=CONNECTIONS, seconds=seconds)).calls)
        for number in range(amount.rounds):
            turn = number % len(servers)
            for contender, workers, server in (*servers[turn:], *servers[:turn]):
                for era in contender.eras:
                    for count in connections:
                        case = Case(name, contender.key, era, count, workers)
                        plan = contender.plan(era, server, connections=count, seconds=amount.seconds)
                        run, calls = measured(server, plan)
                        contender.used(calls)
                        results.runs.setdefault(case, []).append(run)
            progress(f"{name}: round {number + 1} of {amount.rounds}")


def measured(server: ServerProcess, plan: load.Plan) -> tuple[Run, int]:
    """Load a server; return what it cost, and how many calls there were."""
    before = server.cpu_seconds()
    report = load.run(plan)
    cpu = server.cpu_seconds() - before
    if report.cpu > 0.9:
        progress(f"The load generator was at its limit ({report.cpu:.2f} of a core): calls a second are its own.")
    run = Run(cpu / report.calls * 1e6, report.calls / report.seconds, report.waits["p50"], report.waits["p99"])
    return run, report.calls
