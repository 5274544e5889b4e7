"""The walk itself: one set of discovery, then the way of each client, then what any client may stumble over."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mcpapp.doctor import proxies
from mcpapp.doctor.checks import CHECKS, STEPS
from mcpapp.doctor.checks.check import ORIGIN, PATH, Check
from mcpapp.doctor.clients import OFFLINE_ACCESS, Profile, ScopeRule
from mcpapp.doctor.reading import may_ask, texts
from mcpapp.doctor.report import Finding, Level, Report
from mcpapp.doctor.target import Target
from mcpapp.doctor.web import Answer, Unreachable, Web

_STEPS = {
    "endpoint": "first request",
    "challenge": "first request",
    "discovery": "discovery",
    "registration": "registration",
    "authorization": "authorization",
    "site": "authorization",
    "token": "token",
    "token.no-refresh-token": "refresh",
    "call": "tools",
    "refresh": "refresh",
    "revocation": "revocation",
}
"""Where a client stops that something wrong concerns."""
_FOR_ALL = ("first request", "discovery")
_WRONG = (Level.WARNING, Level.ERROR)


class Site(Protocol):
    """The site that is examined, where the doctor runs inside of it."""

    @property
    def cookies(self) -> Mapping[str, str]:
        """The cookies of a browser in which somebody is signed in."""
        ...

    def tool_beyond(self, scopes: frozenset[str]) -> str | None:
        """Return a tool that needs more than these scopes and takes an argument that it cannot do without."""
        ...


@dataclass(slots=True)
class Found:
    """What discovery tells."""

    challenge: dict[str, str] = field(default_factory=dict)
    resource_metadata: dict[str, Any] = field(default_factory=dict)
    server_metadata: dict[str, Any] = field(default_factory=dict)
    is_open: bool = False
    """Whether callers without a token are served."""
    asks_nobody: bool = False
    """Whether it is open and names nobody to sign in with: another server's tools are for all."""
    is_absent: bool = False
    """Whether there is nothing at the URL."""

    def endpoint(self, name: str) -> str:
        """Return an endpoint of the authorization server; "" if its metadata has none."""
        value = self.server_metadata.get(name)
        return value if isinstance(value, str) else ""

    @property
    def resource_scopes(self) -> list[str]:
        """The scopes that the resource lists."""
        return texts(self.resource_metadata, "scopes_supported")

    @property
    def server_scopes(self) -> list[str]:
        """The scopes that the authorization server lists."""
        return texts(self.server_metadata, "scopes_supported")

    @property
    def default_scopes(self) -> list[str]:
        """The scopes that a client without a mind of its own asks for."""
        return self.challenge.get("scope", "").split() or self.resource_scopes

    def scope_of(self, profile: Profile) -> str:
        """Return what a client asks for, "" where it names no scope."""
        scopes = {
            ScopeRule.CHALLENGE: self.default_scopes,
            ScopeRule.RESOURCE: self.resource_scopes,
            ScopeRule.SERVER: self.server_scopes or self.resource_scopes,
            ScopeRule.NONE: [],
        }[profile.scope]
        if profile.adds_offline_access and OFFLINE_ACCESS in self.server_scopes:
            scopes = [*scopes, OFFLINE_ACCESS]
        return " ".join(dict.fromkeys(scopes))


def _named(clients: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of real clients: the doctor's own has none."""
    return tuple(title for title in clients if title)


class Walk:
    """What all steps share: what is examined, for whom, what is known, and where findings go."""

    def __init__(
        self, web: Web, target: Target, report: Report, profiles: Sequence[Profile], site: Site | None = None
    ) -> None:
        self.web = web
        self.target = target
        self.report = report
        self.profiles = profiles
        self.site = site
        self.found = Found()
        self.needing_iss = frozenset(profile.title for profile in profiles if profile.needs_iss)
        self.left_behind: dict[str, str] = {}
        """Identifiers of clients that could not be deleted, and why."""
        self.stops: dict[str, str] = {}
        """The clients that cannot get past something that was found, and the step at which that is."""
        self.titles = frozenset(profile.title for profile in profiles)

    def well(self, check: str, *clients: str) -> None:
        """Note that a check passed."""
        if self._is_told(check, clients, {Level.OK, *_WRONG}):
            return
        self._add(check, Level.OK, CHECKS[check].well, _named(clients) or CHECKS[check].matters_to)

    def wrong(self, check: str, saw: str, *clients: str, level: Level | None = None) -> None:
        """Note that a check failed, and what was seen; of a client that nobody asked about it is only a note."""
        known = CHECKS[check]
        concerned = _named(clients) or known.matters_to
        level = level or known.level
        if self._is_told(check, clients, _WRONG):
            return
        if concerned and not self.titles & set(concerned) and level in _WRONG:
            level = Level.NOTE
        if level is Level.ERROR:
            # What is looked at once for all is of those that the check names, the rest of those who met it.
            step = _STEPS.get(check, _STEPS[check.partition(".")[0]])
            for client in concerned if step in _FOR_ALL else _named(clients):
                self.stops.setdefault(client, step)
        self._add(check, level, saw, concerned, why=known.why, fix=self._filled(known))

    def judge(self, check: str, problem: str, *clients: str, level: Level | None = None) -> bool:
        """Note a check by its problem, "" for none; return whether it passed."""
        if problem:
            self.wrong(check, problem, *clients, level=level)
        else:
            self.well(check, *clients)
        return not problem

    async def ask(
        self,
        check: str,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
        *clients: str,
        **options: Any,
    ) -> Answer | None:
        """Send a request; where no answer comes, note it under this check and return None."""
        try:
            return await self.web.request(method, url, headers, body, **options)
        except Unreachable as error:
            self.wrong(check, f"{method} {url}: {error}.", *clients)
            return None

    def may_ask(self, url: str) -> bool:
        """Return whether a URL out of a stranger's document may be asked."""
        return may_ask(url, self.target.url)

    def _add(self, check: str, level: Level, saw: str, clients: tuple[str, ...], why: str = "", fix: str = "") -> None:
        self.report.add(STEPS[check.partition(".")[0]], Finding(check, level, saw, why, clients, fix))

    def _is_told(self, check: str, clients: tuple[str, ...], levels: Collection[Level]) -> bool:
        """Return whether what the doctor's own client met, which has no name, has been told of a real one."""
        if not clients or _named(clients):
            return False
        return any(known.check == check and known.level in levels for known in self.report.findings)

    def _filled(self, check: Check) -> str:
        """Return the fix of a check with the names of what is examined, and the lines for its proxy."""
        fix = check.fix
        for name, value in {ORIGIN: self.target.origin, PATH: self.target.path}.items():
            fix = fix.replace(name, value)
        return proxies.fix(check.proxy, self.target.url, fix) if check.proxy else fix
