"""The tools of the connected servers, under names that a model's API takes, and how one of them is called."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from mcpapp.client.chat.results import DEFAULT_LIMIT, as_text, cut
from mcpapp.client.failures import SignInFailure, UsageFailure, as_failure
from mcpapp.client.visible import visible

if TYPE_CHECKING:
    from mcp.client import Client
    from mcp.shared.dispatcher import ProgressFnT
    from mcp_types import Tool

    from mcpapp.client.chat.links import Link

MAX_TOOLS = 128  # OpenAI and Azure OpenAI refuse a request with more
MAX_NAME = 64
MAX_DESCRIPTION = 1024  # of a function, at the same two
MAX_PAGES = 100
_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")


class BadCallError(Exception):
    """A call that the model got wrong; the text is for the model."""


@dataclass(frozen=True)
class ChatTool:
    """A tool of one server. `name` is the model's, unique over all servers; `tool.name` is the server's own."""

    name: str
    link: Link
    tool: Tool

    @property
    def server(self) -> str:
        """Return the label of the server."""
        return self.link.label

    @property
    def is_read_only(self) -> bool:
        """Return whether the server says that the tool changes nothing."""
        return bool(self.tool.annotations and self.tool.annotations.read_only_hint)

    @property
    def is_destructive(self) -> bool:
        """Return whether the tool may destroy; what the server does not deny is assumed, as MCP has it."""
        if self.is_read_only:
            return False
        return self.tool.annotations is None or self.tool.annotations.destructive_hint is not False

    def definition(self) -> dict[str, Any]:
        """Return the tool as an entry of `tools` in a chat completion."""
        described = visible(self.tool.description or self.tool.title or "")
        schema = {"type": "object", "properties": {}, **self.tool.input_schema}
        function = {"name": self.name, "description": described[:MAX_DESCRIPTION], "parameters": schema}
        return {"type": "function", "function": function}


@dataclass(frozen=True)
class Outcome:
    """What a call came to: the text for the model, and whether it is an error."""

    text: str
    is_error: bool


class Toolbox:
    """All tools that a conversation has. `servers` are the labels of the servers, in the order they were given."""

    def __init__(self, tools: Iterable[ChatTool] = (), result_limit: int = DEFAULT_LIMIT) -> None:
        self.tools = {tool.name: tool for tool in tools}
        self.servers = list(dict.fromkeys(tool.server for tool in self.tools.values()))
        self.result_limit = result_limit

    def definitions(self) -> list[dict[str, Any]]:
        """Return what a chat completion takes as `tools`."""
        return [tool.definition() for tool in self.tools.values()]

    def find(self, name: str) -> ChatTool:
        """Return the tool of that name. Raises: BadCallError."""
        if tool := self.tools.get(name):
            return tool
        known = ", ".join(self.tools) or "none"
        raise BadCallError(f"There is no tool of that name. These exist: {known}")

    async def call(self, tool: ChatTool, arguments: dict[str, Any], progress: ProgressFnT | None = None) -> Outcome:
        """Call a tool; what goes wrong at the server is told to the model as well. `progress` hears how far it is.

        Raises: SignInFailure.
        """
        from mcp_types import CONNECTION_CLOSED

        try:
            client = await tool.link.client()
            result = await client.call_tool(tool.tool.name, arguments, progress_callback=progress)
        except Exception as error:
            is_closed = getattr(error, "code", None) == CONNECTION_CLOSED
            failure = await tool.link.why_it_broke() if is_closed else as_failure(error)
            # RuntimeError is the SDK's for a result that does not keep to the tool's own schema.
            if isinstance(failure, SignInFailure) or (failure is None and not isinstance(error, RuntimeError)):
                raise
            return Outcome(cut(f"The call failed: {visible(str(failure or error))}", self.result_limit), True)
        return Outcome(as_text(result, self.result_limit), bool(result.is_error))


def parsed_arguments(text: str) -> dict[str, Any]:
    """Return a model's arguments. Raises: BadCallError where they are no JSON object."""
    try:
        arguments = json.loads(text or "{}", parse_constant=_no_constant)
        # Half a surrogate pair can be written in JSON and can not be sent on.
        json.dumps(arguments, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadCallError(f"The arguments are not valid JSON ({error}): {cut(visible(text), 500)}") from error
    if not isinstance(arguments, dict):
        raise BadCallError(f"The arguments have to be a JSON object: {cut(visible(text), 500)}")
    return arguments


async def collect(links: Sequence[Link], patterns: Sequence[str] = (), result_limit: int = DEFAULT_LIMIT) -> Toolbox:
    """List the tools of all servers.

    `patterns` choose among them by their own names, as in a shell; none chooses all.
    Raises: UsageFailure where there are more than a model takes, or where a pattern names nothing.
    """
    found: list[ChatTool] = []
    taken: set[str] = set()
    unused = set(patterns)
    for link in links:
        for tool in await _all_tools(await link.client()):
            matching = {pattern for pattern in patterns if fnmatchcase(tool.name, pattern)}
            unused -= matching
            if patterns and not matching:
                continue
            found.append(ChatTool(model_name(tool.name, link.label, taken), link, tool))
    if unused:
        raise UsageFailure(
            f"No tool is called {', '.join(map(visible, sorted(unused)))}.", hint="List them: star tools URL"
        )
    if len(found) > MAX_TOOLS:
        hint = "Choose some with --tool NAME; a pattern like 'list-*' names several, and --tool can be repeated."
        raise UsageFailure(f"There are {len(found)} tools, and a model takes {MAX_TOOLS} at most.", hint=hint)
    return Toolbox(found, result_limit)


def model_name(name: str, server: str, taken: set[str]) -> str:
    """Return a name that a model's API takes and that is not `taken` yet, and take it.

    A name that another server has already gets its own server's in front.
    """
    for candidate in (name, f"{server}_{name}"):
        short = fitting(candidate)
        if short not in taken:
            break
    else:
        number = 2
        while (short := fitting(f"{name}_{number}")) in taken:
            number += 1
    taken.add(short)
    return short


def fitting(name: str) -> str:
    """Return `name` in the letters and the length that a model's API takes for functions."""
    plain = _FOREIGN.sub("_", name) or "_"
    if len(plain) <= MAX_NAME:
        return plain
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain[: MAX_NAME - 9]}_{digest}"


async def _all_tools(client: Client) -> list[Tool]:
    tools: list[Tool] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if not cursor or len(tools) > 10 * MAX_TOOLS:
            break
    return tools


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
