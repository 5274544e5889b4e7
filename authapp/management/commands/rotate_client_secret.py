"""Give a client a new secret, from the command line."""

from __future__ import annotations

import json
import re
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from authapp import client_secrets, conf
from authapp.models import Application

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Command(BaseCommand):
    """Replace a secret, and print the new one."""

    help = (
        "Give a client a new secret, which is printed this once. The one it has now works on for --overlap, so that "
        "its programs can be changed one after the other; with --now it ends at once, as it must where it has leaked. "
        "Tokens that were issued already live on until they expire."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the client and the overlap."""
        parser.add_argument("client_id", help="The client's identifier.")
        how = parser.add_mutually_exclusive_group()
        how.add_argument(
            "--overlap",
            metavar="TIME",
            help="How long the present secret still works, like 90s, 15m, 12h or 7d "
            f"(default: {_time(conf.secret_overlap_seconds())}).",
        )
        how.add_argument("--now", action="store_true", help="End the present secret at once.")
        parser.add_argument("--json", action="store_true", help="Print JSON, for programs.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Replace it."""
        overlap = 0 if options["now"] else _seconds(options["overlap"]) if options["overlap"] else None
        client_id: str = options["client_id"]
        client = Application.objects.filter(client_id=client_id).first() if "\x00" not in client_id else None
        if client is None:
            raise CommandError(f"There is no client {client_id!r}.")
        try:
            with transaction.atomic():
                secret, until = client_secrets.replace(client, {}, overlap_seconds=overlap, by="rotate_client_secret")
        except ValueError as error:
            raise CommandError(str(error)) from error
        works_until = until.isoformat(timespec="seconds") if until else None
        if options["json"]:
            made = {"client_id": client_id, "client_secret": secret, "previous_works_until": works_until}
            self.stdout.write(json.dumps(made))
            return
        self.stdout.write(f"client_secret: {secret}")
        if works_until:
            self.stdout.write(f"The previous one works until {works_until}.")
        else:
            self.stdout.write("The previous one works no more.")


def _time(seconds: int) -> str:
    unit = max((unit for unit, size in _SECONDS.items() if seconds % size == 0), key=lambda unit: _SECONDS[unit])
    return f"{seconds // _SECONDS[unit]}{unit or 's'}"


def _seconds(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text)
    if not found:
        raise CommandError("--overlap is a time like 90s, 15m, 12h or 7d.")
    return int(found[1]) * _SECONDS[found[2]]
