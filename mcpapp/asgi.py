"""The door of /star: host, CORS, origin, bearer token, scopes; then the SDK's transport.

It is our own because the SDK's answers CORS preflights with 401, names no scope in its challenge, and wants to be
mounted, which redirects (docs/decisions/0002). Each request passes every check once, in the order of this file.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import lru_cache
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError
from django.http.request import split_domain_port, validate_host
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mcpapp import conf
from mcpapp.access import Decision, decide
from mcpapp.answer import Answer
from mcpapp.attendance import ClientLeft
from mcpapp.bearer import authenticate
from mcpapp.body import Body
from mcpapp.brake import Brake
from mcpapp.call_log.record import METHOD, RECORD_KEY, CallRecord, current_record, facts, tell
from mcpapp.call_log.rows import Facts
from mcpapp.call_log.writer import CallLog
from mcpapp.callers import may_be_anonymous
from mcpapp.challenge import challenge, refusal, rpc_error
from mcpapp.database import close_threads, own_connections
from mcpapp.door_log import DoorLog, Reason
from mcpapp.fast_path import FastPath
from mcpapp.figures import Figures
from mcpapp.identity import SCOPE_KEY, Identity, acting_as
from mcpapp.limits import Limits
from mcpapp.models import Outcome
from mcpapp.registry import USES, Definition, discover
from mcpapp.request_headers import RequestHeaders
from mcpapp.server import Server, build_server
from mcpapp.verifier import Verifier

logger = logging.getLogger(__name__)

ANONYMOUS_BODY_BYTES = 64 * 1024
"""How much is read of a caller who has not signed in: decoding megabytes takes seconds of everybody's time."""
_LOOPBACK_ORIGIN = r"https?://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?"
_EXPOSED = ("WWW-Authenticate", "Mcp-Session-Id", "MCP-Protocol-Version", "Retry-After", "RateLimit", "X-Request-ID")
_METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")


