"""System checks of how the site is deployed: what works on one machine and for one person, and not for many."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning, register
from django.db import DEFAULT_DB_ALIAS

EVERYBODY = "*"


@register
def check_trusted_proxies(**_: Any) -> list[CheckMessage]:
    """A proxy that is no address would silently not be trusted, and everybody share its limits."""
    return [
        Error(
            f"FORWARDED_ALLOW_IPS has {proxy!r}, which is neither an address nor a network nor * alone.",
            hint="Name the proxies by address, like 10.0.0.5 or 10.0.0.0/24.",
            id="config.E001",
        )
        for proxy in settings.FORWARDED_ALLOW_IPS
        if [proxy] != settings.FORWARDED_ALLOW_IPS or proxy != EVERYBODY
        if not _is_network(proxy)
    ]


@register
def check_sessions(**_: Any) -> list[CheckMessage]:
    """A session of an MCP client lives in one process, and a request comes to any."""
    if settings.WORKERS > 1 and settings.MCPAPP.get("SESSIONS", False):
        return [
            Warning(
                "MCPAPP['SESSIONS'] is on and WEB_CONCURRENCY more than 1: most requests of a session would come to a "
                "worker that does not know it.",
                hint="Serve with one worker on each address, and let the proxy choose by the header Mcp-Session-Id.",
                id="config.W001",
            )
        ]
    return []


@register(deploy=True)
def check_public_url(**_: Any) -> list[CheckMessage]:
    """Only on this machine http is safe, and nobody else can connect there."""
    if not settings.DEBUG and urlsplit(settings.PUBLIC_URL).scheme != "https":
        return [
            Warning(
                f"PUBLIC_URL is {settings.PUBLIC_URL}: only clients on this machine can connect, and without https.",
                hint="Set it to the https address that people use.",
                id="config.W002",
            )
        ]
    return []


@register(deploy=True)
def check_everybody_is_a_proxy(**_: Any) -> list[CheckMessage]:
    """Limits on guessing are counted by address, which a trusted proxy says."""
    if settings.FORWARDED_ALLOW_IPS == [EVERYBODY]:
        return [
            Warning(
                "FORWARDED_ALLOW_IPS is *: whoever reaches the port chooses the address that limits count.",
                hint="Name the proxy by address or network; where nothing else can reach the port, silence this.",
                id="config.W003",
            )
        ]
    return []


@register(deploy=True)
def check_limits_of_several_workers(**_: Any) -> list[CheckMessage]:
    """Without a shared cache each worker counts by itself."""
    if settings.WORKERS > 1 and "locmem" in settings.CACHES["default"]["BACKEND"]:
        return [
            Info(
                f"Each of {settings.WORKERS} workers counts by itself who guesses passwords and registers clients: "
                f"what is let through is up to {settings.WORKERS} times the limits.",
                hint="Set REDIS_URL.",
                id="config.I001",
            )
        ]
    return []


@register(deploy=True)
def check_database_of_several_workers(**_: Any) -> list[CheckMessage]:
    """SQLite has one writer at a time, on one machine, and tells no worker of another's changes."""
    if settings.WORKERS > 1 and settings.DATABASES[DEFAULT_DB_ALIAS]["ENGINE"].endswith("sqlite3"):
        return [
            Info(
                "Several workers share SQLite: that is right on one machine alone, writes wait for each other, and "
                "clients are told only of changes that were made in the worker they are connected to.",
                hint="Use PostgreSQL for several machines, or for more than some dozen people.",
                id="config.I002",
            )
        ]
    return []


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True
