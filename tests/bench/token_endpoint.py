"""What an exchange at the token endpoint costs: CPU of a real server for each code and refresh, ours and stock DOT.

    python -m tests.bench.token_endpoint [--count 300] [--rounds 5] [--database postgres://…]

Both servers run in turn, round by round, one worker of uvicorn each, over a database of the same kind, asked over one
kept-alive connection. The figures are user and system time of the server process, so another program on the machine
moves them little; compare the ratio. Needs Linux (/proc).
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

ROOT = Path(__file__).resolve().parents[2]
CALLBACK = "http://127.0.0.1:7777/callback"

# Run inside each server's own settings: makes a client, a person, and codes.
PREPARE = """
import hashlib, json, os, sys
import django
django.setup()
from datetime import timedelta
from django.contrib.auth import get_user_model
from django.utils import timezone
from oauth2_provider.models import get_application_model, get_grant_model
from tests.oauth import PKCE

ours = get_application_model().__module__.startswith("authapp")
count = int(sys.argv[1])
user = get_user_model().objects.create_user("bench", password="!")
application = get_application_model().objects.create(
    client_type="public", authorization_grant_type="authorization-code", redirect_uris=os.environ["CALLBACK"], name="b"
)
pkce, codes = PKCE(), [f"code-{number}-" + os.urandom(16).hex() for number in range(count)]
get_grant_model().objects.bulk_create(
    get_grant_model()(
        user=user, application=application, expires=timezone.now() + timedelta(hours=1), scope="mcp:tools",
        code=hashlib.sha256(code.encode()).hexdigest() if ours else code, redirect_uri=os.environ["CALLBACK"],
        code_challenge=pkce.challenge, code_challenge_method="S256", resource=[os.environ["RESOURCE"]],
    )
    for code in codes
)
print(json.dumps({"client_id": application.client_id, "verifier": pkce.verifier, "codes": codes}))
"""


class Server:
    """One server process with a database of its own."""

    def __init__(self, name: str, application: str, settings: str, folder: Path, database: str) -> None:
        self.name = name
        self.application = application
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": settings,
            "DATABASE_URL": database,
            "ENV_FILE": "",
            "DEBUG": "false",
            # Any https address will do: nothing here asks for it.
            "PUBLIC_URL": "https://127.0.0.1",
            "ALLOWED_HOSTS": "127.0.0.1",
            "SECRET_KEY": secrets.token_urlsafe(64),
            "CALLBACK": CALLBACK,
            "RESOURCE": "https://127.0.0.1/star",
        }
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, *command: str) -> str:
        """Run a program with this server's settings; return what it printed."""
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{self.name}: {done.stderr}")
        return done.stdout

    def start(self, count: int) -> None:
        """Migrate, make what is exchanged, and serve."""
        self.run("-m", "django", "migrate", "--verbosity", "0")
        made: dict[str, Any] = json.loads(self.run("-c", PREPARE, str(count)))
        self.codes: list[str] = made["codes"]
        self.form = {"client_id": made["client_id"], "redirect_uri": CALLBACK, "code_verifier": made["verifier"]}
        command = ["-m", "uvicorn", self.application, "--port", str(self.port), "--no-access-log"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
        self.http = httpx2.Client(base_url=self.url, trust_env=False, timeout=30)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                self.http.get("/")
                return
            except httpx2.TransportError:
                time.sleep(0.1)
        raise SystemExit(f"{self.name} did not start: {self.log.read_text()}")

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)

    def cpu_seconds(self) -> float:
        """User and system time of the server process so far."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def exchange(self, **form: str) -> dict[str, Any]:
        """POST to the token endpoint; anything but 200 ends the benchmark."""
        response = self.http.post("/o/token/", data=self.form | form)
        if response.status_code != 200:
            raise SystemExit(f"{self.name}: {response.status_code} {response.text}\n{self.log.read_text()[-2000:]}")
        tokens: dict[str, Any] = response.json()
        return tokens

    def measure(self, count: int) -> tuple[float, float]:
        """Redeem `count` codes, then refresh `count` times in a row; return milliseconds of CPU for each."""
        before = self.cpu_seconds()
        for _ in range(count):
            tokens = self.exchange(grant_type="authorization_code", code=self.codes.pop())
        between = self.cpu_seconds()
        for _ in range(count):
            tokens = self.exchange(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
        return (between - before) / count * 1000, (self.cpu_seconds() - between) / count * 1000


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=300, help="exchanges of each kind in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--database", default="", help="a PostgreSQL URL whose user may create databases; else SQLite")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="star-bench-") as name:
        folder = Path(name)
        servers = [
            Server("ours", "config.asgi:application", "config.settings", folder, database(options, folder, "ours")),
            Server(
                "stock DOT",
                "tests.bench.stock_asgi:application",
                "tests.bench.stock_settings",
                folder,
                database(options, folder, "stock"),
            ),
        ]
        try:
            for server in servers:
                server.start((options.rounds + 1) * options.count)
                server.measure(options.count // 2)  # warm
            figures: dict[str, list[tuple[float, float]]] = {server.name: [] for server in servers}
            for _ in range(options.rounds):
                for server in servers:
                    figures[server.name].append(server.measure(options.count))
        finally:
            for server in servers:
                server.stop()
    kinds = ("code", "refresh")
    print(f"CPU of the server in ms for each exchange: median (least–most) of {options.rounds} × {options.count}")
    medians = {}
    for name, rounds in figures.items():
        for kind, values in zip(kinds, zip(*rounds, strict=True), strict=True):
            medians[name, kind] = statistics.median(values)
            print(f"  {name:10} {kind:8} {medians[name, kind]:5.2f}  ({min(values):.2f}–{max(values):.2f})")
    for kind in kinds:
        print(f"  ours / stock, {kind}: {medians['ours', kind] / medians['stock DOT', kind]:.2f}")


def database(options: argparse.Namespace, folder: Path, name: str) -> str:
    """Return the URL of an empty database."""
    if not options.database:
        return f"sqlite:///{folder / name}.sqlite3"
    import psycopg

    full = f"star_bench_{name}_{secrets.token_hex(4)}"
    with psycopg.connect(options.database, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {full}".encode())
    return urlsplit(options.database)._replace(path=f"/{full}").geturl()


if __name__ == "__main__":
    main()
