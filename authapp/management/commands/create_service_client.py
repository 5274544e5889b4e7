"""Make a client that acts without a person, from the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from authapp import conf, services
from authapp.accounts import is_powerful

MAXIMUM_FILE_BYTES = 256 * 1024


class Command(BaseCommand):
    """Make a service, and print its identifier and its secret."""

    help = (
        "Make a client for a service: a program that calls tools without a person (client_credentials). Its tools run "
        "as the account of --user, which nobody must be able to sign in to; --new-user makes one. It may do what its "
        "scopes and the permissions of that account allow. It proves who it is by a secret, which is printed this once "
        "and never again, or by a key of its own: --jwks or --jwks-uri."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the name, the account and the scopes."""
        parser.add_argument("name", help="What the service is called, in the admin and in the audit trail.")
        who = parser.add_mutually_exclusive_group(required=True)
        who.add_argument("--user", metavar="NAME", help="The account that its tools run as.")
        who.add_argument("--new-user", metavar="NAME", help="Make that account, without a password or a permission.")
        parser.add_argument(
            "--scope",
            action="append",
            required=True,
            help="A scope that it may have; give the option once for each, or several with spaces between them.",
        )
        keys = parser.add_mutually_exclusive_group()
        keys.add_argument(
            "--jwks", metavar="FILE", help="A file with its public keys (a JWK Set); - is standard input."
        )
        keys.add_argument("--jwks-uri", metavar="URL", help="Where it publishes its public keys, and changes them.")
        parser.add_argument("--json", action="store_true", help="Print JSON, for programs.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make it."""
        try:
            with transaction.atomic():
                user = services.make_user(options["new_user"]) if options["new_user"] else _user(options["user"])
                scopes = " ".join(options["scope"]).split()
                client, secret = services.make(
                    options["name"], user, scopes, {}, keys=_keys(options), by="create_service_client"
                )
        except ValidationError as error:
            raise CommandError(_said(error)) from error
        if is_powerful(user):
            self.stderr.write(f"Warning: {user} is staff or a superuser. A service should have an account of its own.")
        if not conf.client_credentials():
            self.stderr.write(
                "Warning: services get no tokens until AUTHAPP['CLIENT_CREDENTIALS'] is on (docs/services.md)."
            )
        made = {"client_id": client.client_id, **({"client_secret": secret} if secret else {})}
        made |= {"user": user.get_username(), "scope": client.scope}
        if options["json"]:
            self.stdout.write(json.dumps(made))
            return
        for name, value in made.items():
            self.stdout.write(f"{name}: {value}")
        if secret:
            self.stdout.write("Keep the secret where the service can read it: it is not shown again.")


def _user(name: str) -> Any:
    model = get_user_model()
    try:
        if "\x00" in name:  # PostgreSQL refuses to look for it
            raise model.DoesNotExist
        return model._default_manager.get_by_natural_key(name)
    except model.DoesNotExist as error:
        raise CommandError(f"There is no account {name!r}. --new-user makes one.") from error


def _keys(options: dict[str, Any]) -> dict[str, Any] | None:
    if options["jwks_uri"]:
        return {"jwks_uri": options["jwks_uri"]}
    if not options["jwks"]:
        return None
    try:
        with sys.stdin if options["jwks"] == "-" else Path(options["jwks"]).open(encoding="utf-8") as file:
            return {"jwks": json.loads(file.read(MAXIMUM_FILE_BYTES))}
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no JSON, or not text
        raise CommandError(f"{options['jwks']} cannot be read as JSON: {error}") from error


def _said(error: ValidationError) -> str:
    return " ".join(
        text if field == "__all__" or text.startswith(field) else f"{field}: {text}"
        for field, texts in error.message_dict.items()
        for text in texts
    )
