"""What a person allows: which calls are asked about, and what they answered. Nothing that a tool says counts as one."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any

from mcpapp.client.chat.results import cut
from mcpapp.client.chat.toolbox import ChatTool
from mcpapp.client.visible import gutter, one_line

MAX_SHOWN = 4000  # characters of arguments
Ask = Callable[[str], Awaitable[str]]


class Policy(Enum):
    """Which calls are asked about."""

    DESTRUCTIVE = "destructive"
    ALL = "all"
    NONE = "none"


class Consent:
    """Asks the person; `ask` returns their line or raises EOFError, and is None where nobody is there."""

    def __init__(self, policy: Policy, ask: Ask | None) -> None:
        self.policy = policy
        self.ask = ask
        self._always: set[tuple[str, str]] = set()

    def is_needed(self, tool: ChatTool) -> bool:
        """Return whether the person has to be asked before this tool is called."""
        if self.policy is Policy.NONE or (tool.server, tool.tool.name) in self._always:
            return False
        return self.policy is Policy.ALL or tool.is_destructive

    async def allows(self, tool: ChatTool, arguments: dict[str, Any]) -> bool:
        """Return whether a call may go on. What is neither yes nor always is no, and so is nobody's answer."""
        if not self.is_needed(tool):
            return True
        if self.ask is None:
            return False
        try:
            answer = (await self.ask(question(tool, arguments))).strip().lower()
        except EOFError:
            return False
        if answer in ("a", "always"):
            self._always.add((tool.server, tool.tool.name))
            return True
        return answer in ("y", "yes")


def question(tool: ChatTool, arguments: dict[str, Any]) -> str:
    """Return what the person is asked: the tool's own name, its server, and the arguments as they would be sent."""
    written = cut(json.dumps(arguments, ensure_ascii=False, indent=2), MAX_SHOWN)
    kind = "may change or delete things" if tool.is_destructive else "is about to be called"
    name, server = one_line(tool.tool.name, 128), one_line(tool.server, 100)
    return f"{name} of {server} {kind}:\n{gutter(written)}\nCall it? [y]es, [N]o, [a]lways in this chat: "
