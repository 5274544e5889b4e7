"""A desk for each client: a home folder of its own, a browser that is our scripted person, and nobody's old logins."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parent.parent
NODE_MODULES = HERE / "node_modules"
TIMEOUT_SECONDS = 60


class Desk:
    def __init__(self, folder: Path, profile: Path) -> None:
        self.folder = folder
        self.log = folder / "browser.log"
        home, programs = folder / "home", folder / "bin"
        home.mkdir()
        programs.mkdir()
        python = f'exec {shlex.quote(sys.executable)} -m tests.clients.browser "$@"'
        script = f"#!/bin/sh\ncd {shlex.quote(str(PROJECT))} && {python}\n"
        # BROWSER is read by Linux openers; macOS ones call `open`, whatever BROWSER says.
        for name in ("xdg-open", "open"):
            (programs / name).write_text(script)
            (programs / name).chmod(0o755)
        self.browser = str(programs / "xdg-open")
        # An environment of its own, so that no proxy, display or configuration of the developer leaks in.
        self.environment = {
            "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            "HOME": str(home),
            "TMPDIR": str(folder),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "MCP_REMOTE_CONFIG_DIR": str(home / "mcp-remote"),
            "MCP_AUTO_OPEN_ENABLED": "true",
            "MCP_INSPECTOR_SECRET_STORE": "file",
            "BROWSER": self.browser,
            "STAR_PERSON": "demo:demo",
            "STAR_BROWSER_PROFILE": str(profile),
            "STAR_BROWSER_LOG": str(self.log),
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a client to its end. Raises: AssertionError with all it and its browser said when it fails."""
        # An open stdin: mcp-remote takes its end for a wish to quit.
        stdin, keep_open = os.pipe()
        try:
            client = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            try:
                out, err = client.communicate(timeout=TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                end_group(client)
                out, err = client.communicate()
                raise AssertionError(self.story(command, "still running after a minute", out, err)) from None
            finally:
                end_group(client)
        finally:
            os.close(stdin)
            os.close(keep_open)
        if client.returncode:
            raise AssertionError(self.story(command, f"exit code {client.returncode}", out, err))
        return subprocess.CompletedProcess(command, client.returncode, out, err)

    def story(self, command: tuple[str, ...], ending: str, out: str, err: str) -> str:
        return (
            f"{shlex.join(command)}: {ending}\n--- stdout\n{out}\n--- stderr\n{err}\n--- browser\n{self.browser_said()}"
        )

    def browser_said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def sign_ins(self) -> int:
        """How many times a client sent this person to the authorize page."""
        return len(self.visits())

    def visits(self) -> list[str]:
        """The authorize pages that clients opened."""
        return re.findall(r"^OPENED (.*)$", self.browser_said(), re.MULTILINE)

    def consents(self) -> int:
        """How many consent pages this person answered."""
        return sum(map(int, re.findall(r"^CONSENTS (\d+)$", self.browser_said(), re.MULTILINE)))


def end_group(client: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(client.pid, signal.SIGKILL)


def node() -> str:
    """The Node 22 of package.json, because some clients need it; the machine's own where that package has no build."""
    installed("mcp-remote/package.json")
    # npm 9, which Debian has, installs the package of this platform without linking its program into .bin.
    packaged = next(NODE_MODULES.glob("node-*/bin/node"), None)
    found = packaged or shutil.which("node")
    assert found, "neither package.json nor this machine has a Node for this platform"
    return str(found)


def installed(path: str) -> str:
    """A file of an npm package. Raises: AssertionError when the packages are not installed."""
    found = NODE_MODULES / path
    assert found.exists(), (
        f"{found.relative_to(PROJECT)} is missing: the JavaScript clients are not installed, run `make test`"
    )
    return str(found)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
