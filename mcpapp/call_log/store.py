"""Write a batch of calls: the calls themselves, and what is counted of them, in one transaction.

Imports no site: a process of its own may do it (`mcpapp.call_log.process`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache, partial
from itertools import chain
from typing import Any

from django.db import close_old_connections, connections, transaction

from mcpapp.call_log.plan import Plan
from mcpapp.call_log.rows import COLUMNS, Facts, Row, rows_of

VENDORS = frozenset({"postgresql", "sqlite"})
"""Databases that this speaks the language of."""

_ROWS = 64
"""How many rows of SQLite are one statement: 999 values are what all versions of it take."""
_LINE = "\t".join(["%s"] * len(COLUMNS)) + "\n"
_LATER = (
    "CASE WHEN excluded.last_call_at > {table}.last_call_at THEN excluded.last_call_at ELSE {table}.last_call_at END"
)


def write(plan: Plan, calls: Sequence[Facts], clock: float, dropped: int = 0) -> None:
    """Write calls, and that so many others were dropped; `rows_of` says what is what.

    Raises:
        django.db.Error: the database does not answer; nothing was written.
    """
    alias, tables = plan.alias, plan.tables
    close_old_connections()
    try:
        connection = connections[alias]
        rows = rows_of(calls, plan, clock, dropped, partial(_form, connection))
        with transaction.atomic(using=alias), connection.cursor() as cursor:
            _append(connection, cursor, tables["ToolCall"], rows.calls)
            _add(
                connection,
                cursor,
                tables["CallCount"],
                ("hour", "tool", "outcome"),
                ("calls", "total_us", "longest_us"),
                {
                    "calls": "{table}.calls + excluded.calls",
                    "total_us": "{table}.total_us + excluded.total_us",
                    "longest_us": "CASE WHEN excluded.longest_us > {table}.longest_us "
                    "THEN excluded.longest_us ELSE {table}.longest_us END",
                },
                rows.counts,
            )
            _add(
                connection,
                cursor,
                tables["CallDuration"],
                ("hour", "tool", "bits"),
                ("calls",),
                {"calls": "{table}.calls + excluded.calls"},
                rows.durations,
            )
            _add(
                connection,
                cursor,
                tables["ClientUsage"],
                ("client_id", "day"),
                ("client_name", "calls", "failed_calls", "last_call_at"),
                {
                    "client_name": "excluded.client_name",
                    "calls": "{table}.calls + excluded.calls",
                    "failed_calls": "{table}.failed_calls + excluded.failed_calls",
                    "last_call_at": _LATER,
                },
                rows.clients,
            )
            _add(
                connection,
                cursor,
                tables["ConnectionUsage"],
                ("connection_key",),
                ("calls", "last_call_at"),
                {
                    "calls": "{table}.calls + excluded.calls",
                    "last_call_at": _LATER,
                },
                rows.connections,
            )
    finally:
        close_old_connections()


def _form(connection: Any, second: datetime) -> str:
    if connection.vendor == "postgresql":
        return f"{second:%Y-%m-%d %H:%M:%S}.%06d+00"
    return f"{connection.ops.adapt_datetimefield_value(second)}.%06d"


def _append(connection: Any, cursor: Any, name: str, rows: Sequence[Row]) -> None:
    table, columns = _quoted(connection, name, COLUMNS)
    if connection.vendor == "postgresql":
        # Django wraps the errors of what it passes on by name, and this is not among it.
        with connection.wrap_database_errors, cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
            if (text := _plain_text(rows)) is not None:
                copy.write(text)
                return
            for row in rows:
                copy.write_row(row)
        return
    # Many rows a statement, past Django's cursor, which would look for %s in it each time: the event loop runs while
    # SQLite does, and after each statement this thread has to wait for its turn with Python again.
    with connection.wrap_database_errors:
        for start in range(0, len(rows), _ROWS):
            some = rows[start : start + _ROWS]
            connection.connection.execute(_insert(table, columns, len(some)), [*chain.from_iterable(some)])


def _plain_text(rows: Sequence[Row]) -> str | None:
    """Return rows as COPY takes them, made in half the time, if nothing in them is to be escaped, as in nearly all."""
    text = "".join([_LINE % row for row in rows])
    tabs, lines = len(rows) * (len(COLUMNS) - 1), len(rows)
    is_plain = text.count("\t") == tabs and text.count("\n") == lines and "\\" not in text and "\r" not in text
    return text if is_plain else None


@lru_cache(maxsize=_ROWS)
def _insert(table: str, columns: str, rows: int) -> str:
    row = f"({', '.join('?' * len(COLUMNS))})"
    return f"INSERT INTO {table} ({columns}) VALUES {', '.join([row] * rows)}"  # noqa: S608  (names of our own model)


def _add(
    connection: Any,
    cursor: Any,
    name: str,
    keys: tuple[str, ...],
    values: tuple[str, ...],
    changes: dict[str, str],
    rows: Sequence[Row],
) -> None:
    """Insert rows, or add them to those that have the same keys."""
    if not rows:
        return
    table, columns = _quoted(connection, name, (*keys, *values))
    places = ", ".join(["%s"] * (len(keys) + len(values)))
    changed = ", ".join(f"{name} = {change.format(table=table)}" for name, change in changes.items())
    adapt = connection.ops.adapt_datetimefield_value
    cursor.executemany(
        f"INSERT INTO {table} ({columns}) VALUES ({places}) "  # noqa: S608  (names of our own models)
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changed}",
        [[adapt(value) if isinstance(value, datetime) else value for value in row] for row in rows],
    )


def _quoted(connection: Any, table: str, columns: tuple[str, ...]) -> tuple[str, str]:
    quote = connection.ops.quote_name
    return quote(table), ", ".join(quote(column) for column in columns)
