"""Answer plain calls of tools without a transport of the SDK's for each (docs/decisions/0014).

The SDK serves every request through streams, tasks and several layers of models, which costs many times what a small
tool does. A plain call is one HTTP request, one JSON-RPC message, and one answer, so it needs none of them: here the
same checks are made, the same registered tool runs behind the same rules, and the same bytes are sent. Whatever is not
certainly plain goes the SDK's way (`FastPath.understood` returns None): other methods, odd headers, tools that talk to
their client, errors of the protocol, hooks that are not known here.

What this needs of the SDK beyond its public names is in this file: `fits` looks whether hooks are as expected, and
tests/mcpapp/test_fast_path.py sends hundreds of requests both ways and compares the answers.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.tools import Tool
from mcp.server.request_state import RequestStateBoundary
from mcp.server.runner import ServerRunner, modern_error_data
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import ERROR_CODE_HTTP_STATUS, x_mcp_header_map
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    PROTOCOL_VERSION_META_KEY,
    SERVER_INFO_META_KEY,
    CallToolRequestParams,
    CallToolResult,
    InputRequiredResult,
    TextContent,
    methods,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from mcpapp import conf
from mcpapp.attendance import ClientLeft, attended
from mcpapp.body import Body
from mcpapp.callers import language_of, run_as_caller, with_caller
from mcpapp.identity import SCOPE_KEY, Identity, current_identity
from mcpapp.request_headers import RequestHeaders
from mcpapp.server import Server, own_result
from mcpapp.spans import is_tracing

logger = logging.getLogger(__name__)

METHOD = "tools/call"
_MESSAGE_KEYS = frozenset({"jsonrpc", "id", "method", "params"})
_PARAMS_KEYS = frozenset({"name", "arguments", "_meta"})
_META_KEYS = frozenset(
    {
        PROTOCOL_VERSION_META_KEY,
        CLIENT_INFO_META_KEY,
        CLIENT_CAPABILITIES_META_KEY,
        "progressToken",
        "io.modelcontextprotocol/logLevel",
    }
)
"""Others mean something to hooks or extensions."""
_TRACE_KEYS = frozenset({"traceparent", "tracestate", "baggage"})
_OFTEN_OTHERS = frozenset({"progressToken", *_TRACE_KEYS})
_MAXIMUM_KEPT_METAS = 256
_MAXIMUM_KEPT_META_LENGTH = 2000
_MAXIMUM_ACCEPT_LENGTH = 500
"""Longer ones are not kept: uvicorn sets no bound to a header."""
_STREAM_HEADERS = (
    (b"cache-control", b"no-cache, no-transform"),
    (b"connection", b"keep-alive"),
    (b"content-type", b"text/event-stream"),
    (b"x-accel-buffering", b"no"),
)


@dataclass(slots=True)
class PlainCall:
    """A call that needs nothing but its answer."""

    tool: Tool
    arguments: dict[str, Any]
    params: dict[str, Any]
    request_id: int | str
    version: str
    is_modern: bool
    size: int
    """Of its request, in bytes."""


class FastPath:
    """Answers plain calls; made for one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._tools: dict[str, Tool] = {}
        if fits(server):
            self._tools = {tool.name: tool for tool in server.tools if _is_plain(tool)}
            self._otel, self._boundary = server.middleware[:2]
            self._runner: ServerRunner[Any] = ServerRunner(server._lowlevel_server, cast(Any, None), None)
            self._server_info = server._lowlevel_server.server_info_stamp
        else:
            logger.warning(
                "Calls go the MCP SDK's way, which is slower: the SDK, or what hooks into it, is not as known."
            )
        older = () if conf.sessions() else HANDSHAKE_PROTOCOL_VERSIONS
        self._versions = {version.encode(): version for version in (*MODERN_PROTOCOL_VERSIONS, *older)}
        self._good_metas: dict[tuple[str, str], None] = {}

    # --- Which calls ------------------------------------------------------------------------------------------

    def understood(self, headers: RequestHeaders, body: Body) -> PlainCall | None:
        """Return the plain call that a request is, None if it is anything else."""
        sent = headers.first
        version = self._versions.get(sent.get(b"mcp-protocol-version", b""))
        if (
            version is None
            or headers.has_repeated
            or sent.get(b"content-type") != b"application/json"
            or not _takes_both(sent.get(b"accept", b""))
        ):
            return None
        message = body.message
        if not (
            body.is_strict
            and type(message) is dict
            and message.keys() == _MESSAGE_KEYS
            and message["method"] == METHOD
            and message["jsonrpc"] == "2.0"
            and type(message["id"]) in (int, str)
        ):
            return None
        params = message["params"]
        if not (type(params) is dict and params.keys() <= _PARAMS_KEYS):
            return None
        name, arguments = params.get("name"), params.get("arguments", {})
        tool = self._tools.get(name) if type(name) is str else None
        if tool is None or type(arguments) is not dict:
            return None
        is_modern = version in MODERN_PROTOCOL_VERSIONS
        if is_modern and not (sent.get(b"mcp-method") == b"tools/call" and sent.get(b"mcp-name") == tool.name.encode()):
            return None
        if not self._is_good(params, version, is_modern):
            return None
        return PlainCall(tool, arguments, params, message["id"], version, is_modern, len(body.content))

    def _is_good(self, params: dict[str, Any], version: str, is_modern: bool) -> bool:
        """Return whether the SDK's models take the parameters; a client's `_meta` is the same each time."""
        meta = params.get("_meta")
        if meta is None:
            return not is_modern and "_meta" not in params
        key = (version, repr(meta))
        if key in self._good_metas:
            return True
        if type(meta) is not dict or not meta.keys() <= (_META_KEYS | _TRACE_KEYS if is_tracing() else _META_KEYS):
            return False
        if is_modern and not (meta.get(PROTOCOL_VERSION_META_KEY) == version and CLIENT_CAPABILITIES_META_KEY in meta):
            return False
        try:
            methods.validate_client_request(METHOD, version, params)
            CallToolRequestParams.model_validate(params, by_name=False)
        except ValidationError:
            return False
        if meta.keys().isdisjoint(_OFTEN_OTHERS) and len(key[1]) <= _MAXIMUM_KEPT_META_LENGTH:
            if len(self._good_metas) >= _MAXIMUM_KEPT_METAS:
                self._good_metas.clear()
            self._good_metas[key] = None
        return True

    # --- The answer -------------------------------------------------------------------------------------------

    async def answer(
        self, call: PlainCall, identity: Identity, headers: RequestHeaders, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Run the tool and answer the request."""
        is_streaming = False

        async def keep_alive() -> None:
            nonlocal is_streaming
            if not is_streaming:
                is_streaming = True
                await send({"type": "http.response.start", "status": 200, "headers": list(_STREAM_HEADERS)})
            await send({"type": "http.response.body", "body": b": ping\r\n\r\n", "more_body": True})

        status = 200
        try:
            result = await attended(self._traced(call, identity, headers, scope), receive, keep_alive)
            content = _encoded(call, "result", result)
        except ClientLeft:
            return
        except Exception as exception:
            error = modern_error_data(exception)
            content = _encoded(call, "error", error.model_dump(mode="json", by_alias=True, exclude_none=True))
            status = ERROR_CODE_HTTP_STATUS.get(error.code, 200)
        if call.is_modern and not is_streaming:
            lines = [(b"content-length", b"%d" % len(content)), (b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": status, "headers": lines})
            await send({"type": "http.response.body", "body": content, "more_body": False})
            return
        if not is_streaming:
            await send({"type": "http.response.start", "status": 200, "headers": list(_STREAM_HEADERS)})
        event = b"event: message\r\ndata: %b\r\n\r\n" % content
        await send({"type": "http.response.body", "body": event, "more_body": False})

    async def _traced(self, call: PlainCall, identity: Identity, headers: RequestHeaders, scope: Scope) -> Any:
        """Run it in a span, if the site has set OpenTelemetry up; otherwise a span is nothing, and costs as much."""
        language = language_of(headers.get(b"accept-language"))

        async def run(_: Any = None) -> Any:
            return await run_as_caller(METHOD, identity, language, call.size, self._run(call, scope))

        return await (self._otel(_context(call, scope), run) if is_tracing() else run())

    async def _run(self, call: PlainCall, scope: Scope) -> dict[str, Any]:
        """Return the result as it is sent."""
        try:
            result = await self._server.call_tool(call.tool.name, call.arguments, _WithoutContext(call.version))
        except MCPError:
            raise
        except Exception as error:
            # What a client is told of it, and the log, the SDK decides.
            result = await MCPServer._handle_call_tool(
                cast(Any, _Raising(error)), cast(Any, None), CallToolRequestParams(name=call.tool.name)
            )
        is_simple = type(result) is CallToolResult and own_result.get() is not result
        if is_simple and (simple := self._simple(call, result)) is not None:
            return simple
        if isinstance(result, InputRequiredResult):  # its state is sealed, as always
            bound = {**scope, SCOPE_KEY: current_identity()}  # to the caller
            return dict(await self._boundary(_context(call, bound), _returning(self._wire(call, result))) or {})
        return self._wire(call, result)

    def _simple(self, call: PlainCall, result: CallToolResult) -> dict[str, Any] | None:
        """Return a result of the SDK's making as it is sent; None if it has more than text and structured content."""
        content = []
        for block in result.content:
            if type(block) is not TextContent or block.annotations is not None or block.meta is not None:
                return None
            content.append({"text": block.text, "type": "text"})
        sent: dict[str, Any] = {"content": content, "isError": result.is_error}
        if call.is_modern:
            sent["resultType"] = "complete"
        if result.structured_content is not None:
            sent["structuredContent"] = result.structured_content
        if call.is_modern:
            sent["_meta"] = {SERVER_INFO_META_KEY: self._server_info}
        return sent

    def _wire(self, call: PlainCall, result: Any) -> dict[str, Any]:
        """Return any result as it is sent."""
        return self._runner._serialize(METHOD, call.version, result)


class _WithoutContext:
    """What a tool gets that takes no context; the SDK would make one otherwise, which costs as much as a tool."""

    __slots__ = ("protocol_version",)

    def __init__(self, version: str) -> None:
        self.protocol_version = version


class _Raising:
    """Stands for the server where the SDK makes a result of what a tool raised."""

    _subscriptions = None

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def call_tool(self, *_: Any) -> Any:
        raise self._error


def _returning(result: dict[str, Any]) -> Any:
    async def call_next(_: Any) -> dict[str, Any]:
        return result

    return call_next


def _context(call: PlainCall, scope: Scope) -> ServerRequestContext[Any, Any]:
    """Return what hooks see of a call; none of those that are known here talks to the client (`session`)."""
    return ServerRequestContext(
        session=cast(Any, None),
        lifespan_context=None,
        protocol_version=call.version,
        method=METHOD,
        params=call.params,
        request_id=call.request_id,
        meta=CallToolRequestParams.model_validate(call.params, by_name=False).meta,
        request=Request(scope),
    )


def _encoded(call: PlainCall, key: str, outcome: Any) -> bytes:
    """Return a JSON-RPC message."""
    message = {"jsonrpc": "2.0", "id": call.request_id, key: outcome}
    try:
        return to_json(message, inf_nan_mode="null")  # NaN is no JSON
    except ValueError:  # half of a surrogate pair, which UTF-8 has no bytes for
        return json.dumps(message, separators=(",", ":")).encode()


def _takes_both(accept: bytes) -> bool:
    """Return whether a client takes JSON and event streams, both by name, and says so in a few words."""
    return len(accept) <= _MAXIMUM_ACCEPT_LENGTH and _names_both(accept)


@lru_cache(maxsize=256)
def _names_both(accept: bytes) -> bool:
    taken = {part.strip() for part in accept.decode("latin-1").lower().split(",")}
    return {"application/json", "text/event-stream"} <= taken


def _is_plain(tool: Tool) -> bool:
    """Return whether a tool talks to its client by its result alone, and no header repeats its arguments."""
    return (
        tool.context_kwarg is None
        and not tool.resolved_params
        and not x_mcp_header_map(tool.parameters)
        and tool.name.isascii()
        and not tool.name.startswith("=?")  # a header that may be an encoding of something else
    )


def fits(server: MCPServer[Any]) -> bool:
    """Return whether the SDK, and what is hooked into it, are as this module knows them."""
    try:
        lowlevel = server._lowlevel_server
        handler = lowlevel.get_request_handler(METHOD)
        otel, boundary, *others = server.middleware
        return (
            type(otel).__name__ == "OpenTelemetryMiddleware"
            and type(boundary) is RequestStateBoundary
            and others == [with_caller]
            and handler is not None
            and handler.handler == server._handle_call_tool
            and lowlevel.cache_hints.get(METHOD) is None
            and callable(ServerRunner._serialize)
            and isinstance(lowlevel.server_info_stamp, dict)
        )
    except (AttributeError, ValueError):  # another SDK: it has not these names, or other hooks
        return False
