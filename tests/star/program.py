"""The program `star`, run as a process of its own at somebody's desk."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from tests.clients.desk import TIMEOUT_SECONDS, Desk
from tests.conftest import ROOT
from tests.star.forked import Forked


class Star:
    """`star(…)` runs a command to its end; `start(…)` only begins it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.environment = {
            **desk.environment,
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "200",
            # No keyring, unless a test brings one: a developer's own is not for tests.
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        }
        self.folder = Path(self.environment["XDG_CONFIG_HOME"]).parent / "state"
        self.environment["XDG_STATE_HOME"] = str(self.folder)

    def start(self, *arguments: str, module: str = "mcpapp.client", **environment: str) -> Forked:
        return Forked(module, arguments, self.desk.folder, {**self.environment, **environment})

    def call(self, url: str, tool: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Call a tool through `connect`, steps on stderr."""
        return self(url, tool, *arguments, module="tests.star.caller", **environment)

    def __call__(
        self, *arguments: str, code: int = 0, module: str = "mcpapp.client", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return self.end(self.start(*arguments, module=module, **environment), *arguments, code=code)

    def end(self, process: Forked, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Wait for a command that was started."""
        try:
            out, err = process.communicate(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(self.desk.story(arguments, "still running", out, err)) from None
        assert process.returncode == code, self.desk.story(arguments, f"exit code {process.returncode}", out, err)
        assert "Traceback" not in err
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def steps(self, err: str) -> list[str]:
        """The requests of the steps on stderr, as "POST /o/token/"."""
        found = re.findall(r"^→ (\w+) \w+://[^/\s]+(/[^?\s]*)", err, re.MULTILINE)
        return [f"{method} {path}" for method, path in found]

    def kept(self) -> list[Path]:
        """The files of kept sign-ins."""
        return sorted((self.folder / "star" / "servers").glob("*.json"))

    def content(self) -> dict[str, Any]:
        """What is kept of the only sign-in, unencrypted."""
        (path,) = self.kept()
        content: dict[str, Any] = json.loads(path.read_text())["content"]
        return content

    def change(self, **values: Any) -> None:
        """Change what is kept of the only sign-in, as time or another program would."""
        (path,) = self.kept()
        envelope = json.loads(path.read_text())
        envelope["content"] |= values
        path.write_text(json.dumps(envelope))
