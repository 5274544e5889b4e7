"""`star login URL`."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Annotated

import typer

from mcpapp.client import console
from mcpapp.client.options import Options, takes_options


@takes_options
def login(
    url: Annotated[str, typer.Argument(help="Of the MCP server.")],
    anew: Annotated[bool, typer.Option("--again", help="Ask the person, also if somebody is signed in.")] = False,
    *,
    options: Options,
) -> None:
    """Sign in to a server, and say so."""
    console.run(_login(url, anew, options))


async def _login(url: str, anew: bool, options: Options) -> None:
    from mcpapp.client.credentials import Credentials
    from mcpapp.client.descriptions import described
    from mcpapp.client.urls import server_url
    from mcpapp.client.visible import one_line

    url = server_url(url)
    async with AsyncExitStack() as stack:
        credentials = Credentials(url, options, stack)
        if anew or not credentials.kept:
            credentials.look_for_a_keyring_again()
        was = credentials.kept.tokens.get("access_token") if credentials.kept else None
        sign_in = await credentials.sign_in(anew=anew)
        already = was is not None and was == sign_in.tokens.get("access_token")
    console.say(f"{'You are signed in' if already else 'Signed in'} to {one_line(url)}.")
    for name, text in described(sign_in).items():
        if name != "server":
            console.say(f"  {name}: {text}")
