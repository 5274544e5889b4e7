"""`star tools`."""

from __future__ import annotations

from typing import Annotated

import typer

from mcpapp.client import console
from mcpapp.client.options import Options, takes_options


@takes_options
def tools(
    options: Options,
    url: Annotated[
        str | None, typer.Argument(metavar="URL", help="Of the MCP server; not needed if you are signed in to one.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="All that the server says of them.")] = False,
) -> None:
    """List the tools of a server: name, what it does, arguments, and effect, as the server says it, ? if not."""
    console.run(_tools(url, json, options))


async def _tools(url: str | None, is_json: bool, options: Options) -> None:
    from mcpapp.client import output
    from mcpapp.client.arguments import signature
    from mcpapp.client.connection import connect
    from mcpapp.client.listing import effect, every
    from mcpapp.client.servers import chosen
    from mcpapp.client.visible import one_line

    async with connect(chosen(url, options), options, use_kept=False) as client:
        found = await every(client.list_tools, "tools")
    if is_json:
        output.write_json([tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in found])
        return
    if not found:
        console.say("The server has no tools for you.")
        return
    rows = [
        [
            one_line(tool.name),
            one_line(tool.description or tool.title or ""),
            one_line(
                ", ".join(
                    f"{name}{'' if is_needed else '?'}: {kind}"
                    for name, kind, is_needed in signature(tool.input_schema)
                )
            ),
            effect(tool),
        ]
        for tool in found
    ]
    output.write_table(["tool", "what it does", "arguments", "effect"], rows)
