"""`star` as a process of its own, forked off one that has imported already what it needs.

The tests start it by the hundred, and half a second of imports each time was most of their time. What such a process
has of its own is what a started one has: arguments, environment, folder, streams, terminal, session, signals, end.
What is imported when is for tests/star/test_imports.py, which starts it as a person does. The process that they are
forked off is tests/star/origin.py.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO

from tests.conftest import ROOT

# What of its environment the interpreter itself reads when it starts.
SAME = {"PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}


class Forked:
    """As much of `subprocess.Popen` as the tests use; its streams are pipes of text, or all three one terminal."""

    def __init__(
        self,
        module: str,
        arguments: tuple[str, ...],
        folder: Path,
        environment: dict[str, str],
        *,
        has_input: bool = False,
        terminal: int | None = None,
    ) -> None:
        own = {name: value for name, value in environment.items() if name.startswith(("PYTHON", "LC_", "LANG"))}
        assert own.keys() - {"PYTHON_KEYRING_BACKEND"} == SAME.keys(), f"another Python has to be started: {own}"
        assert own.items() >= SAME.items(), f"another Python has to be started: {own}"
        self.args = (module, *arguments)
        self.returncode: int | None = None
        self.stdin: IO[str] | None = None
        ours: list[int] = []
        if terminal is None:
            in_theirs, in_ours = os.pipe() if has_input else (os.open(os.devnull, os.O_RDONLY), -1)
            (out_ours, out_theirs), (err_ours, err_theirs) = os.pipe(), os.pipe()
            theirs, ours = [in_theirs, out_theirs, err_theirs], [out_ours, err_ours]
            if has_input:
                self.stdin = os.fdopen(in_ours, "w", encoding="utf-8")
        else:
            theirs = [terminal] * 3
        self.stdout, self.stderr = [os.fdopen(each, encoding="utf-8") for each in ours] or (None, None)
        self._readers: list[threading.Thread] = []
        self._read: dict[int, str] = {}
        asked = {
            "module": module,
            "arguments": arguments,
            "folder": str(folder),
            "environment": environment,
            "terminal": terminal is not None,
        }
        self._attendant = socket.socket(socket.AF_UNIX)
        try:
            self._attendant.connect(_origin())
            content = json.dumps(asked).encode()
            socket.send_fds(self._attendant, [len(content).to_bytes(4, "big")], theirs)
            self._attendant.sendall(content)
            self.pid = int(self._line())
        finally:
            for each in set(theirs) - {terminal}:
                os.close(each)

    def __enter__(self) -> Forked:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()

    def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[str, str]:
        """Write, read to both ends, and wait. Raises: subprocess.TimeoutExpired, after which it may be called again."""
        end = None if timeout is None else time.monotonic() + timeout
        if not self._readers:
            self._readers = [threading.Thread(target=self._to_its_end, args=(n,), daemon=True) for n in (0, 1)]
            for reader in self._readers:
                reader.start()
            if self.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    self.stdin.write(input or "")
                    self.stdin.close()
        for reader in self._readers:
            reader.join(None if end is None else max(0.0, end - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(list(self.args), timeout or 0)
        self.wait(None if end is None else max(0.1, end - time.monotonic()))
        return self._read[0], self._read[1]

    def wait(self, timeout: float | None = None) -> int:
        """Return how it ended. Raises: subprocess.TimeoutExpired."""
        if self.returncode is None:
            self._attendant.settimeout(timeout)
            try:
                self.returncode = os.waitstatus_to_exitcode(int(self._line()))
            except TimeoutError:
                raise subprocess.TimeoutExpired(list(self.args), timeout or 0) from None
            self._attendant.close()
        return self.returncode

    def poll(self) -> int | None:
        """Return how it ended, None if it runs."""
        if self.returncode is None and select.select([self._attendant], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def _to_its_end(self, number: int) -> None:
        stream = (self.stdout, self.stderr)[number]
        assert stream is not None
        with stream:
            self._read[number] = stream.read()

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            part = self._attendant.recv(1)
            assert part, "the process that star is forked off has ended"
            line += part
        return line


@functools.cache
def _origin() -> str:
    """Start the process that others are forked off; return the address it listens at."""
    folder = tempfile.mkdtemp(prefix="star-")
    address = str(Path(folder) / "socket")
    environment = {"PATH": os.environ["PATH"], **SAME}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.star.origin", address],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )

    def end() -> None:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return address
