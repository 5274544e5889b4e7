"""`star` as a person uses it: a process of its own, behind pipes or at a terminal, with a home of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from tests.conftest import ROOT, free_port
from tests.star.forked import Forked

TIMEOUT_SECONDS = 30
# What a terminal obeys and does not show: cursor, colours, titles.
OBEYED = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][A-Z0-9]")


class Shell:
    """Where `star` is run: `environment` has nothing of the developer's, `folder` is where it stands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "TERM": "xterm",
            "STAR_CACHE_DIR": str(folder / "cache"),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        }

    def start(self, *arguments: str, has_input: bool = False) -> Forked:
        """Start one command behind pipes."""
        return Forked("mcpapp.client", arguments, self.folder, self.environment, has_input=has_input)

    def star(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run one command behind pipes, to its end."""
        process = self.start(*arguments, has_input=True)
        try:
            out, err = process.communicate(stdin, TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(arguments, process.wait(), out, err)

    def out(self, *arguments: str, stdin: str = "") -> str:
        """Return what a command that succeeds writes to stdout."""
        done = self.star(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def at_terminal(self, *arguments: str) -> Terminal:
        """Start one command at a terminal."""
        return Terminal(self, *arguments)


class Terminal:
    """A command at a pseudo-terminal of 100 columns; `said` is everything it wrote, as it wrote it."""

    def __init__(self, shell: Shell, *arguments: str) -> None:
        self.said = ""
        self.primary, secondary = pty.openpty()
        fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self.process = Forked("mcpapp.client", arguments, shell.folder, shell.environment, terminal=secondary)
        os.close(secondary)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.primary)

    @property
    def screen(self) -> str:
        """What it wrote without what a terminal obeys."""
        return OBEYED.sub("", self.said).replace("\r\n", "\n")

    def wait_for(self, text: str) -> None:
        """Read until it wrote a text. Raises: AssertionError."""
        end = time.monotonic() + TIMEOUT_SECONDS
        while text not in self.screen:
            assert self.read(end - time.monotonic()), f"no {text!r} in:\n{self.screen}"

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.primary, text.encode())

    def end(self) -> int:
        """Read to its end; return the exit code."""
        end = time.monotonic() + TIMEOUT_SECONDS
        while self.read(end - time.monotonic()):
            pass
        return self.process.wait(max(1, end - time.monotonic()))

    def read(self, seconds: float) -> bool:
        """Read what it writes next. Returns: whether it wrote anything in this time."""
        if seconds <= 0 or not select.select([self.primary], [], [], seconds)[0]:
            return False
        try:
            part = os.read(self.primary, 65536)
        except OSError:  # Linux, when the other side is closed
            return False
        self.said += part.decode("utf-8", "replace")
        return bool(part)


@contextlib.contextmanager
def running(module: str, *arguments: str, log: Path) -> Iterator[int]:
    """Run a server, `python -m module PORT …`, until the end; the value is its port."""
    port = free_port()
    with serving(port, [sys.executable, "-m", module, str(port), *arguments], log):
        yield port


@contextlib.contextmanager
def serving(port: int, command: list[str], log: Path, **environment: str) -> Iterator[None]:
    """Run a command that serves a port, until the end."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | environment,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + TIMEOUT_SECONDS
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for_line(path: Path, line: str) -> None:
    """Wait until a file has a line. Raises: AssertionError."""
    end = time.monotonic() + TIMEOUT_SECONDS
    while not path.exists() or line not in path.read_text().splitlines():
        assert time.monotonic() < end, path.read_text() if path.exists() else "nothing"
        time.sleep(0.05)
