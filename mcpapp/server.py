"""Build the MCP server: the SDK's `MCPServer` with what the installed apps declare, for whoever may use it."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, TypeVar

from django.db import Error as DatabaseError
from django.utils import translation
from django.utils.translation import gettext as _
from mcp.server.caching import CacheHint
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ToolError, UnexpectedResourceError
from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.tools import Tool
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, SubscriptionsListenRequestParams
from mcp_types import Prompt as ListedPrompt
from mcp_types import Resource as ListedResource
from mcp_types import ResourceTemplate as ListedTemplate
from mcp_types import Tool as ListedTool
from pydantic import AnyUrl, ValidationError

from mcpapp import calls, conf
from mcpapp.access import Access, BadDeclaration, Decision, decide, decide_all
from mcpapp.bus import Bus
from mcpapp.database import own_connections
from mcpapp.identity import SCOPE_KEY, Identity, acting_as, current_identity
from mcpapp.registry import Catalog, Definition, PromptDefinition, ResourceDefinition, ToolDefinition
from mcpapp.subscriptions import Listen
from mcpapp.verifier import Verifier

logger = logging.getLogger(__name__)

ANONYMOUS_METHODS = frozenset(
    {
        "initialize",
        "ping",
        "server/discover",
        "tools/list",
        "tools/call",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "prompts/list",
        "prompts/get",
    }
)
"""What a caller who has not signed in may send, besides notifications; what is used by it must be public as well."""

LISTEN = "subscriptions/listen"
_LISTS = ("tools/list", "resources/list", "resources/templates/list", "prompts/list")

Result = TypeVar("Result")
Listed = TypeVar("Listed", bound=ListedTool | ListedResource | ListedTemplate | ListedPrompt)


class Server(MCPServer[Any]):
    """The SDK's server, whose lists hold what their reader may use."""

    def __init__(self, catalog: Catalog, verifier: Verifier, **options: Any) -> None:
        self.bus = Bus()
        super().__init__(subscriptions=self.bus if conf.streams() else False, **options)
        self._catalog = catalog
        if conf.streams():  # in the place of the SDK's, which asks nobody who may hear of what, and for how long
            listen = Listen(catalog, self.bus, verifier, self._can_read)
            self._lowlevel_server.add_request_handler(LISTEN, SubscriptionsListenRequestParams, listen)
        for definition in (*catalog.tools.values(), *catalog.resources.values(), *catalog.prompts.values()):
            try:
                self._add(definition)
            except Exception as error:  # pydantic does not say whose type it is that it can make no schema of
                function = definition.function
                place = f"{function.__module__}.{function.__qualname__}"
                raise BadDeclaration(f"{definition.name!r} ({place}) cannot be served: {error}") from error

    def _add(self, definition: Definition) -> None:
        known: dict[str, Any] = {
            "name": definition.name,
            "title": definition.title,
            "description": definition.description,
        }
        match definition:
            case ToolDefinition():
                run = _guarded(definition, ToolError)
                self.add_tool(run, annotations=definition.annotations, **known)
            case ResourceDefinition():
                run = _guarded(definition, _protocol_error)
                self.resource(definition.uri, mime_type=definition.mime_type, **known)(run)
            case PromptDefinition():
                run = _guarded(definition, _protocol_error)
                self.add_prompt(Prompt.from_function(run, **known))

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
        await _admit(self._catalog.tools.get(name), ToolError)
        return await super().call_tool(name, arguments, context)

    async def read_resource(self, uri: AnyUrl | str, context: Any = None) -> Any:
        """Read a resource, if this caller may.

        Raises:
            MCPError: the caller may not.
            ResourceError: there is none, or it failed.
        """
        await _admit(self._catalog.resource_at(str(uri)), _protocol_error)
        return await super().read_resource(uri, context)

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
        await _admit(self._catalog.prompts.get(name), _protocol_error)
        try:
            return await super().get_prompt(name, arguments, context)
        except ValueError as error:  # the SDK's; older clients would get no JSON-RPC code for it
            if error.__cause__ is not None and error.__cause__.__cause__ is not None:
                logger.exception("Prompt %r raised an unexpected exception", name)
                raise MCPError(code=INTERNAL_ERROR, message=str(error)) from error
            raise _protocol_error(str(error)) from error

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


