"""`star logout [URL]`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from mcpapp.client import console
from mcpapp.client.failures import UsageFailure
from mcpapp.client.options import Options, takes_options

if TYPE_CHECKING:
    import httpx2

    from mcpapp.client.sign_ins import SignIns


@partial(takes_options, only=("verbose", "cache_dir"))
def logout(
    url: Annotated[
        str | None, typer.Argument(metavar="URL", help="Of the MCP server; the only one if left out.")
    ] = None,
    everywhere: Annotated[bool, typer.Option("--all", help="Sign out of every server.")] = False,
    *,
    options: Options,
) -> None:
    """Sign out of a server: its tokens are revoked (RFC 7009), and what is kept here is deleted."""
    if url and everywhere:
        console.fail(UsageFailure("Either a URL or --all."))
    console.run(_logout(url, everywhere, options))


async def _logout(url: str | None, everywhere: bool, options: Options) -> None:
    from mcpapp.client.credentials import http_client
    from mcpapp.client.servers import chosen
    from mcpapp.client.sign_ins import SignIns

    sign_ins = SignIns(options)
    urls = [sign_in.url for sign_in in sign_ins.all()] if everywhere else [chosen(url, options)]
    async with http_client(options) as http:
        for each in urls:
            async with sign_ins.lock(each):
                await _end(http, sign_ins, each)
    if not urls:
        console.say("You are signed in nowhere.")


async def _end(http: httpx2.AsyncClient, sign_ins: SignIns, url: str) -> None:
    from mcpapp.client.refreshing import revoke
    from mcpapp.client.visible import one_line

    sign_in = sign_ins.read(url)
    if sign_in is None:
        console.say(f"You are not signed in to {one_line(url)}.")
        return
    told = await revoke(http, sign_in) if sign_in.tokens and not sign_in.entra else True
    sign_ins.delete(url)
    console.say(f"Signed out of {one_line(url)}.")
    if sign_in.entra:
        console.say("Microsoft Entra revokes nothing for a program: the last token works until it ends.")
    if not told:
        console.say("The server could not be told, so its tokens work until they end; nothing of them is left here.")
