"""Asking the person at the terminal, in a way that Ctrl-C ends and that leaves the connection running."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Awaitable, Callable

from mcpapp.client import console

_keyboard: Callable[[str], Awaitable[str]] | None = None


class NoAnswer(Exception):
    """The person ended the input (Ctrl-D)."""


def through(keyboard: Callable[[str], Awaitable[str]]) -> None:
    """Ask by other means from now on: a chat reads the keyboard itself. They raise EOFError where the input ended."""
    global _keyboard  # noqa: PLW0603  (there is one keyboard)
    _keyboard = keyboard


async def ask(question: str) -> str:
    """Ask on stderr, return the line that is typed, without its end.

    Raises: NoAnswer.
    """
    if _keyboard:
        try:
            return await _keyboard(f"{question} ")
        except EOFError:
            raise NoAnswer from None
    console.err.print(question, end=" ")
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()

    def deliver(line: bytes) -> None:
        if not answer.done():
            answer.set_result(line)

    def read() -> None:
        # Not through sys.stdin: the interpreter cannot end while a thread waits in its buffer.
        try:
            line = os.read(sys.stdin.fileno(), 65536)
        except OSError:
            line = b""
        with contextlib.suppress(RuntimeError):  # the command has ended meanwhile
            loop.call_soon_threadsafe(deliver, line)

    threading.Thread(target=read, name="star-input", daemon=True).start()
    line = await answer
    if not line:
        console.err.print()
        raise NoAnswer
    return line.decode(sys.stdin.encoding or "utf-8", "replace").rstrip("\r\n")


async def confirm(question: str, *, default: bool = False) -> bool:
    """Ask for yes or no; Enter is the default, and the end of the input is no."""
    while True:
        try:
            answer = (await ask(f"{question} [{'Y/n' if default else 'y/N'}]")).strip().lower()
        except NoAnswer:
            return False
        if answer in ("", "y", "yes", "n", "no"):
            return default if not answer else answer.startswith("y")
        console.err.print("Type y or n.")
