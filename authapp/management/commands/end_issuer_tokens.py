"""End what was issued on the word of an issuer that is trusted no more."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from authapp import asserted_access, trusted_issuers


class Command(BaseCommand):
    """For an issuer that was taken out of the settings; the admin does it by itself."""

    help = (
        "End every access token that was issued on the word of an issuer. Take it out of AUTHAPP['TRUSTED_ISSUERS'] "
        "and restart, or disable it in the admin, before; else the next assertion gets another token."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the issuer."""
        parser.add_argument("issuer", help="The issuer, exactly as it was trusted.")

    def handle(self, *args: Any, **options: Any) -> None:
        """End them."""
        if trusted_issuers.find(options["issuer"]) is not None:
            raise CommandError(f"{options['issuer']} is still trusted.")
        ended = asserted_access.end_issuer(options["issuer"], {}, by="end_issuer_tokens")
        self.stdout.write(f"Tokens ended: {ended}.")
