"""`star prompts list` and `star prompts get`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcpapp.client import console
from mcpapp.client.failures import UsageFailure
from mcpapp.client.help_pages import Command, Commands
from mcpapp.client.options import Options, takes_options

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="List and fill in the prompts of a server.",
)


@app.command("list", cls=Command, epilog="star prompts list\nstar prompts list https://example.com/mcp --json")
@takes_options
def list_prompts(
    options: Options,
    url: Annotated[
        str | None, typer.Argument(metavar="URL", help="Of the MCP server; not needed if you are signed in to one.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="All that the server says of them.")] = False,
) -> None:
    """List the prompts of a server."""
    console.run(_list(url, json, options))


@app.command(
    "get",
    cls=Command,
    epilog="star prompts get review code=@main.py\nstar prompts get https://example.com/mcp review style=short --json",
)
@takes_options
def get_prompt(
    options: Options,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[URL] PROMPT [KEY=VALUE]...",
            help="Its name, and what it wants to know; key=@file takes a file's content.",
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print what the server sent.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="No Markdown.")] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for images and other files.")
    ] = Path(),
) -> None:
    """Print the messages of a prompt."""
    console.run(_get(words, json, plain, output, options))


async def _list(url: str | None, is_json: bool, options: Options) -> None:
    from mcpapp.client.connection import connect
    from mcpapp.client.listing import every
    from mcpapp.client.output import write_json, write_table
    from mcpapp.client.servers import chosen
    from mcpapp.client.visible import one_line

    async with connect(chosen(url, options), options) as client:
        has_any = client.server_capabilities.prompts is not None
        found = await every(client.list_prompts, "prompts") if has_any else []
    if is_json:
        write_json([prompt.model_dump(mode="json", by_alias=True, exclude_none=True) for prompt in found])
        return
    if not found:
        console.say("The server has no prompts for you.")
        return
    rows = [
        [
            one_line(prompt.name),
            one_line(prompt.description or prompt.title or ""),
            one_line(", ".join(f"{part.name}{'' if part.required else '?'}" for part in prompt.arguments or ())),
        ]
        for prompt in found
    ]
    write_table(["prompt", "what it is", "arguments"], rows)


async def _get(words: list[str], is_json: bool, is_plain: bool, folder: Path, options: Options) -> None:
    from mcpapp.client.arguments import ArgumentProblems, from_pairs, server_and_rest
    from mcpapp.client.connection import connect
    from mcpapp.client.during import During
    from mcpapp.client.listing import every, meant
    from mcpapp.client.output import write, write_json
    from mcpapp.client.rendering import Renderer
    from mcpapp.client.servers import chosen
    from mcpapp.client.visible import one_line

    given, rest = server_and_rest(words)
    if not rest:
        raise UsageFailure("Which prompt?", "`star prompts list` lists them.")
    url, name = chosen(given, options), rest[0]
    with During(url, options) as during:
        async with connect(url, options, **during.client_arguments()) as client:
            prompts = {prompt.name: prompt for prompt in await every(client.list_prompts, "prompts")}
            if name not in prompts:
                hint = meant(name, list(prompts), "prompts list")
                raise UsageFailure(f"The server has no prompt {one_line(name)}.", hint)
            parts = prompts[name].arguments or []
            try:
                # Arguments of a prompt are texts, whatever they look like.
                arguments = from_pairs(rest[1:], {"properties": {part.name: {"type": "string"} for part in parts}})
            except ArgumentProblems as error:
                raise UsageFailure(str(error)) from error
            _require_arguments(arguments, parts)
            result = await client.get_prompt(name, arguments)
    if is_json:
        write_json(result.model_dump(mode="json", by_alias=True, exclude_none=True))
        return
    renderer = Renderer(name, folder, is_plain)
    for message in result.messages:
        write(f"{one_line(message.role)}:")
        renderer.block(message.content)


def _require_arguments(arguments: dict[str, object], parts: list[object]) -> None:
    from mcpapp.client.arguments import problems_of

    schema = {
        "properties": {part.name: {"type": "string", "description": part.description or ""} for part in parts},  # type: ignore[attr-defined]
        "required": [part.name for part in parts if part.required],  # type: ignore[attr-defined]
        "additionalProperties": False,
    }
    if problems := problems_of(arguments, schema):
        raise UsageFailure("\n".join(["The arguments are not what the prompt takes.", *problems]))
