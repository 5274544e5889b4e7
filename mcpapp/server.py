"""Build the MCP server: the SDK's `MCPServer` with what the installed apps declare, for whoever may use it."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import cached_property
from typing import Any, TypeVar

from django.db import Error as DatabaseError
from django.utils.translation import gettext as _
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ToolError, UnexpectedResourceError
from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.resolve import find_resolved_parameters
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    CallToolResult,
    CompleteRequestParams,
    CompleteResult,
    InputRequiredResult,
    PromptReference,
    SetLevelRequestParams,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    UnsubscribeRequestParams,
)
from mcp_types import Prompt as ListedPrompt
from mcp_types import Resource as ListedResource
from mcp_types import ResourceTemplate as ListedTemplate
from mcp_types import Tool as ListedTool
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import AnyUrl, TypeAdapter

from mcpapp import calls, completion, conf
from mcpapp.access import Access, BadDeclaration, Decision, decide, decide_all
from mcpapp.bus import Bus
from mcpapp.call_log.record import tell, tell_error, tell_result
from mcpapp.callers import with_caller
from mcpapp.identity import current_identity
from mcpapp.models import Outcome
from mcpapp.registry import Catalog, Definition, PromptDefinition, ResourceDefinition, ToolDefinition
from mcpapp.request_state import request_state_security
from mcpapp.resolvers import prepare_resolvers
from mcpapp.session_methods import SessionMethods
from mcpapp.sessions import Sessions
from mcpapp.subscriptions import Listen
from mcpapp.verifier import Verifier

logger = logging.getLogger(__name__)

_KEPT_BY_CLIENTS = ("server/discover", "tools/list", "resources/list", "resources/templates/list", "prompts/list")

Listed = TypeVar("Listed", bound=ListedTool | ListedResource | ListedTemplate | ListedPrompt)


own_result: ContextVar[CallToolResult | None] = ContextVar("mcpapp_own_result", default=None)
"""The result that a tool made itself, so that anything may be in it; of the SDK's making there is only JSON."""