def build_server(catalog: Catalog, verifier: Verifier | None = None) -> Server:
    """Return an MCP server that serves what is declared; one for each event loop it runs on.

    The verifier is asked for how long a stream may stay open; without one that keeps anything, tokens are looked up.
    """
    # Which tools there are depends on who asks, so no list may be handed to another (MCP caching, `cacheScope`).
    hint = CacheHint(ttl_ms=conf.list_ttl_seconds() * 1000, scope="private")
    return Server(
        catalog,
        verifier or Verifier(),
        name=conf.server_name(),
        title=conf.server_title(),
        instructions=conf.instructions(),
        version=conf.server_version(),
        website_url=conf.resources()[0].rpartition("/")[0] or None,
        middleware=[with_caller],
        cache_hints=dict.fromkeys(_LISTS, hint),
        log_level="WARNING",
    )


async def with_caller(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Run each message as the person whose token came with it.

    The identity is taken from the message's own HTTP request: with sessions, a message is handled by a task that an
    earlier request of perhaps another token started.
    """
    request = ctx.request
    identity = request.scope.get(SCOPE_KEY) if request is not None else None
    if identity is not None and identity.is_anonymous and not may_be_anonymous(ctx.method):
        raise MCPError(code=INVALID_REQUEST, message="Sign in first.")
    language = language_of(request.headers.get("accept-language") if request is not None else None)
    result = await run_as_caller(ctx.method, identity, language, call_next(ctx))
    if identity is not None and identity.is_anonymous and isinstance(result, Mapping):
        return _for_nobody(result)
    return result


def _for_nobody(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a caller who has not signed in is answered, where that is something else."""
    changed: dict[str, Any] = {}
    if "ttlMs" in result:
        changed["ttlMs"] = 0  # the SDKs keep lists for as long as a client lives, beyond signing in
    if isinstance(capabilities := result.get("capabilities"), Mapping):
        # Some clients listen at once for what they are told that they may, and take a challenge to that for the end.
        changed["capabilities"] = {
            name: {key: False if key in {"listChanged", "subscribe"} else value for key, value in capability.items()}
            for name, capability in capabilities.items()
        }
    return {**result, **changed}


async def run_as_caller(method: str, identity: Identity | None, language: str, work: Awaitable[Result]) -> Result:
    """Return what `work` returns, done as a person, in their language.

    Raises:
        MCPError: it failed; what clients are not to know is in the log.
        pydantic.ValidationError: the message has not the form it should have.
    """
    # A stream lasts for hours, and takes a thread only for each of its decisions.
    async with nullcontext() if method == LISTEN else own_connections():
        with acting_as(identity), _in(language):
            try:
                return await work
            except (MCPError, ValidationError):
                raise
            except Exception as error:  # to older clients the SDK would tell its text
                logger.exception("%s failed.", method)
                raise MCPError(code=INTERNAL_ERROR, message="Internal server error") from error


def may_be_anonymous(method: Any) -> bool:
    """Return whether a caller who has not signed in may send a message of this method at all."""
    return isinstance(method, str) and (method in ANONYMOUS_METHODS or method.startswith("notifications/"))


def _in(language: str) -> AbstractContextManager[None]:
    """Make the code inside run in a language; mostly it would anyway."""
    return nullcontext() if translation.get_language() == language else translation.override(language)


def language_of(accept_language: str | None) -> str:
    """Return the language that Django would answer a browser in."""
    return _language((accept_language or "")[:500])


@lru_cache(maxsize=256)
def _language(accept_language: str) -> str:
    request = SimpleNamespace(COOKIES={}, META={"HTTP_ACCEPT_LANGUAGE": accept_language}, path_info="")
    return translation.get_language_from_request(request)  # type: ignore[arg-type]


_admitted: ContextVar[Definition | None] = ContextVar("mcpapp_admitted", default=None)


def _guarded(definition: Definition, failure: Callable[[str], Exception]) -> Callable[..., Awaitable[Any]]:
    """Return what runs a definition for a caller who was admitted to it, and not to another the SDK took it for."""
    run = calls.prepared(definition.function, definition.options, failure)

    @functools.wraps(run)
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        if _admitted.get() is not definition:
            await _admit(definition, failure)
        return await run(*args, **kwargs)

    return guarded


async def _admit(definition: Definition | None, failure: Callable[[str], Exception]) -> None:
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
            raise failure(_("Sign in to use this."))
        case Decision.NEEDS_SCOPES:
            missing = " ".join(sorted(definition.access.scopes - identity.scopes))
            raise failure(_("This needs the scope %s, which was not granted.") % missing)
    raise failure(_("You may not use this."))


def _protocol_error(text: str) -> MCPError:
    """Return what the reader of a resource or prompt gets, where there is no result that could carry an error."""
    return MCPError(code=INVALID_PARAMS, message=text)
