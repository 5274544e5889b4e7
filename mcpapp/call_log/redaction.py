"""What is kept of a call's arguments: nothing, their names, or all but what looks like a secret.

By names and by looks, a secret in an argument that is called `note` and looks like words is not found; that is why
names only is what the settings say by default, and each tool may say otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from functools import lru_cache
from itertools import islice
from typing import Any, Literal, get_args

Policy = Literal["off", "names", "full"]
POLICIES: tuple[str, ...] = get_args(Policy)

_encoded = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

MASK = "•••"
MAXIMUM_LENGTH = 4096
"""Characters of JSON that are kept of one call's arguments."""
_MAXIMUM_NAMES = 50
_MAXIMUM_NAME_LENGTH = 64
_MAXIMUM_TEXT_LENGTH = 500
_MAXIMUM_ITEMS = 50
_MAXIMUM_DEPTH = 6

_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase|code)?$|pwd|secret|token|api[_-]?key|apikey|credential|authori[sz]ation|cookie|session"
    r"|private[_-]?key|signature|\b(pin|otp|cvv|cvc|ssn|iban)\b|card[_-]?number",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"^(bearer|basic)\s|^eyJ[\w-]{8,}\.[\w-]+\.|-----BEGIN|^(sk|pk|rk|ghp|gho|ghs|glpat|xox[abps]|star|AKIA)[-_A-Z0-9]"
    r"[\w-]{12,}|://[^/\s:@]+:[^/\s@]+@",
    re.IGNORECASE,
)


def policy_of(setting: Any, tool: str) -> Any:
    """Return what is kept of a tool's arguments, as `MCPAPP["CALL_LOG_ARGUMENTS"]` has it."""
    return setting if isinstance(setting, str) else setting.get(tool, setting.get("*", "names"))


def kept(arguments: Any, policy: Policy, *, secret: Collection[str] = ()) -> str:
    """Return what is kept of arguments, as JSON of at most `MAXIMUM_LENGTH` characters; empty for nothing.

    Args:
        arguments: as the client sent them, or their names (`names_of`); anything else has none.
        policy: "off", "names", or "full", which falls back to names where that is too long.
        secret: names that are masked besides those that look like secrets.
    """
    if policy == "off" or not arguments or not isinstance(arguments, dict | tuple):
        return ""
    if policy == "full" and isinstance(arguments, dict):
        text = _dumped(_masked(arguments, frozenset(secret), 0))
        if len(text) <= MAXIMUM_LENGTH:
            return text
    return _listed(arguments if isinstance(arguments, tuple) else names_of(arguments))


def names_of(arguments: Any) -> tuple[str, ...]:
    """Return the names of arguments, as many and as much of each as is kept."""
    if type(arguments) is not dict:
        return ()
    return tuple([str(name)[:_MAXIMUM_NAME_LENGTH] for name in islice(arguments, _MAXIMUM_NAMES)])


@lru_cache(maxsize=1024)
def _listed(names: tuple[str, ...]) -> str:
    """Return names as JSON; those of one tool are nearly always the same."""
    return _dumped(names)[:MAXIMUM_LENGTH]


def _masked(value: Any, secret: frozenset[str], depth: int) -> Any:
    if depth > _MAXIMUM_DEPTH:
        return "…"
    match value:
        case dict():
            return {
                str(name)[:_MAXIMUM_NAME_LENGTH]: MASK
                if name in secret or _SECRET_NAME.search(str(name))
                else _masked(one, secret, depth + 1)
                for name, one in list(value.items())[:_MAXIMUM_ITEMS]
            }
        case list():
            return [_masked(one, secret, depth + 1) for one in value[:_MAXIMUM_ITEMS]]
        case str() if _SECRET_VALUE.search(value):
            return MASK
        case str() if len(value) > _MAXIMUM_TEXT_LENGTH:
            return value[:_MAXIMUM_TEXT_LENGTH] + "…"
    return value


def _dumped(value: Any) -> str:
    # Half of a surrogate pair has no bytes in UTF-8, and PostgreSQL takes no NUL in a text.
    text = _encoded(value)
    return text.encode("utf-8", "replace").decode().replace("\\u0000", "\ufffd")
