"""How much a proxy lets through: bodies and headers that the application would take."""

from __future__ import annotations

from collections.abc import Awaitable

from mcpapp import conf
from mcpapp.doctor.checks.check import EVERYONE
from mcpapp.doctor.edge_frame import PING, Edge
from mcpapp.doctor.web import Answer, Unreachable

KILOBYTE = 1024
SMALL_BODY, LARGE_BODY = 100 * KILOBYTE, KILOBYTE * KILOBYTE
FIX_MEGABYTES = 5
"""What the lines for proxies let through (`mcpapp.doctor.proxies`)."""
SMALL_TOKEN, LARGE_TOKEN = 4 * KILOBYTE, 8 * KILOBYTE


async def check_body_limit(edge: Edge) -> None:
    """Send larger and larger bodies: arguments of tools carry files."""
    edge.step = "Edge: limits"
    sizes = [SMALL_BODY, LARGE_BODY]
    if edge.target.is_own_site:
        most = conf.maximum_body_bytes()
        sizes = sorted({*(size for size in sizes if size <= most), most})
    passed = 0
    for size in sizes:
        if refused := await _body_refused(edge, size):
            saw = f"A body of {_sized(size)} is stopped on its way: {refused}."
            why = "Tools whose arguments are texts or files fail, with an error that no client understands."
            fix = _body_fix(edge, sizes[-1])
            if size <= LARGE_BODY:
                edge.warning("edge.body-limit-low", saw, why, EVERYONE, fix)
            else:
                edge.note("edge.body-limit-low", saw, why, fix)
            return
        passed = size
    edge.ok("edge.body-limit", f"A body of {_sized(passed)} gets through.")


def _body_fix(edge: Edge, most: int) -> str:
    """Return the fix with the site's own limit in it, where that is more than the lines have."""
    lines = edge.proxy_fix("body", "Let as much through as the application takes (it refuses more itself):")
    megabytes = -(-most // LARGE_BODY)
    if megabytes <= FIX_MEGABYTES:
        return lines
    for unit in ("{}m;", "{}MiB"):
        lines = lines.replace(unit.format(FIX_MEGABYTES), unit.format(megabytes))
    return lines.replace(str(FIX_MEGABYTES * LARGE_BODY), str(megabytes * LARGE_BODY))


async def _body_refused(edge: Edge, size: int) -> str:
    """Return what stops a body; nothing if it gets through."""
    body = PING + " " * (size - len(PING))
    if edge.has_mirror:
        try:
            mirrored = await edge.mirrored(body=body)
        except Unreachable as error:
            return error.reason
        if mirrored.seen is None:
            return f"{mirrored.answer.status} by the proxy"
        return "" if mirrored.seen.body_bytes == size else f"{mirrored.seen.body_bytes} bytes of it arrive"
    answer = await _answered(edge.post(body=body))
    return "413" if answer is not None and answer.status == 413 else ""  # a server may hang up on what it will not read


async def check_header_limit(edge: Edge) -> None:
    """Send long tokens: those of other issuers carry the groups of a person."""
    edge.step = "Edge: limits"
    short = None if edge.has_mirror else await _answered(edge.post({"Authorization": "Bearer " + "a" * 40}))
    usual = short.status if short else 0
    for size in (SMALL_TOKEN, LARGE_TOKEN):
        value = "Bearer " + "a" * size
        if refused := await _header_refused(edge, value, usual):
            saw = f"An access token of {_sized(size)} is stopped on its way: {refused}."
            why = "Access tokens of Entra and other issuers are of that size where a person is in many groups."
            fix = edge.proxy_fix("header-size", "Take longer header lines:")
            if size == SMALL_TOKEN or (edge.target.is_own_site and conf.token_issuer_entries()):
                edge.warning("edge.header-limit-low", saw, why, EVERYONE, fix)
            else:
                edge.note("edge.header-limit-low", saw, f"{why} Those of this kind of site are short.", fix)
            return
    edge.ok("edge.header-limit", f"An access token of {_sized(LARGE_TOKEN)} gets through.")


async def _header_refused(edge: Edge, value: str, usual: int) -> str:
    """Return what stops a header; nothing if it gets through, or is answered as a short one is."""
    if edge.has_mirror:
        try:
            mirrored = await edge.mirrored(headers={"Authorization": value}, body=PING)
        except Unreachable as error:
            return error.reason
        if mirrored.seen is None:
            return f"{mirrored.answer.status} by the proxy"
        return ""  # whether it arrives whole is another check
    answer = await _answered(edge.post({"Authorization": value}))
    if answer is None:
        return "the connection is cut"
    if answer.status == usual:
        return ""
    return str(answer.status) if answer.status in {400, 413, 414, 431, 494} or answer.status >= 500 else ""


async def _answered(request: Awaitable[Answer]) -> Answer | None:
    try:
        return await request
    except Unreachable:
        return None


def _sized(size: int) -> str:
    return f"{size // KILOBYTE // KILOBYTE} MB" if size >= LARGE_BODY else f"{size // KILOBYTE} KB"
