"""Text that a server wrote, made safe for a terminal: nothing in it moves the cursor, hides, or turns around.

What a terminal obeys and a person does not see is spelled out, as `\\x1b` is. No module is needed for it.
"""

from __future__ import annotations

import json
import unicodedata
from typing import Any

# Joiners are part of how several scripts, and many emoji, are written. They move nothing.
_ALLOWED = {"\n", "\t", "\u200c", "\u200d"}
# Control, format (bidirectional overrides, zero widths, tags), surrogates, private use, unassigned; line separators.
_UNSAFE_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def visible(text: str) -> str:
    """Return a text of several lines in which every unsafe character is spelled out."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(_spelled(character) for character in text.replace("\r\n", "\n"))


def one_line(text: str, limit: int = 300) -> str:
    """Return a text as one safe line of at most `limit` characters, for names, titles and descriptions."""
    line = " ".join(visible(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def gutter(text: str) -> str:
    """Return a safe text with a bar before each line, so that no line of it looks like one of ours."""
    return "\n".join(f"│ {line}" for line in visible(text).split("\n"))


def as_json(value: Any, *, indent: int | None = 2) -> str:
    """Return JSON that a terminal shows as it is: unsafe characters are `\\uXXXX`, everything else stays readable.

    Raises: TypeError or ValueError when `value` is no JSON.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    # Outside of strings JSON has no character that needs it, and inside of them the escapes mean the same.
    return "".join(c if c == "\n" or not _is_unsafe(c) else json.dumps(c)[1:-1] for c in text)


def _is_unsafe(character: str) -> bool:
    return character not in _ALLOWED and unicodedata.category(character) in _UNSAFE_CATEGORIES


def _spelled(character: str) -> str:
    if not _is_unsafe(character):
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
