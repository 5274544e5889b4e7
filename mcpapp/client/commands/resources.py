"""`star resources list` and `star resources read`."""

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
    help="List and read the resources of a server.",
)


@app.command("list", cls=Command, epilog="star resources list\nstar resources list https://example.com/mcp --json")
@takes_options
def list_resources(
    options: Options,
    url: Annotated[
        str | None, typer.Argument(metavar="URL", help="Of the MCP server; not needed if you are signed in to one.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="All that the server says of them.")] = False,
) -> None:
    """List the resources of a server, and its templates for more."""
    console.run(_list(url, json, options))


@app.command(
    "read",
    cls=Command,
    epilog="star resources read docs://start\nstar resources read https://example.com/mcp docs://logo -o pictures",
)
@takes_options
def read_resource(
    options: Options,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[URL] RESOURCE", help="The address of the resource, as `star resources list` shows it."
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print what the server sent.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="No Markdown.")] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for images and other files.")
    ] = Path(),
) -> None:
    """Print a resource; what is no text is saved to a file."""
    console.run(_read(words, json, plain, output, options))


async def _list(url: str | None, is_json: bool, options: Options) -> None:
    from mcpapp.client.connection import connect
    from mcpapp.client.listing import every
    from mcpapp.client.output import write_json, write_table
    from mcpapp.client.servers import chosen
    from mcpapp.client.visible import one_line

    async with connect(chosen(url, options), options) as client:
        has_any = client.server_capabilities.resources is not None
        resources = await every(client.list_resources, "resources") if has_any else []
        templates = await every(client.list_resource_templates, "resource_templates") if has_any else []
    if is_json:
        found = {"resources": resources, "resourceTemplates": templates}
        write_json(
            {
                name: [item.model_dump(mode="json", by_alias=True, exclude_none=True) for item in items]
                for name, items in found.items()
            }
        )
        return
    if not resources and not templates:
        console.say("The server has no resources for you.")
        return
    rows = [
        [
            one_line(address, 2000),
            one_line(item.title or item.name),
            one_line(item.mime_type or ""),
            one_line(item.description or ""),
        ]
        for address, item in [
            *((resource.uri, resource) for resource in resources),
            *((template.uri_template, template) for template in templates),
        ]
    ]
    write_table(["resource", "name", "type", "what it is"], rows)


async def _read(words: list[str], is_json: bool, is_plain: bool, folder: Path, options: Options) -> None:
    from mcpapp.client.connection import connect
    from mcpapp.client.during import During
    from mcpapp.client.output import write_json
    from mcpapp.client.rendering import Renderer
    from mcpapp.client.servers import chosen

    if len(words) > 2:
        raise UsageFailure("One resource at a time.", "star resources read [URL] RESOURCE")
    url = chosen(words[0] if len(words) == 2 else None, options)
    address = words[-1]
    with During(url, options) as during:
        async with connect(url, options, **during.client_arguments()) as client:
            result = await client.read_resource(address)
    if is_json:
        write_json(result.model_dump(mode="json", by_alias=True, exclude_none=True))
        return
    renderer = Renderer(address.rstrip("/").rpartition("/")[2], folder, is_plain)
    for contents in result.contents:
        renderer.contents(contents, is_named=len(result.contents) > 1)
