"""What the checks of the edge share: where they ask, how they ask the site's own mirror, and how they tell."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from mcpapp import edge_mirror
from mcpapp.doctor.checks.check import CHATGPT, CLAUDE, EVERYONE
from mcpapp.doctor.proxies import fix as proxy_fix
from mcpapp.doctor.reading import may_ask
from mcpapp.doctor.report import Finding, Level, Report
from mcpapp.doctor.target import Target
from mcpapp.doctor.web import Answer, Unreachable, Web
from mcpapp.edge_mirror import Kind, Question, Seen

HOSTED = (CLAUDE, CHATGPT)
"""Clients that call from their maker's servers."""
PLAIN_HEADERS = {
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
    "MCP-Protocol-Version": "2025-11-25",
}
PING = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"})
MADE_UP_TOKEN = "made-up-by-mcp-doctor-and-good-for-nothing"  # noqa: S105
PRM = "/.well-known/oauth-protected-resource"


@dataclass(frozen=True, slots=True)
class Mirrored:
    """An answer to a question to the mirror; `seen` is None if the site did not answer it."""

    answer: Answer
    seen: Seen | None
    is_acknowledged: bool
    """Whether the site answered, even if what it said got lost."""


class Edge:
    """One examination of one target."""

    def __init__(self, web: Web, target: Target, report: Report, titles: Collection[str] = EVERYONE) -> None:
        self.web = web
        self.target = target
        self.report = report
        self.titles = frozenset(titles)
        """The clients that somebody asked about."""
        self.step = "Edge"
        self.issuer = self._issuer(target.issuer)
        self.has_mirror = False
        """Whether the site answers questions about how it sees a request."""
        self.metadata: dict[str, Any] = {}
        """Of the authorization server (RFC 8414)."""

    # --- Where ------------------------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """The host name, without a port."""
        return urlsplit(self.target.url).hostname or ""

    @property
    def is_https(self) -> bool:
        """Whether the URL is https."""
        return urlsplit(self.target.url).scheme == "https"

    @property
    def is_on_this_machine(self) -> bool:
        """Whether the URL leads to this machine, where there is no edge to speak of."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def prm_url(self) -> str:
        """Where the protected resource metadata is (RFC 9728 §3.1)."""
        return f"{self.target.origin}{PRM}{self.target.path}"

    def endpoint(self, name: str) -> str | None:
        """Return the URL that the metadata has under a name, if it is one of the target's own origin."""
        value = self.metadata.get(name)
        if not isinstance(value, str) or not value.startswith(self.target.origin + "/"):
            return None
        return value

    async def discover(self) -> None:
        """Find the metadata, where the walk has not told the issuer: from what the resource says of itself."""
        try:
            if not self.issuer:
                servers = (await self.web.request("GET", self.prm_url)).document.get("authorization_servers")
                self.issuer = self._issuer(servers[0] if isinstance(servers, list) and servers else None)
            issuer = urlsplit(self.issuer)
            if f"{issuer.scheme}://{issuer.netloc}" == self.target.origin:
                path = f"/.well-known/oauth-authorization-server{issuer.path.rstrip('/')}"
                self.metadata = (await self.web.request("GET", self.target.origin + path)).document
        except Unreachable:
            return  # the walk tells of it

    def _issuer(self, named: object) -> str:
        """Return an issuer that a server named; nothing if it is none or the walk would not ask it either."""
        return named if isinstance(named, str) and may_ask(named, self.target.url) else ""

    # --- Asking -----------------------------------------------------------------------------------------------

    async def post(self, headers: Mapping[str, str] | None = None, body: bytes | str = PING) -> Answer:
        """POST to the endpoint; see `Web.request`."""
        return await self.web.request("POST", self.target.url, {**PLAIN_HEADERS, **(headers or {})}, body)

    async def mirrored(
        self,
        method: str = "POST",
        url: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
        kind: Kind = Kind.FACTS,
    ) -> Mirrored:
        """Ask the site how it sees a request.

        Raises: Unreachable.
        """
        question, sent = self.question(kind)
        all_headers = {**PLAIN_HEADERS, **(headers or {}), edge_mirror.HEADER: sent}
        answer = await self.web.request(method, url or self.target.url, all_headers, body)
        acknowledged = edge_mirror.acknowledges(question, answer.headers.get(edge_mirror.HEADER, ""))
        return Mirrored(answer, edge_mirror.read(question, answer.text), acknowledged)

    def question(self, kind: Kind) -> tuple[Question, str]:
        """Return a question to the mirror, which is not shown to anybody, and its header."""
        question, sent = edge_mirror.ask(kind)
        self.web.secrets.add(sent)
        return question, sent

    # --- Telling ----------------------------------------------------------------------------------------------

    def ok(self, check: str, saw: str) -> None:
        """Tell that something is well."""
        self.report.add(self.step, Finding(check, Level.OK, saw))

    def note(self, check: str, saw: str, why: str = "", fix: str = "") -> None:
        """Tell something that is neither well nor wrong."""
        self.report.add(self.step, Finding(check, Level.NOTE, saw, why, fix=fix))

    def skipped(self, check: str, saw: str) -> None:
        """Tell that something could not be looked at, and why."""
        self.report.add(self.step, Finding(check, Level.SKIPPED, saw))

    def warning(self, check: str, saw: str, why: str, matters_to: tuple[str, ...], fix: str) -> None:
        """Tell that something is doubtful."""
        self._wrong(Finding(check, Level.WARNING, saw, why, matters_to, fix))

    def error(self, check: str, saw: str, why: str, matters_to: tuple[str, ...], fix: str) -> None:
        """Tell that something is wrong."""
        self._wrong(Finding(check, Level.ERROR, saw, why, matters_to, fix))

    def _wrong(self, finding: Finding) -> None:
        """Tell it; of a client that nobody asked about it is only a note, as in the walk."""
        if finding.matters_to and not self.titles & set(finding.matters_to):
            finding = replace(finding, level=Level.NOTE)
        self.report.add(self.step, finding)

    def proxy_fix(self, name: str, say: str) -> str:
        """Return what to change, in a sentence and as lines for three proxies."""
        return proxy_fix(name, self.target.url, say)


def is_redirect(status: int) -> bool:
    """Return whether a status sends a client elsewhere."""
    return status in {301, 302, 303, 307, 308}
