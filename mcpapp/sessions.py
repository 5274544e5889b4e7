"""Hand requests to the SDK's transport, with or without sessions (MCP 2025-11-25, Streamable HTTP)."""

from __future__ import annotations

from typing import Any

from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http import EventStore
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import Receive, Scope, Send

from mcpapp import conf
from mcpapp.event_store import EventMemory, SessionEvents


class Sessions(StreamableHTTPSessionManager):
    """The SDK's, but each session gets an event store that knows its own events alone."""

    def __init__(self, app: Server[Any]) -> None:
        self._memory = EventMemory(conf.event_store_bytes())
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

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, its header values without the white space around them.

        It is no part of a value (RFC 9110 §5.5). Some ASGI servers leave what follows, and the SDK would then find that
        a header does not say what the body says.
        """
        headers = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        await super().handle_request({**scope, "headers": headers}, receive, send)
