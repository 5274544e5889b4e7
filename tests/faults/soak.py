"""Several servers under load while they, the database and Redis are stopped, killed and started again.

    python -m tests.faults --seconds 300

Two workers of one server and two servers beside it share a PostgreSQL and a Redis of this run's own. People call,
refresh, revoke; every answer is checked: whose it is, that no revoked token is accepted later than promised, that
nobody is logged out, and at the end that every call that was answered is in the log of calls.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.clients.person import Person
from tests.conftest import LiveServer, free_port
from tests.faults.postgresql import PostgreSQL
from tests.mcpapp.helpers import MODERN, message
from tests.mcpapp.workers import Grant, Program
from tests.over_http import log_in

PROMISED_SECONDS = 0.25
"""From the end of a revocation to the first call that must be refused on PostgreSQL (docs/decisions/0010)."""
MAY_BE_LOST_SECONDS = 1.0
"""Before `kill -9`: calls whose rows may be lost (docs/decisions/0030)."""
AFTERMATH_SECONDS = 8.0
"""How long after something is back it may still be felt: connections in pools, a listener that comes back."""
CALLERS = 5
REFRESHERS = 2
REVOKERS = 2


@dataclass
class Outage:
    """Something that was away, and whom it concerned; None for everybody."""

    what: str
    server: int | None
    began: float
    ended: float = float("inf")


@dataclass
class Findings:
    """What was seen, by all threads."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    answered: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Calls that were answered, by their ids: the server, and when."""
    outages: list[Outage] = field(default_factory=list)
    killed: list[tuple[int, float]] = field(default_factory=list)

    def tell(self, text: str) -> None:
        self.wrong.append(text)

    def is_out(self, server: int, began: float, ended: float) -> bool:
        """Return whether something that this server needs was away meanwhile, or had just come back."""
        return any(
            one.server in {None, server} and one.began <= ended and began <= one.ended + AFTERMATH_SECONDS
            for one in self.outages
        )


