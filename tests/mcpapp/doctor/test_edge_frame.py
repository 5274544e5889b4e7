"""Where the checks of the edge ask, when a server says where."""

from __future__ import annotations

from typing import Any, cast

import pytest

from mcpapp.doctor.edge_frame import Edge
from mcpapp.doctor.report import Report
from mcpapp.doctor.target import Target


@pytest.mark.parametrize(
    ("url", "issuer", "asked"),
    [
        ("https://mcp.example/star", "https://login.example/x", "https://login.example/x"),
        ("https://mcp.example/star", "http://127.0.0.1:6379", ""),
        ("https://mcp.example/star", "https://localhost/admin", ""),
        ("https://mcp.example/star", "file:///etc/passwd", ""),
        ("http://127.0.0.1:8000/star", "http://127.0.0.1:9000", "http://127.0.0.1:9000"),
    ],
)
def test_an_issuer_from_elsewhere_does_not_lead_to_this_machine(url: str, issuer: str, asked: str) -> None:
    assert Edge(cast(Any, None), Target(url, issuer=issuer), Report(url)).issuer == asked
