"""Delete what is kept of calls for longer than the settings say."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Model, QuerySet
from django.utils import timezone

from mcpapp import conf
from mcpapp.models import CallCount, CallDuration, ClientUsage, ConnectionUsage, Refusal, ToolCall

MAXIMUM_DAYS = 36_500
MAXIMUM_BATCH_SIZE = 10_000
PAUSE_SECONDS = 0.11
"""SQLite has one writer, and who waits to be it asks ten times a second at least."""


class Command(BaseCommand):
    """Delete old calls, and say how many that were."""

    help = (
        "Delete calls of tools that are older than --days (MCPAPP['CALL_LOG_DAYS']), and what was counted of calls, by "
        "hour and by connection, that is older than MCPAPP['CALL_COUNT_DAYS']. To be run daily, beside traffic."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the age and the batch size."""
        parser.add_argument(
            "--days", type=int, help=f"The least age of a call that is deleted (default: {conf.call_log_days()})."
        )
        parser.add_argument("--batch-size", type=int, default=5000, help="Rows that go in one transaction.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Delete."""
        days = conf.call_log_days() if options["days"] is None else options["days"]
        if not 1 <= days <= MAXIMUM_DAYS:
            raise CommandError(f"--days must be from 1 to {MAXIMUM_DAYS}.")
        size = options["batch_size"]
        if not 1 <= size <= MAXIMUM_BATCH_SIZE:
            raise CommandError(f"--batch-size must be from 1 to {MAXIMUM_BATCH_SIZE}.")
        now = timezone.now()
        calls = _delete(ToolCall.objects.filter(at__lt=now - timedelta(days=days)), size)
        old = now - timedelta(days=max(conf.call_count_days(), days))
        counts = _delete(CallCount.objects.filter(hour__lt=old), size)
        counts += _delete(CallDuration.objects.filter(hour__lt=old), size)
        counts += _delete(ClientUsage.objects.filter(day__lt=old.date()), size)
        counts += _delete(ConnectionUsage.objects.filter(last_call_at__lt=old), size)
        counts += _delete(Refusal.objects.filter(last_at__lt=now - timedelta(days=conf.refusal_days())), size)
        self.stdout.write(f"Deleted {calls} calls and {counts} counts of calls.")


def _delete(rows: QuerySet[Any], batch_size: int) -> int:
    """Delete rows in short transactions; nothing refers to them, and nobody changes those that are old."""
    model: type[Model] = rows.model
    deleted = 0
    while keys := list(rows.order_by("pk").values_list("pk", flat=True)[:batch_size]):
        deleted += model._default_manager.filter(pk__in=keys).delete()[0]
        if len(keys) < batch_size:
            break
        time.sleep(PAUSE_SECONDS)
    return deleted
