"""Write what a run found into docs/performance.md, between two marks, and a chart beside it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.bench import chart, in_process
from tests.bench.field import NEW, SDK, WARM
from tests.bench.goals import judge
from tests.bench.measured import Measured
from tests.bench.rounds import Results, Run, quartiles
from tests.bench.site import ERAS

BEGIN = "<!-- `make bench` writes what follows, up to its end mark -->"
END = "<!-- the end of what `make bench` writes -->"
DOCUMENT, CHART = "performance.md", "performance.svg"


def write(measured: Measured, folder: Path) -> None:
    """Put the report in the place of the last one.

    Raises:
        SystemExit: the document has not each mark once.
    """
    path = folder / DOCUMENT
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise SystemExit(f"{path} needs these two lines, in this order and once each:\n{BEGIN}\n{END}")
    with_chart = measured.http is not None
    path.write_text(f"{before}{BEGIN}\n\n{report(measured, with_chart)}\n{END}{after}", encoding="utf-8")
    if measured.http is not None:
        (folder / CHART).write_text(chart.draw(_bars(measured, measured.http), _subtitle(measured)), encoding="utf-8")
    else:
        (folder / CHART).unlink(missing_ok=True)  # it would be another run's


def report(measured: Measured, with_chart: bool = False) -> str:
    """Return the report as Markdown."""
    parts = [_head(measured)]
    if with_chart:
        parts.append(f"![Speed of a call, relative to the MCP Python SDK without authentication]({CHART})")
    parts.append(_goals(measured))
    if measured.http is not None:
        parts += [_calls(measured, measured.http), _connections(measured.http)]
    if measured.calls is not None:
        parts.append(_in_process(measured.calls))
    others = (_lookups(measured), _exchanges(measured), _lifetime(measured), _console(measured))
    parts += [part for part in others if part]
    return "\n\n".join(parts) + "\n"


def _head(measured: Measured) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in measured.versions.items())
    return (
        f"{measured.date}, `{measured.command}`, {measured.machine}, {measured.database}. {versions}.\n\n"
        "Each server serves the same tool, without arguments and with a structured result of three strings, to the\n"
        "same load generator, which checks each reply. What is compared runs in turn, round by round; speeds are\n"
        "ratios of the server's CPU for a call (all its processes), medians over pairs of one round, with quartiles\n"
        "in brackets."
    )


def _goals(measured: Measured) -> str:
    rows = [(goal.text, goal.wanted, goal.figure or "–", goal.verdict) for goal in judge(measured)]
    return "### Goals\n\n" + table(("what", "goal", "found", ""), rows)


def _calls(measured: Measured, results: Results) -> str:
    """Every server: 16 connections, one worker."""
    rows = []
    for one in measured.field_of:
        for era in one.eras:
            if runs := results.of(one.key, era):
                of_new = results.speed((one.key, era), (SDK, NEW))
                of_same = results.speed((one.key, era), (SDK, era))
                rows.append((one.title, era, *_cells(runs), _ratio(of_new), _ratio(of_same)))
    heads = ("", "era", "CPU, µs", "calls/s", "p50, ms", "p99, ms", f"SDK in {NEW} = 1", "SDK in the same era = 1")
    what = "\n".join(f"- {one.title}: {one.what}." for one in measured.field_of if _was_measured(results, one.key))
    return (
        f"### A call over HTTP, 16 connections, one worker\n\n{table(heads, rows)}\n\nWhat each of them is:\n\n{what}"
    )


def _connections(results: Results) -> str:
    """The reference and ours, by connections and workers."""
    rows = []
    seen = sorted({(case.workers, case.connections) for case in results.runs})
    for workers, connections in seen:
        for key, title in ((SDK, "MCP Python SDK"), (WARM, "ours")):
            for era in ERAS:
                if runs := results.of(key, era, connections, workers):
                    speed = results.speed((key, era), (SDK, era), connections, (workers, workers))
                    rows.append((str(workers), str(connections), title, era, *_cells(runs), _ratio(speed)))
    heads = ("workers", "connections", "", "era", "CPU, µs", "calls/s", "p50, ms", "p99, ms", "SDK in the same era = 1")
    return f"### Connections and workers\n\n{table(heads, rows)}"


def _was_measured(results: Results, key: str) -> bool:
    return any(case.key == key for case in results.runs)


def _cells(runs: list[Run]) -> Iterator[str]:
    median, lower, upper = quartiles([run.cpu for run in runs])
    yield f"{median:.0f} ({lower:.0f}–{upper:.0f})"
    yield f"{statistics.median(run.rate for run in runs):,.0f}"
    yield f"{statistics.median(run.p50 for run in runs):.1f}"
    yield f"{statistics.median(run.p99 for run in runs):.1f}"


def _ratio(found: tuple[float, float, float] | None) -> str:
    return "–" if found is None else f"{found[0]:.2f} ({found[1]:.2f}–{found[2]:.2f})"


def _in_process(figures: in_process.CallFigures) -> str:
    rows = []
    for era in ERAS:
        for name in in_process.NAMES:
            median, lower, upper = quartiles(figures[era, name])
            of_new = in_process.speed(figures, era, name, other_era=NEW)
            of_same = in_process.speed(figures, era, name)
            rows.append((name, era, f"{median:.0f} ({lower:.0f}–{upper:.0f})", f"{of_new:.2f}", f"{of_same:.2f}"))
    heads = ("", "era", "CPU, µs", f"plain SDK in {NEW} = 1", "plain SDK in the same era = 1")
    return f"### A call in process, without sockets\n\n{table(heads, rows)}"


def _lookups(measured: Measured) -> str:
    rows = [
        (name, f"{one.size:,}", *(f"{value:.0f}" for value in (one.statement, one.took, one.orm)))
        for name, found in measured.lookups.items()
        for one in found
    ]
    heads = ("", "tokens", "CPU, µs", "time, µs", "CPU through the ORM, µs")
    return f"### A lookup among many tokens\n\n{table(heads, rows)}\n\n{_plans(measured)}" if rows else ""


def _plans(measured: Measured) -> str:
    parts = []
    for name, found in measured.lookups.items():
        largest = max(found, key=lambda one: one.size)
        lines = "\n".join(f"    {line}" for line in largest.plan)
        parts.append(f"How {name} finds the row among {largest.size:,}:\n\n{lines}")
    return "\n\n".join(parts)


def _exchanges(measured: Measured) -> str:
    rows = []
    for name, found in measured.exchanges.items():
        for key, title in (("ours", "ours"), ("stock", "stock django-oauth-toolkit")):
            code, refresh, rate = (
                statistics.median(getattr(one, what) for one in found[key])
                for what in ("code_ms", "refresh_ms", "per_second")
            )
            rows.append((name, title, f"{code:.1f}", f"{refresh:.1f}", f"{rate:.0f}"))
    heads = ("", "", "code, ms of CPU", "refresh, ms of CPU", "exchanges/s of one client")
    return f"### The token endpoint, one worker\n\n{table(heads, rows)}" if rows else ""


def _lifetime(measured: Measured) -> str:
    found = measured.lifetime
    if found is None:
        return ""
    rows = [("start, from the process to the first answer", f"{found.start_seconds:.2f} s")]
    rows += [
        (f"memory (RSS) after {calls:,} calls" if calls else "memory (RSS) at the start", f"{size / 1e6:.1f} MB")
        for calls, size in sorted(found.resident.items())
    ]
    return f"### Start and memory, one worker\n\n{table(('', ''), rows)}"


def _console(measured: Measured) -> str:
    found = measured.console
    if found is None:
        return ""
    rows = [
        ("`star --help`, CPU of the process", f"{found.help_ms:.0f} ms"),
        ("imports of a call, CPU", f"{found.imports_ms:.0f} ms"),
        ("imports of a program on the bare SDK, CPU", f"{found.sdk_imports_ms:.0f} ms"),
        ("`star call`, CPU of the whole process", f"{found.process_ms:.0f} ms"),
        ("a program on the bare SDK that makes one call, the same", f"{found.sdk_process_ms:.0f} ms"),
        ("connection and call, signed in before", f"{found.call_ms:.1f} ms"),
        ("of it, not taken by the bare SDK with a static token", f"{found.added_ms:.1f} ms"),
    ]
    return f"### The console client\n\n{table(('', ''), rows)}"


def _bars(measured: Measured, results: Results) -> list[chart.Bar]:
    bars = []
    for one in measured.field_of:
        for era in one.eras:
            if (speed := results.speed((one.key, era), (SDK, NEW))) is not None:
                bars.append(chart.Bar(one.title, era, speed[0], is_ours=one.key == WARM))
    return bars


def _subtitle(measured: Measured) -> str:
    return f"16 connections, one worker, {measured.date}, {measured.machine}"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    heads = tuple(heads)
    lines = [heads, ("---",) * len(heads), *(tuple(row) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
