"""What stands between the world and the site: proxies, firewalls, TLS. Not examined yet."""

from __future__ import annotations

from mcpapp.doctor.report import Finding, Level, Report
from mcpapp.doctor.target import Target
from mcpapp.doctor.web import Web


async def check_edge(web: Web, target: Target, report: Report) -> None:
    """Add findings about the edge."""
    report.add("Edge", Finding("edge.not-examined", Level.SKIPPED, "The edge was not examined."))
