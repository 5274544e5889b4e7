"""A command on a pseudo-terminal, and somebody who reads its screen and types."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping

from tests.conftest import ROOT

_STEERING = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|\x1b[@-_]|\r")


class Terminal:
    """Runs `python -m mcpapp.client …`; `seen` is all that it wrote, without what steers a terminal."""

    def __init__(self, *arguments: str, environment: Mapping[str, str]) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mcpapp.client", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=ROOT,
            env={**environment, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"},
            preexec_fn=_own_terminal,
        )
        os.close(slave)
        self.raw = ""
        self._read_to = 0

    @property
    def seen(self) -> str:
        return _STEERING.sub("", self.raw)

    def wait_for(self, text: str, seconds: float = 30) -> str:
        """Read until `text` has appeared after what was waited for last; return what came before it."""
        deadline = time.monotonic() + seconds
        while (at := self.seen.find(text, self._read_to)) < 0:
            if not self._read(0.2) and (time.monotonic() > deadline or self.process.poll() is not None):
                raise AssertionError(f"{text!r} did not appear:\n{self.seen[self._read_to :]}")
        before = self.seen[self._read_to : at]
        self._read_to = at + len(text)
        return before

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.write(self.master, b"\x03")

    def ends_with(self, seconds: float = 15) -> int:
        """Wait for the end; return the exit code."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            self._read(0.1)
        while self._read(0.1):
            pass
        assert self.process.poll() is not None, f"It did not end:\n{self.seen}"
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)
        os.close(self.master)

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], seconds)
        if not ready:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:  # Linux: nobody has the other side open any more
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)


def _own_terminal() -> None:
    """The command is in a session of its own whose terminal this is, so that Ctrl-C reaches it."""
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