class Metadata(FuncMetadata):
    """What the SDK knows of a tool's function, with the adapter of its results at hand.

    The SDK keeps it in a private attribute of a model, which costs more to read than the adapter takes to work.
    """

    @classmethod
    def of(cls, known: FuncMetadata) -> Metadata:
        """Return the same."""
        return cls(**{name: getattr(known, name) for name in FuncMetadata.model_fields})

    @cached_property
    def kept_adapter(self) -> TypeAdapter[Any]:
        """The adapter of `output_model`, which does not change here."""
        return super()._output_adapter(self.output_model)

    def _output_adapter(self, output_model: Any) -> TypeAdapter[Any]:
        return self.kept_adapter

    @cached_property
    def written_as_json(self) -> frozenset[str]:
        """The arguments that some clients send as JSON in a text: those that are no text."""
        fields = self.arg_model.model_fields.items()
        return frozenset(key for name, one in fields if one.annotation is not str for key in (name, one.alias) if key)

    def pre_parse_json(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments, decoded where they are JSON in a text; the SDK looks at every field for that."""
        if any(type(value) is str and key in self.written_as_json for key, value in data.items()):
            return super().pre_parse_json(data)
        return data

    def convert_result(self, result: Any) -> Any:
        """Return what a function returned as the result of a call, as the SDK does."""
        if isinstance(result, CallToolResult):
            own_result.set(result)
        return super().convert_result(result)


class Server(MCPServer[Any]):
    """The SDK's server, whose lists hold what their reader may use."""

    def __init__(self, catalog: Catalog, verifier: Verifier, **options: Any) -> None:
        self.bus = Bus()
        super().__init__(subscriptions=self.bus if conf.streams() else False, **options)
        self._catalog = catalog
        self._completers: dict[tuple[str, str], Mapping[str, completion.Complete]] = {}
        self.listen = listen = Listen(catalog, self.bus, verifier, self._can_read)
        if conf.streams():  # in the place of the SDK's, which asks nobody who may hear of what, and for how long
            self._lowlevel_server.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, listen)
        for definition in (*catalog.tools.values(), *catalog.resources.values(), *catalog.prompts.values()):
            try:
                self._add(definition)
            except Exception as error:  # pydantic does not say whose type it is that it can make no schema of
                function = definition.function
                place = f"{function.__module__}.{function.__qualname__}"
                raise BadDeclaration(f"{definition.name!r} ({place}) cannot be served: {error}") from error
        if catalog.completes():
            self._lowlevel_server.add_request_handler("completion/complete", CompleteRequestParams, self._complete)
        if conf.sessions():
            self._add_session_methods(listen)
        self._sessions = Sessions(self._lowlevel_server)

    @property
    def session_manager(self) -> Sessions:
        """What takes the requests that passed the door."""
        return self._sessions

    def _add(self, definition: Definition) -> None:
        known: dict[str, Any] = {
            "name": definition.name,
            "title": definition.title,
            "description": definition.description,
        }
        match definition:
            case ToolDefinition():
                run = _guarded(definition, ToolError)
                prepare_resolvers(run, ToolError)
                self.add_tool(run, annotations=definition.annotations, **known)
                added = self._tool_manager.get_tool(definition.name)
                if added is not None:
                    added.fn_metadata = Metadata.of(added.fn_metadata)
            case ResourceDefinition() | PromptDefinition() if find_resolved_parameters(definition.function):
                raise BadDeclaration("Resolve(...) is for tools; this asks by returning an InputRequiredResult.")
            case ResourceDefinition():
                run = _guarded(definition, _protocol_error)
                self.resource(definition.uri, mime_type=definition.mime_type, **known)(run)
                self._completers["ref/resource", definition.uri] = completion.prepared(definition, _protocol_error)
            case PromptDefinition():
                run = _guarded(definition, _protocol_error)
                self.add_prompt(Prompt.from_function(run, **known))
                self._completers["ref/prompt", definition.name] = completion.prepared(definition, _protocol_error)

    def _add_session_methods(self, listen: Listen) -> None:
        async def admit(uri: str) -> None:
            await _admit_existing(self._catalog.resource_at(uri))

        methods = SessionMethods(admit, listen)
        add = self._lowlevel_server.add_request_handler
        add("logging/setLevel", SetLevelRequestParams, methods.set_level)
        if conf.streams():
            add("resources/subscribe", SubscribeRequestParams, methods.subscribe)
            add("resources/unsubscribe", UnsubscribeRequestParams, methods.unsubscribe)
            self.bus.subscribe(methods.heard)

    @property
    def tools(self) -> list[Tool]:
        """The tools as the SDK runs them."""
        return self._tool_manager.list_tools()

    # What a caller may use is decided before anything else is: the names of its arguments are not for everybody either.
    # The challenge at the door (`mcpapp.asgi`) is a courtesy that lets clients step up.

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Any = None) -> Any:
        """Call a tool, if this caller may.

        Raises:
            ToolError: the caller may not, or the tool failed in a way that the caller can do something about.
            UnexpectedToolError: it crashed.
        """
        try:
            await admit(self._catalog.tools.get(name), ToolError)
            result = require_rounds(await super().call_tool(name, arguments, context), context)
        except BaseException as error:
            tell_error(error)
            raise
        tell_result(result)
        return result

    async def read_resource(self, uri: AnyUrl | str, context: Any = None) -> Any:
        """Read a resource, if this caller may.

        Raises:
            MCPError: the caller may not.
            ResourceError: there is none, or it failed.
        """
        await admit(self._catalog.resource_at(str(uri)), _protocol_error)
        return require_rounds(await super().read_resource(uri, context), context)

    async def _can_read(self, uri: str, ctx: ServerRequestContext[Any, Any]) -> bool:
        """Return whether reading a URI gives this caller anything.

        Raises:
            django.db.Error: the database does not answer.
        """
        try:
            read = await self.read_resource(uri, Context(request_context=ctx, mcp_server=self, subscriptions=self.bus))
        except (MCPError, ResourceError) as error:
            if isinstance(error.__cause__, DatabaseError):
                raise error.__cause__ from error
            if isinstance(error, UnexpectedResourceError):
                logger.exception("A resource could not be read by one who listens for its changes.")
            return False
        return isinstance(read, list)

    async def get_prompt(self, name: str, arguments: dict[str, Any] | None = None, context: Any = None) -> Any:
        """Render a prompt, if this caller may.

        Raises:
            MCPError: the caller may not, there is none, arguments are missing, or it failed.
        """
        await admit(self._catalog.prompts.get(name), _protocol_error)
        try:
            return require_rounds(await super().get_prompt(name, arguments, context), context)
        except ValueError as error:  # the SDK's; older clients would get no JSON-RPC code for it
            if error.__cause__ is not None and error.__cause__.__cause__ is not None:
                logger.exception("Prompt %r raised an unexpected exception", name)
                raise MCPError(code=INTERNAL_ERROR, message=str(error)) from error
            raise _protocol_error(str(error)) from error

    async def _complete(self, _: ServerRequestContext[Any, Any], params: CompleteRequestParams) -> CompleteResult:
        """Complete an argument of a prompt or template, if this caller may use that."""
        definition: Definition | None
        ref = params.ref
        if isinstance(ref, PromptReference):
            key, definition = ref.name, self._catalog.prompts.get(ref.name)
        else:
            key, definition = ref.uri, self._catalog.resources.get(ref.uri)
        await _admit_existing(definition)
        given = (params.context.arguments if params.context is not None else None) or {}
        completed = await completion.complete(self._completers[ref.type, key], params.argument, given)
        return CompleteResult(completion=completed)

    async def list_tools(self) -> list[ListedTool]:
        """Return the tools this caller may use, now or after one more consent."""
        return await self._visible(await super().list_tools(), self._catalog.tools, lambda tool: tool.name)

    async def list_resources(self) -> list[ListedResource]:
        """Return the resources this caller may read."""
        return await self._visible(await super().list_resources(), self._catalog.resources, lambda one: str(one.uri))

    async def list_resource_templates(self) -> list[ListedTemplate]:
        """Return the templates this caller may read by."""
        listed = await super().list_resource_templates()
        return await self._visible(listed, self._catalog.resources, lambda template: template.uri_template)

    async def list_prompts(self) -> list[ListedPrompt]:
        """Return the prompts this caller may use."""
        return await self._visible(await super().list_prompts(), self._catalog.prompts, lambda prompt: prompt.name)

    async def _visible(
        self, listed: list[Listed], definitions: dict[str, Any], key: Callable[[Listed], str]
    ) -> list[Listed]:
        accesses: Sequence[Access] = [definitions[key(one)].access for one in listed]
        shown = {Decision.ALLOWED, Decision.NEEDS_SCOPES}
        if conf.anonymous_sees_protected():
            shown.add(Decision.NEEDS_SIGN_IN)
        decisions = await decide_all(accesses, current_identity())
        return [one for one, decision in zip(listed, decisions, strict=True) if decision in shown]


