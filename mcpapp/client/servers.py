"""Which server a command is for."""

from __future__ import annotations

from mcpapp.client.failures import UsageFailure
from mcpapp.client.options import Options


def chosen(url: str | None, options: Options) -> str:
    """Return the URL that was given, or that of the only server somebody is signed in to.

    Raises: UsageFailure if none is given and it is not clear which is meant, or if it is no URL of a server.
    """
    if url is None:
        raise UsageFailure("Which server?", "Give its URL.")
    return url
