"""What was promised, beside what was measured: a goal is reached, missed, or was not measured, and is told as that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench import in_process
from tests.bench.field import COLD, FASTMCP, NEW, OLDER, OPEN, SDK, V1_SESSIONS, V1_SHARED, V1_STATELESS, V2, WARM
from tests.bench.measured import Measured


@dataclass(frozen=True)
class Goal:
    """One promise."""

    text: str
    wanted: str
    figure: str | None
    """None: not measured in this run."""
    reached: bool | None

    @property
    def verdict(self) -> str:
        """Return a word."""
        if self.reached is None:
            return "not measured"
        return "reached" if self.reached else "**missed**"


def judge(measured: Measured) -> list[Goal]:
    """Return all goals."""
    return [*_speeds(measured), *_lookups(measured), *_workers(measured), *_lifetime(measured), *_console(measured)]


def _at_least(text: str, least: float, found: float | None) -> Goal:
    return Goal(text, f"≥ {least:g}×", *_told(found, "{:.3f}×", found is not None and found >= least))


def _at_most(text: str, most: float, found: float | None, unit: str = "") -> Goal:
    return Goal(text, f"≤ {most:g}{unit}", *_told(found, "{:.2f}" + unit, found is not None and found <= most))


def _told(found: float | None, form: str, reached: bool) -> tuple[str | None, bool | None]:
    return (None, None) if found is None else (form.format(found), reached)


def _speeds(measured: Measured) -> Iterator[Goal]:
    """CPU of a call over HTTP, 16 connections, one worker."""
    results = measured.http

    def speed(era: str, other: str, other_era: str = "") -> float | None:
        found = results.speed((WARM, era), (other, other_era or era)) if results else None
        return found[0] if found else None

    for era in (NEW, OLDER):
        yield _at_least(f"ours, against ours without authentication, {era}", 0.97, speed(era, OPEN))
    for era, least in ((NEW, 1.4), (OLDER, 3.5)):
        yield _at_least(f"ours, against the MCP Python SDK without authentication, {era}", least, speed(era, SDK))
    for era in (NEW, OLDER):
        yield _at_least(f"the same, moonshot, {era}", 4.0, speed(era, SDK))
    for era in (NEW, OLDER):
        yield _at_least(f"ours, against fastmcp with JWT, {era}", 5.0, speed(era, FASTMCP))
    yield _at_least(f"ours, against TypeScript SDK v1 stateless, {OLDER}", 2.5, speed(OLDER, V1_STATELESS))
    yield _at_least(f"the same with a shared validator, {OLDER}", 2.5, speed(OLDER, V1_SHARED))
    for era in (NEW, OLDER):
        yield _at_least(f"ours, against TypeScript SDK v2, {era}", 2.5, speed(era, V2))
    yield _at_least(f"ours, against TypeScript SDK v1 with sessions, {OLDER}", 1.5, speed(OLDER, V1_SESSIONS))


def _lookups(measured: Measured) -> Iterator[Goal]:
    for era in (NEW, OLDER):
        found = measured.http.speed((WARM, era), (COLD, era)) if measured.http else None
        yield _at_most(f"a lookup over HTTP, in calls, {era}", 1.0, found and found[0] - 1)
        inside = in_process.lookup_in_calls(measured.calls, era) if measured.calls else None
        yield _at_most(f"a lookup in process, in calls, {era}", 1.0, inside)
    for name, found_here in measured.lookups.items():
        by_size = {one.size: one.statement for one in found_here}
        least, most = min(by_size), max(by_size)
        change = (by_size[most] / by_size[least] - 1) * 100 if most >= 1_000_000 else None
        told, reached = _told(change, "{:+.0f} %", change is not None and abs(change) <= 10)
        yield Goal(f"a lookup among 10⁶ tokens instead of 10³, {name}", "± 10 %", told, reached)


def _workers(measured: Measured) -> Iterator[Goal]:
    for era in (NEW, OLDER):
        found = measured.http.speed((WARM, era), (WARM, era), workers=(2, 1)) if measured.http else None
        change = (1 / found[0] - 1) * 100 if found else None
        told, reached = _told(change, "{:+.0f} %", change is not None and abs(change) <= 15)
        yield Goal(f"CPU of a call with two workers instead of one, {era}", "± 15 %", told, reached)


def _lifetime(measured: Measured) -> Iterator[Goal]:
    found = measured.lifetime
    yield _at_most("start, from the process to the first answer", 1.5, found and found.start_seconds, " s")
    yield _at_most("memory at the start", 150, found and found.resident[0] / 1e6, " MB")
    growth = None
    if found and max(found.resident) >= 1_000_000:
        growth = (found.resident[max(found.resident)] / found.resident[max(found.resident) // 10] - 1) * 100
    yield Goal(
        "memory after a million calls instead of 100 000",
        "≤ +5 %",
        *_told(growth, "{:+.1f} %", growth is not None and growth <= 5),
    )


def _console(measured: Measured) -> Iterator[Goal]:
    found = measured.console
    yield _at_most("`star --help`, CPU", 150, found and found.help_ms, " ms")
    yield _at_most("imports of a call of `star`, CPU", 400, found and found.imports_ms, " ms")
    yield _at_most("what `star` adds to a call of the SDK", 50, found and found.added_ms, " ms")
