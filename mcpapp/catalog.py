"""The tools that a consent would open, for a page that asks for it (`AUTHAPP["TOOL_CATALOG"]`)."""

from __future__ import annotations

import inspect
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from mcpapp import conf
from mcpapp.access import allowed_here
from mcpapp.identity import Identity, acting_as
from mcpapp.registry import ToolDefinition, discover
from mcpapp.verifier import with_implied

Effect = Literal["read", "write", "destructive"]


@dataclass(frozen=True, slots=True)
class ListedTool:
    """A tool, as a person reads of it."""

    name: str
    title: str
    description: str
    """The first paragraph of it."""
    effect: Effect
    scopes: frozenset[str]
    """All of them are needed; none for what everybody may use."""


def tools_for(user: Any, scopes: Collection[str], resource: str) -> list[ListedTool]:
    """Return the tools that a person could use with scopes, by effect and name, the harmless ones first.

    What the person may not use, whatever they consent to, is left out.

    Raises:
        django.db.Error: the database does not answer.
    """
    definitions = discover().tools.values()
    identity = Identity(
        user=user,
        user_id=user.pk,
        client_id="",
        client_name="",
        scopes=with_implied(scopes),
        resource=resource,
        expires_at=int(time.time()) + 60,
    )
    with acting_as(identity):  # a rule may ask who is calling
        return _sorted(one for one in definitions if allowed_here(one.access, identity))


def _sorted(definitions: Iterable[ToolDefinition]) -> list[ListedTool]:
    order: list[Effect] = ["read", "write", "destructive"]
    listed = [_listed(definition) for definition in definitions]
    return sorted(listed, key=lambda tool: (order.index(tool.effect), tool.name))


def tools_by_effect(user: Any, resource: str) -> list[dict[str, Any]]:
    """Return the tools that somebody could use after connecting a client, in groups by effect.

    Who has not signed in is shown what is public, and the rest where the settings show it to strangers too.
    """
    if user.is_authenticated:
        listed = tools_for(user, conf.scopes_supported(), resource)
    else:
        shows_all = conf.anonymous_sees_protected()
        definitions = [one for one in discover().tools.values() if one.access.public or shows_all]
        listed = _sorted(definitions)
    groups: dict[str, list[ListedTool]] = {}
    for tool in listed:
        groups.setdefault(tool.effect, []).append(tool)
    return [{"effect": effect, "tools": tools} for effect, tools in groups.items()]


def _listed(definition: ToolDefinition) -> ListedTool:
    return ListedTool(
        name=definition.name,
        title=definition.title or "",
        description=(definition.description or inspect.getdoc(definition.function) or "").strip().partition("\n\n")[0],
        effect=effect_of(definition),
        scopes=definition.access.scopes,
    )


def effect_of(definition: ToolDefinition) -> Effect:
    """Return what a tool may do to a site, as its author says."""
    hints = definition.annotations
    if hints.read_only_hint:
        return "read"
    return "destructive" if hints.destructive_hint else "write"
