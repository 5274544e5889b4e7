"""The order of things: discovery once, the way of each client, then what any client may stumble over."""

from __future__ import annotations

from collections.abc import Sequence

from mcpapp.doctor import calls, endpoint, quirks, registration, tokens
from mcpapp.doctor.authorization import authorize
from mcpapp.doctor.clients import Profile
from mcpapp.doctor.discovery import discover
from mcpapp.doctor.edge import check_edge
from mcpapp.doctor.report import Report
from mcpapp.doctor.target import Target
from mcpapp.doctor.walk import Site, Walk
from mcpapp.doctor.web import Web


async def examine(
    web: Web, target: Target, report: Report, profiles: Sequence[Profile], site: Site | None = None
) -> None:
    """Walk the way of each client and add what is found to the report.

    `site` lets the walk go beyond the sign-in; without it, it ends there, unless nobody asks for one.
    """
    walk = Walk(web, target, report, profiles, site)
    if not await endpoint.ask_first(walk):
        # Which tells what is wrong with a connection, as with its certificate.
        await check_edge(web, target, report, walk.titles)
        return
    is_known = await discover(walk)  # where there is no server, it may name the URL that was meant
    if walk.found.asks_nobody:
        for profile in profiles:
            step = "" if await calls.use(walk, profile, "") else "tools"
            report.clients[profile.title] = walk.stops.get(profile.title, step)
        await check_edge(web, target, report, walk.titles)
        return
    if not is_known or walk.found.is_absent:
        await check_edge(web, target, report, walk.titles)
        report.clients |= {title: step for title, step in walk.stops.items() if title in walk.titles}
        return
    try:
        for profile in profiles:
            await _follow(walk, profile)
        await quirks.look(walk)
    finally:
        registration.judge_left_behind(walk)  # also after Ctrl-C


async def _follow(walk: Walk, profile: Profile) -> None:
    """Go the way of one client, as far as it gets."""
    client = await registration.identify(walk, profile)
    if client is None:
        walk.report.clients[profile.title] = walk.stops.get(profile.title, "registration")
        return
    try:
        step = await _use(walk, client)
        walk.report.clients[profile.title] = walk.stops.get(profile.title, step)
    finally:
        await registration.forget(walk, client)


async def _use(walk: Walk, client: registration.Client) -> str:
    """Return the step at which a client stops; "" if it gets through."""
    code = await authorize(walk, client)
    if code is None:
        return "sign-in" if walk.site is None else "authorization"
    granted = await tokens.redeem(walk, client, code)
    if granted is None:
        return "token"
    if not await calls.use(walk, client.profile, granted.access_token):
        return "tools"
    if granted.refresh_token:
        refreshed = await tokens.refresh(walk, client, granted)
        if refreshed is None:
            return "refresh"
        granted = refreshed
    await tokens.revoke(walk, client, granted)
    return ""
