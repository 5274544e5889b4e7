"""docs/doctor.md names the checks, the clients and the members that there are."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from mcpapp.doctor.checks import CHECKS, STEPS
from mcpapp.doctor.checks.check import EVERYONE
from mcpapp.doctor.clients import PROFILES
from mcpapp.doctor.proxies import FIXES
from mcpapp.doctor.report import Finding, Level, Report
from tests.conftest import ROOT

GUIDE = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
CAN_BE_WRONG = [name for name, known in CHECKS.items() if known.level in (Level.ERROR, Level.WARNING)]
COMMAND = ROOT / "mcpapp" / "management" / "commands" / "mcp_doctor.py"
SOURCE = {path: path.read_text(encoding="utf-8") for path in (COMMAND, *(ROOT / "mcpapp" / "doctor").rglob("*.py"))}
FAULTS = (ROOT / "tests" / "mcpapp" / "doctor" / "test_faults.py").read_text(encoding="utf-8")


def said_of(check: str) -> tuple[str, ...]:
    known = CHECKS[check]
    whom = "everyone" if known.matters_to == EVERYONE else ", ".join(known.matters_to) or "–"
    return (known.well, known.level.value, whom)


def test_the_table_of_checks_is_what_the_code_has() -> None:
    rows = re.findall(r"^\| `([a-z]+\.[a-z0-9-]+)` \| (.*?) \| (\w+) \| (.*?) \|$", GUIDE, re.MULTILINE)
    told = {check: (well, level, whom) for check, well, level, whom in rows if not check.startswith("edge.")}
    assert told == {check: said_of(check) for check in CHECKS}


def test_the_table_of_clients_is_what_the_code_has() -> None:
    table = GUIDE.partition("| `--as` |")[2].partition("\n\n")[0]
    assert dict(re.findall(r"^\| `([a-z-]+)` \| (.*?) \|", table, re.MULTILINE)) == {
        profile.key: profile.title for profile in PROFILES.values()
    }


def test_every_check_is_made_somewhere_and_every_one_made_is_known() -> None:
    code = "".join(text for path, text in SOURCE.items() if path.parent.name != "checks" and "edge" not in path.name)
    first = "|".join(STEPS)
    words = set(re.findall(rf'"((?:{first})\.[a-z0-9-]+)"', code))
    assert words <= set(CHECKS) | {"endpoint.redirects"}
    composed = {f"endpoint.{name}" for name in ("redirects", "not-found", "server-error", "blocked")}
    assert set(CHECKS) - words - composed == set()


@pytest.mark.parametrize("check", CAN_BE_WRONG)
def test_a_fault_is_planted_for_every_check_that_can_be_wrong(check: str) -> None:
    elsewhere = {
        "endpoint.unreachable": "test_command.py",
        "authorization.nobody-asked": "test_others.py",
        "site.person-left": "test_site.py",
        "authorization.unreachable": "test_faults.py",
        "token.unreachable": "test_faults.py",
    }
    where = (ROOT / "tests" / "mcpapp" / "doctor" / elsewhere.get(check, "test_faults.py")).read_text("utf-8")
    assert f'"{check}"' in where or f"[{check}]" in where


def test_every_check_that_can_be_wrong_says_why_and_what_mends_it() -> None:
    for name, known in CHECKS.items():
        assert known.well.endswith("."), name
        assert known.why.endswith("."), name
        assert known.fix or known.level is Level.SKIPPED, name
        assert known.proxy in {"", *FIXES}, name


def test_the_members_of_the_json_are_told() -> None:
    report = Report("https://server.example/mcp")
    report.add("Token", Finding("token.type", Level.ERROR, "It is another."))
    report.clients["VS Code"] = "token"
    document: dict[str, Any] = json.loads(report.as_json())
    table = set(re.findall(r"^\| `(\w+)` \| ", GUIDE.partition("## JSON")[2].partition("## Checks")[0], re.MULTILINE))
    assert set(document) == table | {"format"}
    for member in (*document["findings"][0], *document["clients"][0], *document["counts"]):
        assert f"`{member}`" in GUIDE, member
