"""Put a member into JSON with comments, as editors have it, and leave every other character where it is."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

MAXIMUM_DEPTH = 100
_TRIVIA = re.compile(r"(?:[ \t\r\n\ufeff]|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_ATOM = re.compile(r"-?[0-9][0-9.eE+-]*|true|false|null")


class NotEditable(ValueError):
    """The text is no such JSON, or has something else where the member belongs."""


@dataclass(slots=True)
class _Node:
    """A value and where it stands; of an object also its members, and where its last comma is."""

    value: Any
    start: int
    end: int = 0
    members: dict[str, tuple[int, _Node]] = field(default_factory=dict)
    comma_end: int = 0
    """After the comma that follows the last member, 0 if there is none."""


def with_member(text: str, path: Sequence[str], value: Any) -> str:
    """Return the text with `value` at `path`; the objects on the way are made where there are none.

    Raises:
        NotEditable: it is no JSON, even with comments and commas at the ends; or a key is there twice.
    """
    if not text.strip("\ufeff \t\r\n"):
        return json.dumps(_nested(path, value), indent=2, ensure_ascii=False) + "\n"
    root = _parsed(text)
    node, depth = root, 0
    while depth < len(path) and path[depth] in node.members:
        node = node.members[path[depth]][1]
        depth += 1
        if depth < len(path) and not isinstance(node.value, dict):
            raise NotEditable(f"{'.'.join(path[:depth])} is no object.")
    if depth == len(path):
        if node.value == value:
            return text
        line = text.rfind("\n", 0, node.start) + 1
        changed = text[: node.start] + _dumped(value, text, _indent(text, line)) + text[node.end :]
    else:
        changed = _inserted(text, root, node, path[depth], _nested(path[depth + 1 :], value))
    expected = _merged(root.value, path, value)
    if _parsed(changed).value != expected:  # whatever was overlooked must not end in somebody's file
        raise NotEditable("It is written in a way that cannot be changed safely.")
    return changed


def decoded(text: str) -> Any:
    """Return what a text stands for; an empty one is an empty object.

    Raises:
        NotEditable: it stands for nothing.
    """
    return _parsed(text).value if text.strip("\ufeff \t\r\n") else {}


def _nested(path: Sequence[str], value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def _merged(whole: Any, path: Sequence[str], value: Any) -> Any:
    if not path:
        return value
    inner = whole.get(path[0], {}) if isinstance(whole, dict) else {}
    return {**whole, path[0]: _merged(inner, path[1:], value)}


# --- Where to put it ------------------------------------------------------------------------------------------


def _inserted(text: str, root: _Node, node: _Node, key: str, value: Any) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    own = _indent(text, text.rfind("\n", 0, node.start) + 1)
    if not node.members:
        inside = text[node.start + 1 : node.end - 1]
        inner = own + _unit(text, root)
        member = f"{newline}{inner}{json.dumps(key, ensure_ascii=False)}: {_dumped(value, text, inner)}"
        rest = inside if inside.strip() else f"{newline}{own}"  # a comment stays
        return f"{text[: node.start + 1]}{member}{rest}{text[node.end - 1 :]}"
    key_start, _ = next(iter(node.members.values()))
    _, last = list(node.members.values())[-1]
    line = text.rfind("\n", 0, key_start) + 1
    after, comma = (node.comma_end, "") if node.comma_end else (last.end, ",")
    if text[line:key_start].strip():  # all on one line
        member = f" {json.dumps(key, ensure_ascii=False)}: {json.dumps(value, ensure_ascii=False)}"
        return f"{text[:after]}{comma}{member}{text[after:]}"
    inner = text[line:key_start]
    member = f"{newline}{inner}{json.dumps(key, ensure_ascii=False)}: {_dumped(value, text, inner)}"
    end = text.find("\n", after)
    at = after
    if end > 0 and end < node.end:
        rest = text[after:end].strip()
        if not rest or rest.startswith("//") or (rest.startswith("/*") and rest.find("*/") == len(rest) - 2):
            at = end - 1 if text[end - 1] == "\r" else end  # a comment about the member before stays beside it
    return f"{text[:after]}{comma}{text[after:at]}{member}{text[at:]}"


def _indent(text: str, line: int) -> str:
    return text[line : line + len(text[line:]) - len(text[line:].lstrip(" \t"))]


def _unit(text: str, root: _Node) -> str:
    """Return what one level of the file is indented by."""
    for key_start, _ in root.members.values():
        before = text[text.rfind("\n", 0, key_start) + 1 : key_start]
        if before and not before.strip():
            return before
    return "  "


def _dumped(value: Any, text: str, indent: str) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    unit = _unit(text, _parsed(text))
    return json.dumps(value, indent=unit, ensure_ascii=False).replace("\n", newline + indent)


# --- Reading --------------------------------------------------------------------------------------------------


def _parsed(text: str) -> _Node:
    """Return the object that a text is.

    Raises:
        NotEditable: it is none.
    """
    node = _value(text, _skip(text, 0), 0)
    if _skip(text, node.end) != len(text):
        raise _unreadable(text, node.end)
    if not isinstance(node.value, dict):
        raise NotEditable("It is no object.")
    return node


def _skip(text: str, at: int) -> int:
    found = _TRIVIA.match(text, at)
    return found.end() if found else at


def _value(text: str, at: int, depth: int) -> _Node:
    if depth > MAXIMUM_DEPTH:
        raise NotEditable("It is too deep.")
    if text.startswith("{", at):
        return _object(text, at, depth)
    if text.startswith("[", at):
        return _array(text, at, depth)
    found = _STRING.match(text, at) or _ATOM.match(text, at)
    if found is None:
        raise _unreadable(text, at)
    try:
        return _Node(json.loads(found[0]), at, found.end())
    except ValueError:
        raise _unreadable(text, at) from None


def _object(text: str, start: int, depth: int) -> _Node:
    node = _Node({}, start)
    at = _skip(text, start + 1)
    while not text.startswith("}", at):
        found = _STRING.match(text, at)
        if found is None or (node.members and not node.comma_end):
            raise _unreadable(text, at)
        key = _value(text, at, depth).value
        if key in node.members:
            raise NotEditable(f"It has the key {key!r} twice.")
        colon = _skip(text, found.end())
        if not text.startswith(":", colon):
            raise _unreadable(text, colon)
        member = _value(text, _skip(text, colon + 1), depth + 1)
        node.members[key], node.value[key] = (at, member), member.value
        at = _skip(text, member.end)
        node.comma_end = at + 1 if text.startswith(",", at) else 0
        at = _skip(text, node.comma_end or at)
    node.end = at + 1
    return node


def _array(text: str, start: int, depth: int) -> _Node:
    node = _Node([], start)
    at, may_go_on = _skip(text, start + 1), True
    while not text.startswith("]", at):
        if not may_go_on:
            raise _unreadable(text, at)
        item = _value(text, at, depth + 1)
        node.value.append(item.value)
        at = _skip(text, item.end)
        may_go_on = text.startswith(",", at)
        at = _skip(text, at + may_go_on)
    node.end = at + 1
    return node


def _unreadable(text: str, at: int) -> NotEditable:
    return NotEditable(f"It is no JSON at line {text.count(chr(10), 0, at) + 1}.")
