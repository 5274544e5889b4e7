"""Which URLs `star` talks to: tokens and codes travel encrypted, or do not leave the machine."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from mcpapp.client.failures import UsageFailure
from mcpapp.client.visible import one_line

_HOST = re.compile(r"[A-Za-z0-9.-]+")


def is_safe(url: str) -> bool:
    """Return whether a URL is https, or http to this very machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return False
    if not host or parts.scheme not in ("https", "http"):
        return False
    return parts.scheme == "https" or _is_this_machine(host)


def server_url(text: str) -> str:
    """Return the URL of a server as it is kept: without spaces around it and without a fragment.

    Raises: UsageFailure if it is none, or one that nothing secret may be sent to.
    """
    url = text.strip().partition("#")[0]
    shown = one_line(url)
    if not url.isascii() or not url.isprintable() or " " in url or "://" not in url:
        raise UsageFailure(f"“{shown}” is no URL.", _meant(url))
    try:
        parts = urlsplit(url)
    except ValueError:
        raise UsageFailure(f"“{shown}” is no URL.", "A server's URL looks like https://example.com/mcp.") from None
    if parts.username is not None or parts.password is not None:
        raise UsageFailure("A name or a password in a URL is not sent.", "Leave it out; `star login` signs you in.")
    if not is_safe(url):
        raise UsageFailure(
            f"{shown} is not encrypted, so nothing secret can be sent to it.",
            "Use https://; http:// is for this machine alone (localhost, 127.0.0.1).",
        )
    scheme, rest = parts.scheme, url.partition("://")[2]
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.lower()}{slash}{path}"


def _meant(text: str) -> str:
    """Return what to type in place of what is no URL: the same with a scheme, where a host seems to be meant."""
    host = text.partition("/")[0].partition(":")[0]
    if _HOST.fullmatch(host) and ("." in host or _is_this_machine(host)):
        return f"Did you mean {'http' if _is_this_machine(host) else 'https'}://{one_line(text)}?"
    return "A server's URL looks like https://example.com/mcp."


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
