"""The command line of `star`: which commands there are. Each is imported when it runs: none waits for others."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

# What `star --help` says of each command; its module is `mcpapp.client.commands.<name>`.
COMMANDS = {
    "login": "Sign in to a server.",
    "logout": "Sign out: the server forgets the sign-in, and so does this machine.",
    "status": "Who is signed in where, with which scopes, until when.",
    "tools": "List the tools of a server.",
    "call": "Call a tool.",
    "resources": "List and read the resources of a server.",
    "prompts": "List and fill in the prompts of a server.",
    "ping": "See whether a server answers.",
    "config": "Print the configuration of another client for a server.",
    "chat": "Talk to a language model that uses the tools of servers.",
}


def _load(name: str) -> Any:
    module = import_module(f"mcpapp.client.commands.{name}")
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False)
        app.command(name, help=COMMANDS[name])(getattr(module, name))
    command = typer.main.get_command(app)
    command.name = name
    return command


class _Commands(TyperGroup):
    """The commands by name: shown by what is said of them above, imported when one is meant."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Among these typer looks for the one that was meant.
        self.commands = {name: TyperCommand(name, help=text) for name, text in COMMANDS.items()}

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if name in COMMANDS:
            command = _load(name)
        return name, command, rest


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"star {version('star')}")
        except PackageNotFoundError:
            typer.echo("star, from its checkout")
        raise typer.Exit


app = typer.Typer(
    name="star",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def star(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    """Sign in to MCP servers, list and call what they have."""


def main(arguments: list[str] | None = None, program: str = "star") -> None:
    """Run one command. Raises: SystemExit, always."""
    from mcpapp.client import lean_import

    lean_import.wanted = True
    app(args=arguments, prog_name=program)
