"""The servers of the TypeScript SDKs: installed into a cache folder, in the versions of the lock file in `peers/`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.bench.site import progress

HERE = Path(__file__).parent / "peers"
FILES = ("package.json", "package-lock.json", ".npmrc")
SDKS = ("@modelcontextprotocol/sdk", "@modelcontextprotocol/server")


def default_cache() -> Path:
    """Return the folder that is taken if none is named."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "star-bench"


class Peers:
    """The peers as they are installed in a folder."""

    def __init__(self, cache: Path) -> None:
        self.folder = cache / "peers"

    def install(self) -> None:
        """Bring the folder to what the lock file says, if it is not; the servers' own files are always copied.

        Raises:
            SystemExit: npm is missing or fails.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in HERE.glob("*.mjs"):
            shutil.copy(path, self.folder)
        installed = self.folder / "node_modules" / "installed-lock.json"
        lock = HERE / "package-lock.json"
        if installed.exists() and installed.read_bytes() == lock.read_bytes():
            return
        if shutil.which("npm") is None:
            raise SystemExit("npm was not found: install Node, or leave the Node peers out with --without-node.")
        for name in FILES:
            shutil.copy(HERE / name, self.folder)
        progress(f"installing the Node peers into {self.folder}")
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-fund", "--no-audit", "--loglevel=error"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"npm failed: {done.stderr}\n--without-node leaves the Node peers out.")
        shutil.copy(lock, installed)

    def command(self, server: str) -> list[str]:
        """Return the command of one of the servers in `peers/`."""
        return [self.node(), str(self.folder / f"{server}.mjs"), "PORT"]

    def node(self) -> str:
        """Return the Node of the lock file; the machine's own where that has no build."""
        packaged = next((self.folder / "node_modules").glob("node-*/bin/node"), None)
        found = packaged or shutil.which("node")
        if found is None:
            raise SystemExit("No Node was found: install it, or leave the Node peers out with --without-node.")
        return str(found)

    def versions(self) -> dict[str, str]:
        """Return the versions of Node and of the SDKs, as they are installed."""
        node = subprocess.run([self.node(), "--version"], capture_output=True, text=True, check=True).stdout.strip()
        found = {"node": node.removeprefix("v")}
        for name in SDKS:
            package = json.loads((self.folder / "node_modules" / name / "package.json").read_text())
            found[name] = package["version"]
        return found
