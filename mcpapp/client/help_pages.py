"""What `--help` prints: plain pages, options in their groups, examples at the end.

typer would draw boxes with rich, which takes longer to import than everything else that a page of help needs.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup


class _WithExamples:
    """What both have: an epilog that is examples, a line each."""

    epilog: str | None

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples as they are."""
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.splitlines():
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


class Command(_WithExamples, TyperCommand):
    """One command."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what follows the name of the command: options, then the arguments as a person writes them."""
        arguments = [part for part in self.get_params(ctx) if part.param_type_name == "argument"]
        return ["[OPTIONS]", *(_usage_of(part) for part in arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, each group under its own heading, in the order of the function."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for part in self.get_params(ctx):
            found = part.get_help_record(ctx)
            if found is None:
                continue
            if part.param_type_name == "argument":
                groups["Arguments"].append((_name_of(part), getattr(part, "help", None) or ""))
            else:
                groups.setdefault(getattr(part, "rich_help_panel", None) or "Options", []).append(found)
        for name, rows in groups.items():
            if rows:
                with formatter.section(name):
                    formatter.write_dl(rows)


class Commands(_WithExamples, TyperGroup):
    """Several commands, each with all that is said of it; `groups` has their names by heading, if they have any."""

    groups: dict[str, list[str]] = {}

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, group by group."""
        names = self.list_commands(ctx)
        for heading, group in (self.groups or {"Commands": names}).items():
            commands = {name: self.get_command(ctx, name) for name in group}
            with formatter.section(heading):
                formatter.write_dl(
                    [(f"{name:<{max(map(len, names))}}", _said(each)) for name, each in commands.items()]
                )


def _said(command: Any) -> str:
    return (command.help or "").partition("\n")[0] if command else ""


def _name_of(argument: Any) -> str:
    return str(argument.display_name_raw)


def _usage_of(argument: Any) -> str:
    name = _name_of(argument)
    if "[" in name:  # it says itself what may be left out
        return name
    return (name if argument.required else f"[{name}]") + ("..." if argument.nargs != 1 else "")
