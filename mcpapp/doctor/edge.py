"""What stands between the world and the site: proxies, firewalls, TLS.

From outside it looks at what any client meets. On the site itself it also asks the application how a request arrived
(`mcpapp.edge_mirror`), and so tells what a proxy did from what the application did.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

from mcpapp.doctor.checks.check import EVERYONE
from mcpapp.doctor.edge_arrival import check_arrival, check_caches, check_refusal
from mcpapp.doctor.edge_frame import Edge
from mcpapp.doctor.edge_limits import check_body_limit, check_header_limit
from mcpapp.doctor.edge_pages import check_web_pages
from mcpapp.doctor.edge_paths import check_paths, check_user_agents
from mcpapp.doctor.edge_streams import check_streams
from mcpapp.doctor.edge_tls import check_addresses, check_tls
from mcpapp.doctor.report import Report
from mcpapp.doctor.target import Target
from mcpapp.doctor.web import Unreachable, Web

SECONDS = 150
"""For all of it: a server that lets each request wait would keep us for many minutes."""


async def check_edge(web: Web, target: Target, report: Report, titles: Collection[str] = EVERYONE) -> None:
    """Add findings about the edge for these clients; whatever answers, none of it ends in an exception."""
    edge = Edge(web, target, report, titles)
    if not await check_tls(edge):
        return
    await check_addresses(edge)
    try:
        base = await edge.post()
    except Unreachable as error:
        why = "Nothing else can be asked."
        edge.error("edge.unreachable", f"No answer comes: {error.reason}.", why, EVERYONE, "Look at the proxy's log.")
        return
    await edge.discover()
    checks: tuple[Callable[[], Awaitable[None]], ...] = (
        lambda: check_paths(edge, base),
        lambda: check_user_agents(edge),
        lambda: check_arrival(edge, base),
        lambda: check_refusal(edge),
        lambda: check_caches(edge),
        lambda: check_body_limit(edge),
        lambda: check_header_limit(edge),
        lambda: check_streams(edge),
        lambda: check_web_pages(edge),
    )
    try:
        async with asyncio.timeout(SECONDS):
            for check in checks:
                try:
                    await check()
                except Unreachable as error:
                    _tell_interrupted(edge, f"A request got no answer, and others did: {error.reason}.")
    except TimeoutError:
        _tell_interrupted(edge, f"Not all was looked at within {SECONDS} seconds.")


def _tell_interrupted(edge: Edge, saw: str) -> None:
    edge.warning(
        "edge.interrupted",
        saw,
        "One of several addresses or workers may be ill, or a firewall may have had enough of us.",
        EVERYONE,
        "Run this again; if it comes back, look at the proxy's log at this minute.",
    )
