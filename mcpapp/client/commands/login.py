"""`star login URL`."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Annotated

import typer

from mcpapp.client import console
from mcpapp.client.failures import UsageFailure
from mcpapp.client.options import EntraOptions, Options, takes_options

_ENTRA = "Microsoft Entra ID"


@takes_options
def login(
    url: Annotated[str, typer.Argument(metavar="URL", help="Of the MCP server.")],
    anew: Annotated[bool, typer.Option("--again", help="Ask the person, also if somebody is signed in.")] = False,
    entra: Annotated[
        bool, typer.Option("--entra", help="With a token of Microsoft Entra ID.", rich_help_panel=_ENTRA)
    ] = False,
    tenant: Annotated[
        str, typer.Option("--tenant", metavar="TENANT", help="Its ID or domain.", rich_help_panel=_ENTRA)
    ] = "",
    authority: Annotated[
        str,
        typer.Option(
            "--authority", metavar="URL", help="Of another cloud than the public one.", rich_help_panel=_ENTRA
        ),
    ] = "",
    *,
    options: Options,
) -> None:
    """Sign in to a server, and say so."""
    if entra:
        from mcpapp.client.entra import checked

        try:
            found = checked(EntraOptions(tenant, options.client_id, options.scope, authority))
        except UsageFailure as failure:
            console.fail(failure)
        options = replace(options, entra=found, client_id="", scope="")
    elif tenant or authority:
        console.fail(UsageFailure("--tenant and --authority are for Microsoft Entra.", "Add --entra."))
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
