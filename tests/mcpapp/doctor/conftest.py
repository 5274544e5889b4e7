"""Shared by the tests of the doctor: a real server behind a proxy that can be broken, and a person who is signed in."""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from mcpapp.doctor.clients import PROFILES
from mcpapp.doctor.report import Level, Report
from mcpapp.doctor.target import Target
from mcpapp.doctor.way import examine
from mcpapp.doctor.web import Web
from tests.clients.person import Page, Person
from tests.conftest import LiveDatabases, LiveServer
from tests.mcpapp.doctor.proxy import Fault, Proxy, no_fault, proxying

TRUST = ssl.create_default_context()
"""Loading it takes longer than a walk; these walks meet no certificate."""


@dataclass
class Inside:
    """What the walk makes use of inside a site: here a person who signed in by the sign-in page."""

    cookies: Mapping[str, str]

    def tool_beyond(self, scopes: frozenset[str]) -> str | None:
        return None if "mcp:write" in scopes else "disconnect-app"


class Clinic:
    """A real server behind a proxy, both with the proxy's address for their public one."""

    def __init__(self, proxy: Proxy, server: LiveServer) -> None:
        self.proxy = proxy
        self.server = server
        self.url = f"{proxy.url}/star"

    @cached_property
    def inside(self) -> Inside:
        """Somebody who is signed in."""
        return Inside(sign_in(self.proxy.url))

    async def examined(
        self,
        fault: Fault = no_fault,
        *clients: str,
        has_access: bool = True,
        url: str = "",
        seconds: float = 20,
        sees_edge: bool = False,
    ) -> Report:
        """Examine the server with something broken; as all clients unless some are named."""
        target = Target(url or self.url, is_own_site=has_access)
        report = Report(target.url)
        profiles = [PROFILES[name] for name in clients or PROFILES]
        self.proxy.fault, self.proxy.seen = fault, []
        try:
            async with Web(report.secrets, seconds=seconds, verify=TRUST) as web:
                with nullcontext() if sees_edge else without_edge():
                    await examine(web, target, report, profiles, self.inside if has_access else None)
        finally:
            self.proxy.fault = no_fault
        return report


@contextmanager
def without_edge() -> Iterator[None]:
    """Leave out what takes as long as the walk and has nothing to do with most faults."""

    async def look_at_nothing(web: Web, target: Target, report: Report, titles: Collection[str]) -> None:
        pass

    with (
        patch("mcpapp.doctor.quirks.check_edge", look_at_nothing),
        patch("mcpapp.doctor.way.check_edge", look_at_nothing),
    ):
        yield


def sign_in(url: str) -> dict[str, str]:
    """Sign demo in; return the cookies."""
    with Person("demo", "demo") as person:
        page = Page(person.browser.get(f"{url}/accounts/login/"))
        form = page.form_with_field("login")
        assert form is not None
        person._submit(page, form, form.filled(login="demo", password="demo"))
        return {cookie.name: cookie.value or "" for cookie in person.cookies}


@contextmanager
def opened(folder: Path, databases: LiveDatabases, **environment: str) -> Iterator[Clinic]:
    """Run a server with these settings, and the proxy in front of it."""
    server = LiveServer(folder, databases.copy())
    with proxying() as proxy:
        proxy.upstream_port = server.port
        server.environment |= {"PUBLIC_URL": proxy.url, "DJANGO_SETTINGS_MODULE": "tests.mcpapp.doctor.settings"}
        server.environment |= environment
        server.start("manage.py", "runserver", "--noreload", str(server.port))
        try:
            yield Clinic(proxy, server)
        finally:
            server.stop()


@pytest.fixture(scope="session")
def clinic(tmp_path_factory: pytest.TempPathFactory, live_databases: LiveDatabases) -> Iterator[Clinic]:
    with opened(tmp_path_factory.mktemp("clinic"), live_databases) as clinic:
        yield clinic


def wrong(report: Report) -> dict[str, Any]:
    """What is wrong in a report, the edge aside: of each check the first finding."""
    found: dict[str, Any] = {}
    for finding in report.findings:
        if finding.level in (Level.WARNING, Level.ERROR) and not finding.check.startswith("edge."):
            found.setdefault(finding.check, finding)
    return found
