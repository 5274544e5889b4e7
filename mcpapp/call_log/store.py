"""Write a batch of records: the calls themselves, and what is counted of them, in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import connections, router, transaction

from mcpapp import conf
from mcpapp.call_log.record import CallRecord
from mcpapp.call_log.redaction import kept
from mcpapp.identity import Identity
from mcpapp.models import FINE, CallCount, ClientUsage, ConnectionUsage, ToolCall
from mcpapp.registry import discover

VENDORS = frozenset({"postgresql", "sqlite"})
"""Databases that this speaks the language of."""

_COLUMNS = (
    "at",
    "user_key",
    "username",
    "client_id",
    "client_name",
    "connection_key",
    "tool",
    "outcome",
    "duration_us",
    "request_bytes",
    "response_bytes",
    "protocol_version",
    "request_id",
    "arguments",
)
_LATER = (
    "CASE WHEN excluded.last_call_at > {table}.last_call_at THEN excluded.last_call_at ELSE {table}.last_call_at END"
)
_BIGGEST_INTEGER = 2**31 - 1


def write(records: Sequence[CallRecord], dropped: int = 0) -> None:
    """Write records, and that so many others were dropped.

    Raises:
        django.db.Error: the database does not answer; nothing was written.
    """
    alias = router.db_for_write(ToolCall)
    connection = connections[alias]
    rows = [_row(record) for record in records]
    counts, clients, used = _counted(rows, dropped)
    with transaction.atomic(using=alias), connection.cursor() as cursor:
        _append(connection, cursor, rows)
        _add(
            connection,
            cursor,
            CallCount,
            ("hour", "tool", "outcome"),
            ("calls", "total_us", "longest_us"),
            {
                "calls": "{table}.calls + excluded.calls",
                "total_us": "{table}.total_us + excluded.total_us",
                "longest_us": "CASE WHEN excluded.longest_us > {table}.longest_us "
                "THEN excluded.longest_us ELSE {table}.longest_us END",
            },
            counts,
        )
        _add(
            connection,
            cursor,
            ClientUsage,
            ("client_id", "day"),
            ("client_name", "calls", "failed_calls", "last_call_at"),
            {
                "client_name": "excluded.client_name",
                "calls": "{table}.calls + excluded.calls",
                "failed_calls": "{table}.failed_calls + excluded.failed_calls",
                "last_call_at": _LATER,
            },
            clients,
        )
        _add(
            connection,
            cursor,
            ConnectionUsage,
            ("connection_key",),
            ("calls", "last_call_at"),
            {
                "calls": "{table}.calls + excluded.calls",
                "last_call_at": _LATER,
            },
            used,
        )


def _row(record: CallRecord) -> tuple[Any, ...]:
    identity = record.identity
    user_key, username, client_id, client_name, connection_key = identity.once(_names)
    return (
        datetime.fromtimestamp(record.at, UTC),
        user_key,
        username,
        client_id,
        client_name,
        connection_key,
        _text(record.tool, 128),
        record.outcome,
        round(record.duration * 1e6),
        min(record.request_bytes, _BIGGEST_INTEGER),
        min(record.response_bytes, _BIGGEST_INTEGER),
        _text(record.protocol_version, 16),
        "" if record.request_id is None else _text(str(record.request_id), 64),
        kept(record.arguments, conf.call_log_arguments(record.tool), secret=conf.call_log_secret_arguments()),
    )


def _names(identity: Identity) -> tuple[str, str, str, str, str]:
    connection_key = "" if identity.connection_id is None else str(identity.connection_id)
    if identity.is_anonymous:
        return ("", "", "", "", "")
    username = str(identity.user.get_username())
    return (
        _text(str(identity.user_id), 64),
        _text(username, 150),
        _text(identity.client_id, 255),
        _text(identity.client_name, 255),
        _text(connection_key, 64),
    )


def _text(value: str, length: int) -> str:
    """Return what a column of a length takes: PostgreSQL takes no NUL, and neither takes half of a surrogate pair."""
    if value.isascii() and len(value) <= length and "\0" not in value:
        return value
    return value[:length].encode("utf-8", "replace").decode().replace("\0", "\ufffd")


_Rows = list[tuple[Any, ...]]


def _counted(rows: Iterable[tuple[Any, ...]], dropped: int) -> tuple[_Rows, _Rows, _Rows]:
    """Return what to add to the counts of tools, of clients and of connections."""
    counts: dict[tuple[Any, ...], list[Any]] = {}
    clients: dict[tuple[Any, ...], list[Any]] = {}
    used: dict[str, list[Any]] = {}
    known: Collection[str] | None = None
    for at, _, _, client_id, client_name, connection_key, tool, outcome, duration, *_ in rows:
        hour = at.replace(minute=0, second=0, microsecond=0)
        counted_as = tool
        if outcome not in FINE:  # it may be no tool at all
            known = discover().tools if known is None else known
            counted_as = tool if tool in known else ""
        count = counts.setdefault((hour, counted_as, outcome), [0, 0, 0])
        count[0] += 1
        count[1] += duration
        count[2] = max(count[2], duration)
        if client_id:
            client = clients.setdefault((client_id, at.date()), [client_name, 0, 0, at])
            client[1] += 1
            client[2] += outcome not in FINE
            client[3] = max(client[3], at)
        if connection_key:
            use = used.setdefault(connection_key, [0, at])
            use[0] += 1
            use[1] = max(use[1], at)
    if dropped:
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        counts[hour, "", CallCount.DROPPED] = [dropped, 0, 0]
    # Always in the same order: two workers that each hold a row the other one waits for would wait for ever.
    return (
        [(*key, *values) for key, values in sorted(counts.items())],
        [(*key, *values) for key, values in sorted(clients.items())],
        [(key, *values) for key, values in sorted(used.items())],
    )


def _append(connection: Any, cursor: Any, rows: list[tuple[Any, ...]]) -> None:
    table, columns = _quoted(connection, ToolCall._meta.db_table, _COLUMNS)
    if connection.vendor == "postgresql":
        with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        return
    places = ", ".join(["%s"] * len(_COLUMNS))
    cursor.executemany(
        f"INSERT INTO {table} ({columns}) VALUES ({places})",  # noqa: S608  (names of our own model)
        [_adapted(connection, row) for row in rows],
    )


def _add(
    connection: Any,
    cursor: Any,
    model: type[CallCount] | type[ClientUsage] | type[ConnectionUsage],
    keys: tuple[str, ...],
    values: tuple[str, ...],
    changes: dict[str, str],
    rows: list[tuple[Any, ...]],
) -> None:
    """Insert rows, or add them to those that have the same keys."""
    if not rows:
        return
    table, columns = _quoted(connection, model._meta.db_table, (*keys, *values))
    places = ", ".join(["%s"] * (len(keys) + len(values)))
    changed = ", ".join(f"{name} = {change.format(table=table)}" for name, change in changes.items())
    cursor.executemany(
        f"INSERT INTO {table} ({columns}) VALUES ({places}) "  # noqa: S608  (names of our own models)
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changed}",
        [_adapted(connection, row) for row in rows],
    )


def _quoted(connection: Any, table: str, columns: tuple[str, ...]) -> tuple[str, str]:
    quote = connection.ops.quote_name
    return quote(table), ", ".join(quote(column) for column in columns)


def _adapted(connection: Any, row: tuple[Any, ...]) -> list[Any]:
    adapt = connection.ops.adapt_datetimefield_value
    return [adapt(value) if isinstance(value, datetime) else value for value in row]
