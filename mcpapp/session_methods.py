"""What only sessions of the older protocol have: a level for log messages, and resources to watch (MCP 2025-11-25).

The newest protocol has `subscriptions/listen` and a level in each request instead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import mcp_types as types
from django.utils.translation import gettext as _
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import ResourceUpdated, ServerEvent
from mcp.shared.exceptions import MCPError

from mcpapp.bus import MAXIMUM_URI_BYTES, PersonsResourceUpdated
from mcpapp.client_session import ClientSession
from mcpapp.identity import Identity, current_identity
from mcpapp.subscriptions import Listen, require_small

logger = logging.getLogger(__name__)

MAXIMUM_WATCHED = 100
"""Resources that one session may watch."""

Context = ServerRequestContext[Any, Any]
EMPTY = types.EmptyResult


class _Watcher:
    """One session, what it watches as whom, and what it is about to be told."""

    def __init__(self) -> None:
        self.watched: dict[str, Identity] = {}
        self.ctx: Context | None = None
        """The latest request to watch something: one, for it is kept with its body."""
        self.waiting: dict[str, bool] = {}
        """What it is to be told of, and whether whoever told of it named its person; each once, however often."""
        self.telling: asyncio.Task[None] | None = None


class SessionMethods:
    """Handlers of the methods that need a session."""

    def __init__(self, admit: Callable[[str], Awaitable[None]], listen: Listen) -> None:
        """`admit` raises what is told to a caller who may not read the resource with a URI."""
        self._admit = admit
        self._listen = listen
        self._watchers: dict[Connection, _Watcher] = {}

    async def set_level(self, ctx: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
        """Set from which level on the client gets log messages (`logging/setLevel`)."""
        session = ctx.session
        assert isinstance(session, ClientSession)  # noqa: S101  (`mcpapp.callers.with_caller`)
        session.set_log_level(params.level)
        return EMPTY()

    async def subscribe(self, ctx: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        """Tell the client from now on when a resource changed (`resources/subscribe`).

        Raises:
            MCPError: there is none, the caller may not read it, the session watches too many, or the request is large.
        """
        await require_small(ctx)
        uri = str(params.uri)
        if len(uri.encode(errors="replace")) > MAXIMUM_URI_BYTES:
            text = _("The URI of a resource that is watched has %d bytes at most.") % MAXIMUM_URI_BYTES
            raise MCPError(types.INVALID_PARAMS, text)
        await self._admit(uri)
        watcher = self._watcher_of(_connection(ctx))
        if uri not in watcher.watched and len(watcher.watched) >= MAXIMUM_WATCHED:
            raise MCPError(types.INVALID_REQUEST, _("A session may watch %d resources.") % MAXIMUM_WATCHED)
        watcher.watched[uri] = current_identity()
        watcher.ctx = ctx
        return EMPTY()

    async def unsubscribe(self, ctx: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        """Stop telling the client of a resource (`resources/unsubscribe`)."""
        if (watcher := self._watchers.get(_connection(ctx))) is not None:
            watcher.watched.pop(str(params.uri), None)
        return EMPTY()

    def _watcher_of(self, connection: Connection) -> _Watcher:
        """Return the watcher of a session, which lasts as long as that does."""
        watcher = self._watchers.get(connection)
        if watcher is None:
            watcher = self._watchers[connection] = _Watcher()
            # Weak references would not do: what is watched has the request in it, and that has its session.
            connection.exit_stack.callback(self._forget, connection)
        return watcher

    def _forget(self, connection: Connection) -> None:
        watcher = self._watchers.pop(connection)
        if watcher.telling is not None:
            watcher.telling.cancel()

    def heard(self, event: ServerEvent) -> None:
        """Tell the sessions that watch a resource of a change of it; a listener of the server's bus."""
        if not isinstance(event, ResourceUpdated):
            return
        person = event.user_id if isinstance(event, PersonsResourceUpdated) else None
        for connection, watcher in list(self._watchers.items()):
            if event.uri not in watcher.watched:
                continue
            if person is not None and person != str(watcher.watched[event.uri].user_id):
                continue
            watcher.waiting[event.uri] = watcher.waiting.get(event.uri, False) or person is not None
            if watcher.telling is None or watcher.telling.done():
                watcher.telling = asyncio.get_running_loop().create_task(self._tell(connection, watcher))

    async def _tell(self, connection: Connection, watcher: _Watcher) -> None:
        """Tell one session what waits for it, if its token is good and its person may still read the resource.

        A client has another token after a while; the one of its latest request counts. One whose token is over is told
        nothing until it comes with another.
        """
        while watcher.waiting:
            uri = next(iter(watcher.waiting))
            is_vouched_for = watcher.waiting.pop(uri)  # what changes from now on is another message
            if uri not in watcher.watched or watcher.ctx is None:
                continue
            try:
                now = await self._listen.verified(ClientSession.latest_scope(connection), watcher.watched[uri])
                if now is None:
                    continue
                if not await self._listen.may_hear(watcher.ctx, uri, now, is_vouched_for):
                    watcher.watched.pop(uri, None)
            except Exception:
                logger.exception("It could not be decided who may hear of a change.")
                continue
            if uri in watcher.watched:
                await connection.send_resource_updated(uri)


def _connection(ctx: Context) -> Connection:
    session = ctx.session
    assert isinstance(session, ClientSession)  # noqa: S101  (`mcpapp.callers.with_caller`)
    return session.connection
