"""What a server asks while it works on a request (MCP elicitation): a form at the terminal, or a page to visit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mcpapp.client import console
from mcpapp.client.arguments import choices_of, convert, problems_of, properties_of
from mcpapp.client.asking import NoAnswer, ask, confirm
from mcpapp.client.options import Options
from mcpapp.client.urls import is_safe
from mcpapp.client.visible import gutter, one_line

if TYPE_CHECKING:
    import mcp_types as types

_MAX_FIELDS = 50


async def answer(url: str, params: types.ElicitRequestParams, options: Options) -> types.ElicitResult:
    """Ask the person, and return what they said; decline where nobody is there to be asked.

    Never raises for what the person or the server does.
    """
    from mcp_types import ElicitResult

    host = one_line(urlsplit(url).netloc)
    if not options.is_interactive:
        console.err.print(f"{host} asked something and was declined, because nobody is at the terminal:")
        console.err.print(gutter(params.message))
        return ElicitResult(action="decline")
    try:
        if params.mode == "url":
            return ElicitResult(action="accept" if await _visit(host, params) else "decline")
        content = await _fill_in(host, params)
    except NoAnswer:
        return ElicitResult(action="cancel")
    return ElicitResult(action="decline") if content is None else ElicitResult(action="accept", content=content)


async def _visit(host: str, params: Any) -> bool:
    """Show the address of a page; return whether the person agreed to go there."""
    console.err.print(f"{host} asks you to visit a page:")
    console.err.print(gutter(params.message))
    if not is_safe(params.url):
        console.err.print(f"Declined: the address is neither https nor on this machine: {one_line(params.url, 2000)}")
        return False
    console.err.print(f"It is at {one_line(urlsplit(params.url).netloc, 500)}:\n{one_line(params.url, 4000)}")
    return await confirm("Open it yourself if you trust it. Go on?")


async def _fill_in(host: str, params: Any) -> dict[str, Any] | None:
    """Ask for each field; return the answers, or None if the person would not give them."""
    schema = params.requested_schema
    fields = list(properties_of(schema).items())
    console.err.print(f"{host} asks:")
    console.err.print(gutter(params.message))
    if len(fields) > _MAX_FIELDS:
        console.err.print(f"Declined: it asks {len(fields)} questions at once.")
        return None
    if fields:
        console.err.print("Answer, Enter to leave out or take what is in brackets, Ctrl-D to stop. Type no passwords.")
    required = schema.get("required")
    content: dict[str, Any] = {}
    for name, field in fields:
        described = field if isinstance(field, dict) else {}
        is_required = isinstance(required, list) and name in required
        value = await _field(name, described, schema, is_required=is_required)
        if value is not None:
            content[name] = value
    return content if await confirm(f"Send this to {host}?", default=True) else None


async def _field(name: str, field: dict[str, Any], root: dict[str, Any], *, is_required: bool) -> Any:
    """Ask for one field until the answer is one; None where it is left out."""
    if description := field.get("description"):
        console.err.print(gutter(one_line(str(description))))
    values, titles = _choices(field, root)
    for number, title in enumerate(titles, 1):
        console.err.print(f"  {number}. {title}")
    label = _label(name, field, is_many=bool(values) and field.get("type") == "array", is_required=is_required)
    while True:
        typed = (await ask(label)).strip()
        if not typed and "default" in field:
            return field["default"]
        if not typed and not is_required:
            return None
        try:
            value = _meant(typed, field, root, values)
        except ValueError as error:
            console.err.print(one_line(str(error)))
            continue
        wrong = problems_of(
            {name: value}, {"type": "object", "properties": {name: field}, "$defs": root.get("$defs", {})}
        )
        if not typed:
            wrong = ["An answer is needed."]
        if not wrong:
            return value
        console.err.print("\n".join(wrong))


def _label(name: str, field: dict[str, Any], *, is_many: bool, is_required: bool) -> str:
    kind = field.get("type")
    title = one_line(str(field.get("title") or name), 80)
    hints = [
        "y/n" if kind == "boolean" else "",
        "whole number" if kind == "integer" else "number" if kind == "number" else "",
        one_line(str(field.get("format", "")), 30),
        "several, with commas" if is_many else "",
        "" if is_required else "optional",
    ]
    said = ", ".join(hint for hint in hints if hint)
    default = f" [{one_line(_written(field['default']), 60)}]" if "default" in field else ""
    return f"{title}{f' ({said})' if said else ''}{default}:"


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "y" if value else "n"
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)


def _choices(field: dict[str, Any], root: dict[str, Any]) -> tuple[list[Any], list[str]]:
    """Return the values that may be chosen, and what to show for each."""
    items = field.get("items")
    source = items if field.get("type") == "array" and isinstance(items, dict) else field
    values = choices_of(source, root)
    names = source.get("enumNames")
    parts = source.get("oneOf") or source.get("anyOf")
    titles = names if isinstance(names, list) else []
    if isinstance(parts, list) and not titles:
        titles = [part.get("title", part.get("const")) for part in parts if isinstance(part, dict)]
    if len(titles) != len(values):
        titles = values
    return values, [one_line(str(title), 100) for title in titles]


def _meant(typed: str, field: dict[str, Any], root: dict[str, Any], values: list[Any]) -> Any:
    """Return the value of what was typed; a choice may be typed as its number.

    Raises: ValueError.
    """
    kind = field.get("type")
    if kind == "boolean" and typed.lower() in ("y", "n"):
        return typed.lower() == "y"
    if not values:
        return convert(typed, field, root)
    if kind == "array":
        return [_chosen(part.strip(), values) for part in typed.split(",") if part.strip()]
    return _chosen(typed, values)


def _chosen(typed: str, values: list[Any]) -> Any:
    for value in values:
        if typed == str(value):
            return value
    if typed.isdecimal() and 0 < int(typed) <= len(values):
        return values[int(typed) - 1]
    raise ValueError(f"Type a number from 1 to {len(values)}.")
