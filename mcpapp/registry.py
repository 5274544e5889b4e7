"""Where tools, resources and prompts are declared and found.

A site adds them in one place, any installed app's `mcp_tools.py`, which is found the way `admin.py` is:

    from mcpapp.registry import tool

    @tool("greet", scopes=["mcp:tools"], read_only=True)
    async def greet() -> str:
        \"\"\"Greet the person who is signed in.\"\"\"
        return f"Hello {current_user()}"

All three decorators take the same arguments about who may use it (`mcpapp.access`) and how it runs (`mcpapp.calls`):

    scopes: every one of them must be granted; MCPAPP["DEFAULT_SCOPES"] if not given; [] for anyone who is connected.
    permissions: Django permissions, all of which the person must have.
    groups: names of Django groups, one of which the person must be in.
    allowed: a function of the `Identity`, async or not, that must return True.
    public: no rule at all; with MCPAPP["ANONYMOUS_TOOLS"] also for callers who have not signed in.
    atomic, timeout, concurrency: see `mcpapp.calls.RunOptions`.

Prompts and templates of resources also take `completions`: functions by the name of an argument, which return what a
person may mean who has begun to type it (`mcpapp.completion`).

They raise `BadDeclaration` for arguments that contradict each other, and `Duplicate` for a name that is taken.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeVar

from django.utils.module_loading import autodiscover_modules
from mcp.shared.uri_template import UriTemplate
from mcp_types import ToolAnnotations

from mcpapp import conf
from mcpapp.access import Access, BadDeclaration, Rule
from mcpapp.calls import RunOptions

Function = TypeVar("Function", bound=Callable[..., Any])

Completer = Callable[[str, dict[str, str]], Any]
"""Called with what was typed and the other arguments that are known; returns strings, best first. May be async."""


USES = ("tools/call", "resources/read", "prompts/get", "completion/complete")
"""The methods that use something declared here."""


class Duplicate(ValueError):
    """Two tools, two resources or two prompts have the same name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What is declared of anything."""

    function: Callable[..., Any]
    name: str
    title: str | None
    description: str | None
    access: Access
    options: RunOptions
    completions: Mapping[str, Completer] = field(default_factory=dict)
    """What completes an argument, by its name; tools have none in MCP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDefinition(Definition):
    """A declared tool."""

    annotations: ToolAnnotations


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceDefinition(Definition):
    """A declared resource, or a template of many if its URI has parameters (RFC 6570)."""

    uri: str
    template: UriTemplate | None
    mime_type: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptDefinition(Definition):
    """A declared prompt."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything that is declared: tools and prompts by name, resources and templates by URI."""

    tools: dict[str, ToolDefinition]
    resources: dict[str, ResourceDefinition]
    prompts: dict[str, PromptDefinition]

    def all_scopes(self) -> frozenset[str]:
        """Return every scope that something asks for."""
        everything = (*self.tools.values(), *self.resources.values(), *self.prompts.values())
        return frozenset[str]().union(*(definition.access.scopes for definition in everything))

    def resource_at(self, uri: str) -> ResourceDefinition | None:
        """Return the resource with a URI, else the first template that it fits, as the SDK chooses."""
        found = self.resources.get(uri)
        if found is not None and found.template is None:
            return found
        templates = (definition for definition in self.resources.values() if definition.template is not None)
        return next((known for known in templates if known.template and known.template.match(uri) is not None), None)

    def wanted_by(self, message: Any) -> Definition | None:
        """Return what a decoded JSON-RPC message uses, if it is declared here."""
        params = message.get("params") if isinstance(message, dict) else None
        if not isinstance(params, dict):
            return None
        method = message.get("method")
        ref: Any = params
        if method == "completion/complete":
            ref = params.get("ref")
            kind = ref.get("type") if isinstance(ref, dict) else None
            method = {"ref/prompt": "prompts/get", "ref/resource": method}.get(kind) if isinstance(kind, str) else None
        key = ref.get("name" if method in ("tools/call", "prompts/get") else "uri") if isinstance(ref, dict) else None
        if not isinstance(key, str):
            return None
        match method:
            case "tools/call":
                return self.tools.get(key)
            case "prompts/get":
                return self.prompts.get(key)
            case "resources/read" | "resources/subscribe":
                return self.resource_at(key)
            case "completion/complete":
                return self.resources.get(key)
        return None

    def completes(self) -> bool:
        """Return whether anything declares completions."""
        return any(definition.completions for definition in (*self.prompts.values(), *self.resources.values()))


_catalog = Catalog({}, {}, {})


def tool(
    name: str | None = None,
    *,
    title: str | None = None,
    description: str | None = None,
    scopes: Collection[str] | None = None,
    permissions: Collection[str] = (),
    groups: Collection[str] = (),
    allowed: Rule | None = None,
    public: bool = False,
    read_only: bool = False,
    destructive: bool | None = None,
    idempotent: bool | None = None,
    open_world: bool = False,
    atomic: bool | None = None,
    timeout: float | None = None,
    concurrency: int | None = None,
) -> Callable[[Function], Function]:
    """Declare a function as a tool.

    Arguments come from the signature, the schema from its annotations, the description from the docstring. The name is
    the function's with dashes if not given. `read_only`, `destructive`, `idempotent` and `open_world` are hints for
    clients (MCP tool annotations).
    """
    _must_be_called("tool", name)
    access = Access.declared(scopes, permissions, groups, allowed, public)

    def declare(function: Function) -> Function:
        definition = ToolDefinition(
            function=function,
            name=name or _name_of(function),
            title=title,
            description=description,
            access=access,
            options=RunOptions.declared(function, atomic, timeout, concurrency),
            annotations=ToolAnnotations(
                title=title,
                read_only_hint=read_only,
                destructive_hint=False if read_only else destructive,
                idempotent_hint=idempotent,
                open_world_hint=open_world,
            ),
        )
        _add(_catalog.tools, definition.name, definition)
        return function

    return declare


