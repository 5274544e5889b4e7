"""What a line of the log says of the request that it is about: its id, the person, the client, the trace."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest

from config import request_ids
from config.masking import masked

current_request: ContextVar[HttpRequest | None] = ContextVar("star_django_request", default=None)
"""Of Django's pages; calls of tools have `mcpapp.identity`."""

_EXTRAS = ("status_code",)
"""What is kept of `extra=`; others are objects, such as a request with its query."""


def add(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add what is known already. Nothing is asked for it: a line must not cost a query, nor fail."""
    record = event.get("_record")
    known: dict[str, Any] = {"request_id": request_ids.current.get()}
    known |= _caller() or _visitor()
    known |= _span() | _access(record, event.pop("positional_args", ()))
    known |= {name: getattr(record, name) for name in _EXTRAS if hasattr(record, name)}
    event.update({name: value for name, value in known.items() if value not in (None, "")})
    return event


def _caller() -> dict[str, Any]:
    # Not imported here: settings set logging up, and mcpapp needs settings.
    identity = sys.modules.get("mcpapp.identity")
    if identity is None:
        return {}
    try:
        caller = identity.current_identity()
    except identity.NotAuthenticated:
        return {}
    return {"user": "" if caller.user_id is None else str(caller.user_id), "client": caller.client_id}


def _visitor() -> dict[str, Any]:
    request = current_request.get()
    if request is None:
        return {}
    # Where AuthenticationMiddleware keeps who it found; asking `request.user` might be a query.
    user = vars(request).get("_cached_user")
    # Anybody may send anything as a client's identifier: a token in the wrong place, or lines that it would forge.
    client = "".join(character for character in _client_id(request)[:255] if character.isprintable())
    return {"user": "" if user is None or user.pk is None else str(user.pk), "client": masked(client)}


def _client_id(request: HttpRequest) -> str:
    try:
        return str(request.GET.get("client_id", ""))
    except SuspiciousOperation:  # more parameters than Django reads: that is what the line is about
        return ""


def _access(record: Any, arguments: Any) -> dict[str, Any]:
    """Return the parts of a line of uvicorn's access log, whose query is cut off by then (`config.access_log`)."""
    if getattr(record, "name", "") != "uvicorn.access" or not isinstance(arguments, tuple) or len(arguments) != 5:
        return {}
    address, method, path, _, status = arguments
    return {"address": str(address), "method": str(method), "path": str(path), "status": status}


def _span() -> dict[str, str]:
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return {}
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
