"""Which server a command is for."""

from __future__ import annotations

from mcpapp.client.failures import UsageFailure
from mcpapp.client.options import Options
from mcpapp.client.urls import server_url


def chosen(url: str | None, options: Options) -> str:
    """Return the URL that was given, or that of the only server somebody is signed in to.

    Raises: UsageFailure if none is given and it is not clear which is meant, or if it is no URL of a server.
    """
    if url is not None:
        return server_url(url)
    from mcpapp.client.sign_ins import SignIns

    known = [sign_in.url for sign_in in SignIns(options).all()]
    if not known:
        raise UsageFailure(
            "Which server? You are signed in to none.",
            "Give its URL, or sign in first: star login https://example.com/mcp",
        )
    if len(known) > 1:
        raise UsageFailure("Which server? You are signed in to several.", "Give one of:\n  " + "\n  ".join(known))
    return known[0]
