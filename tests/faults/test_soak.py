"""A short soak: servers, database and Redis are stopped and killed under load, and no answer is wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import LiveDatabases
from tests.faults.soak import Findings, Outage, audit, soak

pytestmark = pytest.mark.live


def test_under_load_and_trouble_no_answer_is_wrong_and_no_call_is_missing(live_databases: LiveDatabases) -> None:
    if live_databases.is_sqlite:
        pytest.skip("runs on a PostgreSQL of its own, once")
    findings = soak(seconds=20, pause=3, least=4)
    print(dict(findings.counts))  # noqa: T201
    assert findings.wrong == []
    for what in ("good answers", "refreshes", "revocations", "revoked tokens refused", "rows of calls"):
        assert findings.counts[what] > 10, what
    assert findings.counts["servers killed"] == findings.counts["PostgreSQL restarted (fast)"] == 1


# What the soak takes for wrong


def log_with(**rows: int) -> Any:
    return SimpleNamespace(run=lambda code: rows)


@pytest.mark.parametrize(
    ("rows", "killed", "wrong"),
    [
        (1, [], 0),
        (0, [], 1),
        (2, [], 1),
        (0, [(1, 10.5)], 0),  # within the last second before it was killed
        (0, [(1, 12.0)], 1),
        (0, [(0, 10.5)], 1),  # another server
    ],
)
def test_a_call_without_its_row_is_found(rows: int, killed: list[tuple[int, float]], wrong: int) -> None:
    findings = Findings(answered={"call": (1, 10.0)}, killed=killed)
    audit(log_with(call=rows), findings)
    assert len(findings.wrong) == wrong


def test_only_what_was_away_excuses_a_missing_answer() -> None:
    findings = Findings(outages=[Outage("killed", 1, 100.0, 105.0), Outage("database", None, 200.0, 201.0)])
    assert findings.is_out(1, 99.0, 100.5)
    assert findings.is_out(1, 110.0, 111.0), "its aftermath"
    assert not findings.is_out(1, 90.0, 99.0)
    assert not findings.is_out(1, 150.0, 151.0)
    assert not findings.is_out(2, 101.0, 102.0)
    assert findings.is_out(2, 200.5, 200.6)
