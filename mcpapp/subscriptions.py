"""Serve `subscriptions/listen` (MCP 2026-07-28): who may hear of what, for how long, and how many at once.

The SDK's `ListenHandler` acknowledges, stamps and ends a stream. Here it gets what this caller may hear, and each
message that it wants to send is decided about once more. A stream ends with its token, whatever ends that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol, cast

from django.db import Error as DatabaseError
from django.utils.translation import gettext as _
from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import ListenHandler, ResourceUpdated, ServerEvent
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import event_from_wire, event_matches
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    ServerNotification,
    SubscriptionFilter,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
)
from starlette.responses import Response
from starlette.types import Scope

from mcpapp import conf
from mcpapp.access import Access, Decision, decide, decide_all
from mcpapp.bearer import authenticate
from mcpapp.bus import MAXIMUM_URI_BYTES, Bus, PersonsResourceUpdated
from mcpapp.database import own_connections
from mcpapp.identity import Identity, acting_as, current_identity
from mcpapp.registry import Catalog
from mcpapp.request_headers import RequestHeaders
from mcpapp.verifier import Verifier

logger = logging.getLogger(__name__)

MAXIMUM_URIS = 100
"""How many resources one stream may be about."""
MAXIMUM_REQUEST_BYTES = 64 * 1024
"""The largest request to listen, or to watch: it stays in memory, decoded too, for as long as that lasts."""
VERIFY_SECONDS = 5.0
"""How often the token of an open stream is looked at while nothing happens."""
HEARING_SECONDS = 5.0
"""For how long a new stream waits for the bus, which may have to connect again."""

Context = ServerRequestContext[Any, Any]
Read = Callable[[str, Context], Awaitable[bool]]
"""Returns whether the current caller can read a URI.

Raises:
    django.db.Error: that could not be found out.
"""


class Listen:
    """The handler of `subscriptions/listen` in one process."""

    def __init__(self, catalog: Catalog, bus: Bus, verifier: Verifier, can_read: Read) -> None:
        self._catalog = catalog
        self._bus = bus
        self._verifier = verifier
        self._can_read = can_read
        self._streams: Counter[Any] = Counter()
        """How many are open, by person."""

    async def __call__(self, ctx: Context, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        """Serve one stream until its client leaves, its token ends, events were lost, or the server ends.

        Raises:
            MCPError: too many streams or resources, or nobody hears of changes right now.
        """
        identity = current_identity()
        await require_small(ctx)
        with self._slot(identity.user_id):
            if not await self._bus.wait_until_hearing(HEARING_SECONDS):
                raise _not_hearing()
            honored = await self._honored(params.notifications, identity)
            stream = _Stream(ctx, identity, honored, self)
            return await stream.serve(params.model_copy(update={"notifications": honored}))

    @contextmanager
    def _slot(self, user_id: Any) -> Iterator[None]:
        """Count a stream."""
        most_of_one = conf.streams_per_person()
        if self._streams[user_id] >= most_of_one:
            text = _("You have %(count)d open streams of changes, which is as many as one person may have. Close one.")
            raise MCPError(code=INTERNAL_ERROR, message=text % {"count": most_of_one})
        if self._streams.total() >= conf.streams():
            raise MCPError(code=INTERNAL_ERROR, message=_("Too many streams of changes are open. Try again later."))
        self._streams[user_id] += 1
        try:
            yield
        finally:
            self._streams[user_id] -= 1
            if not self._streams[user_id]:
                del self._streams[user_id]

    async def _honored(self, requested: SubscriptionFilter, identity: Identity) -> SubscriptionFilter:
        """Return what a caller will hear of. What does not exist is left out like what they may not read."""
        uris = list(dict.fromkeys(requested.resource_subscriptions or ()))
        if len(uris) > MAXIMUM_URIS:
            text = _("One stream of changes is about %(count)d resources at most.") % {"count": MAXIMUM_URIS}
            raise MCPError(code=INVALID_PARAMS, message=text)
        known: dict[str, Access] = {}
        for uri in uris:
            if len(uri.encode(errors="replace")) <= MAXIMUM_URI_BYTES and (found := self._catalog.resource_at(uri)):
                known[uri] = found.access
            await asyncio.sleep(0)  # a hundred long ones and many templates shall not keep everybody else waiting
        accesses = {id(access): access for access in known.values()}  # each once; a rule need not be hashable
        try:
            decisions = dict(zip(accesses, await decide_all([*accesses.values()], identity), strict=True))
        except DatabaseError as error:
            logger.exception("It could not be decided who may hear of changes.")
            text = _("The database does not answer right now. Try again shortly.")
            raise MCPError(code=INTERNAL_ERROR, message=text) from error
        readable = [uri for uri, access in known.items() if decisions[id(access)] is Decision.ALLOWED]
        return SubscriptionFilter(
            tools_list_changed=requested.tools_list_changed,
            prompts_list_changed=requested.prompts_list_changed,
            resources_list_changed=requested.resources_list_changed,
            resource_subscriptions=readable or None,
        )

    async def verified(self, scope: Scope, identity: Identity) -> Identity | None:
        """Return who the token of a request stands for now; None if it is good no longer, or nobody can tell.

        The token is read from the request, which the ASGI server keeps while it is open; there is no other copy.
        """
        found = await authenticate(RequestHeaders(scope), identity.resource, self._verifier)
        if isinstance(found, Response) or found.is_anonymous or found.user_id != identity.user_id:
            return None
        return found

    async def may_hear(self, ctx: Context, uri: str, identity: Identity, is_vouched_for: bool) -> bool:
        """Return whether a caller may be told that a resource changed.

        What a template's function would refuse them, another person's loan, is no business of theirs either: unless
        whoever told of the change named the person, the function is asked, by reading.

        Raises:
            django.db.Error: that could not be decided.
        """
        definition = self._catalog.resource_at(uri)
        if definition is None:
            return False
        # Another instance of the person each time: Django keeps permissions in it.
        with acting_as(identity):
            if await decide(definition.access, identity) is not Decision.ALLOWED:
                return False
            if definition.template is None or is_vouched_for:
                return True
            async with own_connections():
                return await self._can_read(uri, ctx)

    @property
    def open_streams(self) -> int:
        """How many streams are open."""
        return self._streams.total()

    @property
    def bus(self) -> Bus:
        """What streams hear of changes from."""
        return self._bus


class _Session(Protocol):
    """What the SDK's handler needs of `ServerSession`."""

    async def send_notification(
        self, notification: ServerNotification, related_request_id: str | int | None = None
    ) -> None:
        """Send it to the client."""


