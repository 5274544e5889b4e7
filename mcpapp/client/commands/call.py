"""`star call TOOL key=value…`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcpapp.client import console
from mcpapp.client.failures import EXIT_INTERRUPTED, EXIT_TOOL_FAILED, Failure, ServerFailure, UsageFailure
from mcpapp.client.options import Options, takes_options

if TYPE_CHECKING:
    import mcp_types as types
    from mcp.client import Client

    from mcpapp.client import kept_lists

_URL_ELICITATION_REQUIRED = -32042
"""MCP 2025-11-25: the server wants pages to be visited before it is called again."""


@dataclass(frozen=True)
class _Call:
    url: str
    tool: str
    pairs: list[str]
    given: dict[str, Any]
    is_confirmed: bool
    is_raw: bool
    is_plain: bool
    folder: Path


def _completed(ctx: typer.Context, incomplete: str) -> list[str]:
    """What the shell completes."""
    from mcpapp.client.completing import completed

    return completed(ctx.params.get("words") or [], incomplete, ctx.params.get("cache_dir"))


@takes_options
def call(
    options: Options,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[URL] TOOL [KEY=VALUE]...",
            autocompletion=_completed,
            help="a.b=1 is a key of an object, key=@file takes a file's content; lists and objects are JSON.",
        ),
    ],
    json: Annotated[
        str | None, typer.Option("--json", metavar="JSON", help="The arguments as JSON; - reads them from stdin.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Call a destructive tool without asking.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Print the result as the JSON that the server sent.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="No tables, no Markdown.")] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for images and other files.")
    ] = Path(),
) -> None:
    """Call a tool. Its result is the output; the exit code is 1 if the tool says that it failed."""
    from mcpapp.client.arguments import server_and_rest
    from mcpapp.client.servers import chosen

    try:
        url, rest = server_and_rest(words)
        if not rest:
            raise UsageFailure("Which tool?", "`star tools` lists them.")
        given = _read(json)  # before the event loop runs, which would keep Ctrl-C from ending it
        wanted = _Call(chosen(url, options), rest[0], rest[1:], given, yes, raw, plain, output)
    except Failure as failure:
        console.fail(failure)
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
    console.run(_call(wanted, options))


async def _call(call: _Call, options: Options) -> None:
    # What is kept may be of a server that speaks another version by now, and has said so instead of calling anything.
    result = await _called(call, options, use_kept=True) or await _called(call, options, use_kept=False)
    if result is None:
        raise ServerFailure("The server speaks no version of MCP that it says it does.")
    if call.is_raw:
        from mcpapp.client.output import write_json

        write_json(result.model_dump(mode="json", by_alias=True, exclude_none=True))
    else:
        from mcpapp.client.rendering import Renderer

        Renderer(call.tool, call.folder, call.is_plain, to_stderr=result.is_error).tool_result(result)
    if result.is_error:
        raise SystemExit(EXIT_TOOL_FAILED)


async def _called(call: _Call, options: Options, *, use_kept: bool) -> types.CallToolResult | None:
    """Return the result, None if nothing was called because the server is not as it is kept."""
    from mcp_types import UNSUPPORTED_PROTOCOL_VERSION

    from mcpapp.client import kept_lists
    from mcpapp.client.connection import connect
    from mcpapp.client.during import During
    from mcpapp.client.sdk import MCPError

    with During(call.url, options) as during:
        async with connect(call.url, options, use_kept=use_kept, **during.client_arguments()) as client:
            kept = kept_lists.of(client)
            is_sent = False
            try:
                tool, arguments = await _checked(call, client, kept)
                await _require_consent(call, tool, options)
                is_sent = True
                result = await _result(client, call.tool, arguments, during)
            except (MCPError, ServerFailure) as error:
                if kept is None:
                    raise
                kept.forget()
                was_called = is_sent and getattr(error, "code", None) != UNSUPPORTED_PROTOCOL_VERSION
                if was_called or not use_kept:
                    raise
                return None
            if kept is not None and result.is_error:
                kept.forget()  # as one that is gone by now answers
            return result


async def _checked(call: _Call, client: Client, kept: kept_lists.KeptLists | None) -> tuple[types.Tool, dict[str, Any]]:
    """Return the tool and its arguments. A kept list refuses nothing: the server is asked for its own first."""
    from mcpapp.client.listing import tool_named

    try:
        tool = await tool_named(client, call.tool)
        return tool, _arguments(call, tool)
    except UsageFailure:
        if kept is None or not kept.has_served:
            raise
    tool = await tool_named(client, call.tool, anew=True)
    return tool, _arguments(call, tool)


def _read(json: str | None) -> dict[str, Any]:
    from mcpapp.client.arguments import ArgumentProblems, from_json

    if json is None:
        return {}
    try:
        return from_json(sys.stdin.read() if json == "-" else json)
    except (ArgumentProblems, UnicodeDecodeError) as error:
        raise UsageFailure(str(error)) from error


def _arguments(call: _Call, tool: types.Tool) -> dict[str, Any]:
    """Return the arguments. Raises: UsageFailure, before anything is sent, when the tool would not take them."""
    from mcpapp.client.arguments import ArgumentProblems, from_pairs, problems_of, unknown_of

    try:
        arguments = call.given | from_pairs(call.pairs, tool.input_schema)
        problems = problems_of(arguments, tool.input_schema)
    except ArgumentProblems as error:
        problems = error.problems
    if problems:
        raise UsageFailure("\n".join(["The arguments are not what the tool takes.", *problems]))
    for line in unknown_of(arguments, tool.input_schema):
        console.say(f"Warning: {line}")
    return arguments


async def _require_consent(call: _Call, tool: types.Tool, options: Options) -> None:
    from mcpapp.client.listing import effect
    from mcpapp.client.visible import one_line

    if call.is_confirmed or effect(tool) != "destructive":
        return
    name = one_line(tool.name)
    if not options.is_interactive:
        raise UsageFailure(f"{name} is destructive, and nobody is here to be asked.", "Add --yes to call it.")
    from mcpapp.client.asking import confirm

    if not await confirm(f"{name} is destructive. Call it?"):
        raise Failure(f"{name} was not called.")


async def _result(client: Client, name: str, arguments: dict[str, Any], during: Any) -> types.CallToolResult:
    from mcp.shared.exceptions import MCPError

    from mcpapp.client.visible import one_line

    try:
        return await client.call_tool(name, arguments, progress_callback=during.progress)
    except MCPError as error:
        if error.code != _URL_ELICITATION_REQUIRED:
            raise
        raise _pages_first(error) from error
    except RuntimeError as error:
        # What the SDK raises for a result that is not what the tool's schema says, and for questions without end.
        raise ServerFailure(f"The result of {one_line(name)} cannot be used: {one_line(str(error))}") from error


def _pages_first(error: Any) -> Failure:
    from mcpapp.client.visible import one_line

    data = error.error.data if isinstance(error.error.data, dict) else {}
    pages: Any = data.get("elicitations")
    lines = [
        f"{one_line(str(page.get('message', '')))}\n{one_line(str(page.get('url', '')), 4000)}"
        for page in (pages if isinstance(pages, list) else [])
        if isinstance(page, dict)
    ]
    return Failure("\n".join(["The server wants you to visit a page first.", *lines]), "Then call the tool again.")
