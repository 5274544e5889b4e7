"""Make a client that acts for people on the word of their identity provider."""

from __future__ import annotations

import json
import secrets
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from oauth2_provider.scopes import get_scopes_backend

from authapp import audit, conf
from authapp.models import Application


class Command(BaseCommand):
    """Print the client's identifier and its secret, which is stored as a digest and never shown again."""

    help = (
        "Make a confidential client for enterprise-managed authorization (docs/enterprise.md). Its secret is printed "
        "once. The identity provider must name the client by the identifier that is printed (claim client_id)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the name, and what the client may have."""
        parser.add_argument("name", help="What people call it.")
        parser.add_argument("--client-id", default="", help="Its identifier, if it has one already.")
        parser.add_argument("--scope", action="append", default=[], help="A scope it may have at most; repeat it.")
        parser.add_argument("--json", action="store_true", help="Print JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the client."""
        client_id = options["client_id"] or secrets.token_urlsafe(24)
        if not client_id.isascii() or not client_id.isprintable() or " " in client_id or len(client_id) > 100:
            raise CommandError("A client ID has at most 100 printable ASCII characters and no space.")
        if Application.objects.filter(client_id=client_id).exists():
            raise CommandError(f"There is a client with the ID {client_id} already.")
        if unknown := sorted(set(options["scope"]) - set(get_scopes_backend().get_all_scopes())):
            raise CommandError(f"There is no scope {', '.join(unknown)}.")
        secret = secrets.token_urlsafe(32)
        with transaction.atomic():
            client = Application.objects.create(
                name=options["name"],
                client_id=client_id,
                client_secret=secret,
                client_type=Application.CLIENT_CONFIDENTIAL,
                authorization_grant_type=conf.JWT_BEARER,
                grant_types=[conf.JWT_BEARER],
                scope=" ".join(options["scope"]),
            )
            audit.record(audit.Action.CLIENT_REGISTERED, {}, application=client, by="create_enterprise_client")
        made = {"client_id": client_id, "client_secret": secret}
        if options["json"]:
            self.stdout.write(json.dumps(made))
        else:
            self.stdout.write("\n".join(f"{name}: {value}" for name, value in made.items()))
