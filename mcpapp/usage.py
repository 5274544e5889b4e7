"""How much a connection is used, for pages that show it to the person it belongs to.

A site's authorization server names this function in its settings (`AUTHAPP["CONNECTION_USAGE"]`); neither app imports
the other.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mcpapp.models import ConnectionUsage


@dataclass(frozen=True, slots=True)
class Usage:
    """The use of one connection."""

    calls: int
    last_call_at: datetime


def of_connections(connection_ids: Collection[Any]) -> dict[Any, Usage]:
    """Return the use of connections by their ids, as the site's tokens name them; one that was never used has none.

    What the last half second brought may be missing.
    """
    by_key = {str(connection_id): connection_id for connection_id in connection_ids}
    rows = ConnectionUsage.objects.filter(connection_key__in=by_key)
    return {by_key[row.connection_key]: Usage(row.calls, row.last_call_at) for row in rows}
