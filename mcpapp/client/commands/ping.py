"""`star ping`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from mcpapp.client import console
from mcpapp.client.options import Options, takes_options


@takes_options
def ping(
    options: Options,
    url: Annotated[
        str | None, typer.Argument(metavar="URL", help="Of the MCP server; not needed if you are signed in to one.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """See whether a server answers, as whom, in which version of MCP, and how fast."""
    console.run(_ping(url, json, options))


async def _ping(url: str | None, is_json: bool, options: Options) -> None:
    from mcp_types.version import MODERN_PROTOCOL_VERSIONS

    from mcpapp.client.connection import connect
    from mcpapp.client.output import write, write_json
    from mcpapp.client.servers import chosen
    from mcpapp.client.visible import one_line

    url = chosen(url, options)
    async with connect(url, options) as client:
        version = client.protocol_version
        started = time.perf_counter()
        # `ping` went with MCP 2026-07-28; asking what the server is, is the request that takes its place.
        if version in MODERN_PROTOCOL_VERSIONS:
            await client.session.send_discover(version)
        else:
            await _send_ping(client)
        milliseconds = round((time.perf_counter() - started) * 1000, 1)
        info = client.server_info
    name, server_version = (info.title or info.name, info.version) if info else ("", "")
    if is_json:
        found = {"url": url, "name": name, "version": server_version, "protocol": version, "milliseconds": milliseconds}
        write_json(found)
        return
    said = " ".join(part for part in (one_line(name), one_line(server_version)) if part) or one_line(url)
    write(f"{said} answered in {milliseconds:g} ms (MCP {one_line(version)}).")


async def _send_ping(client: object) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the SDK's, that newer servers have no ping
        await client.send_ping()  # type: ignore[attr-defined]
