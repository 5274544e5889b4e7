"""The person's keyboard: read on the main thread alone, where Ctrl-C arrives, while the event loop runs in another."""

from __future__ import annotations

import asyncio
import queue
import sys
from concurrent.futures import Future
from contextlib import suppress
from typing import NamedTuple, TypeVar

from mcpapp.client import console

_Result = TypeVar("_Result")
# On Windows a wait without end cannot be interrupted.
_WAIT_SECONDS = 0.2


class _Question(NamedTuple):
    text: str
    reply: Future[str]


class Keyboard:
    """Lines that the person types, as messages and as answers to questions."""

    def __init__(self) -> None:
        self._questions: queue.SimpleQueue[_Question | None] = queue.SimpleQueue()
        with suppress(ImportError):
            import readline  # noqa: F401  (gives `input` its editing and its history; Windows has its own)

    async def ask(self, text: str) -> str:
        """Put a question to the person from the event loop, and return their line.

        Raises: EOFError where there is none to come.
        """
        question = _Question(text, Future())
        self._questions.put(question)
        return await asyncio.wrap_future(question.reply)

    def serve_until(self, future: Future[_Result]) -> _Result:
        """Answer questions on this thread until `future` is done; return its result.

        Raises: KeyboardInterrupt, and what the future raises.
        """
        future.add_done_callback(lambda _: self._questions.put(None))
        while True:
            try:
                question = self._questions.get(timeout=_WAIT_SECONDS)
            except queue.Empty:
                continue
            if question is None:
                if future.done():
                    return future.result()
            elif question.reply.set_running_or_notify_cancel():
                try:
                    question.reply.set_result(_answer(question.text))
                except EOFError as error:
                    question.reply.set_exception(error)

    def read_message(self) -> str:
        """Read what the person says; a backslash at the end of a line goes on in the next.

        Raises: EOFError, KeyboardInterrupt.
        """
        lines = []
        line = _read("> ")
        while line.endswith("\\"):
            lines.append(line[:-1])
            line = _read(". ")
        return "\n".join([*lines, line])


def _answer(text: str) -> str:
    _forget_what_was_typed()
    before, _, last = text.rpartition("\n")
    if before:
        console.err.print(before)
    return _read(last)


def _read(prompt: str) -> str:
    if sys.stdin.isatty() and sys.stdout.isatty():
        return input(prompt)
    # `input` would write the prompt to stdout, which is for data.
    console.err.print(prompt, end="")
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


def _forget_what_was_typed() -> None:
    """Nothing that was typed before a question was shown may answer it."""
    with suppress(ImportError, OSError, ValueError):
        import termios

        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