def build_server(catalog: Catalog, verifier: Verifier | None = None, kind: type[Server] = Server) -> Server:
    """Return an MCP server that serves what is declared; one for each event loop it runs on.

    The verifier is asked for how long a stream may stay open; without one that keeps anything, tokens are looked up.
    """
    # Which tools there are depends on who asks, so no list may be handed to another (MCP caching, `cacheScope`).
    hint = CacheHint(ttl_ms=conf.list_ttl_seconds() * 1000, scope="private")
    return kind(
        catalog,
        verifier or Verifier(),
        name=conf.server_name(),
        title=conf.server_title(),
        instructions=conf.instructions(),
        version=conf.server_version(),
        website_url=conf.resources()[0].rpartition("/")[0] or None,
        middleware=[with_caller],
        cache_hints=dict.fromkeys(_KEPT_BY_CLIENTS, hint),
        request_state_security=request_state_security(),
        log_level="WARNING",
    )


def require_rounds(result: Any, context: Any) -> Any:
    """Return what was returned, if it is no question, or one that can be put to this client.

    Raises:
        MCPError: it is a question between two rounds of a call, and the client's protocol has no rounds.
    """
    version = getattr(context, "protocol_version", None)
    if isinstance(result, InputRequiredResult) and version is not None and version not in MODERN_PROTOCOL_VERSIONS:
        text = _("This has to ask you something first, which your client can do in protocol %s or newer.")
        raise MCPError(code=INVALID_REQUEST, message=text % MODERN_PROTOCOL_VERSIONS[0])
    return result


_admitted: ContextVar[Definition | None] = ContextVar("mcpapp_admitted", default=None)


def _guarded(definition: Definition, failure: Callable[[str], Exception]) -> Callable[..., Awaitable[Any]]:
    """Return what runs a definition for a caller who was admitted to it, and not to another the SDK took it for."""
    run = calls.prepared(definition.function, definition.options, failure)

    @functools.wraps(run)
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        if _admitted.get() is not definition:
            await admit(definition, failure)
        return await run(*args, **kwargs)

    return guarded


async def admit(definition: Definition | None, failure: Callable[[str], Exception]) -> None:
    """Raise what a caller is told who may not use something; what is not declared here does not exist for the SDK."""
    if definition is None:
        return
    identity = current_identity()
    try:
        decision = await decide(definition.access, identity)
    except DatabaseError as error:  # the SDK would tell the client its text
        logger.exception("It could not be decided who may use %s.", definition.name)
        raise failure(_("The database does not answer right now. Try again shortly.")) from error
    match decision:
        case Decision.ALLOWED:
            _admitted.set(definition)
            return
        case Decision.NEEDS_SIGN_IN:
            tell(Outcome.DENIED)
            raise failure(_("Sign in to use this."))
        case Decision.NEEDS_SCOPES:
            missing = " ".join(sorted(definition.access.scopes - identity.scopes))
            tell(Outcome.NEEDS_SCOPES)
            raise failure(_("This needs the scope %s, which was not granted.") % missing)
    tell(Outcome.DENIED)
    raise failure(_("You may not use this."))


async def _admit_existing(definition: Definition | None) -> None:
    """Raise what a caller is told who may not use something, or names what does not exist."""
    if definition is None:
        raise _protocol_error(_("There is no such thing."))
    await admit(definition, _protocol_error)


def _protocol_error(text: str) -> MCPError:
    """Return what the reader of a resource or prompt gets, where there is no result that could carry an error."""
    return MCPError(code=INVALID_PARAMS, message=text)
