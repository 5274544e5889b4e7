"""How other programs are told of an MCP server: what to put where, word for word."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """What to do in one program."""

    client: str
    """The word to ask for it by."""
    title: str
    where: str
    """The file that `text` goes into, or where to run it."""
    text: str
    link: str = ""
    """What opens the program and puts the server into it; empty if it has no such thing."""


def server_name(url: str) -> str:
    """Return a short name for a server: the last part of its path, or else its host."""
    parts = urlsplit(url)
    last = parts.path.rstrip("/").rpartition("/")[2]
    name = last if last not in {"", "mcp", "sse"} else parts.hostname or "server"
    return safe_name(name)


def safe_name(name: str) -> str:
    """Return a name of letters, digits, `-` and `_` alone, which is what every one of the programs accepts."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "server"


def client_configs(url: str, name: str) -> list[ClientConfig]:
    """Return what to do in each program that we know, for the server `name` at `url`, which is used as it is."""
    return [
        ClientConfig(client, title, where, text(url, name), _LINKS[client](url, name) if client in _LINKS else "")
        for client, (title, where, text) in _CLIENTS.items()
    ]


def client_names() -> dict[str, str]:
    """Return the title of each program that we know, by the word to ask for it by."""
    return {client: title for client, (title, _, _) in _CLIENTS.items()}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2)


def _vs_code_command(url: str, name: str) -> str:
    return f"code --add-mcp {shlex.quote(json.dumps({'name': name, 'type': 'http', 'url': url}))}"


def _claude_code(url: str, name: str) -> str:
    return f"claude mcp add --transport http {name} {shlex.quote(url)} && claude mcp login {name}"


def _claude_desktop(url: str, name: str) -> str:
    return _json({"mcpServers": {name: {"command": "npx", "args": ["-y", "mcp-remote", url]}}})


def _gemini(url: str, name: str) -> str:
    return _json({"mcpServers": {name: {"httpUrl": url}}})


def _codex(url: str, name: str) -> str:
    return f"[mcp_servers.{name}]\nurl = {json.dumps(url)}"


def _vs_code_link(url: str, name: str) -> str:
    return f"vscode:mcp/install?{quote(json.dumps({'name': name, 'type': 'http', 'url': url}), safe='')}"


def _cursor_link(url: str, name: str) -> str:
    config = base64.b64encode(json.dumps({"url": url}, separators=(",", ":")).encode()).decode()
    return f"cursor://anysphere.cursor-deeplink/mcp/install?name={quote(name)}&config={quote(config, safe='')}"


def _inspector(url: str, name: str) -> str:
    return f"npx @modelcontextprotocol/inspector --cli {shlex.quote(url)} --transport http --method tools/list"


_LINKS: dict[str, Callable[[str, str], str]] = {"vscode": _vs_code_link, "cursor": _cursor_link}

_CLIENTS: dict[str, tuple[str, str, Callable[[str, str], str]]] = {
    "vscode": (
        "VS Code",
        ".vscode/mcp.json",
        lambda url, name: _json({"servers": {name: {"type": "http", "url": url}}}),
    ),
    "vscode-cli": ("VS Code, by its command", "in a terminal", _vs_code_command),
    "claude-code": ("Claude Code", "in a terminal", _claude_code),
    "claude-desktop": ("Claude Desktop, through mcp-remote", "claude_desktop_config.json", _claude_desktop),
    "cursor": ("Cursor", "~/.cursor/mcp.json", lambda url, name: _json({"mcpServers": {name: {"url": url}}})),
    "gemini": ("Gemini CLI", "~/.gemini/settings.json; then /mcp auth NAME", _gemini),
    "codex": ("Codex", "~/.codex/config.toml; then codex mcp login NAME", _codex),
    "inspector": ("MCP Inspector", "in a terminal", _inspector),
}
