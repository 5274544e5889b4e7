"""What is noted of one call of a tool while it runs."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from time import perf_counter
from typing import Any

from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, InputRequiredResult
from pydantic import ValidationError

from mcpapp.call_log.rows import Facts, text
from mcpapp.identity import Identity
from mcpapp.models import Outcome

RECORD_KEY = "mcpapp.call_record"
"""Where the ASGI scope of a request carries it: the SDK handles a message in a task that another request may have
started."""

METHOD = "tools/call"


class CallRecord:
    """One call that is under way; whoever decides how it ends says so by `tell`, and the first word counts."""

    outcome: str | None = None


def facts(
    outcome: str | None,
    began: float,
    message: dict[str, Any],
    identity: Identity,
    version: bytes,
    request_bytes: int,
    response_bytes: int,
) -> Facts:
    """Return what is known of a call that is over. It refers to what is there: the writer makes a row of it.

    Args:
        outcome: without one it reached no tool, or its client left unanswered.
        began: when, by `time.perf_counter`.
        message: the JSON-RPC request, of which nothing has been checked but its method.
        version: of the protocol, as the header has it.
    """
    params = message.get("params")
    if type(params) is not dict:
        params = {}
    return (
        began,
        perf_counter(),
        identity.once(_names),
        params.get("name"),
        outcome or (_INVALID if response_bytes else _CANCELLED),
        version,
        message.get("id"),
        request_bytes,
        response_bytes,
        params.get("arguments") or None,  # an empty dict would be kept alive, and looked at by the garbage collector
    )


def _names(identity: Identity) -> tuple[str, str, str, str, str]:
    if identity.is_anonymous:
        return ("", "", "", "", "")
    return (
        text(str(identity.user_id), 64),
        text(str(identity.user.get_username()), 150),
        text(identity.client_id, 255),
        text(identity.client_name, 255),
        text("" if identity.connection_id is None else str(identity.connection_id), 64),
    )


current_record: ContextVar[CallRecord | None] = ContextVar("mcpapp_call_record", default=None)


def tell(outcome: Outcome) -> None:
    """Say how the call that is under way ends, unless that has been said."""
    record = current_record.get()
    if record is not None and record.outcome is None:
        record.outcome = outcome.value


def tell_result(result: Any) -> None:
    """Say that a tool returned."""
    record = current_record.get()
    if record is None or record.outcome is not None:
        return
    if type(result) is CallToolResult:
        record.outcome = _FAILED if result.is_error else _OK
    else:
        record.outcome = Outcome.ASKED.value if isinstance(result, InputRequiredResult) else _OK


def tell_error(error: BaseException) -> None:
    """Say that a tool, or what leads to it, raised."""
    match error:
        case asyncio.CancelledError():
            tell(Outcome.CANCELLED)
        case UnexpectedToolError():
            tell(Outcome.CRASHED)
        case ToolError():
            tell(Outcome.INVALID if isinstance(error.__cause__, ValidationError) else Outcome.FAILED)
        case MCPError():
            tell(Outcome.INVALID)
        case _:
            tell(Outcome.CRASHED)


_OK, _FAILED = Outcome.OK.value, Outcome.FAILED.value
_INVALID, _CANCELLED = Outcome.INVALID.value, Outcome.CANCELLED.value
