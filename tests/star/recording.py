"""Runs the commands of a document at a pseudo-terminal and puts down what a person sees.

A ```console block holds commands after `$ ` and what they print. What is different every time is put down the same way.
"""

from __future__ import annotations

import re
import shlex
import threading
from collections.abc import Callable

from tests.star.shell import Shell

_BLOCK = re.compile(r"(?<=```console\n)(.*?)(?=```)", re.DOTALL)
_ALWAYS_DIFFERENT = [
    (r"(authorize/?)\?\S+", r"\1?…"),
    (r"([?&]user_code=)[^\s&]+", r"\1…"),
    (r"\b[A-Z]{4}-[A-Z]{4}\b", "WDJB-MJHT"),
    (r" in \d+(?:\.\d+)? m?s\b", " in 12 ms"),
    (r"\(\d+\.\d s\)", "(0.1 s)"),
    (r'"client_id": "\w+"', '"client_id": "vd6Qw0tTzLk2mY8a"'),
    (r'"member_since": "[\d-]+"', '"member_since": "2026-11-26"'),
    (r"\bstar on [\w.-]+", "star on laptop"),
    (r"\((?!star)[\w-]{20,}\)", "(vd6Qw0tTzLk2mY8a)"),
    (r"for 59 minutes|for 1 hour", "for 59 minutes"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:\+00:00|Z)?", "2026-11-26T12:00:00"),
    (r"(?m)^(?:[ \xa0█▀▄]*[█▀▄][ \xa0█▀▄]*\n)+", "    (a QR code)\n"),
]


class Recorder:
    """`names` are what the document calls the addresses of the test; `answers` what a person types, by the question."""

    def __init__(self, shell: Shell, names: dict[str, str], answers: dict[str, str]) -> None:
        self.shell = shell
        self.names = names
        self.answers = answers
        self.added: dict[str, list[str]] = {}
        """What a command gets besides, by an option it has: what is only true of the test."""
        self.browsers: dict[str, str] = {}
        """Another browser for a command, by an option it has."""
        self._browser = shell.environment["BROWSER"]
        self.on_device: Callable[[str], None] | None = None
        """Does what a person does who is shown a code: called with what the terminal says."""
        self._code = 0

    def record(self, document: str) -> str:
        """Return the document with what its commands print now."""
        return _BLOCK.sub(lambda block: self._block(block[1]), document)

    def _block(self, block: str) -> str:
        commands = re.findall(r"^\$ (.*)$", block, re.MULTILINE)
        return "".join(f"$ {command}\n{self._printed(command)}" for command in commands)

    def _printed(self, command: str) -> str:
        if command == "echo $?":
            return f"{self._code}\n"
        program, *words = shlex.split(self._real(command))
        assert program == "star", command
        for option, more in self.added.items():
            if option in words:
                words += more
        for option, more in self.browsers.items():
            self.shell.environment["BROWSER"] = more if option in words else self._browser
        with self.shell.at_terminal(*words) as terminal:
            asked = set(self.answers)
            while terminal.read(30):
                for question in sorted(asked):
                    if question in terminal.screen:
                        asked.discard(question)
                        terminal.type(f"{self.answers[question]}\n")
                if self.on_device and "type this code" in terminal.screen and "Waiting" in terminal.screen:
                    threading.Thread(target=self.on_device, args=(terminal.screen,), daemon=True).start()
                    self.on_device = None
            self._code = terminal.process.wait(30)
            return self._steady(displayed(terminal.said))

    def _real(self, text: str) -> str:
        for real, name in self.names.items():
            text = text.replace(name, real)
        return text

    def _steady(self, text: str) -> str:
        for real, name in self.names.items():
            text = text.replace(real, name)
        for pattern, steady in _ALWAYS_DIFFERENT:
            text = re.sub(pattern, steady, text)
        return text


def displayed(said: str) -> str:
    """What stays on the screen: lines that were written over, and erased, as progress is, are gone."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\\\)|[^\x1b]", said):
        if part == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif part == "\r":
            column = 0
        elif part.startswith("\x1b"):
            number = int(re.sub(r"\D", "", part) or 1)
            if part.endswith("A"):
                row = max(0, row - number)
            elif part.endswith("K"):
                lines[row] = "" if part.endswith("2K") else lines[row][:column]
        else:
            lines[row] = lines[row].ljust(column)[:column] + part + lines[row][column + 1 :]
            column += 1
    return "".join(f"{line.rstrip()}\n" for line in lines).rstrip("\n") + "\n"


def comparable(document: str) -> list[str]:
    """The lines of the console blocks, whatever the widths of columns."""
    lines = "".join(_BLOCK.findall(document)).splitlines()
    return [" ".join(line.replace("─", " ").split()) for line in lines]
