"""The first request: each client's own, without a token. It should be refused with a challenge (RFC 6750 §3)."""

from __future__ import annotations

from urllib.parse import urlsplit

from mcpapp.doctor.clients import PROFILES, Probe, Profile
from mcpapp.doctor.messages import first_message
from mcpapp.doctor.reading import bearer_parameters, described, is_encrypted, is_page, origin_of, schemes
from mcpapp.doctor.report import Level
from mcpapp.doctor.walk import Walk
from mcpapp.doctor.web import Answer

_METHODS = (Probe.POST, Probe.GET, Probe.HEAD)


async def ask_first(walk: Walk) -> bool:
    """Send the first request of each client; return whether the server is there at all."""
    for method in _METHODS:
        profiles: list[Profile | None] = [profile for profile in walk.profiles if profile.probe is method]
        for profile in profiles or [None]:
            walk.report.reached |= await _ask(walk, method, profile)
            if not walk.report.reached:
                return False  # each of the others would wait as long
    challenge = walk.found.challenge
    if challenge:
        _judge_challenge(walk, challenge)
    return True


async def _ask(walk: Walk, method: Probe, profile: Profile | None) -> bool:
    headers, body = first_message(profile) if method is Probe.POST else (_headers(profile), None)
    users = tuple(known.title for known in PROFILES.values() if known.probe is method)
    clients = (profile.title,) if profile else users
    answer = await walk.ask("endpoint.unreachable", method, walk.target.url, headers, body, *clients)
    if answer is None:
        return False
    _judge(walk, method, answer, clients)
    return True


def _headers(profile: Profile | None) -> dict[str, str]:
    headers = {"Accept": "text/event-stream, application/json"}
    if profile is not None:
        headers["User-Agent"] = profile.mcp_user_agent or profile.user_agent
    return headers


def _judge(walk: Walk, method: Probe, answer: Answer, clients: tuple[str, ...]) -> None:
    saw = f"{method} is answered {described(answer)}."
    header = ", ".join(answer.headers.get_list("www-authenticate"))
    if answer.status != 401:
        if check := _other_than_401(walk, method, answer):
            if check == "endpoint.not-found":
                walk.found.is_absent = True
                clients = ()  # whoever asks in another way finds nothing either
            walk.wrong(check, saw, *clients)
            return
        if walk.found.is_open:
            walk.wrong("endpoint.open", saw, *clients)
            return
    for check in ("redirects", "not-found", "server-error", "blocked"):
        walk.well(f"endpoint.{check}", *clients)
    if not header:
        blocked = answer.status in (401, 403) and is_page(answer)
        walk.wrong("endpoint.blocked" if blocked else "challenge.missing", saw, *clients)
        return
    if answer.status != 401:
        walk.wrong("challenge.missing", f"{saw[:-1]}, with a challenge: the status should be 401.", *clients)
        return
    walk.well("endpoint.open", *clients)
    walk.well("challenge.missing", *clients)
    found = schemes(header)
    walk.judge(
        "challenge.not-bearer",
        ""
        if found[:1] == ["bearer"]
        else f"{method} is answered with a challenge for {' and '.join(found) or 'none'}.",
        *clients,
    )
    if "bearer" in found and (method is Probe.POST or not walk.found.challenge):
        walk.found.challenge = {"scheme": "bearer"} | bearer_parameters(header)


def _other_than_401(walk: Walk, method: Probe, answer: Answer) -> str:
    """Return which check an answer fails that asks nobody to sign in; "" if that is for the challenge to say."""
    if 300 <= answer.status < 400:
        return "endpoint.redirects"
    if answer.status >= 500 and not is_page(answer):
        return "endpoint.server-error"
    if is_page(answer) and answer.status not in (404, 405, 410):
        return "endpoint.blocked"
    if answer.status in (404, 410) and not walk.found.challenge and not walk.found.is_open:
        return "endpoint.not-found"
    if 200 <= answer.status < 300 and method is Probe.POST:
        walk.found.is_open = True
    return ""


def _judge_challenge(walk: Walk, challenge: dict[str, str]) -> None:
    url = challenge.get("resource_metadata", "")
    if walk.judge("challenge.no-resource-metadata", "" if url else "The challenge has no resource_metadata."):
        own = walk.target.origin.lower()
        problem = ""
        if origin_of(url) != own or not (is_encrypted(url) or urlsplit(walk.target.url).scheme == "http"):
            problem = f"The challenge names {url}, which is not at {own}."
        is_ours = walk.target.is_own_site
        walk.judge("challenge.foreign-resource-metadata", problem, level=None if is_ours else Level.WARNING)
    walk.judge("challenge.no-scope", "" if challenge.get("scope", "").split() else "The challenge names no scope.")
