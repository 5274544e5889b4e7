"""What a client would be answered that acts for a person: its list of tools, and why a tool is refused.

For a page that asks for it (`AUTHAPP["SEE_AS"]`). Each answer is the door's own, byte for byte: the same requests go
through the same code. Two things are exchanged: the token, which is told, and what runs a tool, which does not.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils import translation
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.types import Message, Scope

from mcpapp import conf
from mcpapp.access import Access, Decision, decide_all
from mcpapp.asgi import ResourceServer
from mcpapp.catalog import effect_of
from mcpapp.database import own_connections
from mcpapp.identity import Identity, acting_as
from mcpapp.registry import ToolDefinition
from mcpapp.server import Server, admit, build_server
from mcpapp.verifier import InvalidToken, OneToken

VERSION = MODERN_PROTOCOL_VERSIONS[-1]
"""The protocol that is spoken."""
MOST_ANSWERS = 200
"""How many tools are tried; of the others it is said whether they may be used."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes over HTTP."""

    status: int
    challenge: str
    """The header WWW-Authenticate; empty without one."""
    body: str


@dataclass(frozen=True, slots=True)
class SeenTool:
    """One tool, as this caller has it."""

    name: str
    title: str
    effect: str
    """`read`, `write` or `destructive`."""
    is_listed: bool
    may_be_called: bool
    missing_scopes: list[str]
    missing_permissions: list[str]
    groups: list[str]
    """One of which the person would have to be in; empty if nothing is wanting."""
    is_refused_by_rule: bool
    """Nothing else is wanting, so the rule of its author says no."""
    answer: Answer | None
    """To a call without arguments, if it is refused."""


@dataclass(frozen=True, slots=True)
class Seen:
    """All that is seen."""

    resource: str
    protocol_version: str
    tools_list: Answer
    tools: list[SeenTool]


@dataclass(frozen=True, slots=True)
class _Token:
    """What a lookup would have found (`mcpapp.verifier.AccessTokenInfo`)."""

    user: Any
    client_id: str
    client_name: str
    scopes: Collection[str]
    resource: Collection[str]
    expires_at: int = field(default_factory=lambda: int(time.time()) + 600)


def see_as(user: Any, client_id: str, client_name: str, scopes: Collection[str]) -> Seen:
    """Return what a client is answered that has these scopes of a person. Nothing is written, no tool runs.

    For synchronous code, such as a view. Rules, permissions and groups are asked as in a call, in another thread.

    Raises:
        django.db.Error: the database does not answer.
    """
    resource = conf.resources()[0]
    token = _Token(user, client_id, client_name, scopes, (resource,))
    # Clients ask without a language mostly; the page's own must not show through.
    with translation.override(settings.LANGUAGE_CODE):
        return asyncio.run(_look(OneToken(token), resource))


class _Door(ResourceServer):
    """The door, where a token is told instead of looked up, and no tool runs behind it."""

    def __init__(self, verifier: OneToken) -> None:
        super().__init__()
        self.verifier = verifier
        self.call_log = None
        self.limits.has_rates = False  # nobody's calls are counted

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        """Run the server without what listens, writes or tells."""
        server = build_server(self.catalog, self.verifier, _NothingRuns)
        async with server.session_manager.run():
            self._server = server
            yield server


class _NothingRuns(Server):
    """Admits or refuses, and there it ends."""

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Any = None) -> Any:
        """Refuse whom a call would refuse.

        Raises:
            ToolError: always.
        """
        await admit(self._catalog.tools.get(name), ToolError)
        raise ToolError("It would run.")


async def _look(verifier: OneToken, resource: str) -> Seen:
    door = _Door(verifier)
    definitions = list(door.catalog.tools.values())
    try:
        identity = verifier.kept("", resource)
    except InvalidToken:  # of somebody who may not act: everything is refused, and the list says so
        identity = None
    async with door.running():
        listed = await _ask(door, resource, "tools/list", {})
        names = _names(listed)
        decisions: list[Decision] = [Decision.DENIED] * len(definitions)
        if identity is not None:
            async with own_connections():
                with acting_as(identity):
                    decisions = await decide_all([one.access for one in definitions], identity)
        tools = []
        for index, (definition, decision) in enumerate(zip(definitions, decisions, strict=True)):
            answer = None
            if decision is not Decision.ALLOWED and index < MOST_ANSWERS:
                params = {"name": definition.name, "arguments": {}}
                answer = await _ask(door, resource, "tools/call", params)
            wants = await _wanting(definition.access, identity, decision)
            tools.append(_seen(definition, definition.name in names, decision, wants, answer))
    return Seen(resource, VERSION, listed, tools)


@dataclass(frozen=True, slots=True)
class _Wants:
    scopes: list[str] = field(default_factory=list)
    permissions: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    rule: bool = False


async def _wanting(access: Access, identity: Identity | None, decision: Decision) -> _Wants:
    """Return what is wanting of what is declared, each asked by itself."""
    if identity is None or decision is Decision.ALLOWED:
        return _Wants()
    parts = [Access(permissions=(one,)) for one in access.permissions]
    parts += [Access(groups=access.groups)] if access.groups else []
    async with own_connections():
        with acting_as(identity):
            answers = [one is Decision.ALLOWED for one in await decide_all(parts, identity)]
    permissions = [one for one, has in zip(access.permissions, answers, strict=False) if not has]
    groups = sorted(access.groups) if access.groups and not answers[-1] else []
    scopes = sorted(access.scopes - identity.scopes)
    by_rule = decision is Decision.DENIED and access.rule is not None and not (permissions or groups)
    return _Wants(scopes, permissions, groups, by_rule)


def _seen(
    definition: ToolDefinition, is_listed: bool, decision: Decision, wants: _Wants, answer: Answer | None
) -> SeenTool:
    return SeenTool(
        name=definition.name,
        title=definition.title or "",
        effect=effect_of(definition),
        is_listed=is_listed,
        may_be_called=decision is Decision.ALLOWED,
        missing_scopes=wants.scopes,
        missing_permissions=wants.permissions,
        groups=wants.groups,
        is_refused_by_rule=wants.rule,
        answer=answer,
    )


def _names(listed: Answer) -> set[str]:
    if listed.status != 200:
        return set()
    return {tool["name"] for tool in json.loads(listed.body)["result"]["tools"]}


async def _ask(door: ResourceServer, resource: str, method: str, params: dict[str, Any]) -> Answer:
    """Send a request as a client does (MCP 2026-07-28, Streamable HTTP)."""
    meta = {
        PROTOCOL_VERSION_META_KEY: VERSION,
        CLIENT_INFO_META_KEY: {"name": "see-as", "version": "1"},
        CLIENT_CAPABILITIES_META_KEY: {},
    }
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}).encode()
    parts = urlsplit(resource)
    headers = {
        "host": parts.netloc,
        "authorization": "Bearer told",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "content-length": str(len(body)),
        "mcp-protocol-version": VERSION,
        "mcp-method": method,
        **({"mcp-name": params["name"]} if "name" in params else {}),
    }
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": parts.scheme,
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 0),
        "server": (parts.hostname, parts.port or 443),
    }
    sent: list[Message] = []
    requests: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if requests:
            return requests.pop()
        await asyncio.Event().wait()  # a client that waits for its answer says no more
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    await door(scope, receive, send)
    start = sent[0]
    answered = {name.lower(): value for name, value in start["headers"]}
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(start["status"], answered.get(b"www-authenticate", b"").decode("latin-1"), content.decode())
