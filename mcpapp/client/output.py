"""What goes to stdout: data alone, as text for a person at a terminal, as plain lines for a program behind a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from mcpapp.client.visible import as_json, one_line

# Characters beyond which nothing is coloured or laid out: it would take longer than it helps.
MAX_STYLED = 200_000


def is_terminal() -> bool:
    """Return whether a person reads stdout."""
    return sys.stdout.isatty()


def write(text: str, *, to_stderr: bool = False) -> None:
    """Write a text that is safe already, and end its line."""
    stream = sys.stderr if to_stderr else sys.stdout
    encoding = (stream.encoding or "utf-8").lower().replace("_", "-")
    if encoding != "utf-8":  # an old console of Windows, or LANG=C
        text = text.encode(encoding, "backslashreplace").decode(encoding)
    stream.write(text if text.endswith("\n") else text + "\n")
    stream.flush()


def write_json(value: Any) -> None:
    """Write a value as JSON; on a terminal with the colours of one."""
    text = as_json(value)
    if not is_terminal() or len(text) > MAX_STYLED:
        write(text)
        return
    # rich takes its time to import, and a pipe has no use for it.
    from rich.highlighter import JSONHighlighter
    from rich.text import Text

    from mcpapp.client import console

    shown = Text(text)
    JSONHighlighter().highlight(shown)
    console.out.print(shown)


def write_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, to_stderr: bool = False) -> None:
    """Write rows of safe cells: a table for a person, lines with tabs and without a heading for a program."""
    stream = sys.stderr if to_stderr else sys.stdout
    if not stream.isatty():
        for row in rows:
            write("\t".join(one_line(cell, sys.maxsize) for cell in row), to_stderr=to_stderr)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from mcpapp.client import console

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    (console.err if to_stderr else console.out).print(table, soft_wrap=False)


def write_markdown(text: str, *, to_stderr: bool = False) -> None:
    """Write a safe text as Markdown; a link shows where it leads."""
    from rich.markdown import Markdown

    from mcpapp.client import console

    (console.err if to_stderr else console.out).print(Markdown(text, hyperlinks=False), soft_wrap=False)
