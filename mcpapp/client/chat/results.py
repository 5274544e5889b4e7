"""What a tool answered, as the text that the model is given: bounded, and nothing in it that a person cannot see."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mcpapp.client.visible import visible

if TYPE_CHECKING:
    from mcp_types import CallToolResult

DEFAULT_LIMIT = 32_000


def as_text(result: CallToolResult, limit: int = DEFAULT_LIMIT) -> str:
    """Return a result in words, of at most about `limit` characters; says what was cut and what is no text.

    Structured content is used where the tool sent no text, since a server repeats it as text for models.
    """
    parts = [_block(block) for block in result.content]
    has_text = any(block.type == "text" for block in result.content)
    if result.structured_content is not None and not has_text:
        parts.append(json.dumps(result.structured_content, ensure_ascii=False))
    text = visible("\n".join(parts)) or "(The tool answered with nothing.)"
    text = cut(text, limit)
    return f"The tool reports an error: {text}" if result.is_error else text


def cut(text: str, limit: int) -> str:
    """Return the beginning of `text`, and how much of it that is where something was cut."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n[Cut: these are the first {limit} of {len(text)} characters.]"


def _block(block: Any) -> str:
    match block.type:
        case "text":
            return str(block.text)
        case "image" | "audio":
            # Four letters of base64 are three bytes.
            return f"[{block.type}, {block.mime_type}, about {len(block.data) * 3 // 4} bytes: not given to the model]"
        case "resource_link":
            return f"[link to {block.name}: {block.uri}]"
        case "resource":
            inner = block.resource
            if (text := getattr(inner, "text", None)) is not None:
                return f"[resource {inner.uri}]\n{text}"
            size = len(inner.blob) * 3 // 4
            return f"[resource {inner.uri}, {inner.mime_type}, about {size} bytes: not given to the model]"
        case other:
            return f"[content of the kind {other}: not given to the model]"