def resource(
    uri: str,
    *,
    name: str | None = None,
    title: str | None = None,
    description: str | None = None,
    mime_type: str | None = None,
    completions: Mapping[str, Completer] | None = None,
    scopes: Collection[str] | None = None,
    permissions: Collection[str] = (),
    groups: Collection[str] = (),
    allowed: Rule | None = None,
    public: bool = False,
    atomic: bool | None = None,
    timeout: float | None = None,
    concurrency: int | None = None,
) -> Callable[[Function], Function]:
    """Declare a function as what reads a resource; parameters in the URI, like `loan://{number}`, are its arguments."""
    _must_be_called("resource", uri, '"loan://{number}"')
    access = Access.declared(scopes, permissions, groups, allowed, public)
    template = UriTemplate.parse(uri)

    def declare(function: Function) -> Function:
        definition = ResourceDefinition(
            function=function,
            name=name or _name_of(function),
            title=title,
            description=description,
            access=access,
            options=RunOptions.declared(function, atomic, timeout, concurrency),
            completions=_checked(completions, function, template.variable_names),
            uri=uri,
            template=template if template.variables else None,
            mime_type=mime_type,
        )
        _add(_catalog.resources, uri, definition)
        return function

    return declare


def prompt(
    name: str | None = None,
    *,
    title: str | None = None,
    description: str | None = None,
    completions: Mapping[str, Completer] | None = None,
    scopes: Collection[str] | None = None,
    permissions: Collection[str] = (),
    groups: Collection[str] = (),
    allowed: Rule | None = None,
    public: bool = False,
    atomic: bool | None = None,
    timeout: float | None = None,
    concurrency: int | None = None,
) -> Callable[[Function], Function]:
    """Declare a function as what renders a prompt."""
    _must_be_called("prompt", name)
    access = Access.declared(scopes, permissions, groups, allowed, public)

    def declare(function: Function) -> Function:
        definition = PromptDefinition(
            function=function,
            name=name or _name_of(function),
            title=title,
            description=description,
            access=access,
            options=RunOptions.declared(function, atomic, timeout, concurrency),
            completions=_checked(completions, function, inspect.signature(function).parameters),
        )
        _add(_catalog.prompts, definition.name, definition)
        return function

    return declare


def discover() -> Catalog:
    """Import every installed app's `mcp_tools` and the modules of the settings; return all that they declare."""
    for module in conf.tool_modules():
        import_module(module)
    autodiscover_modules("mcp_tools")
    return Catalog(dict(_catalog.tools), dict(_catalog.resources), dict(_catalog.prompts))


def _checked(
    completions: Mapping[str, Completer] | None, function: Callable[..., Any], arguments: Collection[str]
) -> dict[str, Completer]:
    for name, completer in (completions or {}).items():
        if name not in arguments:
            known = ", ".join(arguments) or "none"
            raise BadDeclaration(f"{_place_of(function)}: there is no argument {name!r} to complete (it has {known}).")
        if not callable(completer):
            raise BadDeclaration(f"{_place_of(function)}: what completes {name!r} is a function, not {completer!r}.")
        try:
            inspect.signature(completer).bind("", {})
        except ValueError:  # nobody knows the signature of some builtins
            pass
        except TypeError as error:
            text = f"what completes {name!r} takes what was typed and a dict of the other arguments"
            raise BadDeclaration(f"{_place_of(function)}: {text}, but {completer!r} does not: {error}.") from error
    return dict(completions or {})


AnyDefinition = TypeVar("AnyDefinition", bound=Definition)


def _add(known: dict[str, AnyDefinition], key: str, definition: AnyDefinition) -> None:
    """Add a definition; the same function again, in a module that is loaded anew, takes its own place."""
    other = known.get(key)
    if other is not None and (_place_of(other.function), _line_of(other.function)) != (
        _place_of(definition.function),
        _line_of(definition.function),
    ):
        raise Duplicate(
            f"{_place_of(other.function)} (line {_line_of(other.function)}) and "
            f"{_place_of(definition.function)} (line {_line_of(definition.function)}) are both called {key!r}. "
            "Give one of them another name."
        )
    known[key] = definition


def _must_be_called(decorator: str, name: Any, argument: str = "") -> None:
    if callable(name):
        raise BadDeclaration(f"{_place_of(name)}: write @{decorator}({argument}), with parentheses.")


def _place_of(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _line_of(function: Callable[..., Any]) -> int:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code.co_firstlineno if code is not None else 0


def _name_of(function: Callable[..., Any]) -> str:
    return function.__name__.replace("_", "-")
