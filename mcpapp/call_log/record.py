"""What is noted of one call of a tool while it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Any

from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, InputRequiredResult
from pydantic import ValidationError
from starlette.types import Message, Send

from mcpapp.body import Body
from mcpapp.identity import Identity
from mcpapp.models import Outcome
from mcpapp.request_headers import RequestHeaders

RECORD_KEY = "mcpapp.call_record"
"""Where the ASGI scope of a request carries it: the SDK handles a message in a task that another request may have
started."""

METHOD = "tools/call"


class CallRecord:
    """One call; whoever decides how it ends says so by `tell`, and the first word counts."""

    __slots__ = (
        "arguments",
        "at",
        "began",
        "duration",
        "identity",
        "outcome",
        "protocol_version",
        "request_bytes",
        "request_id",
        "response_bytes",
        "tool",
    )

    def __init__(self, identity: Identity, tool: str, arguments: Any, request_id: Any, version: str, size: int) -> None:
        self.at = time.time()
        self.began = time.perf_counter()
        self.identity = identity
        self.tool = tool
        self.arguments = arguments
        self.request_id = request_id
        self.protocol_version = version
        self.request_bytes = size
        self.response_bytes = 0
        self.outcome: str | None = None
        self.duration = 0.0

    @classmethod
    def of(cls, body: Body, identity: Identity, headers: RequestHeaders) -> CallRecord | None:
        """Return a record of the call that a message is; None if it is anything else."""
        message = body.message
        if type(message) is not dict or message.get("method") != METHOD:
            return None
        params = message.get("params")
        name = params.get("name") if type(params) is dict else None
        arguments = params.get("arguments") if type(params) is dict else None
        version = headers.get(b"mcp-protocol-version") or ""
        tool = name if type(name) is str else ""
        return cls(identity, tool, arguments, message.get("id"), version, len(body.content))

    def end(self) -> None:
        """Note how long it took. Without an outcome by now it reached no tool, or its client left unanswered."""
        self.duration = time.perf_counter() - self.began
        if self.outcome is None:
            self.outcome = (Outcome.INVALID if self.response_bytes else Outcome.CANCELLED).value

    def counting(self, send: Send) -> Send:
        """Return a `send` that counts what is answered."""

        def counted(message: Message) -> Awaitable[None]:
            self.response_bytes += len(message.get("body", b""))
            return send(message)

        return counted


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
