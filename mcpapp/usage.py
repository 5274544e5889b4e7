"""How much connections and clients are used, for the pages of people and for the admin.

A site's authorization server names these functions in its settings (`AUTHAPP["CONNECTION_USAGE"]`, `"CLIENT_USAGE"`);
neither app imports the other.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Max, Sum

from mcpapp.models import ClientUsage, ConnectionUsage


@dataclass(frozen=True, slots=True)
class Usage:
    """The use of one connection."""

    calls: int
    last_call_at: datetime


@dataclass(frozen=True, slots=True)
class UseOfClient:
    """The use of one client by all people together, as long as it is kept."""

    calls: int
    failed_calls: int
    last_call_at: datetime


def of_clients(client_ids: Collection[str]) -> dict[str, UseOfClient]:
    """Return the use of clients by their identifiers; one that was never used has none."""
    rows = ClientUsage.objects.filter(client_id__in=client_ids).values("client_id")
    sums = rows.annotate(all=Sum("calls"), failed=Sum("failed_calls"), last=Max("last_call_at"))
    return {row["client_id"]: UseOfClient(row["all"], row["failed"], row["last"]) for row in sums}


def of_connections(connection_ids: Collection[Any]) -> dict[Any, Usage]:
    """Return the use of connections by their ids, as the site's tokens name them; one that was never used has none.

    What the last half second brought may be missing.
    """
    by_key = {str(connection_id): connection_id for connection_id in connection_ids}
    rows = ConnectionUsage.objects.filter(connection_key__in=by_key)
    return {by_key[row.connection_key]: Usage(row.calls, row.last_call_at) for row in rows}
