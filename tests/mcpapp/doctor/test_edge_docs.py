"""The documentation has each check of the edge, and none that does not exist."""

from __future__ import annotations

import re

from tests.conftest import ROOT


def test_each_check_of_the_edge_is_documented_once() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "mcpapp" / "doctor").glob("edge*.py"))
    told = set(re.findall(r'"(edge\.[a-z0-9.-]+)"', code))
    assert {"edge.mirror", "edge.stream-buffered"} <= told
    docs = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("doctor.md")))
    rows = re.findall(r"^\| `(edge\.[a-z0-9.-]+)` \|", docs, re.MULTILINE)
    assert sorted(rows) == sorted(told)


def test_each_check_of_the_edge_is_tried() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "mcpapp" / "doctor").glob("*.py"))
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "mcpapp" / "doctor").glob("edge*.py"))
    faults = set(re.findall(r'edge\.(?:warning|error|note)\(\s*"(edge\.[a-z0-9.-]+)"', code))
    assert len(faults) > 25
    # What no certificate of a test is refused for.
    assert {check for check in faults if f'"{check}"' not in tests} <= {"edge.certificate-refused"}