class _Stream:
    """One stream: the bus that the SDK's handler listens to, and the session that it writes to.

    Between the two each change waits once however often it happens, for "it changed" is all that is told: so a client
    that reads slowly takes no more memory than one that does not.
    """

    def __init__(self, ctx: Context, identity: Identity, honored: SubscriptionFilter, listen: Listen) -> None:
        self._ctx = ctx
        self._identity = identity
        self._honored = honored
        self._uris = frozenset(honored.resource_subscriptions or ())
        self._listen = listen
        self._waiting: dict[ServerEvent, bool] = {}
        """What is to be sent, and whether whoever told of it named this person."""
        self._has_ended = False
        self._handler = ListenHandler(self, max_subscriptions=1, max_buffered_events=MAXIMUM_URIS + 4)

    async def serve(self, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        """Serve it to its end."""
        watch = asyncio.create_task(self._watch())
        try:
            return await self._handler(replace(self._ctx, session=cast(ServerSession, self)), params)
        finally:
            watch.cancel()

    # What the SDK's handler takes for the bus

    async def publish(self, event: ServerEvent) -> None:
        """Tell every worker."""
        await self._listen.bus.publish(event)

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """Have the handler hear what this caller is to hear, once until it is sent."""
        if not self._listen.bus.is_hearing:  # it was a moment ago
            raise _not_hearing()

        def hear(event: ServerEvent) -> None:
            is_named = isinstance(event, PersonsResourceUpdated)
            if isinstance(event, PersonsResourceUpdated):
                if event.user_id != str(self._identity.user_id):
                    return
                event = ResourceUpdated(event.uri)
            if not event_matches(self._honored, self._uris, event):
                return
            is_waiting = event in self._waiting
            self._waiting[event] = self._waiting.get(event, False) or is_named
            if not is_waiting:
                listener(event)

        return self._listen.bus.subscribe(hear, on_gap=self._handler.close)

    # What it takes for the session

    async def send_notification(
        self, notification: ServerNotification, related_request_id: str | int | None = None
    ) -> None:
        """Send a message that the handler made, if this caller may still have it."""
        dumped = notification.model_dump(mode="json", by_alias=True)
        event = event_from_wire(dumped["method"], dumped.get("params"))
        if event is not None:  # the acknowledgement is none
            is_vouched_for = self._waiting.pop(event)  # what changes from now on is another message
            if not await self._may_hear(event, is_vouched_for):
                return
        session: _Session = self._ctx.session
        await session.send_notification(notification, related_request_id=related_request_id)

    async def _may_hear(self, event: ServerEvent, is_vouched_for: bool) -> bool:
        try:
            if self._has_ended or not await self._is_still_good():
                return False
            if not isinstance(event, ResourceUpdated):
                return True
            return await self._listen.may_hear(self._ctx, event.uri, self._identity, is_vouched_for)
        except Exception:  # the database does not answer, above all; a stream must not go on and leave something out
            logger.exception("It could not be decided who may hear of a change; the stream was ended.")
            self._end()
            return False

    # How long it lasts

    async def _watch(self) -> None:
        """End the stream when its token is no longer good, also while nothing happens."""
        try:
            while await self._is_still_good():
                left = self._identity.expires_at - time.time()
                await asyncio.sleep(max(0.05, min(VERIFY_SECONDS, left)))
        except Exception:
            logger.exception("The token of a stream could not be checked; the stream was ended.")
        self._end()

    async def _is_still_good(self) -> bool:
        assert self._ctx.request is not None  # noqa: S101  (asked before)
        identity = await self._listen.verified(self._ctx.request.scope, self._identity)
        if identity is None:
            self._end()
            return False
        self._identity = identity
        return True

    def _end(self) -> None:
        """End it as the specification has it: with a result, after which clients listen anew and read again."""
        self._has_ended = True
        self._handler.close()


async def require_small(ctx: Context) -> None:
    """Refuse a request to hear of changes that is too large to be kept for as long as that lasts.

    Raises:
        MCPError: it is.
    """
    assert ctx.request is not None  # noqa: S101  (every transport served here is HTTP)
    if len(await ctx.request.body()) > MAXIMUM_REQUEST_BYTES:
        text = _("A request to listen for changes has %(count)d bytes at most.") % {"count": MAXIMUM_REQUEST_BYTES}
        raise MCPError(code=INVALID_PARAMS, message=text)


def _not_hearing() -> MCPError:
    return MCPError(code=INTERNAL_ERROR, message=_("Changes cannot be told of right now. Try again shortly."))
