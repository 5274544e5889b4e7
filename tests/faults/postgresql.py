"""A PostgreSQL of a test's own, that can be stopped and started again."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.conftest import free_port


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs; Debian keeps it off PATH. None where there is none."""
    found = shutil.which("pg_ctl")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((one for one in folders if (one / "initdb").exists() and (one / "pg_ctl").exists()), None)


class PostgreSQL:
    """One cluster in a temporary folder, on loopback, with a password nobody keeps."""

    def __init__(self) -> None:
        bin_folder = programs()
        assert bin_folder is not None, "PostgreSQL is not installed"
        self._bin = bin_folder
        # PostgreSQL refuses to run as root, and its user may not look into a folder of root's.
        self._user = pwd.getpwnam("postgres") if os.getuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="star-faults-"))
        self._port = free_port()
        password = secrets.token_hex(16)
        secret = self._folder / "password"
        secret.write_text(password)
        if self._user is not None:
            for path in (self._folder, secret):
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
        self._run("initdb", "-U", "star", f"--pwfile={secret}", "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync")
        self.url = f"postgres://star:{password}@127.0.0.1:{self._port}/postgres"
        self.start()

    def start(self) -> None:
        """Start, or start again; it answers when this returns."""
        options = (
            f"-p {self._port} -k '{self._folder}' -c listen_addresses=127.0.0.1 -c max_connections=200 -c fsync=off"
        )
        self._run("pg_ctl", "-l", str(self._folder / "log"), "-w", "-t", "60", "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop: `fast` ends connections; `immediate` is as if the machine had lost its power, but for the disk."""
        self._run("pg_ctl", "-m", mode, "-w", "-t", "60", "stop")

    def remove(self) -> None:
        """Stop for good."""
        self._run("pg_ctl", "-m", "immediate", "stop", check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        user = self._user
        done = subprocess.run(
            [str(self._bin / program), "-D", str(self._folder / "data"), *arguments],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            **({} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}),  # type: ignore[arg-type]
        )
        assert not check or done.returncode == 0, done.stderr
