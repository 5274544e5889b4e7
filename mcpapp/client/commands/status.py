"""`star status [URL] [--json]`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcpapp.client import console
from mcpapp.client.options import Options, takes_options

if TYPE_CHECKING:
    from mcpapp.client.sign_ins import SignIn, SignIns


@partial(takes_options, only=("cache_dir",))
def status(
    url: Annotated[
        str | None, typer.Argument(metavar="URL", help="Of the MCP server; all of them if left out.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    *,
    options: Options,
) -> None:
    """Who is signed in where, with which scopes, until when. Nobody is asked: it tells what is kept here."""
    with console.ending():
        _status(url, as_json, options)


def _status(url: str | None, as_json: bool, options: Options) -> None:
    from mcpapp.client.descriptions import described
    from mcpapp.client.failures import SignInFailure
    from mcpapp.client.output import write
    from mcpapp.client.sign_ins import SignIns
    from mcpapp.client.urls import server_url
    from mcpapp.client.visible import as_json as json_text
    from mcpapp.client.visible import one_line

    sign_ins = SignIns(options)
    if url is None:
        found = list(sign_ins.all())
    else:
        url = server_url(url)
        one = sign_ins.read(url)
        found = [one] if one else []
    if as_json:
        write(json_text([_facts(sign_ins, each) for each in found]))
    else:
        for number, each in enumerate(found):
            if number:
                write("")
            told = described(each)
            told["kept"] = "encrypted" if sign_ins.is_encrypted(each.url) else "unencrypted, readable by you alone"
            width = max(map(len, told))
            for name, text in told.items():
                write(f"{name:<{width}}  {text}")
    if url is not None and not found:
        raise SignInFailure(f"You are not signed in to {one_line(url)}.", f"Try: star login {one_line(url)}")
    if not found:
        console.say("You are signed in nowhere. Try: star login URL")


def _facts(sign_ins: SignIns, sign_in: SignIn) -> dict[str, Any]:
    return {
        "url": sign_in.url,
        "issuer": sign_in.issuer,
        "who": sign_in.who,
        "client_id": sign_in.client.get("client_id", ""),
        "client_name": sign_in.client.get("client_name", ""),
        "scopes": sign_in.scopes,
        "expires_at": sign_in.expires_at,
        "signed_in": bool(sign_in.access_token or sign_in.can_refresh),
        "can_refresh": sign_in.can_refresh,
        "encrypted": sign_ins.is_encrypted(sign_in.url),
    }
