"""The two streams of a command, and how a command ends: data to stdout, all else to stderr, an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from mcpapp.client.failures import EXIT_INTERRUPTED, Failure, as_failure
from mcpapp.client.output import write
from mcpapp.client.visible import visible

if TYPE_CHECKING:
    from rich.console import Console

    out: Console
    err: Console

_Result = TypeVar("_Result")
_consoles: dict[str, Any] = {}


def __getattr__(name: str) -> Any:
    """`out` and `err`, made when they are used: rich takes its time to import."""
    if name not in ("out", "err"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in _consoles:
        from rich.console import Console

        # No markup, no emoji codes: text that came from a server is never interpreted.
        _consoles[name] = Console(stderr=name == "err", markup=False, emoji=False, highlight=False, soft_wrap=True)
    return _consoles[name]


def say(text: str) -> None:
    """Tell the person something on stderr."""
    if "err" in _consoles:  # it may have a bar of progress on the screen, which has to go out of the way
        _console("err").print(text)
    else:
        write(f"{text}\n", to_stderr=True)


def _console(name: str) -> Console:
    console: Console = __getattr__(name)
    return console


def fail(failure: Failure) -> NoReturn:
    """Tell what failed and what to do next on stderr, and end with its exit code. Raises: SystemExit."""
    # Parts of it may be a server's words.
    told = f"star: {visible(str(failure))}"
    if sys.stderr.isatty():
        _console("err").print(told, style="bold red")
    else:
        say(told)
    if failure.hint:
        say(visible(failure.hint))
    raise SystemExit(failure.exit_code)


def run(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """Run one command to its end.

    Raises: SystemExit with the exit code of what failed, after a message on stderr.
    """
    import asyncio  # pages of help, and what is kept, need none

    with ending():
        return asyncio.run(coroutine)


@contextmanager
def ending() -> Iterator[None]:
    """Turn what ends a command into a message on stderr and an exit code.

    Raises: SystemExit.
    """
    try:
        yield
    except KeyboardInterrupt:
        say("\nStopped.")
        raise SystemExit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        _leave_broken_pipe()
    except Exception as error:
        if failure := as_failure(error):
            fail(failure)
        raise


def _leave_broken_pipe() -> NoReturn:
    """Whoever read stdout has gone, as `head` does: no complaint, also not from Python when it flushes at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(0)
