"""What was said and called, kept as JSON lines: in memory, and in a file of one's own as it happens.

Keys and tokens are no part of a conversation. Where a tool or a person writes one down all the same, the keys that
this process knows, and what looks like a bearer token, are masked.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mcpapp.client.failures import UsageFailure

MAX_BYTES = 64 * 1024 * 1024
_BEARER = re.compile(r"\b(Bearer\s+)[A-Za-z0-9._~+/=-]{16,}", re.IGNORECASE)
_ROLES = {"user", "assistant", "tool"}


class Transcript:
    """The lines of a conversation. `secrets` are masked wherever they turn up."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.lines: list[str] = []
        self._secrets = [secret for secret in secrets if len(secret) >= 8]
        self._file: int | None = None

    def open(self, path: Path, *, anew: bool = True) -> None:
        """Write to `path` from now on, readable by its owner alone; `anew` refuses a file that exists.

        Raises: UsageFailure.
        """
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | (os.O_EXCL if anew else 0) | getattr(os, "O_NOFOLLOW", 0)
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileExistsError as error:
            raise UsageFailure(f"{path} exists.", "Go on with it by --continue, or name another file.") from error
        except (OSError, ValueError) as error:
            raise UsageFailure(f"{path} cannot be written: {error}") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise UsageFailure(f"{path} is no file.")
        if hasattr(os, "fchmod"):  # Windows has no such thing
            os.fchmod(descriptor, 0o600)
        self._file = descriptor

    def add(self, kind: str, **values: Any) -> None:
        """Add a line of that kind."""
        entry = {"type": kind, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), **values}
        line = self._masked(json.dumps(entry, ensure_ascii=False))
        self.lines.append(line)
        if self._file is not None:
            _write(self._file, f"{line}\n")

    def save(self, path: Path) -> None:
        """Write all lines so far to a new file. Raises: UsageFailure."""
        copy = Transcript()
        copy.open(path)
        if copy._file is not None:
            _write(copy._file, "".join(f"{line}\n" for line in self.lines))
        copy.close()

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _masked(self, line: str) -> str:
        for secret in self._secrets:
            line = line.replace(secret, "***")
        return _BEARER.sub(r"\1***", line)


def resume(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the messages of a transcript since it was last cleared, and its lines.

    A last line that was cut, because the process was killed while it wrote, is cut off the file as well.
    Raises: UsageFailure where it is no transcript.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageFailure(f"{path} is larger than a transcript gets.")
        raw = path.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]
        if whole != raw:
            os.truncate(path, len(whole))
        lines = whole.decode().split("\n")[:-1]
    except (OSError, ValueError) as error:
        raise UsageFailure(f"{path} cannot be read: {error}") from error
    messages: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            if entry["type"] == "clear":
                messages = []
            elif entry["type"] == "message":
                messages.append(_message(entry["message"]))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UsageFailure(f"{path} is no transcript of star chat: line {number} is not one of it.") from error
    return messages, lines


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """A message as it came from the model or the person; the system's is not taken. Raises: ValueError."""
    role, content, calls = message["role"], message.get("content"), message.get("tool_calls", [])
    if role not in _ROLES or not isinstance(content, str | None) or not isinstance(calls, list):
        raise ValueError("no message")
    if role == "assistant" and calls:
        kept = [{"id": call["id"], "type": "function", "function": _function(call)} for call in calls]
        return {"role": role, "content": content, "tool_calls": kept}
    if role == "tool":
        return {"role": role, "content": content or "", "tool_call_id": str(message["tool_call_id"])}
    return {"role": role, "content": content or ""}


def _function(call: dict[str, Any]) -> dict[str, str]:
    function = {name: call["function"][name] for name in ("name", "arguments")}
    if not all(isinstance(value, str) for value in (call["id"], *function.values())):
        raise ValueError("no call")
    return function


def _write(descriptor: int, text: str) -> None:
    data = text.encode("utf-8", "backslashreplace")
    while data:
        data = data[os.write(descriptor, data) :]
