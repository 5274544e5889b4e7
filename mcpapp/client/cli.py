"""The command line of `star`: which commands there are. Each is imported when it runs: none waits for others."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer

from mcpapp.client.help_pages import Command, Commands

# What `star --help` says of each command; its module is `mcpapp.client.commands.<name>`.
COMMANDS = {
    "login": "Sign in to a server.",
    "logout": "Sign out: the server forgets the sign-in, and so does this machine.",
    "status": "Who is signed in where, with which scopes, until when.",
    "tools": "List the tools of a server.",
    "call": "Call a tool.",
    "resources": "List and read the resources of a server.",
    "prompts": "List and fill in the prompts of a server.",
    "ping": "See whether a server answers, and how fast.",
    "config": "Print the configuration of another client for a server.",
    "chat": "Talk to a language model that uses the tools of servers.",
}
_GROUPS = {
    "Signing in": ["login", "logout", "status"],
    "Using a server": ["tools", "call", "resources", "prompts", "ping", "chat"],
    "Other programs": ["config"],
}
_URL = "https://example.com/mcp"
# What a page of help ends with.
EXAMPLES = {
    "star": [f"star login {_URL}", "star tools", "star call add a=1 b=2", "star COMMAND --help"],
    "login": [
        f"star login {_URL}",
        f"star login {_URL} --device",
        "star login URL --entra --tenant contoso.example --client-id ID --scope SCOPE",
    ],
    "logout": ["star logout", f"star logout {_URL}", "star logout --all"],
    "status": ["star status", "star status --json"],
    "tools": ["star tools", f"star tools {_URL} --json"],
    "call": [
        "star call add a=1 b=2",
        f"star call {_URL} find text='two words' limits.pages=3",
        "star call upload file=@letter.txt",
        'star call add --json \'{"a": 1, "b": 2}\'',
    ],
    "ping": ["star ping", f"star ping {_URL} --verbose"],
    "config": ["star config --list", f"star config vscode {_URL}", "star config codex --json"],
    "chat": [
        f"star chat {_URL} --model gpt-5",
        "star chat --base-url http://127.0.0.1:11434/v1 --model llama3 -p 'Who am I?'",
    ],
}


def _load(name: str) -> Any:
    module = import_module(f"mcpapp.client.commands.{name}")
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(name, cls=Command, epilog="\n".join(EXAMPLES[name]))(getattr(module, name))
    command = typer.main.get_command(app)
    command.name = name
    return command


class _Commands(Commands):
    """The commands by name: shown by what is said of them above, imported when one is meant."""

    groups = _GROUPS

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Among these typer looks for the one that was meant.
        self.commands = {name: Command(name, help=text) for name, text in COMMANDS.items()}

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
    epilog="\n".join(EXAMPLES["star"]),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def star(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Sign in to MCP servers, list and call what they have."""


def main(arguments: list[str] | None = None, program: str = "star") -> None:
    """Run one command. Raises: SystemExit, always."""
    import atexit
    import gc

    from mcpapp.client import lean_import

    lean_import.wanted = True
    # What is left at the end goes with the process; looking for garbage in it takes half as long as importing it.
    atexit.register(gc.freeze)
    app(args=arguments, prog_name=program)
