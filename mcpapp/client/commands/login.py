"""`star login URL`."""

from __future__ import annotations

from typing import Annotated

import typer

from mcpapp.client import console
from mcpapp.client.options import Options, takes_options


@takes_options
def login(url: Annotated[str, typer.Argument(help="Of the MCP server.")], options: Options) -> None:
    """Sign in to a server, and say so."""
    console.run(_login(url, options))


async def _login(url: str, options: Options) -> None:
    from mcpapp.client.connection import connect

    async with connect(url, options):
        console.say(f"Signed in to {url}.")
