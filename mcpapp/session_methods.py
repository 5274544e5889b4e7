"""What only sessions of the older protocol have: a level for log messages, and resources to watch (MCP 2025-11-25).

The newest protocol has `subscriptions/listen` and a level in each request instead.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import mcp_types as types
from django.db import Error as DatabaseError
from django.utils.translation import gettext as _
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import ResourceUpdated, ServerEvent
from mcp.shared.exceptions import MCPError

from mcpapp.access import Decision, decide
from mcpapp.client_session import ClientSession
from mcpapp.database import own_connections
from mcpapp.identity import Identity, acting_as, current_identity
from mcpapp.registry import Catalog, ResourceDefinition

logger = logging.getLogger(__name__)

MAXIMUM_WATCHED = 100
"""Resources that one session may watch."""

Context = ServerRequestContext[Any, Any]
EMPTY = types.EmptyResult


class _Watcher:
    """One session, what it watches as whom, and what it is about to be told."""

    def __init__(self) -> None:
        self.watched: dict[str, tuple[ResourceDefinition, Identity]] = {}
        self.under_way: dict[str, asyncio.Task[None]] = {}


class SessionMethods:
    """Handlers of the methods that need a session."""

    def __init__(self, catalog: Catalog, admit: Callable[[str], Awaitable[None]]) -> None:
        """`admit` raises what is told to a caller who may not read the resource with a URI."""
        self._catalog = catalog
        self._admit = admit
        self._watchers: weakref.WeakKeyDictionary[Connection, _Watcher] = weakref.WeakKeyDictionary()

    async def set_level(self, ctx: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
        """Set from which level on the client gets log messages (`logging/setLevel`)."""
        session = ctx.session
        assert isinstance(session, ClientSession)  # noqa: S101  (`mcpapp.server.with_caller`)
        session.set_log_level(params.level)
        return EMPTY()

    async def subscribe(self, ctx: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        """Tell the client from now on when a resource changed (`resources/subscribe`).

        Raises:
            MCPError: there is none, the caller may not read it, or the session watches too many.
        """
        uri = str(params.uri)
        await self._admit(uri)
        definition = self._catalog.resource_at(uri)
        assert definition is not None  # noqa: S101  (admitted)
        watcher = self._watchers.setdefault(_connection(ctx), _Watcher())
        if uri not in watcher.watched and len(watcher.watched) >= MAXIMUM_WATCHED:
            raise MCPError(types.INVALID_REQUEST, _("A session may watch %d resources.") % MAXIMUM_WATCHED)
        watcher.watched[uri] = definition, current_identity()
        return EMPTY()

    async def unsubscribe(self, ctx: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        """Stop telling the client of a resource (`resources/unsubscribe`)."""
        if (watcher := self._watchers.get(_connection(ctx))) is not None:
            watcher.watched.pop(str(params.uri), None)
        return EMPTY()

    def heard(self, event: ServerEvent) -> None:
        """Tell the sessions that watch a resource of a change of it; a listener of the server's bus."""
        if not isinstance(event, ResourceUpdated):
            return
        for connection, watcher in list(self._watchers.items()):
            # A session that does not read shall not pile up what it is to be told: one at a time for each resource.
            if event.uri in watcher.watched and event.uri not in watcher.under_way:
                task = asyncio.get_running_loop().create_task(self._tell(connection, watcher, event.uri))
                watcher.under_way[event.uri] = task
                task.add_done_callback(lambda done, watcher=watcher: watcher.under_way.pop(event.uri, None))  # type: ignore[misc]

    async def _tell(self, connection: Connection, watcher: _Watcher, uri: str) -> None:
        """Tell one session, if its person may still read the resource."""
        definition, identity = watcher.watched[uri]
        try:
            async with own_connections():
                with acting_as(identity):
                    decision = await decide(definition.access, identity)
        except DatabaseError:
            logger.exception("It could not be decided who may hear of %s.", definition.name)
            return
        if decision is not Decision.ALLOWED or identity.expires_at <= time.time():
            watcher.watched.pop(uri, None)
            return
        if uri in watcher.watched:
            await connection.send_resource_updated(uri)


def _connection(ctx: Context) -> Connection:
    session = ctx.session
    assert isinstance(session, ClientSession)  # noqa: S101  (`mcpapp.server.with_caller`)
    return session.connection
