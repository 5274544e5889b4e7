"""Whether what the application sends at once arrives at once: proxies like to wait until they have a whole answer."""

from __future__ import annotations

import asyncio
import json

from mcpapp import edge_mirror
from mcpapp.doctor.checks.check import EVERYONE
from mcpapp.doctor.edge_frame import PLAIN_HEADERS, Edge
from mcpapp.edge_mirror import EVENTS, GAP_SECONDS, Kind

TRIES = 3
"""A busy machine may read late by itself; a proxy that waits does so each time."""
FIRST_EVENT_SECONDS = 6.0
"""Within which a stream of changes says that it listens; the next thing it says may be a ping after 15 s."""
_MODERN = "2026-07-28"
_WHY = "Progress, questions of a tool and news of changes come when the call is over, or after the client has given up."


async def check_streams(edge: Edge) -> None:
    """Open a stream and watch when its parts arrive."""
    edge.step = "Edge: streams"
    if edge.has_mirror:
        await _check_mirrored(edge)
    elif edge.target.access_token:
        await _check_listening(edge, edge.target.access_token)
    else:
        edge.skipped("edge.stream", "Streams are looked at with an access token, or where the site tells what it sees.")


async def _check_mirrored(edge: Edge) -> None:
    encoding, arrivals = await _arrivals(edge, "gzip, deflate, br")
    if encoding not in ("", "identity"):
        if arrivals < EVENTS:
            edge.warning(
                "edge.stream-compressed",
                f"The proxy compresses streams of events ({encoding}) and holds them back for that.",
                _WHY,
                EVERYONE,
                edge.proxy_fix("compression", "Leave text/event-stream alone:"),
            )
        arrivals = 0  # it says nothing of a stream that is not compressed
    for _ in range(TRIES):
        if arrivals == EVENTS:
            edge.ok("edge.stream", "What the application sends at once arrives at once.")
            return
        _, arrivals = await _arrivals(edge, "identity")
    _tell_buffered(edge, f"Of {EVENTS} events that are sent {GAP_SECONDS:g} s apart, some arrive together.")


async def _arrivals(edge: Edge, accepted: str) -> tuple[str, int]:
    """Return how a stream is compressed, and at how many moments something of it arrives: one for each event."""
    _, sent = edge.question(Kind.STREAM)
    headers = {**PLAIN_HEADERS, "Accept-Encoding": accepted, edge_mirror.HEADER: sent}
    count, latest = 0, float("-inf")
    async with edge.web.stream("POST", edge.target.url, headers, b"") as streaming:
        encoding = streaming.headers.get("content-encoding", "").strip().lower()
        async for seconds, chunk in streaming.chunks():
            if chunk and seconds - latest > GAP_SECONDS / 2:
                count, latest = count + 1, seconds
    return encoding, count


async def _check_listening(edge: Edge, token: str) -> None:
    """Listen to changes (MCP 2026-07-28), which is acknowledged at once and then silent."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": _MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "mcp_doctor", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    method = "subscriptions/listen"
    params = {"notifications": {"toolsListChanged": True}, "_meta": meta}
    headers = {
        **PLAIN_HEADERS,
        "Authorization": f"Bearer {token}",
        "MCP-Protocol-Version": _MODERN,
        "Mcp-Method": method,
    }
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    try:
        async with (
            asyncio.timeout(FIRST_EVENT_SECONDS),
            edge.web.stream("POST", edge.target.url, headers, body) as streaming,
        ):
            if streaming.headers.get("content-type", "").partition(";")[0].strip() != "text/event-stream":
                edge.skipped("edge.stream", f"The server opens no stream of changes: {streaming.status}.")
                return
            async for _, chunk in streaming.chunks():
                if chunk:
                    edge.ok("edge.stream", "What the application sends at once arrives at once.")
                    return
            edge.skipped("edge.stream", "The server ended its stream of changes at once.")
    except TimeoutError:
        _tell_buffered(
            edge, f"A stream that begins at once was opened, and {FIRST_EVENT_SECONDS:g} s later nothing came."
        )


def _tell_buffered(edge: Edge, saw: str) -> None:
    fix = edge.proxy_fix("buffering", "Pass answers of the endpoint on as they come:")
    edge.error("edge.stream-buffered", saw, _WHY, EVERYONE, fix)