class Site:
    """The servers, and what they need."""

    def __init__(self, folder: Path) -> None:
        self.postgresql = PostgreSQL()
        self.redis_port = free_port()
        self.redis: subprocess.Popen[bytes] | None = None
        self.start_redis()
        self.servers: list[LiveServer] = []
        for number in range(3):
            own = folder / f"server{number}"
            own.mkdir()
            server = LiveServer(own, self.postgresql.url)
            server.environment |= {
                "PUBLIC_URL": self.servers[0].url if number else server.url,
                "REDIS_URL": f"redis://127.0.0.1:{self.redis_port}/0",
                "DATABASE_POOL_SIZE": "8",
            }
            self.servers.append(server)
        self.servers[0].manage("migrate", "--verbosity", "0")
        self.servers[0].manage("create_development_people")
        for number in range(3):
            self.start(number)
        self._program = Program(self.servers[0].environment)
        self._lock = threading.Lock()

    @property
    def resource(self) -> str:
        return f"{self.servers[0].url}/star"

    def start(self, number: int) -> None:
        server = self.servers[number]
        workers = ("--workers", "2") if number == 0 else ()
        server.start(
            *("-m", "uvicorn", "config.asgi:application", "--port", str(server.port), "--no-access-log"),
            *("--timeout-graceful-shutdown", "10", *workers),
        )

    def start_redis(self) -> None:
        command = ["redis-server", "--port", str(self.redis_port), "--save", "", "--bind", "127.0.0.1"]
        self.redis = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def grant(self) -> Grant:
        with self._lock:
            return Grant(**self._program.run(f"result = grant({self.resource!r})"))

    def run(self, code: str) -> Any:
        with self._lock:
            return self._program.run(code)

    def kill(self, number: int) -> None:
        process = self.servers[number].process
        assert process is not None
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)

    def children(self, number: int) -> list[int]:
        process = self.servers[number].process
        assert process is not None
        listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return [pid for pid in map(int, listed) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def stop(self) -> None:
        """Stop the servers as an operator does, so that all that waits is written."""
        for server in self.servers:
            server.stop()

    def remove(self) -> None:
        self._program.kill()
        for number in range(len(self.servers)):
            self.kill(number)
        if self.redis is not None:
            self.redis.kill()
            self.redis.wait()
        self.postgresql.remove()


class Load:
    """People that use the site from several threads, as long as it is on."""

    def __init__(self, site: Site, findings: Findings) -> None:
        self.site = site
        self.findings = findings
        self.ending = threading.Event()
        self._threads: list[threading.Thread] = []
        self._next_id = 0
        self._id_lock = threading.Lock()

    def start(self) -> None:
        logins = []
        with Person("demo", "demo") as person:
            logins = [log_in(self.site.servers[0].url, person, f"Refresher {number}") for number in range(REFRESHERS)]
        work: list[tuple[Callable[..., None], Any]] = [(self._call, self.site.grant()) for _ in range(CALLERS)]
        work += [(self._refresh, login) for login in logins]
        work += [(self._revoke, None)] * REVOKERS
        for function, argument in work:
            thread = threading.Thread(target=self._guarded, args=(function, argument), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        self.ending.set()
        for thread in self._threads:
            thread.join(60)

    def _guarded(self, function: Callable[..., None], argument: Any) -> None:
        try:
            function(argument)
        except Exception as error:
            self.findings.tell(f"{function.__name__} stopped: {error!r}")

    def _id(self) -> str:
        with self._id_lock:
            self._next_id += 1
            return f"soak-{self._next_id}"

    def _post(self, http: httpx2.Client, server: int, token: str, username: str | None) -> int | None:
        """Call a tool and judge the answer; return its status, None where there was none."""
        request = message("tools/call", {"name": "protected-data", "arguments": {}}, era=MODERN)
        call = self._id()
        content = json.dumps(json.loads(request["content"]) | {"id": call})
        headers = {**request["headers"], "Authorization": f"Bearer {token}"}
        began = time.monotonic()
        try:
            response = http.post(f"{self.site.servers[server].url}/star", content=content, headers=headers)
        except httpx2.TransportError as error:
            if not self.findings.is_out(server, began, time.monotonic()):
                self.findings.tell(f"no answer of server {server}: {error!r}")
            self.findings.counts["no answer while something was away"] += 1
            return None
        ended = time.monotonic()
        status = response.status_code
        if status in {200, 403}:
            self.findings.answered[call] = (server, ended)
        if status == 200 and username is not None:
            result = response.json().get("result", {})
            if result.get("isError"):
                text = result["content"][0]["text"]
                if "database does not answer" in text and self.findings.is_out(server, began, ended):
                    self.findings.counts["tool said that the database is away"] += 1
                else:
                    self.findings.tell(f"server {server}: {text}")
            elif result.get("structuredContent", {}).get("username") != username:
                self.findings.tell(f"{username} was answered {response.text[:300]}")
            else:
                self.findings.counts["good answers"] += 1
        elif status == 503:
            if "retry-after" not in response.headers or not self.findings.is_out(server, began, ended):
                self.findings.tell(f"server {server}: 503 {response.text[:200]}")
            self.findings.counts["503 with Retry-After while something was away"] += 1
        elif status not in {200, 401}:
            self.findings.tell(f"server {server}: {status} {response.text[:300]}")
        return status

    def _call(self, grant: Grant) -> None:
        username = self.site.run(f"result = User.objects.get(pk={grant.user}).username")
        with httpx2.Client(trust_env=False, timeout=40) as http:
            while not self.ending.wait(0.01):
                if self._post(http, random.randrange(3), grant.token, username) == 401:
                    self.findings.tell(f"a live token of {username} was refused")

    def _refresh(self, login: Any) -> None:
        token, access = login.refresh_token, login.access_token
        with httpx2.Client(trust_env=False, timeout=40) as http:
            while not self.ending.wait(0.15):
                server, began = random.randrange(3), time.monotonic()
                form = {"grant_type": "refresh_token", "client_id": login.client_id, "refresh_token": token}
                try:
                    response = http.post(f"{self.site.servers[server].url}/o/token/", data=form)
                except httpx2.TransportError as error:
                    if not self.findings.is_out(server, began, time.monotonic()):
                        self.findings.tell(f"a refresh got no answer of server {server}: {error!r}")
                    continue
                if response.status_code == 200:
                    token, access = response.json()["refresh_token"], response.json()["access_token"]
                    self.findings.counts["refreshes"] += 1
                    if self._post(http, random.randrange(3), access, "demo") == 401:
                        self.findings.tell("a token that was just issued was refused")
                elif response.status_code != 503 or not self.findings.is_out(server, began, time.monotonic()):
                    self.findings.tell(f"a refresh was answered {response.status_code} {response.text[:200]}")
                    if response.status_code == 400:
                        return

    def _revoke(self, _: Any) -> None:
        dead: list[str] = []
        with httpx2.Client(trust_env=False, timeout=40) as http:
            while not self.ending.wait(0.2):
                try:
                    grant = self.site.grant()
                    client_id = self.site.run(f"result = Client.objects.get(pk={grant.client}).client_id")
                except AssertionError:  # the database was away
                    continue
                for server in range(3):
                    self._post(http, server, grant.token, None)
                if not self._revoked(http, client_id, grant.token):
                    continue
                self.findings.counts["revocations"] += 1
                dead.append(grant.token)
                time.sleep(PROMISED_SECONDS)
                for server in (0, 1, 2, 0, 1, 2):
                    self._is_dead(http, server, grant.token)
                self._is_dead(http, random.randrange(3), random.choice(dead))

    def _revoked(self, http: httpx2.Client, client_id: str, token: str) -> bool:
        """Revoke until that is answered."""
        while not self.ending.is_set():
            server, began = random.randrange(3), time.monotonic()
            with suppress(httpx2.TransportError):
                url = f"{self.site.servers[server].url}/o/revoke_token/"
                response = http.post(url, data={"client_id": client_id, "token": token})
                if response.status_code == 200:
                    return True
                if response.status_code != 503 or not self.findings.is_out(server, began, time.monotonic()):
                    self.findings.tell(f"a revocation was answered {response.status_code} {response.text[:200]}")
            time.sleep(0.2)
        return False

    def _is_dead(self, http: httpx2.Client, server: int, token: str) -> None:
        status = self._post(http, server, token, None)
        if status == 200:
            self.findings.tell(f"server {server} accepted a revoked token")
        elif status == 401:
            self.findings.counts["revoked tokens refused"] += 1


class Trouble:
    """What goes wrong, one after another."""

    def __init__(self, site: Site, findings: Findings) -> None:
        self.site = site
        self.findings = findings
        self.kinds: list[Callable[[], None]] = [
            lambda: self._server(1, graceful=True),
            lambda: self._server(2, graceful=False),
            lambda: self._postgresql("fast"),
            self._redis,
            self._worker,
            lambda: self._postgresql("immediate"),
            self._replace_workers,
        ]

    def go_on(self, seconds: float, pause: float, least: int = 0) -> None:
        """Make trouble until the time is over and there were so many, and let the last be over too."""
        until, number = time.monotonic() + seconds, 0
        while time.monotonic() < until or number < least:
            time.sleep(pause)
            self.kinds[number % len(self.kinds)]()
            number += 1
        time.sleep(AFTERMATH_SECONDS)

    def _away(self, what: str, server: int | None) -> Outage:
        outage = Outage(what, server, time.monotonic())
        self.findings.outages.append(outage)
        self.findings.counts[what] += 1
        return outage

    def _server(self, number: int, *, graceful: bool) -> None:
        outage = self._away("servers stopped" if graceful else "servers killed", number)
        if graceful:
            self.site.servers[number].stop()
        else:
            self.findings.killed.append((number, time.monotonic()))
            self.site.kill(number)
        self.site.start(number)
        outage.ended = time.monotonic()

    def _worker(self) -> None:
        outage = self._away("workers killed", 0)
        self.findings.killed.append((0, time.monotonic()))
        os.kill(random.choice(self.site.children(0)), signal.SIGKILL)
        time.sleep(3)
        outage.ended = time.monotonic()

    def _replace_workers(self) -> None:
        outage = self._away("workers replaced (SIGHUP)", 0)
        process = self.site.servers[0].process
        assert process is not None
        os.kill(process.pid, signal.SIGHUP)
        time.sleep(5)
        outage.ended = time.monotonic()

    def _postgresql(self, mode: str) -> None:
        outage = self._away(f"PostgreSQL restarted ({mode})", None)
        self.site.postgresql.stop(mode)
        time.sleep(1)
        self.site.postgresql.start()
        outage.ended = time.monotonic()

    def _redis(self) -> None:
        self.findings.counts["Redis killed"] += 1  # no outage: nobody may feel it
        assert self.site.redis is not None
        self.site.redis.kill()
        self.site.redis.wait()
        time.sleep(2)
        self.site.start_redis()


def audit(site: Site, findings: Findings) -> None:
    """Compare the calls that were answered with the log of calls."""
    rows = site.run(
        "from mcpapp.models import ToolCall; from collections import Counter\n"
        "result = Counter(ToolCall.objects.values_list('request_id', flat=True).iterator())"
    )
    for call, (server, ended) in findings.answered.items():
        if rows.get(call, 0) == 1:
            findings.counts["rows of calls"] += 1
        elif rows.get(call, 0) > 1:
            findings.counts["calls with several rows"] += 1
            findings.tell(f"{rows[call]} rows of call {call}")
        elif any(
            one == server and killed - MAY_BE_LOST_SECONDS <= ended <= killed + 0.5 for one, killed in findings.killed
        ):
            findings.counts["rows lost in the last second before kill -9"] += 1
        else:
            findings.tell(f"no row of call {call} at server {server}")


def soak(seconds: float, pause: float, least: int = 0) -> Findings:
    """Run it all; return what was found."""
    findings = Findings()
    folder = Path(tempfile.mkdtemp(prefix="star-soak-"))
    site = Site(folder)
    try:
        load = Load(site, findings)
        load.start()
        Trouble(site, findings).go_on(seconds, pause, least)
        load.stop()
        site.stop()
        audit(site, findings)
        for server in site.servers:
            if "Traceback" in (log := server.log.read_text()):
                findings.counts[f"tracebacks in the log of server {server.port}"] = log.count("Traceback")
    finally:
        site.remove()
        if not findings.wrong:
            shutil.rmtree(folder, ignore_errors=True)
    return findings
