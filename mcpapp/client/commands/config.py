"""`star config CLIENT`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcpapp.client import console
from mcpapp.client.failures import UsageFailure
from mcpapp.client.options import Options


def _known(incomplete: str) -> list[str]:
    """What the shell completes."""
    from mcpapp.client.client_configs import client_names

    return [name for name in client_names() if name.startswith(incomplete)]


def config(
    client: Annotated[
        str | None, typer.Argument(metavar="CLIENT", help="Which program; --list shows them.", autocompletion=_known)
    ] = None,
    url: Annotated[
        str | None, typer.Argument(metavar="URL", help="Of the MCP server; not needed if you are signed in to one.")
    ] = None,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What the program shall call the server.")] = "",
    list_: Annotated[bool, typer.Option("--list", help="The programs that are known.")] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON, with the file or place that it goes to.")] = False,
    cache_dir: Annotated[
        Path | None,
        typer.Option("--cache-dir", metavar="FOLDER", envvar="STAR_CACHE_DIR", help="Where sign-ins are kept."),
    ] = None,
) -> None:
    """Print the configuration of another program for a server, word for word. Nothing is changed."""
    with console.ending():
        _config(client, url, name, list_, json, Options(cache_dir=cache_dir))


def _config(client: str | None, url: str | None, name: str, is_list: bool, is_json: bool, options: Options) -> None:
    from dataclasses import asdict

    from mcpapp.client.arguments import nearest
    from mcpapp.client.client_configs import client_configs, client_names, safe_name, server_name
    from mcpapp.client.output import write, write_json, write_table
    from mcpapp.client.servers import chosen

    known = client_names()
    if is_list:
        if is_json:
            write_json(known)
        else:
            write_table(["client", "program"], [list(pair) for pair in known.items()])
        return
    if client is None:
        raise UsageFailure("For which program?", f"One of {', '.join(known)}.")
    if client not in known:
        near = nearest(client, known)
        raise UsageFailure(
            f"star knows no configuration of {client!r}.",
            f"Did you mean {near}?" if near else f"One of {', '.join(known)}.",
        )
    address = chosen(url, options)
    made = {one.client: one for one in client_configs(address, safe_name(name) if name else server_name(address))}
    if is_json:
        write_json(asdict(made[client]))
        return
    # The place is for the person; the text alone can be redirected into a file.
    console.say(f"{made[client].title}, {made[client].where}:")
    write(made[client].text)
