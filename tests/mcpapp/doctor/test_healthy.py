"""A healthy site: nothing is wrong, for any client, and each check that a fault is planted for has passed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mcpapp.doctor.checks import CHECKS
from mcpapp.doctor.clients import PROFILES
from mcpapp.doctor.report import Level
from tests.conftest import LiveDatabases
from tests.mcpapp.doctor.conftest import Clinic, opened, wrong
from tests.mcpapp.doctor.proxy import Asked, Forward, Reply

pytestmark = pytest.mark.live


@pytest.mark.parametrize(
    ("environment", "notes"),
    [
        ({"ANONYMOUS_TOOLS": "true"}, {"endpoint.open"}),
        ({"DJANGO_SETTINGS_MODULE": "tests.conformance.settings_with_sessions"}, set()),
    ],
    ids=["public tools", "sessions"],
)
async def test_a_site_with_other_settings_is_as_healthy(
    environment: dict[str, str], notes: set[str], tmp_path: Path, live_databases: LiveDatabases
) -> None:
    with opened(tmp_path, live_databases, **environment) as clinic:
        report = await clinic.examined()
    assert wrong(report) == {}
    assert set(report.clients.values()) == {""}
    found = {finding.check for finding in report.findings if finding.level is Level.NOTE}
    assert {check for check in found if not check.startswith("edge.")} == notes


async def test_a_healthy_site_has_nothing_wrong_for_any_client(clinic: Clinic) -> None:
    report = await clinic.examined(sees_edge=True)
    assert wrong(report) == {}
    assert report.clients == {profile.title: "" for profile in PROFILES.values()}
    notes = {finding.check for finding in report.findings if finding.level is Level.NOTE}
    assert {check for check in notes if not check.startswith("edge.")} == set()
    passed = {finding.check for finding in report.findings if finding.level is Level.OK}
    not_met = {
        "endpoint.unreachable",
        "registration.document-not-usable",  # a site without https takes no documents
        "site.no-access",
        "site.person-left",
    }
    assert passed >= set(CHECKS) - not_met
    assert json.loads(report.as_json())["healthy"] is True


async def test_the_edge_is_looked_at_with_the_token_of_the_walk(clinic: Clinic) -> None:
    """At a site that does not tell how it sees a request, that is how streams are looked at."""

    def no_question(asked: Asked, forward: Forward) -> Reply:
        asked.headers = [(name, value) for name, value in asked.headers if name.lower() != "star-doctor"]
        return forward(asked)

    report = await clinic.examined(no_question, "claude", sees_edge=True)
    edge = {finding.check: finding.level for finding in report.findings if finding.check.startswith("edge.")}
    assert edge["edge.mirror"] is Level.SKIPPED
    assert edge["edge.authorization"] is Level.OK
    assert edge["edge.stream"] is Level.OK
