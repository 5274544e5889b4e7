"""Examine an MCP server from the outside, the way its clients meet it."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError

from mcpapp import conf
from mcpapp.doctor.checks import CHECKS
from mcpapp.doctor.clients import DEFAULT, PROFILES, Profile
from mcpapp.doctor.report import Finding, Level, Report
from mcpapp.doctor.site import NoPerson, signed_in
from mcpapp.doctor.target import Target
from mcpapp.doctor.walk import Site
from mcpapp.doctor.way import examine
from mcpapp.doctor.web import Web

_EXAMPLES = """
examples:
  manage.py mcp_doctor                         this site, at its public URL, as VS Code, Cursor, Claude and Claude Code
  manage.py mcp_doctor --all                   as every client that is known here
  manage.py mcp_doctor --as codex,gemini       as these
  manage.py mcp_doctor --user alice            signed in as alice, not as a person made for it
  manage.py mcp_doctor https://host/mcp        somebody else's server, as far as the sign-in
  manage.py mcp_doctor --json | jq .findings   for programs (docs/doctor.md)

exit code: 0 nothing is wrong, 1 something is, 2 it could not be examined
"""


class Command(BaseCommand):
    """Walk the way of each client from discovery to revocation, and say what is wrong, why it matters and the fix."""

    help = (
        "Examine an MCP server through its public URL: discovery, registration, sign-in, token, a call, refresh, "
        "revocation, with the requests of each client. At this site a person without a password or a right is made "
        "for it and removed again; at another server it ends where people sign in. Clients that it registers are "
        "deleted again where the server lets it."
    )
    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Keep the lines of the examples."""
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        return super().create_parser(prog_name, subcommand, epilog=_EXAMPLES, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the URL, whose requests are sent, and how to report."""
        parser.add_argument("url", nargs="?", default="", help="What people paste (default: this site's resource).")
        whose = parser.add_mutually_exclusive_group()
        whose.add_argument(
            "--as",
            dest="clients",
            metavar="CLIENTS",
            default=",".join(DEFAULT),
            help=f"Whose requests are sent, with commas between them: {', '.join(PROFILES)} (default: %(default)s).",
        )
        whose.add_argument("--all", action="store_true", help="Send those of all of them.")
        parser.add_argument(
            "--user", metavar="NAME", default="", help="Sign in as this person; connections are theirs."
        )
        parser.add_argument("--json", action="store_true", help="Report in JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Examine, report, and exit with what came of it."""
        profiles = list(PROFILES.values()) if options["all"] else _profiles(options["clients"])
        target = _target(options["url"])
        report = Report(target.url)
        site = None
        try:
            if target.is_own_site:
                try:
                    with signed_in(options["user"]) as site:
                        asyncio.run(_examine(target, report, profiles, site))
                finally:
                    if site is not None and site.left_behind:
                        _tell_of(site.left_behind, report)
            elif options["user"]:
                raise CommandError("--user is for this site; nobody can be signed in at another.", returncode=2)
            else:
                asyncio.run(_examine(target, report, profiles, None))
        except NoPerson as error:
            raise CommandError(str(error), returncode=2) from error
        except DatabaseError as error:
            raise CommandError(f"The database does not answer ({type(error).__name__}).", returncode=2) from error
        except KeyboardInterrupt:
            raise CommandError(_interrupted(report), returncode=2) from None
        verbose = int(options["verbosity"]) > 1
        text = report.as_json() if options["json"] else report.as_text(self._painted, verbose=verbose)
        encoding = getattr(self.stdout, "encoding", None) or "utf-8"
        self.stdout.write(text.encode(encoding, "replace").decode(encoding))
        if not report.reached:
            raise SystemExit(2)
        if not report.is_healthy:
            raise SystemExit(1)

    def _painted(self, level: Level, text: str) -> str:
        paint = {
            Level.OK: self.style.SUCCESS,
            Level.NOTE: self.style.NOTICE,
            Level.WARNING: self.style.WARNING,
            Level.ERROR: self.style.ERROR,
        }.get(level)
        return paint(text) if paint else text


async def _examine(target: Target, report: Report, profiles: Sequence[Profile], site: Site | None) -> None:
    async with Web(report.secrets) as web:
        await examine(web, target, report, profiles, site)


def _interrupted(report: Report) -> str:
    """Return what to say after Ctrl-C: whether all that was made is removed, and else what is not."""
    left = [
        finding.saw
        for findings in report.steps.values()
        for finding in findings
        if finding.check in ("registration.left-behind", "site.person-left") and finding.level is not Level.OK
    ]
    return f"Interrupted. {' '.join(left)}" if left else "Interrupted; what was made for it is removed."


def _tell_of(username: str, report: Report) -> None:
    known = CHECKS["site.person-left"]
    saw = f"The account {username} could not be deleted; the log says why."
    report.add("Authorization", Finding("site.person-left", known.level, saw, known.why, known.matters_to, known.fix))


def _profiles(names: str) -> list[Profile]:
    chosen = list(dict.fromkeys(name.strip().lower() for name in names.split(",") if name.strip()))
    if unknown := [name for name in chosen if name not in PROFILES]:
        known = ", ".join(PROFILES)
        raise CommandError(f"Nobody here is called {', '.join(unknown)}. There are {known}.", returncode=2)
    if not chosen:
        raise CommandError("--as names no client.", returncode=2)
    return [PROFILES[name] for name in chosen]


def _target(url: str) -> Target:
    own = conf.resources()
    if not url:
        if not own:
            raise CommandError("This site names no resource (MCPAPP['RESOURCES']); give a URL.", returncode=2)
        url = own[0]
    try:
        parts = urlsplit(url)
        _ = parts.port
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_url = False
    if not is_url or not url.isascii() or not url.isprintable() or " " in url:
        raise CommandError("The URL is what people paste into a client, like https://example.com/mcp.", returncode=2)
    if "@" in parts.netloc or parts.fragment:
        raise CommandError("The URL has no user, no password and no fragment.", returncode=2)
    origins = {urlsplit(resource)[:2] for resource in own}
    return Target(url, is_own_site=parts[:2] in origins)