class ResourceServer:
    """An ASGI application that serves the MCP endpoint and the lifespan of the process."""

    def __init__(self) -> None:
        if conf.anonymous_tools() and conf.sessions():  # servers run no system checks
            raise ImproperlyConfigured("MCPAPP['ANONYMOUS_TOOLS'] and MCPAPP['SESSIONS'] cannot both be on.")
        self.catalog = discover()
        self.path = urlsplit(conf.resources()[0]).path
        self._allowed_hosts = _allowed_hosts()
        self._resource_of_host = lru_cache(maxsize=256)(self._look_up_host)
        self._has_sessions = conf.sessions()
        self._maximum_body_bytes = conf.maximum_body_bytes()
        self._server: Server | None = None
        self._fast_path: FastPath | None = None
        self._under_way: set[tuple[Any, str, str]] = set()
        self.verifier = Verifier()
        self._brake = Brake()
        self.call_log = CallLog() if conf.call_log() else None
        self.door_log = DoorLog()
        self.limits = Limits()
        self.figures = Figures(self)
        self._all_scopes = self.catalog.all_scopes()
        self._origins = self._own_origins()
        self._guarded = CORSMiddleware(
            self._serve_web_page,
            allow_origins=list(self._origins),
            allow_origin_regex=_LOOPBACK_ORIGIN,
            allow_methods=list(_METHODS),
            allow_headers=["*"],
            expose_headers=_EXPOSED,
            max_age=86400,
        )

    def serves(self, scope: Scope) -> bool:
        """Return whether a request is for the MCP endpoint, with or without a slash at the end.

        A proxy may keep a prefix in the path (ASGI: `path` includes `root_path`) or take it off.
        """
        site_prefix = settings.FORCE_SCRIPT_NAME or ""
        path: str = scope["path"]
        if path == self.path:
            return True
        paths = {path, path.removeprefix(scope.get("root_path") or site_prefix)}
        own = {self.path, self.path.removeprefix(site_prefix)}
        return any(candidate in own or candidate.removesuffix("/") in own for candidate in paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        headers = RequestHeaders(scope)
        if self._resource_of(headers) is None:
            # A page that rebinds its own name to this address must not get further (MCP transports, DNS rebinding).
            self.door_log.refused(Reason.HOST, headers)
            await refusal(421, "This host name is not served here.")(scope, receive, send)
            return
        if b"origin" in headers.first:
            await self._guarded(scope, receive, send)
        else:
            await self._serve(headers, scope, receive, Answer(send, varies=True))

    # --- One request -----------------------------------------------------------------------------------

    async def _serve_web_page(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve(RequestHeaders(scope), scope, receive, Answer(send, varies=False))

    async def _serve(self, headers: RequestHeaders, scope: Scope, receive: Receive, send: Answer) -> None:
        """Check where a request comes from, and from whom."""
        if not self._origin_allowed(headers.get(b"origin")):
            self.door_log.refused(Reason.ORIGIN, headers)
            await refusal(403, "This web origin may not call the server.")(scope, receive, send)
            return
        if scope["method"] == "OPTIONS":
            await Response(status_code=204, headers={"Allow": ", ".join(_METHODS)})(scope, receive, send)
            return
        resource = self._resource_of(headers)
        assert resource is not None  # noqa: S101  (asked before)
        identity = await authenticate(headers, resource, self.verifier, self.door_log)
        if isinstance(identity, Response):
            await self._brake.refuse()
            await identity(scope, receive, send)
            return
        if scope["method"] == "POST":
            await self._serve_message(headers, identity, scope, receive, send)
        elif self._has_sessions:
            await self._hand_over(identity, scope, receive, send)
        else:
            # Without sessions there is no stream to open and nothing to delete; clients take the 405 as that.
            response = refusal(405, "Without sessions this endpoint takes POST only.", {"Allow": "POST, OPTIONS"})
            await response(scope, receive, send)

    async def _serve_message(
        self, headers: RequestHeaders, identity: Identity, scope: Scope, receive: Receive, send: Answer
    ) -> None:
        """Read what a caller sends and answer it, or let the SDK."""
        most = self._maximum_body_bytes
        if identity.is_anonymous:
            most = min(ANONYMOUS_BODY_BYTES, most)
        try:
            body = await Body.read(receive, most)
        except ClientLeft:
            return
        except TimeoutError:
            await refusal(408, "The body took too long.", {"Connection": "close"})(scope, receive, send)
            return
        if identity.is_anonymous and len(body.content) > most:
            await refusal(413, f"Without signing in, at most {most} bytes are read.")(scope, receive, send)
            return
        message = body.message
        if type(message) is not dict or message.get("method") != METHOD:
            await self._answer(headers, identity, body, scope, receive=body.receive, send=send)
            return
        record = CallRecord()
        current_record.set(record)  # of this request alone: it has a context to itself
        began, size = perf_counter(), len(body.content)
        self.limits.in_flight += 1
        try:
            limits = self.limits
            if limits.may_refuse() and (refused := await limits.refused(identity, message, scope)) is not None:
                tell(Outcome.OVERLOADED)
                await refused(scope, receive, send)
            else:
                await self._answer(headers, identity, body, scope, receive=body.receive, send=send)
        except asyncio.CancelledError:
            tell(Outcome.CANCELLED)
            raise
        finally:
            self.limits.in_flight -= 1
            outcome = record.outcome
            if outcome is not None or not identity.is_anonymous:  # what strangers try without a token is no call
                if self.call_log is not None or self.figures.hear_call is not None:
                    version = headers.first.get(b"mcp-protocol-version", b"")
                    self._note(facts(outcome, began, message, identity, version, size, send.body_bytes))
                self.door_log.answered(identity, outcome)

    def _note(self, call: Facts) -> None:
        """Have a call written that is over, and tell who watches."""
        if self.call_log is not None:
            self.call_log.add(call)
        if self.figures.hear_call is not None:
            self.figures.hear_call(call[3], call[4], call[1] - call[0])

    def open_streams(self) -> int:
        """Return how many streams of changes are open."""
        return 0 if self._server is None else self._server.listen.open_streams

    async def _answer(
        self, headers: RequestHeaders, identity: Identity, body: Body, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer a message, or let the SDK."""
        lacks_something = identity.is_anonymous or not self._all_scopes <= identity.scopes
        if lacks_something and (challenged := await self._challenge(body.message, identity)) is not None:
            if identity.is_anonymous:
                self.door_log.refused(Reason.NO_TOKEN, headers)
                await self._brake.refuse()
            await challenged(scope, receive, send)
            return
        if self._fast_path is not None and (call := self._fast_path.understood(headers, body)) is not None:
            await self._fast_path.answer(call, identity, headers, scope, receive, send)
            return
        session, request_id = headers.get(b"mcp-session-id"), _request_id(body.message)
        if session and request_id is not None:
            await self._serve_in_session(session, identity, request_id, scope, receive, send)
        else:
            await self._hand_over(identity, scope, receive, send)

    async def _hand_over(self, identity: Identity, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the SDK answer, which hands the scope to the tools, and ties sessions to its user."""
        if self._server is None:
            logger.error("The ASGI server sent no lifespan events; start it with them on (uvicorn --lifespan on).")
            await refusal(503, "The MCP server is not running.")(scope, receive, send)
            return
        handed_over = {**scope, SCOPE_KEY: identity, RECORD_KEY: current_record.get()}
        if not identity.is_anonymous:
            handed_over["user"] = identity.once(_session_user)
        await self._server.session_manager.handle_request(handed_over, receive, send)

    async def _serve_in_session(
        self, session: str, identity: Identity, request_id: int | str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve a request whose id no other has that is under way in the same session (JSON-RPC 2.0 §4).

        The SDK keeps the streams of a session by the ids of its requests: a second request with an id would take the
        answer of the first away, which then never ends.
        """
        key = (identity.user_id, session, str(request_id))  # the SDK does not tell 1 from "1" either
        if key in self._under_way:
            await rpc_error(400, request_id, "A request with this id is under way in this session.")(
                scope, receive, send
            )
            return
        self._under_way.add(key)
        try:
            await self._hand_over(identity, scope, receive, send)
        finally:
            self._under_way.discard(key)

    async def _challenge(self, message: Any, identity: Identity) -> Response | None:
        """Return the challenge to a message whose sender could use what it names after signing in or one more consent.

        Only asked about callers who lack some scope. What is used decides again (`mcpapp.server`), so a body that fools
        this reader gains nothing. Batches are no messages in any revision that is served.
        """
        wanted = self.catalog.wanted_by(message)
        if identity.is_anonymous and not _is_open(message, wanted):
            scopes = {*conf.default_scopes(), *(wanted.access.scopes if wanted is not None else ())}
            return challenge(identity.resource, scopes=scopes & {*conf.scopes_supported()})
        if wanted is None or wanted.access.scopes <= identity.scopes:
            return None
        try:
            async with own_connections():
                with acting_as(identity):
                    decision = await decide(wanted.access, identity)
        except DatabaseError:
            logger.exception("It could not be decided who may use %s.", wanted.name)
            return refusal(503, "The database does not answer; try again shortly.", {"Retry-After": "5"})
        if decision is not Decision.NEEDS_SCOPES:
            return None
        tell(Outcome.NEEDS_SCOPES)
        return _step_up(identity, wanted.access.scopes)

    def _resource_of(self, headers: RequestHeaders) -> str | None:
        """Return the resource that a request is for; None if its host name is not served here."""
        host = headers.first.get(b"host", b"")
        return self._resource_of_host(host) if len(host) <= 260 else None

    def _look_up_host(self, host: bytes) -> str | None:
        name = host.decode("latin-1")
        return conf.resource_for(name) if validate_host(split_domain_port(name)[0], self._allowed_hosts) else None

    # --- Origins ---------------------------------------------------------------------------------------

    def _own_origins(self) -> frozenset[str]:
        own = {f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, conf.resources())}
        return frozenset({*own, *conf.allowed_origins()})

    def _origin_allowed(self, origin: str | None) -> bool:
        """Return whether a web page may call us: ours, one on the person's own machine, or one the settings name."""
        return (
            origin is None
            or "*" in self._origins
            or origin in self._origins
            or re.fullmatch(_LOOPBACK_ORIGIN, origin) is not None
        )

    # --- The process -----------------------------------------------------------------------------------

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """Run the MCP server from startup to shutdown (ASGI lifespan)."""
        async with AsyncExitStack() as stack:
            while True:
                message = await receive()
                if message["type"] == "lifespan.startup":
                    try:
                        await stack.enter_async_context(self.running())
                    except Exception as error:
                        logger.exception("The MCP server could not start.")
                        await send({"type": "lifespan.startup.failed", "message": str(error)})
                        return
                    await send({"type": "lifespan.startup.complete"})
                elif message["type"] == "lifespan.shutdown":
                    await stack.aclose()
                    await send({"type": "lifespan.shutdown.complete"})
                    return

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        """Build the MCP server and run it; each run has a new one, because the SDK's can run once."""
        server = build_server(self.catalog, self.verifier)
        try:
            async with AsyncExitStack() as stack:
                if self.call_log is not None:  # the first to start is the last to end
                    await stack.enter_async_context(self.call_log.running())
                if conf.refusal_days():
                    await stack.enter_async_context(self.door_log.running())
                await stack.enter_async_context(self.limits.running())
                await stack.enter_async_context(self.verifier.listening())
                await stack.enter_async_context(server.session_manager.run())
                await stack.enter_async_context(server.bus.running())
                self._server, self._fast_path = server, FastPath(server)
                try:
                    yield server
                finally:
                    self._server = self._fast_path = None
        finally:
            await asyncio.get_running_loop().run_in_executor(None, close_threads)


def _allowed_hosts() -> tuple[str, ...]:
    """Return the host names served: in development without any, those that Django serves (`HttpRequest.get_host`)."""
    if settings.DEBUG and not settings.ALLOWED_HOSTS:
        return (".localhost", "127.0.0.1", "[::1]")
    return tuple(settings.ALLOWED_HOSTS)


def _is_open(message: Any, wanted: Definition | None) -> bool:
    """Return whether a message may be served to a caller who has not signed in.

    What does not exist is no more open than what is protected: names are not to be found out by trying.
    """
    if not isinstance(message, dict):
        return message is None  # what cannot be decoded is told so by the SDK; nothing else is open
    method = message.get("method")
    if method in USES:  # a tuple: not everything in JSON can be in a set
        return wanted is not None and wanted.access.public
    return may_be_anonymous(method)


def _request_id(message: Any) -> int | str | None:
    """Return the id of a JSON-RPC request; None if it is none."""
    if not (isinstance(message, dict) and "method" in message):
        return None
    request_id = message.get("id")
    return request_id if isinstance(request_id, int | str) else None


def _step_up(identity: Identity, needed: frozenset[str]) -> Response:
    """Ask for the scopes granted and needed together, so that one consent serves and none is lost."""
    wanted = (identity.scopes | needed) & frozenset(conf.scopes_supported())
    missing = " ".join(sorted(needed - identity.scopes))
    description = f"This needs the scope {missing}."
    return challenge(identity.resource, scopes=wanted, error="insufficient_scope", description=description)


def _session_user(identity: Identity) -> AuthenticatedUser:
    """Return what the SDK ties sessions to; the token itself is none of its business."""
    token = AccessToken(
        token="",
        client_id=identity.client_id,
        scopes=sorted(identity.scopes),
        expires_at=identity.expires_at,
        resource=identity.resource,
        subject=str(identity.user_id),
    )
    return AuthenticatedUser(token)
