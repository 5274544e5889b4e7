"""Where the checks of the edge ask, when a server says where."""

from __future__ import annotations

from typing import Any, cast

import pytest

from mcpapp.doctor.edge_frame import Edge
from mcpapp.doctor.report import Level, Report
from mcpapp.doctor.target import Target


@pytest.mark.parametrize(
    ("url", "issuer", "asked"),
    [
        ("https://mcp.example/star", "https://login.example/x", "https://login.example/x"),
        ("https://mcp.example/star", "http://127.0.0.1:6379", ""),
        ("https://mcp.example/star", "https://localhost/admin", ""),
        ("https://mcp.example/star", "http://0.0.0.0:8000", ""),
        ("https://mcp.example/star", "http://169.254.169.254", ""),
        ("https://mcp.example/star", "https://127.1", ""),
        ("https://mcp.example/star", "https://[::]", ""),
        ("https://mcp.example/star", "https://[::ffff:127.0.0.1]", ""),
        ("https://mcp.example/star", "file:///etc/passwd", ""),
        ("http://127.0.0.1:8000/star", "http://127.0.0.1:9000", "http://127.0.0.1:9000"),
    ],
)
def test_an_issuer_from_elsewhere_does_not_lead_to_this_machine(url: str, issuer: str, asked: str) -> None:
    assert Edge(cast(Any, None), Target(url, issuer=issuer), Report(url)).issuer == asked


@pytest.mark.parametrize(("asked", "level"), [("Claude", Level.NOTE), ("MCP Inspector", Level.WARNING)])
def test_what_is_wrong_for_a_client_that_nobody_asked_about_is_a_note(asked: str, level: Level) -> None:
    report = Report()
    edge = Edge(cast(Any, None), Target("https://mcp.example/star"), report, {asked})
    edge.warning("edge.cors-answer", "saw", "why", ("MCP Inspector",), "fix")
    edge.error("edge.method-blocked", "saw", "why", ("Codex",), "fix")
    assert [finding.level for finding in report.findings] == [level, Level.NOTE]
    assert report.is_healthy is (level is Level.NOTE)
