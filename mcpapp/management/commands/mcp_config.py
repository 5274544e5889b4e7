"""`manage.py mcp_config CLIENT`: what a client is told of this site's MCP server, printed or put into its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from mcpapp import conf
from mcpapp.client import config_files
from mcpapp.client.client_configs import client_configs, client_names, safe_name
from mcpapp.client.failures import Failure


class Command(BaseCommand):
    """Prints or installs a client's configuration."""

    help = (
        "Print what to put where so that a client finds this site's MCP server. With --install it is put there: "
        "the rest of the file stays as it is, comments too, and a copy of what was there before is kept beside it."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the client and where to."""
        parser.add_argument("client", nargs="?", choices=list(client_names()), help="for which client")
        parser.add_argument("--list", action="store_true", help="name the clients, and where each keeps its servers")
        parser.add_argument(
            "--scope", choices=config_files.SCOPES, help="this project, or all of yours (user with --install)"
        )
        parser.add_argument("--install", action="store_true", help="put it into the client's file")
        parser.add_argument("--dry-run", action="store_true", help="with --install: only show what would change")
        parser.add_argument("--name", default="", help="what the client calls the server")
        parser.add_argument("--project", default=".", help="the project's folder (%(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it.

        Raises:
            CommandError: no client, or its file cannot be changed.
        """
        if options["dry_run"] and not options["install"]:
            raise CommandError("--dry-run says what --install would change: give both.")
        if options["list"]:
            for client, title in client_names().items():
                self.stdout.write(f"{client}\t{title}\t{' '.join(config_files.scopes_of(client)) or 'in a terminal'}")
            return
        client = options["client"]
        if not client:
            raise CommandError("For which client? --list names them.")
        resources = conf.resources()
        if not resources:
            raise CommandError("This site has no MCP server: RESOURCES is empty.")
        name, url = safe_name(options["name"] or conf.server_name()), resources[0]
        try:
            if options["install"]:
                self._install(client, name, url, options)
            else:
                self._print(client, name, url, options)
        except Failure as failure:
            raise CommandError(f"{failure} {failure.hint}".strip()) from failure

    def _print(self, client: str, name: str, url: str, options: dict[str, Any]) -> None:
        config = next(one for one in client_configs(url, name) if one.client == client)
        where = config.where
        if options["scope"]:
            where = str(config_files.file_of(client, options["scope"], Path(options["project"])))
            self.stdout.write(f"# {where}")
            self.stdout.write(config_files.planned_alone(client, name, url))
            return
        self.stdout.write(f"# {where}")
        self.stdout.write(config.text)
        if config.link:
            self.stdout.write(config.link)
        scopes = config_files.scopes_of(client)
        if scopes:
            path = config_files.file_of(client, scopes[-1], Path(options["project"]))
            self.stdout.write(f"# --install writes {path}" + (", unless --scope project" if len(scopes) > 1 else ""))

    def _install(self, client: str, name: str, url: str, options: dict[str, Any]) -> None:
        scopes = config_files.scopes_of(client)
        scope = options["scope"] or (scopes[-1] if scopes else "user")
        path = config_files.file_of(client, scope, Path(options["project"]))
        edit = config_files.planned(client, path, name, url)
        if not edit.changes:
            self.stdout.write(f"{edit.path} has it already.")
            return
        self.stdout.write(edit.diff())
        if options["dry_run"]:
            self.stdout.write(f"{edit.path} was not changed (--dry-run).")
            return
        kept = config_files.write(edit)
        self.stdout.write(f"{edit.path} is written." + (f" What it was: {kept}" if kept else ""))
