"""Delete clients that registered themselves and that nobody ever authorized."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone
from oauth2_provider.models import (
    get_access_token_model,
    get_grant_model,
    get_id_token_model,
    get_refresh_token_model,
)
from oauth2_provider.settings import oauth2_settings

from authapp import conf
from authapp.housekeeping import add_batch_size, delete_in_batches, require_batch_size
from authapp.models import Application, Connection, DeviceAuthorization, TokenFamily

MAXIMUM_DAYS = 36_500


class Command(BaseCommand):
    """Delete what `unused_clients` finds, and say how many that were."""

    help = (
        "Delete clients that came by themselves (dynamic registration or a metadata document), that nobody ever "
        "authorized, and that were registered and last changed longer ago than --days. A client that was authorized "
        "once stays for ever, also after everybody disconnected it: its program remembers the client ID and would be "
        "locked out. Clients that an administrator made, disabled or bound to a user stay as well."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the age, the batch size, and whether to only count."""
        parser.add_argument(
            "--days",
            type=int,
            help=f"The least age of a client that is deleted (default: {conf.unused_client_days()}).",
        )
        add_batch_size(parser)
        parser.add_argument("--dry-run", action="store_true", help="Say how many would be deleted; delete none.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Delete or count."""
        days = conf.unused_client_days() if options["days"] is None else options["days"]
        if not 1 <= days <= MAXIMUM_DAYS:
            # Less than a day would take clients from under people who are just about to consent.
            raise CommandError(f"--days must be from 1 to {MAXIMUM_DAYS}.")
        batch_size = require_batch_size(options)
        clients = unused_clients(days)
        if options["dry_run"]:
            self.stdout.write(f"Would delete {clients.count()} unused clients.")
        else:
            self.stdout.write(f"Deleted {delete_in_batches(clients, batch_size)} unused clients.")


def unused_clients(days: int) -> QuerySet[Application]:
    """Return the clients that `help` describes.

    A disabled one stays because a client with a metadata document would be back, enabled, with its next request.
    """
    source = Application.RegistrationSource
    own = {"application": OuterRef("pk")}
    registration_token = {"scope": oauth2_settings.DCR_REGISTRATION_SCOPE}
    long_ago = timezone.now() - timedelta(days=days)
    unused: QuerySet[Application] = Application.objects.filter(
        ~Exists(Connection.objects.filter(**own)),
        ~Exists(TokenFamily.objects.filter(**own)),
        ~Exists(get_grant_model().objects.filter(**own)),
        ~Exists(DeviceAuthorization.objects.filter(**own)),
        ~Exists(get_refresh_token_model().objects.filter(**own)),
        ~Exists(get_id_token_model().objects.filter(**own)),
        ~Exists(get_access_token_model().objects.filter(**own).exclude(**registration_token)),
        registration_source__in=[source.DCR, source.CIMD],
        updated__lt=long_ago,  # registered or, by the client itself, changed
        last_authorized_at=None,
        disabled_at=None,
        user=None,
    )
    return unused
