"""A server in processes of its own: start it, wait until it answers, read its CPU and memory, end it. Linux (/proc)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60


def require_proc() -> None:
    """End the benchmark where CPU cannot be read."""
    if not Path("/proc/self/stat").exists():
        raise SystemExit("This benchmark reads CPU and memory from /proc, which only Linux has: run it there.")


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def uvicorn(application: str, workers: int = 1, *options: str) -> list[str]:
    """Return the command of an ASGI application on uvicorn, with the loop and parser it takes by itself."""
    command = [sys.executable, "-m", "uvicorn", application, "--port", "PORT", "--no-access-log", *options]
    return [*command, "--workers", str(workers)] if workers > 1 else command


class ServerProcess:
    """A server and all processes it starts, which are one session of the kernel's. PORT in the command is replaced."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None):
        self.name = name
        self.port = free_port()
        self.command = [str(self.port) if part == "PORT" else part for part in command]
        self.environment = {**os.environ, **(environment or {})}
        self.log = folder / f"{name.replace(' ', '-')}-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ServerProcess:
        """Start it, and wait until it listens."""
        self.start()
        self.wait_for(self._listens)
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.stop()

    def start(self) -> None:
        """Start it. It has a session of its own, so Ctrl-C in a terminal reaches the benchmark, which ends it."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def wait_for(self, answers: Callable[[], bool]) -> float:
        """Ask until it answers; return when that was (`time.monotonic`). A server that ends, ends the benchmark."""
        assert self._process is not None
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            with suppress(OSError):
                if answers():
                    return time.monotonic()
            time.sleep(0.01)
        raise SystemExit(f"{self.name} did not start:\n{self.log_end()}")

    def log_end(self) -> str:
        """Return the last lines it wrote."""
        return self.log.read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        """End it, and whatever it started that is still there."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        """Send a signal to the process that was started."""
        assert self._process is not None
        self._process.send_signal(number)

    def cpu_seconds(self) -> float:
        """User and system time so far, of all its processes that live."""
        ticks = sum(int(fields[11]) + int(fields[12]) for fields in self._processes())
        return ticks / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        """Memory that is resident (VmRSS), of all its processes; what they share counts in each."""
        return sum(int(fields[21]) for fields in self._processes()) * os.sysconf("SC_PAGE_SIZE")

    def _processes(self) -> Iterator[list[str]]:
        """The processes of the session, with the fields of their `stat` from the third on (proc(5))."""
        assert self._process is not None
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = path.read_text().rpartition(")")[2].split()
                if int(fields[3]) == self._process.pid:
                    yield fields

    def _listens(self) -> bool:
        socket.create_connection(("127.0.0.1", self.port), 1).close()
        return True
