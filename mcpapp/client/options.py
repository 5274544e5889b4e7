"""What every command that talks to a server may be told on the command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NamedTuple


class EntraOptions(NamedTuple):
    """How to get a token from Microsoft Entra ID instead of the authorization server that the MCP server names."""

    tenant: str
    client_id: str
    scope: str = ""
    authority: str = ""


@dataclass(frozen=True)
class Options:
    """How to sign in and what to tell about it.

    `timeout` is the time that a person has to sign in, in seconds. `cache_dir` is where sign-ins are kept, None for the
    platform's own place. `client_id` is for servers without registration (RFC 7591), `scope` asks for more than the
    server says is needed. `is_interactive` is whether somebody is there to answer.
    """

    verbose: bool = False
    device: bool = False
    no_browser: bool = False
    timeout: float = 300
    cache_dir: Path | None = None
    client_id: str = ""
    scope: str = ""
    entra: EntraOptions | None = None
    is_interactive: bool = True


def takes_options(command: Callable[..., Any], only: tuple[str, ...] = ()) -> Callable[..., Any]:
    """Give a command's function the options of `Options`, or `only` some of them, as options of the command line.

    The function has a parameter `options: Options`, the last one; typer never sees it.
    """
    import sys

    import typer

    panel = None if only else "Signing in"
    annotations: dict[str, Any] = {
        "verbose": Annotated[
            bool, typer.Option("--verbose", "-v", help="Show each HTTP step on stderr, secrets masked.")
        ],
        "device": Annotated[
            bool, typer.Option("--device", help="Sign in on another device, with a code.", rich_help_panel=panel)
        ],
        "no_browser": Annotated[
            bool, typer.Option("--no-browser", help="Print the URL, open no browser.", rich_help_panel=panel)
        ],
        "timeout": Annotated[
            float,
            typer.Option("--timeout", min=1, metavar="SECONDS", help="To wait for the sign-in.", rich_help_panel=panel),
        ],
        "cache_dir": Annotated[
            Path | None,
            typer.Option(
                "--cache-dir",
                metavar="FOLDER",
                envvar="STAR_CACHE_DIR",
                help="Where sign-ins are kept.",
                rich_help_panel=panel,
            ),
        ],
        "client_id": Annotated[
            str,
            typer.Option("--client-id", metavar="ID", help="For servers without registration.", rich_help_panel=panel),
        ],
        "scope": Annotated[
            str, typer.Option("--scope", metavar="SCOPES", help="To ask for as well.", rich_help_panel=panel)
        ],
    }
    defaults = {field.name: field.default for field in fields(Options)}
    signature = inspect.signature(command, eval_str=True)
    kept = [parameter for parameter in signature.parameters.values() if parameter.name != "options"]
    # A command may have an option of its own by one of these names.
    own = {parameter.name for parameter in kept}
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=annotation)
        for name, annotation in annotations.items()
        if name not in own and (not only or name in only)
    ]

    @wraps(command)
    def with_options(*args: Any, **values: Any) -> Any:
        chosen = {parameter.name: values.pop(parameter.name) for parameter in added}
        options = replace(Options(), **chosen, is_interactive=sys.stdin.isatty())
        return command(*args, **values, options=options)

    del with_options.__wrapped__  # typer reads the signature and the annotations below instead
    with_options.__signature__ = inspect.Signature([*kept, *added])  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in [*kept, *added]}
    return with_options
