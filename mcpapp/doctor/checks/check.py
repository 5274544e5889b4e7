"""How a check is written down, and the clients that checks are about."""

from __future__ import annotations

from dataclasses import dataclass

from mcpapp.doctor.clients import PROFILES
from mcpapp.doctor.report import Level

VSCODE, CURSOR, CLAUDE, CLAUDE_CODE, CODEX, GEMINI, CHATGPT, INSPECTOR, MCP_REMOTE, PYTHON_SDK, FASTMCP = (
    profile.title for profile in PROFILES.values()
)
EVERYONE = tuple(profile.title for profile in PROFILES.values())

ORIGIN, PATH = "<ORIGIN>", "<PATH>"
"""In a fix, what is known only when something is examined."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `level` is how bad it is if it fails; a step may know better."""

    well: str
    why: str = ""
    fix: str = ""
    matters_to: tuple[str, ...] = EVERYONE
    level: Level = Level.ERROR
    proxy: str = ""
    """Which lines for proxies belong to the fix (`mcpapp.doctor.proxies`)."""
