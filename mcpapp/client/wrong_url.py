"""What is said of a URL at which there is no MCP server, and where one may be: an address is soon typed wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mcpapp.client.failures import Failure, ServerFailure, leaves
from mcpapp.client.visible import one_line

if TYPE_CHECKING:
    import httpx2

    from mcpapp.client.options import Options

_MCP = ("application/json", "text/event-stream")


class LastAnswer:
    """The last answer of a server, for when the SDK says no more than that it was an error."""

    def __init__(self) -> None:
        self.status = 0
        self.location = ""
        self.content_type = ""

    async def hear(self, response: httpx2.Response) -> None:
        """Remember an answer; an event hook."""
        self.status = response.status_code
        self.location = response.headers.get("location", "")
        self.content_type = response.headers.get("content-type", "")

    @property
    def is_of_mcp(self) -> bool:
        """Whether an MCP server may have answered so: with a message, or as one that has no such thing."""
        return self.content_type.startswith(_MCP) and self.status not in (404, 405) and not 300 <= self.status < 400


async def explained(error: Exception, url: str, last: LastAnswer, options: Options) -> Failure | None:
    """Return what it means that no connection came about; None if the error says it itself."""
    import httpx2
    from pydantic import ValidationError

    from mcpapp.client.sdk import MCPError

    found = list(leaves(error))
    if not last.status or last.is_of_mcp or any(isinstance(leaf, Failure | httpx2.TransportError) for leaf in found):
        return None
    if not any(isinstance(leaf, MCPError | ValidationError | httpx2.HTTPError) for leaf in found):
        return None
    if last.status >= 500 and last.status != 501:
        return ServerFailure(
            f"The server answered {last.status}.", "Try again later. If it stays so, tell those who run it."
        )
    if last.location:
        return ServerFailure(f"{_at(url)} It leads to {one_line(last.location)}.", "Give the URL that it leads to.")
    from mcpapp.client.bounded import bound
    from mcpapp.client.credentials import http_client

    async with http_client(options) as http:
        http.event_hooks["response"].append(bound)
        named = await named_resource(http, url)
    way_out = f"Did you mean {named}?" if named else "Check the URL, also what follows the host."
    return ServerFailure(f"{_at(url)} It answered {last.status}.", way_out)


async def named_resource(http: httpx2.AsyncClient, url: str) -> str:
    """Return another URL of the same origin that the site says its MCP server is at (RFC 9728 3), "" if it says none.

    `http` bounds what it reads.
    """
    import httpx2

    from mcpapp.client.bounded import HEADERS

    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    try:
        response = await http.get(f"{origin}/.well-known/oauth-protected-resource", headers=HEADERS)
        document = response.json()
    except (httpx2.HTTPError, ValueError, RecursionError):
        return ""
    named = document.get("resource") if response.status_code == 200 and isinstance(document, dict) else None
    if not isinstance(named, str) or not named.startswith(f"{origin}/") or named == url:
        return ""
    return one_line(named)


def _at(url: str) -> str:
    return f"There is no MCP server at {one_line(url)}."
