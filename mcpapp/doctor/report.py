"""What the doctor found: one finding a check, in the steps of a client's way; for people and for programs.

Everything in it may quote a stranger's server, so it is made harmless here: nothing secret, nothing a terminal obeys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from mcpapp.client.visible import as_json as safe_json
from mcpapp.client.visible import one_line, visible
from mcpapp.doctor.clients import PROFILES
from mcpapp.doctor.secrecy import Secrets

FORMAT = 1
"""Of the JSON. It grows by members; the number changes when one changes its meaning."""

MAXIMUM_CHARACTERS = 700
"""Of what is told in one sentence."""


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"
    SKIPPED = "skipped"


_GRAVITY = {Level.SKIPPED: 0, Level.OK: 1, Level.NOTE: 2, Level.WARNING: 3, Level.ERROR: 4}
_MARKS = {Level.OK: "✓", Level.NOTE: "·", Level.WARNING: "!", Level.ERROR: "✗", Level.SKIPPED: "–"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check and what came of it. `fix` may have several lines, as of a proxy's configuration."""

    check: str
    level: Level
    saw: str
    why: str = ""
    matters_to: tuple[str, ...] = ()
    fix: str = ""


class Report:
    """All findings, in the order in which they were made."""

    def __init__(self, url: str = "", secrets: Secrets | None = None) -> None:
        self.url = url
        self.secrets = secrets or Secrets()
        self.secrets.add_query_of(url)
        self.reached = False
        """Whether anything answered at the URL."""
        self.clients: dict[str, str] = {}
        """Each client whose way was walked, and the step at which it stops; "" if it gets through."""
        self._entries: list[tuple[str, Finding]] = []

    def add(self, step: str, finding: Finding) -> None:
        """Take a finding in; one that is there already gains the clients that it matters to as well."""
        finding = self._harmless(finding)
        for index, (known_step, known) in enumerate(self._entries):
            if known_step == step and replace(known, matters_to=finding.matters_to) == finding:
                clients = tuple(dict.fromkeys((*known.matters_to, *finding.matters_to)))
                self._entries[index] = (step, replace(known, matters_to=clients))
                return
        self._entries.append((step, finding))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All of them, without their steps."""
        return tuple(finding for _, finding in self._entries)

    @property
    def steps(self) -> dict[str, list[Finding]]:
        """The findings of each step, in the order in which the steps began."""
        steps: dict[str, list[Finding]] = {}
        for step, finding in self._entries:
            # Once more: a value may have become known as a secret after it was quoted.
            steps.setdefault(step, []).append(self._harmless(finding))
        return steps

    @property
    def worst(self) -> Level:
        """The gravest level; SKIPPED when nothing was seen at all."""
        return max((finding.level for finding in self.findings), key=_GRAVITY.__getitem__, default=Level.SKIPPED)

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is wrong."""
        return _GRAVITY[self.worst] < _GRAVITY[Level.WARNING]

    @property
    def failed(self) -> frozenset[str]:
        """The ids of what is wrong."""
        wrong = (Level.WARNING, Level.ERROR)
        return frozenset(finding.check for finding in self.findings if finding.level in wrong)

    def count(self, *levels: Level) -> int:
        """Return how many findings are of these levels."""
        return sum(finding.level in levels for finding in self.findings)

    def as_json(self) -> str:
        """Return the report for programs; docs/doctor.md describes it."""
        findings = [
            {
                "step": step,
                "check": finding.check,
                "level": finding.level.value,
                "saw": finding.saw,
                "why": finding.why,
                "matters_to": list(finding.matters_to),
                "fix": finding.fix,
            }
            for step, found in self.steps.items()
            for finding in found
        ]
        counts = {level.value: self.count(level) for level in Level}
        document: dict[str, Any] = {
            "format": FORMAT,
            "url": one_line(self.secrets.hide(self.url)),
            "healthy": self.is_healthy,
        }
        clients = [{"client": name, "stops_at": step or None} for name, step in self.clients.items()]
        return safe_json(document | {"counts": counts, "clients": clients, "findings": findings})

    def as_text(self, paint: Callable[[Level, str], str] = lambda level, text: text, *, verbose: bool = False) -> str:
        """Return the report for people; `paint` colours a line by its level. What is well is said in short."""
        lines = [f"The doctor at {one_line(self.secrets.hide(self.url))}"]
        fixes: set[str] = set()
        for step, findings in self.steps.items():
            lines += ["", step]
            passed = sum(finding.level is Level.OK for finding in findings)
            if passed and not verbose:
                noun = "check" if passed == 1 else "checks"
                lines.append(paint(Level.OK, f"  {_MARKS[Level.OK]} {passed} {noun} passed."))
            for finding in findings:
                if verbose or finding.level is not Level.OK:
                    lines += _told(finding, paint, is_known=finding.fix in fixes)
                    fixes.add(finding.fix)
        return "\n".join([*lines, "", *self._summary(paint)])

    def _summary(self, paint: Callable[[Level, str], str]) -> Iterable[str]:
        for client, step in self.clients.items():
            if step == "sign-in":
                yield f"{client}: nothing against it up to the sign-in."
            elif step:
                yield paint(Level.ERROR, f"{client}: stops at the step {step}.")
            else:
                yield paint(Level.OK, f"{client}: connects.")
        errors, warnings = self.count(Level.ERROR), self.count(Level.WARNING)
        passed, skipped = self.count(Level.OK), self.count(Level.SKIPPED)
        if self.is_healthy:
            yield paint(Level.OK, f"Nothing is wrong: {passed} checks passed.")
        else:
            yield paint(self.worst, f"{errors} wrong, {warnings} doubtful; {passed} checks passed.")
        if skipped:
            yield f"{skipped} could not be looked at; each says why."

    def _harmless(self, finding: Finding) -> Finding:
        hide = self.secrets.hide
        return Finding(
            finding.check,
            finding.level,
            one_line(hide(finding.saw), MAXIMUM_CHARACTERS),
            one_line(hide(finding.why), MAXIMUM_CHARACTERS),
            tuple(one_line(name) for name in finding.matters_to),
            visible(hide(finding.fix)),
        )


def _told(finding: Finding, paint: Callable[[Level, str], str], *, is_known: bool) -> Iterable[str]:
    """Yield the lines about a finding; a fix that has been told is not told again."""
    yield paint(finding.level, f"  {_MARKS[finding.level]} {finding.saw}") + f"  [{finding.check}]"
    if finding.level is Level.OK:
        return
    if finding.why:
        yield f"      Why: {finding.why}"
    if finding.matters_to:
        everyone = {profile.title for profile in PROFILES.values()} <= set(finding.matters_to)
        yield f"      Matters to: {'every client' if everyone else ', '.join(finding.matters_to)}."
    if finding.fix and is_known:
        yield "      Fix: the same as above."
    elif finding.fix:
        first, *others = finding.fix.splitlines()
        yield f"      Fix: {first}"
        yield from (f"           {line}".rstrip() for line in others)
