"""The process that `star` is forked off in the tests: `python -m tests.star.origin SOCKET`; see tests/star/forked.py.

It has imported what any command needs, forks for each connection, and ends when its stdin does.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
import termios
from typing import Any

# A keyring reads the environment when it is imported, and so does what draws the errors of the command line.
NOT_BEFORE = {"keyring", "typer.rich_utils"}


def _prepare() -> None:
    from mcpapp.client import lean_import

    lean_import.wanted = True
    import mcpapp.client.sdk  # noqa: F401  (before anything else imports the SDK)

    for package in ("mcpapp.client", "mcpapp.client.commands", "mcpapp.client.chat"):
        for found in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
            if found.name != "mcpapp.client.__main__":
                importlib.import_module(found.name)
    for name in (
        "cryptography.hazmat.primitives.ciphers.aead",
        "filelock",
        "jsonschema",
        "openai",
        "platformdirs",
        "qrcode",
        "rich.highlighter",
        "rich.markdown",
        "rich.progress",
        "rich.table",
        "tests.star.caller",
    ):
        importlib.import_module(name)
    for name in ("mcpapp.client.__main__", "tests.star.caller"):
        sys.modules.pop(name, None)  # run as the main program; a warning says so if it is there already
    early = {name for name in sys.modules if name in NOT_BEFORE}
    assert not early, early
    gc.collect()
    gc.freeze()


def _serve(address: str) -> dict[str, Any] | None:
    """Fork until stdin ends. Returns: None then; in the process that was forked off, what it shall be."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the attendants
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)  # noqa: T201  (whoever started it waits for that)
        while True:
            readable, _, _ = select.select([listener, 0], [], [])
            if listener not in readable:
                return None
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    listener.close()
                    return _attend(connection)


def _attend(connection: socket.socket) -> dict[str, Any]:
    """Fork once more: the one is the program, the other waits for its end, which it tells."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, streams, _, _ = socket.recv_fds(connection, 4, 3)
    content = b""
    while len(content) < int.from_bytes(head, "big"):
        content += connection.recv(65536)
    if pid := os.fork():
        for each in streams:
            os.close(each)
        connection.sendall(b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(OSError):
            connection.sendall(b"%d\n" % status)
        os._exit(0)
    os.setsid()
    for number, each in enumerate(streams):
        os.dup2(each, number)
    for each in streams:
        os.close(each)
    asked: dict[str, Any] = json.loads(content)
    return asked


def _become(asked: dict[str, Any]) -> None:
    """Be the program that was asked for, to its end. Raises: SystemExit, as the program does."""
    if asked["terminal"]:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        old = getattr(sys, name)
        assert isinstance(old, io.TextIOWrapper)
        mode = "w" if number else "r"
        stream = os.fdopen(number, mode, encoding=old.encoding, errors=old.errors, closefd=False)
        stream.reconfigure(line_buffering=number == 2 or os.isatty(number))
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv = [asked["module"], *asked["arguments"]]
    runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _prepare()
    if (asked := _serve(sys.argv[1])) is not None:
        _become(asked)
