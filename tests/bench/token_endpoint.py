"""What an exchange at the token endpoint costs: CPU of a real server for each code and refresh, ours and stock DOT.

    python -m tests.bench.token_endpoint [--count 300] [--rounds 5] [--database postgres://…]

Both servers run in turn, round by round, one worker of uvicorn each, over a database of the same kind, asked over one
kept-alive connection. The figures are user and system time of the server process, so another program on the machine
moves them little; compare the ratio. Needs Linux (/proc).
"""

from __future__ import annotations

import argparse
import json
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.bench import site
from tests.bench.processes import ROOT, ServerProcess, require_proc, uvicorn
from tests.bench.site import progress

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
        environment = {
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
        self.process = ServerProcess(name, uvicorn(application), folder, environment)

    def run(self, *command: str) -> str:
        """Run a program with this server's settings; return what it printed."""
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env=self.process.environment,
            capture_output=True,
            text=True,
            check=False,
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
        self.process.start()
        self.http = httpx2.Client(base_url=f"http://127.0.0.1:{self.process.port}", trust_env=False, timeout=30)
        self.process.wait_for(self._answers)

    def _answers(self) -> bool:
        try:
            self.http.get("/")
        except httpx2.TransportError:
            return False
        return True

    def exchange(self, **form: str) -> dict[str, Any]:
        """POST to the token endpoint; anything but 200 ends the benchmark."""
        response = self.http.post("/o/token/", data=self.form | form)
        if response.status_code != 200:
            raise SystemExit(f"{self.name}: {response.status_code} {response.text}\n{self.process.log_end()}")
        tokens: dict[str, Any] = response.json()
        return tokens

    def measure(self, count: int) -> Exchanges:
        """Redeem `count` codes, then refresh `count` times in a row."""
        started = time.monotonic()
        before = self.process.cpu_seconds()
        for _ in range(count):
            tokens = self.exchange(grant_type="authorization_code", code=self.codes.pop())
        between = self.process.cpu_seconds()
        for _ in range(count):
            tokens = self.exchange(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
        after, took = self.process.cpu_seconds(), time.monotonic() - started
        return Exchanges((between - before) / count * 1000, (after - between) / count * 1000, 2 * count / took)


@dataclass(frozen=True)
class Exchanges:
    """What the exchanges of a round cost on one server, and how many it answered in a second of time."""

    code_ms: float
    refresh_ms: float
    per_second: float


def measure(count: int, rounds: int, url: str) -> dict[str, list[Exchanges]]:
    """Return what exchanges cost, ours and stock in turn; over SQLite, or beside a PostgreSQL database."""
    with tempfile.TemporaryDirectory(prefix="star-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        servers = []
        for key, application, settings in (
            ("ours", "config.asgi:application", "config.settings"),
            ("stock", "tests.bench.stock_asgi:application", "tests.bench.stock_settings"),
        ):
            database = stack.enter_context(own_database(url, folder, key))
            servers.append(Server(key, application, settings, folder, database))
        figures: dict[str, list[Exchanges]] = {server.name: [] for server in servers}
        for server in servers:
            stack.callback(server.process.stop)
            server.start((rounds + 1) * count)
            server.measure(max(count // 2, 1))  # warm
        for number in range(rounds):
            for server in servers:
                figures[server.name].append(server.measure(count))
            progress(f"token endpoint: round {number + 1} of {rounds}")
    return figures


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=300, help="exchanges of each kind in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--database", default="", help="a PostgreSQL URL whose user may create databases; else SQLite")
    options = parser.parse_args()
    require_proc()
    figures = measure(options.count, options.rounds, options.database)
    print(f"CPU of the server in ms for each exchange: median (least–most) of {options.rounds} × {options.count}")
    for kind in ("code", "refresh"):
        medians = {}
        for name, rounds in figures.items():
            values = [getattr(one, f"{kind}_ms") for one in rounds]
            medians[name] = statistics.median(values)
            print(f"  {name:10} {kind:8} {medians[name]:5.2f}  ({min(values):.2f}–{max(values):.2f})")
        print(f"  ours / stock, {kind}: {medians['ours'] / medians['stock']:.2f}")


@contextmanager
def own_database(url: str, folder: Path, key: str) -> Iterator[str]:
    """Give the URL of an empty database, which is dropped afterwards."""
    (folder / key).mkdir()
    database, drop = site.own_database(url, folder / key)
    try:
        yield database
    finally:
        drop()


if __name__ == "__main__":
    main()
