"""Delete rows beside traffic: what the commands that clean up have in common."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import connection, transaction
from django.db.models import QuerySet

DEFAULT_BATCH_SIZE = 500
MAXIMUM_BATCH_SIZE = 10_000
# SQLite has one writer, and who waits to be it asks ten times a second at least: a pause this long lets them all in.
PAUSE_SECONDS = 0.11


def add_batch_size(parser: ArgumentParser) -> None:
    """Give a command the option --batch-size."""
    parser.add_argument(
        "--batch-size",
        type=int,
        default=DEFAULT_BATCH_SIZE,
        help=f"Rows that are locked and deleted in one transaction (default: {DEFAULT_BATCH_SIZE}).",
    )


def require_batch_size(options: dict[str, Any]) -> int:
    """Return the batch size that was asked for.

    Raises:
        CommandError: it is out of range.
    """
    size: int = options["batch_size"]
    if not 1 <= size <= MAXIMUM_BATCH_SIZE:
        raise CommandError(f"--batch-size must be from 1 to {MAXIMUM_BATCH_SIZE}.")
    return size


def delete_in_batches(rows: QuerySet[Any], batch_size: int) -> int:
    """Delete rows in short transactions; return how many of them this call deleted.

    Between finding rows and locking them, traffic may have changed them: each batch asks again under the lock. Rows
    that somebody else has locked (a request, another run) are left for the next run.
    """
    model = rows.model
    lock = model._default_manager.select_for_update(skip_locked=connection.features.has_select_for_update_skip_locked)
    deleted = 0
    page = in_order = rows.order_by("pk")
    while keys := list(page.values_list("pk", flat=True)[:batch_size]):
        with transaction.atomic():
            locked = list(lock.filter(pk__in=keys).order_by("pk").values_list("pk", flat=True))
            # A statement of its own: one that also locks would judge related rows by what they were before the lock.
            deleted += rows.filter(pk__in=locked).delete()[1].get(model._meta.label, 0)
        if len(keys) < batch_size:
            break
        page = in_order.filter(pk__gt=keys[-1])
        time.sleep(PAUSE_SECONDS)
    return deleted
