"""The official conformance suite, in the mode that tests a server: all that the two newest revisions require."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.desk import Desk, installed, node
from tests.clients.person import Person
from tests.conformance.proxy import bearing
from tests.conftest import LiveServer
from tests.over_http import log_in

pytestmark = [pytest.mark.live, pytest.mark.clients]

PACKAGE = "@modelcontextprotocol/conformance"
REQUIRED = {"2025-11-25": 30, "2026-07-28": 37}
"""How many scenarios a revision requires of a server."""
BEYOND = {
    "2025-11-25": {"server-session-lifecycle", "server-sse-polling"},
    "2026-07-28": {"http-header-validation", "http-custom-header-server-validation"},
}
"""Scenarios that pass here, though the suite does not count them: they came late, or its own fixture fails them."""


@pytest.mark.parametrize(
    ("revision", "settings"),
    [
        ("2025-11-25", "tests.conformance.settings_with_sessions"),
        ("2026-07-28", "tests.conformance.settings_with_sessions"),
        ("2026-07-28", "tests.conformance.settings"),
    ],
    ids=["2025-11-25-with-sessions", "2026-07-28-with-sessions", "2026-07-28"],
)
def test_every_scenario_that_a_revision_requires_passes(
    new_server: Callable[[], LiveServer], desk: Desk, revision: str, settings: str
) -> None:
    """Up to 2025-11-25 the suite has the server ask the client in the middle of a call, which needs a session."""
    server, results = new_server(), desk.folder / "results"
    server.environment["DJANGO_SETTINGS_MODULE"] = settings
    server.start("manage.py", "runserver", "--noreload", str(server.port))
    with Person("demo", "demo") as person:
        token = log_in(server.url, person).access_token
    with bearing(token, server.url) as url:
        suite = installed(f"{PACKAGE}/dist/index.js")
        said = desk.run(
            node(), suite, "server", "--url", f"{url}/star", "--requirements", revision, "-o", str(results)
        ).stdout
    required, outcomes = required_scenarios(revision), outcomes_in(results)
    assert len(required) == REQUIRED[revision]
    scenarios = required | BEYOND[revision]
    assert scenarios - outcomes.keys() == set(), said
    scored = {(check, status) for scenario in scenarios for check, status in outcomes[scenario]}
    assert {(check, status) for check, status in scored if status not in {"SUCCESS", "INFO"}} == set(), said
    assert all(any(status == "SUCCESS" for _, status in outcomes[scenario]) for scenario in scenarios), said


def required_scenarios(revision: str) -> set[str]:
    """The scenarios of the `server` mode that the suite's frozen list of a revision names."""
    text = Path(installed(f"{PACKAGE}/requirements/{revision}.yaml")).read_text(encoding="utf-8")
    section = re.search(r"^server:\n((?:  - .*\n)+)", text, re.MULTILINE)
    assert section
    return set(re.findall(r"^  - (\S+)$", section[1], re.MULTILINE))


def outcomes_in(results: Path) -> dict[str, list[tuple[str, str]]]:
    """Each scenario's checks and how they ended."""
    outcomes: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for file in results.glob("*/checks.json"):
        scenario = re.fullmatch(r"server-(.+)-\d{4}-\d\d-\d\dT.*", file.parent.name)
        assert scenario
        outcomes[scenario[1]] += [(check["id"], check["status"]) for check in json.loads(file.read_text())]
    return outcomes
