"""Hand requests to the SDK's transport, with or without sessions (MCP 2025-11-25, Streamable HTTP)."""

from __future__ import annotations

from typing import Any

from mcp.server.auth.middleware.bearer_auth import AuthorizationContext
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http import EventStore, StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import Receive, Scope, Send

from mcpapp import conf
from mcpapp.challenge import refusal
from mcpapp.event_store import EventMemory, SessionEvents

MAXIMUM_HEADER_BYTES = 64 * 1024
"""Of a request: sessions and streams keep its headers for as long as they last, and uvicorn sets them no bound."""


class TooManySessions(Exception):
    """One person has as many as one may have."""


class Sessions(StreamableHTTPSessionManager):
    """The SDK's, but each session gets an event store that knows its own events alone."""

    def __init__(self, app: Server[Any]) -> None:
        self._memory = EventMemory(conf.event_store_bytes())
        self._most_of_one = conf.sessions_per_person()
        super().__init__(
            app,
            stateless=not conf.sessions(),
            max_request_body_size=conf.maximum_body_bytes(),
            retry_interval=conf.stream_retry_milliseconds(),
            # Host and origin were checked at the door.
            security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )

    @property
    def event_store(self) -> EventStore | None:
        """A new store: the SDK asks for one whenever it opens a session."""
        return SessionEvents(self._memory) if self._memory.maximum_bytes else None

    @event_store.setter
    def event_store(self, _: EventStore | None) -> None:
        """Take none: what the SDK sets here, it would share among all sessions."""

    def _admit_session(self, requestor: AuthorizationContext | None) -> StreamableHTTPServerTransport | None:
        """Open a session, for the SDK.

        Raises:
            TooManySessions: of one person; the SDK bounds only those of all people together.
        """
        if requestor is not None:
            person = requestor["subject"]
            if sum(owner["subject"] == person for owner in self._session_owners.values()) >= self._most_of_one:
                raise TooManySessions
        return super()._admit_session(requestor)

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, its header values without the white space around them.

        It is no part of a value (RFC 9110 §5.5). Some ASGI servers leave what follows, and the SDK would then find that
        a header does not say what the body says.
        """
        headers = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        if sum(len(name) + len(value) for name, value in headers) > MAXIMUM_HEADER_BYTES:
            detail = f"The headers of a request have {MAXIMUM_HEADER_BYTES} bytes at most."
            await refusal(431, detail)(scope, receive, send)
            return
        try:
            await super().handle_request({**scope, "headers": headers}, receive, send)
        except TooManySessions:
            detail = (
                f"You have {self._most_of_one} open sessions, which is as many as one person may have. End some "
                "(DELETE), or wait: a session that is not used for half an hour ends by itself."
            )
            await refusal(503, detail)(scope, receive, send)
