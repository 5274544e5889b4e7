"""Make the rows of a batch of calls, and what is counted of them. Imports no site: a process of its own may do it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from mcpapp.call_log.plan import Plan
from mcpapp.call_log.redaction import kept

Facts = tuple[Any, ...]
"""What is known of one call when it is over (`mcpapp.call_log.record.facts`): things that `marshal` knows."""
Row = tuple[Any, ...]
DROPPED = "dropped"
"""`CallCount.DROPPED`: no models here."""

COLUMNS = (
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
_BIGGEST_INTEGER = 2**31 - 1
_BIGGEST_ID = 10**18
"""As a number; Python takes no longer ones to text than of some thousand digits, and a column takes fewer."""
_HOUR = 3600
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Rows(NamedTuple):
    """What is written of a batch. All counts are in the order of their keys.

    Two workers that each hold a row the other one waits for would wait for ever.
    """

    calls: list[Row]
    counts: list[Row]
    """Hour, tool, outcome; calls, total_us, longest_us."""
    durations: list[Row]
    """Hour, tool, bits of the duration; calls."""
    clients: list[Row]
    """Client, day; its name, calls, failed calls, the last one."""
    connections: list[Row]
    """Connection; calls, the last one."""


def rows_of(calls: Sequence[Facts], plan: Plan, clock: float, dropped: int, form: Callable[[datetime], str]) -> Rows:
    """Return what to write of calls, and that so many others were dropped.

    Args:
        clock: what makes Unix time of the seconds by which calls began and ended.
        form: gives how the database takes a moment of a second, with `%06d` for the microseconds.
    """
    tools, fine, secret = plan.tools, plan.fine, plan.secret
    rows: list[Row] = []
    groups: dict[Any, list[Any]] = {}
    durations: dict[Any, int] = {}
    versions: dict[bytes, str] = {}
    second, moment = -1, ""
    for began, ended, names, name, outcome, version, request_id, request_bytes, response_bytes, arguments in calls:
        at = int((clock + began) * 1e6)
        if at // 1_000_000 != second:
            second = at // 1_000_000
            moment = form(datetime.fromtimestamp(second, UTC))
        tool = name if type(name) is str else ""
        is_known = tool in tools
        if not is_known:
            tool = text(tool, 128)
        duration = int((ended - began) * 1e6)
        if (spoken := versions.get(version)) is None:
            spoken = versions[version] = text(version.decode("latin-1"), 16)
        rows.append(
            (
                moment % (at % 1_000_000),
                *names,
                tool,
                outcome,
                duration,
                request_bytes if request_bytes < _BIGGEST_INTEGER else _BIGGEST_INTEGER,
                response_bytes if response_bytes < _BIGGEST_INTEGER else _BIGGEST_INTEGER,
                spoken,
                str(request_id)
                if type(request_id) is int and -_BIGGEST_ID < request_id < _BIGGEST_ID
                else _id(request_id),
                kept(arguments, plan.policy(tool), secret=secret) if arguments else "",
            )
        )
        hour = second // _HOUR
        if is_known:
            length = (hour, tool, duration.bit_length())
            durations[length] = durations.get(length, 0) + 1
        key = (hour, names, tool if is_known or outcome in fine else "", outcome)
        group = groups.get(key)
        if group is None:
            groups[key] = [1, duration, duration, at]
            continue
        group[0] += 1
        group[1] += duration
        if duration > group[2]:
            group[2] = duration
        if at > group[3]:
            group[3] = at
    counts, clients, connections = _counted(groups, fine, dropped)
    return Rows(rows, counts, _by_hour(durations), clients, connections)


def _by_hour(durations: dict[Any, int]) -> list[Row]:
    return [(_start(hour), tool, bits, calls) for (hour, tool, bits), calls in sorted(durations.items())]


def _start(hour: int) -> datetime:
    return datetime.fromtimestamp(hour * _HOUR, UTC)


def _counted(
    groups: dict[Any, list[Any]], fine: Collection[str], dropped: int
) -> tuple[list[Row], list[Row], list[Row]]:
    """Return what to add to the counts of tools, of clients and of connections."""
    counts: dict[tuple[datetime, str, str], list[int]] = {}
    clients: dict[tuple[str, date], list[Any]] = {}
    used: dict[str, list[Any]] = {}
    for (hour, names, tool, outcome), (calls, total, longest, last) in groups.items():
        last_at = _EPOCH + timedelta(microseconds=last)
        count = counts.setdefault((_start(hour), tool, outcome), [0, 0, 0])
        count[0] += calls
        count[1] += total
        count[2] = max(count[2], longest)
        _, _, client_id, client_name, connection_key = names
        if client_id:
            client = clients.setdefault((client_id, last_at.date()), [client_name, 0, 0, last_at])
            client[1] += calls
            client[2] += 0 if outcome in fine else calls
            client[3] = max(client[3], last_at)
        if connection_key:
            use = used.setdefault(connection_key, [0, last_at])
            use[0] += calls
            use[1] = max(use[1], last_at)
    if dropped:
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        counts[hour, "", DROPPED] = [dropped, 0, 0]
    return (
        [(*key, *values) for key, values in sorted(counts.items())],
        [(*key, *values) for key, values in sorted(clients.items())],
        [(key, *values) for key, values in sorted(used.items())],
    )


def _id(request_id: Any) -> str:
    """Return the id of a request (JSON-RPC 2.0 §4); of what is none, nothing."""
    match request_id:
        case bool():
            return ""
        case int() if -_BIGGEST_ID < request_id < _BIGGEST_ID:
            return str(request_id)
        case str():
            return text(request_id, 64)
        case float():
            return str(request_id)
    return ""


def text(value: str, length: int) -> str:
    """Return what a column of a length takes: PostgreSQL takes no NUL, and neither takes half of a surrogate pair."""
    if value.isascii() and len(value) <= length and "\0" not in value:
        return value
    return value[:length].encode("utf-8", "replace").decode().replace("\0", "\ufffd")
