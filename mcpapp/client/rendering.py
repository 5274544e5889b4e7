"""The results of a server for a person: text, Markdown, tables, JSON; what is no text is saved to a file and named.

Everything the server says passes `visible` before it reaches the terminal, and no markup of it is interpreted.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcpapp.client import files, output
from mcpapp.client.visible import as_json, one_line, visible

if TYPE_CHECKING:
    import mcp_types as types

# A heading, a fence or the line below the heading of a table: what plain text seldom has at the start of a line.
_MARKDOWN = re.compile(r"^(#{1,6} \S|```|\|?\s*:?-{3,}:?\s*\|)", re.MULTILINE)
_MAX_COLUMNS = 12


@dataclass
class Renderer:
    """Shows results; `stem` names the files that are saved to `folder`, `is_plain` leaves Markdown as it is."""

    stem: str
    folder: Path
    is_plain: bool = False
    to_stderr: bool = False

    def tool_result(self, result: types.CallToolResult) -> None:
        """Show what a tool returned; what it says twice, as text and as structured content, is shown once."""
        structured = result.structured_content
        value = unwrapped(structured)
        texts = [block.text for block in result.content if block.type == "text"]
        is_said_by_value = structured is not None and says_the_same(texts, value, structured)
        for block in result.content:
            if block.type != "text" or not is_said_by_value:
                self.block(block)
        if structured is not None and (is_said_by_value or value not in ("", None)):
            self.value(value)

    def block(self, block: Any) -> None:
        """Show one block of content."""
        if block.type == "text":
            self.text(block.text)
        elif block.type in ("image", "audio"):
            self._file(block.data, block.mime_type, block.type)
        elif block.type == "resource_link":
            self.link(block)
        elif block.type == "resource":
            self.contents(block.resource, is_named=True)
        else:
            self._write(f"[{one_line(str(block.type))}: content that star cannot show; use --raw]")

    def contents(self, contents: Any, *, is_named: bool = False) -> None:
        """Show the contents of a resource; with its address above where it stands among other things."""
        text = getattr(contents, "text", None)
        if text is None:
            self._file(contents.blob, contents.mime_type or "", "file")
            return
        if is_named:
            kind = f" ({one_line(contents.mime_type)})" if contents.mime_type else ""
            self._write(f"[{one_line(contents.uri)}{kind}]")
        self.text(text, contents.mime_type or "")

    def link(self, link: Any) -> None:
        """Show where a link leads."""
        details = [one_line(link.title or link.name), one_line(link.mime_type or ""), one_line(link.description or "")]
        self._write(f"[link: {one_line(link.uri)}] {' - '.join(detail for detail in details if detail)}".rstrip())

    def text(self, text: str, mime_type: str = "") -> None:
        """Show a text, as Markdown where it is that and a person reads it."""
        safe = visible(text)
        is_styled = output.is_terminal() and not self.is_plain and len(safe) <= output.MAX_STYLED
        is_markdown = mime_type.startswith("text/markdown") or (not mime_type and _MARKDOWN.search(safe))
        if is_markdown and is_styled:
            output.write_markdown(safe, to_stderr=self.to_stderr)
        else:
            self._write(safe)

    def value(self, value: Any) -> None:
        """Show structured content: a list of flat objects as a table for a person, else JSON."""
        if isinstance(value, str):
            self.text(value)
        elif (columns := flat_columns(value)) and output.is_terminal() and not self.is_plain:
            rows = [[cell(row.get(column)) for column in columns] for row in value]
            output.write_table([one_line(column) for column in columns], rows, to_stderr=self.to_stderr)
        elif self.to_stderr:
            self._write(as_json(value))
        else:
            output.write_json(value)

    def _file(self, data: str, mime_type: str, kind: str) -> None:
        named = one_line(mime_type) or "unknown type"
        try:
            content = files.decoded(data)
        except ValueError:
            self._write(f"[{kind}: {named}, which cannot be read: its data is no base64]")
            return
        path = files.save(content, self.folder, self.stem, mime_type)
        self._write(f"[{kind}: {named}, {len(content)} bytes, saved to {path}]")

    def _write(self, text: str) -> None:
        output.write(text, to_stderr=self.to_stderr)


def unwrapped(structured: Any) -> Any:
    """Return what a tool returned: the SDK's servers put what is no object under the one key `result`."""
    if isinstance(structured, dict) and list(structured) == ["result"]:
        return structured["result"]
    return structured


def says_the_same(texts: list[str], value: Any, structured: Any) -> bool:
    """Return whether the texts are the structured content again, written as JSON, in one piece or item by item."""
    if not texts:
        return value not in ("", None)
    if len(texts) == 1 and _reads_as(texts[0], (value, structured)):
        return True
    items = value if isinstance(value, list) else None
    return (
        items is not None
        and len(items) == len(texts)
        and all(_reads_as(text, (item,)) for text, item in zip(texts, items, strict=True))
    )


def flat_columns(value: Any) -> list[str]:
    """Return the columns of a list of flat objects; nothing where it is none, or too wide to be read."""
    if not isinstance(value, list) or not value or not all(isinstance(row, dict) and row for row in value):
        return []
    if any(isinstance(item, dict | list) for row in value for item in row.values()):
        return []
    columns = list(dict.fromkeys(str(key) for row in value for key in row))
    return columns if len(columns) <= _MAX_COLUMNS else []


def cell(value: Any) -> str:
    """Return a value as the text of a cell."""
    return "" if value is None else one_line(value if isinstance(value, str) else json.dumps(value), 1000)


def _reads_as(text: str, values: tuple[Any, ...]) -> bool:
    if text in [value for value in values if isinstance(value, str)]:
        return True
    try:
        return json.loads(text) in values
    except (ValueError, RecursionError):
        return False
