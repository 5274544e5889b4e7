"""A connection to an MCP server that signs in by itself when it is needed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from mcpapp.client.options import Options

if TYPE_CHECKING:
    from mcp.client import Client

SECONDS_TO_READ = 300  # a server may take its time with a call, and hold a stream open


@asynccontextmanager
async def connect(
    url: str, options: Options, *, use_kept: bool | None = None, **client_arguments: Any
) -> AsyncIterator[Client]:
    """Connect to the MCP server at `url`; `client_arguments` go to the SDK's `Client`.

    With `use_kept`, what the server says of itself and of its tools is kept: True takes what is kept already, False
    asks for it anew. With None nothing is kept beyond the connection.

    Raises: Failure, and errors of the SDK and the HTTP client that `failures.as_failure` knows.
    """
    from mcpapp.client.sdk import Client, Implementation, streamable_http_client
    from mcpapp.client.urls import server_url

    url = server_url(url)
    client_arguments.setdefault("client_info", Implementation(name="star", version="1"))
    async with AsyncExitStack() as stack:
        from mcpapp.client.credentials import Credentials, http_client
        from mcpapp.client.wrong_url import LastAnswer, explained

        auth = Credentials(url, options, stack)
        http = await stack.enter_async_context(http_client(options, auth, SECONDS_TO_READ))
        kept = auth.lists if use_kept is not None else None
        if kept is not None:
            if not use_kept:
                kept.forget()
            client_arguments |= kept.client_arguments()
        last = LastAnswer()
        http.event_hooks["response"].append(last.hear)
        transport = streamable_http_client(url, http_client=http)
        try:
            client = await stack.enter_async_context(Client(transport, **client_arguments))
        except Exception as error:
            if failure := await explained(error, url, last, options):
                raise failure from error
            raise
        if kept is not None:
            kept.keep_discovered(client.session.discover_result)
        yield client
