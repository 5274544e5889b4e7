"""What a call says to the client that made it: questions to the person, and messages for its log.

The SDK's session, with what it leaves to the server: which log messages a client of an older protocol wants, and that
a call which waits for a person keeps nobody else from being served.
"""

from __future__ import annotations

import logging
from typing import Any, TypeVar

import mcp_types as types
from django.utils.translation import gettext as _
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import INVALID_REQUEST
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel

from mcpapp import conf
from mcpapp.database import has_slot
from mcpapp.turns import turn_given_up

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT", bound=BaseModel)

LEVELS: tuple[types.LoggingLevel, ...] = (
    *("debug", "info", "notice", "warning"),
    *("error", "critical", "alert", "emergency"),
)
_LEVEL_KEY = "mcpapp.log_level"
_LATEST_KEY = "mcpapp.latest_request"


class CannotAsk(RuntimeError):
    """A plain function tried to ask the client something in the middle of its call."""


class ClientSession(ServerSession):
    """The client that one message came from."""

    @classmethod
    def of(cls, session: ServerSession, ctx: ServerRequestContext[Any, Any]) -> ClientSession:
        """Return the SDK's session of a message as one of these."""
        own = cls.__new__(cls)
        own.__dict__.update(session.__dict__)
        if ctx.request is not None and conf.sessions():
            own._connection.state[_LATEST_KEY] = dict(ctx.request.scope)
        return own

    @staticmethod
    def latest_scope(connection: Connection) -> dict[str, Any]:
        """Return the ASGI scope of the latest request of a session, with the token that it came with."""
        latest: dict[str, Any] = connection.state[_LATEST_KEY]
        return latest

    @property
    def connection(self) -> Connection:
        """The session itself; of a message without one, what lives as long as the message."""
        return self._connection

    async def send_request(
        self,
        request: types.ServerRequest,
        result_type: type[ResultT],
        request_read_timeout_seconds: float | None = None,
        metadata: ServerMessageMetadata | None = None,
        progress_callback: Any = None,
    ) -> ResultT:
        """Ask the client something and wait for the answer; the call gives its turn to others meanwhile.

        Raises:
            CannotAsk: in a plain function, whose thread, database connection and transaction would wait as well.
            MCPError: the client answered with an error, or cannot be asked on this connection; the log says why.
        """
        if has_slot():
            raise CannotAsk(
                "A plain def cannot ask in the middle of its call, because its thread and database connection would "
                "wait for a person. Make it an async def, or ask before it runs: with a parameter annotated "
                "Annotated[T, Resolve(function)], or, for clients of protocol 2026-07-28 alone, by returning an "
                "InputRequiredResult."
            )
        try:
            async with turn_given_up():
                return await super().send_request(
                    request, result_type, request_read_timeout_seconds, metadata, progress_callback
                )
        except NoBackChannelError as error:
            logger.warning(
                "A call was to ask its client in the middle (%s), which cannot be done in protocol %s here. With a "
                "parameter annotated Annotated[T, Resolve(function)] it asks every client that can be asked; older "
                "ones need MCPAPP['SESSIONS'] for that.",
                error.method,
                self.protocol_version,
            )
            raise MCPError(
                code=INVALID_REQUEST, message=_("Your client cannot be asked on this connection.")
            ) from error

    async def send_log_message(
        self, level: types.LoggingLevel, data: Any, logger: str | None = None, related_request_id: Any = None
    ) -> None:
        """Send a message for the client's log, if it wants it.

        The newest clients say so with each request, which the SDK looks at. Older ones need a session, in which they
        may have said from which level on; without one, logging is not declared and nothing is sent
        (MCP 2025-11-25, logging: a MUST).
        """
        if self.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            wanted: types.LoggingLevel = self._connection.state.get(_LEVEL_KEY, "info")
            if not conf.sessions() or LEVELS.index(level) < LEVELS.index(wanted):
                return
        await super().send_log_message(level, data, logger, related_request_id)

    def set_log_level(self, level: types.LoggingLevel) -> None:
        """Send log messages from this level on for as long as the session lasts."""
        self._connection.state[_LEVEL_KEY] = level
