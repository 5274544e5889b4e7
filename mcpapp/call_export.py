"""Take calls out of the admin as CSV or JSON: every column, any number of rows, a page of them in memory at a time.

Each page is a short query of its own, from where the one before ended: a slow download holds no connection, no thread
and no transaction, as a cursor would.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db.models import Q, QuerySet
from django.http import HttpRequest, StreamingHttpResponse

from mcpapp.call_log.rows import COLUMNS
from mcpapp.database import own_connections
from mcpapp.models import ToolCall

EXPORTED = ("id", *COLUMNS)
"""All columns there are, in this order."""
PAGE = 500
"""How many rows are read at once."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001  (the wide ones count too)
_AT = EXPORTED.index("at")

Row = tuple[Any, ...]
Form = Callable[[Sequence[Row]], str]


def as_csv(request: HttpRequest, calls: QuerySet[ToolCall]) -> StreamingHttpResponse:
    """Stream calls as lines of CSV (RFC 4180), the names of the columns first."""
    return _attachment(request, calls, _csv_lines([EXPORTED]), _csv_of, "text/csv", "calls.csv")


def as_json(request: HttpRequest, calls: QuerySet[ToolCall]) -> StreamingHttpResponse:
    """Stream calls as a JSON object in each line."""
    return _attachment(request, calls, "", _json_of, "application/x-ndjson", "calls.ndjson")


def _attachment(
    request: HttpRequest, calls: QuerySet[ToolCall], head: str, form: Form, kind: str, name: str
) -> StreamingHttpResponse:
    pages = _Pages(calls, form)
    # Each kind of server takes the other kind of iterator whole before it sends a byte of it.
    content = _for_asgi(head, pages) if isinstance(request, ASGIRequest) else _for_wsgi(head, pages)
    response = StreamingHttpResponse(content, content_type=f"{kind}; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


class _Pages:
    """Gives one page after the other, the latest calls first."""

    def __init__(self, calls: QuerySet[ToolCall], form: Form) -> None:
        self._calls = calls.order_by("-at", "-id")
        self._form = form
        self._last: Row | None = None

    def following(self) -> str:
        """Return the text of the next page; empty after the last."""
        calls = self._calls
        if self._last is not None:
            at, number = self._last[_AT], self._last[0]
            # The first condition says no more than the second, but as something that an index can be entered by.
            calls = calls.filter(Q(at__lte=at), Q(at__lt=at) | Q(id__lt=number))
        rows = list(calls.values_list(*EXPORTED)[:PAGE])
        if not rows:
            return ""
        self._last = rows[-1]
        return self._form(rows)


def _for_wsgi(head: str, pages: _Pages) -> Iterator[str]:
    yield head
    while text := pages.following():
        yield text


async def _for_asgi(head: str, pages: _Pages) -> AsyncIterator[str]:
    yield head
    while True:
        async with own_connections():  # for a page alone: the next one may come after minutes
            text = await sync_to_async(pages.following)()
        if not text:
            return
        yield text


def _csv_of(rows: Sequence[Row]) -> str:
    return _csv_lines([_harmless(str(value)) for value in row] for row in rows)


def _csv_lines(lines: Any) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    return text.getvalue()


def _json_of(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        one = dict(zip(EXPORTED, row, strict=True))
        one["at"] = one["at"].isoformat()
        lines.append(json.dumps(one, ensure_ascii=False) + "\n")
    return "".join(lines)


def _harmless(text: str) -> str:
    """Keep a spreadsheet from taking a client's words for a formula (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(_FORMULA) else text
