"""`manage.py mcp_client …` is `star …`, for those who are in a site's folder anyway."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """The console client."""

    help = "Sign in to MCP servers, list and call what they have: the command `star`."
    requires_system_checks = []

    def run_from_argv(self, argv: list[str]) -> None:
        """Hand the command line over as it is; Django's own options are not the client's. Raises: SystemExit."""
        from mcpapp.client.cli import main

        main(argv[2:], "manage.py mcp_client")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the client with the arguments of `call_command`. Raises: SystemExit."""
        from mcpapp.client.cli import main

        main([str(argument) for argument in args], "mcp_client")
