"""Say which users the subjects of a trusted issuer are."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from authapp import asserted_access, conf, trusted_issuers
from authapp.models import LinkedIdentity


class Command(BaseCommand):
    """Link one subject, or all that a file has; all of it or nothing."""

    help = (
        "Link subjects of an issuer to users: of a trusted one with the rule 'linked' (claim sub), or of one by which "
        "people sign in, or whose tokens are taken (of Microsoft Entra the object ID). A link that is there already "
        "stays; one to another user is an error."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the issuer, and a pair or a file of pairs."""
        parser.add_argument("issuer", help="The issuer, exactly as it is trusted.")
        parser.add_argument("pair", nargs="*", metavar="SUBJECT USERNAME", help="One subject and its user.")
        parser.add_argument("--csv", type=Path, help="A file with a subject and a user name in each line.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Link them."""
        if options["issuer"] not in conf.linked_issuers() and trusted_issuers.find(options["issuer"]) is None:
            raise CommandError(f"{options['issuer']} is not trusted: see AUTHAPP['TRUSTED_ISSUERS'] and the admin.")
        pairs = self._pairs(options)
        with transaction.atomic():
            made = sum(self._link(options["issuer"], *pair) for pair in pairs)
        self.stdout.write(f"Linked {made} of {len(pairs)}; the others were linked before.")

    def _pairs(self, options: dict[str, Any]) -> list[tuple[str, str]]:
        if bool(options["csv"]) == bool(options["pair"]) or len(options["pair"]) not in {0, 2}:
            raise CommandError("Give a SUBJECT and a USERNAME, or --csv FILE.")
        if options["pair"]:
            return [(options["pair"][0], options["pair"][1])]
        try:
            with options["csv"].open(newline="", encoding="utf-8") as file:
                lines = [line for line in csv.reader(file) if line]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise CommandError(f"{options['csv']} cannot be read: {error}") from error
        if wrong := [number for number, line in enumerate(lines, 1) if len(line) != 2]:
            raise CommandError(f"Line {wrong[0]} is not a subject and a user name.")
        return [(subject, username) for subject, username in lines]

    def _link(self, issuer: str, subject: str, username: str) -> bool:
        users = get_user_model()
        try:
            user = users._default_manager.get_by_natural_key(username)
        except users.DoesNotExist as error:
            raise CommandError(f"There is no user {username}; nothing is linked.") from error
        known = LinkedIdentity.objects.filter(issuer=issuer, subject=subject).first()
        if known is not None:
            if known.user != user:
                raise CommandError(f"{subject} is linked to {known.user} already; nothing is linked.")
            return False
        identity = LinkedIdentity(issuer=issuer, subject=subject, user=user, linked_by="link_identities")
        try:
            identity.full_clean()
        except ValidationError as error:
            raise CommandError(f"{subject!r}: {'; '.join(error.messages)}; nothing is linked.") from error
        identity.save()
        asserted_access.record_link(identity, {}, by=identity.linked_by)
        return True
