"""System checks: settings without which no client can connect are named at startup."""

from __future__ import annotations

from inspect import iscoroutinefunction
from pathlib import Path
from traceback import extract_tb
from typing import Any
from urllib.parse import urlsplit

from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from mcpapp import conf
from mcpapp.access import BadDeclaration


@register
def check_resources(**_: Any) -> list[CheckMessage]:
    """A resource is an absolute URL with a path and without a trailing slash, all of them with the same path."""
    resources = conf.resources()
    if not resources:
        return [Error("MCPAPP['RESOURCES'] is empty.", hint="List the URL people paste.", id="mcpapp.E001")]
    problems: list[CheckMessage] = []
    for url in resources:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.netloc or not parts.path.strip("/") or url.endswith("/"):
            problems.append(
                Error(
                    f"MCPAPP['RESOURCES'] has {url!r}, not an absolute URL with a path and no slash at its end.",
                    hint="Clients compare it byte for byte with what people paste, like https://star.example/star.",
                    id="mcpapp.E002",
                )
            )
    if len({urlsplit(url).path for url in resources}) > 1:
        problems.append(Error("The URLs in MCPAPP['RESOURCES'] have different paths.", id="mcpapp.E003"))
    if not conf.authorization_servers():
        problems.append(
            Error(
                "MCPAPP['AUTHORIZATION_SERVERS'] is empty.",
                hint="Clients would not know where to sign in.",
                id="mcpapp.E004",
            )
        )
    return problems


@register
def check_token_issuers(**_: Any) -> list[CheckMessage]:
    """Issuers that cannot be understood are named at startup, and so is what their tokens need besides."""
    from mcpapp.issuers.settings import token_issuers  # which needs loaded settings

    try:
        if not token_issuers():
            return []
        conf.issuer_user()
    except (ImproperlyConfigured, ImportError, TypeError, ValueError) as error:
        return [Error(f"MCPAPP['TOKEN_ISSUERS'] cannot be used: {error}", id="mcpapp.E010")]
    lookup = "mcpapp.issuers.lookup.find_issued_token"
    if lookup not in conf.token_lookup_paths():
        return [
            Error(
                "MCPAPP['TOKEN_ISSUERS'] is set, and nothing looks their tokens up.",
                hint=f"Add {lookup!r} to the list in MCPAPP['TOKEN_LOOKUP'].",
                id="mcpapp.E011",
            )
        ]
    return []


@register
def check_token_lookup(**_: Any) -> list[CheckMessage]:
    """The token lookups and the feed of changes must exist, or every call would fail."""
    try:
        if not conf.token_lookups():
            raise ValueError("it is empty")
        for lookup in conf.token_lookups():
            if not (iscoroutinefunction(lookup) or iscoroutinefunction(type(lookup).__call__)):
                raise ValueError(f"{lookup!r} is not an async def")
    except (ImportError, AttributeError, ValueError) as error:
        return [Error(f"MCPAPP['TOKEN_LOOKUP'] cannot be used: {error}", id="mcpapp.E005")]
    try:
        conf.token_changes()
    except (ImportError, AttributeError, ValueError) as error:
        return [Error(f"MCPAPP['TOKEN_CHANGES'] cannot be imported: {error}", id="mcpapp.E007")]
    return []


@register
def check_tool_modules(**_: Any) -> list[CheckMessage]:
    """The modules with tools must exist."""
    from mcpapp.registry import Duplicate

    problems: list[CheckMessage] = []
    for name in conf.tool_modules():
        try:
            import_string(f"{name}.__name__")
        except (BadDeclaration, Duplicate):
            pass  # `check_declarations` says what is wrong with it, and where
        except ImportError as error:
            problems.append(Error(f"MCPAPP['TOOL_MODULES'] has {name!r}: {error}", id="mcpapp.E006"))
    return problems


@register
def check_anonymous_callers(**_: Any) -> list[CheckMessage]:
    """A session belongs to a person; callers without a token have none."""
    if conf.anonymous_tools() and conf.sessions():
        return [
            Error(
                "MCPAPP['ANONYMOUS_TOOLS'] and MCPAPP['SESSIONS'] cannot both be on.",
                hint="A session is bound to the person who began it; clients would lose theirs by signing in.",
                id="mcpapp.E008",
            )
        ]
    return []


@register
def check_declarations(**_: Any) -> list[CheckMessage]:
    """What is declared contradicts neither itself nor another, can be served, and needs scopes that can be granted."""
    from mcpapp.registry import Duplicate, discover  # imports the apps' modules, which import models
    from mcpapp.server import build_server
    from mcpapp.verifier import Verifier

    try:
        catalog = discover()
        build_server(catalog, Verifier())
    except (BadDeclaration, Duplicate) as error:
        return [Error(f"{_place_of(error)}{error}", id="mcpapp.E009")]
    known = set(conf.scopes_supported())
    return [
        Warning(
            f"{one.name!r} ({one.function.__module__}.{one.function.__qualname__}) needs the scope {scope!r}, which is "
            "not in MCPAPP['SCOPES_SUPPORTED']: nobody can be granted it, so nobody sees it.",
            hint=f"Correct it, or add it to SCOPES_SUPPORTED. There are: {', '.join(sorted(known)) or 'none'}.",
            id="mcpapp.W001",
        )
        for kind in (catalog.tools, catalog.resources, catalog.prompts)
        for one in kind.values()
        for scope in sorted(one.access.scopes - known)
    ]


def _place_of(error: Exception) -> str:
    """Return the line of the site's own code that raised, if there is one: not all declarations have a name yet."""
    lines = [frame for frame in extract_tb(error.__traceback__) if frame.name == "<module>"]
    ours = Path(__file__).parent
    lines = [frame for frame in lines if Path(frame.filename).parent != ours]
    return f"{lines[-1].filename}, line {lines[-1].lineno}: " if lines else ""
