"""The shipped configurations of proxies, with the real programs in front of the real server."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio.to_thread
import httpx2
import pytest
from mcp.client.subscriptions import ToolsListChanged

from tests.clients.person import Person
from tests.conftest import ROOT, LiveDatabases, LiveServer, free_port
from tests.deploy.programs import DEPLOY, program, run
from tests.mcpapp.helpers import message
from tests.mcpapp.test_subscription_workers import heard, listening
from tests.mcpapp.workers import PATIENCE_SECONDS, Program
from tests.over_http import CALLBACK, log_in
from tests.tls import Authority

pytestmark = [pytest.mark.live, pytest.mark.anyio]


def shipped(name: str, changes: dict[str, str]) -> str:
    """Return a shipped file with what differs on this machine."""
    text = (DEPLOY / name).read_text(encoding="utf-8")
    for old, new in changes.items():
        assert text.count(old) >= 1, old
        text = text.replace(old, new)
    return text


class Proxy:
    """A proxy in front of `manage.py serve`; `url` is what people use."""

    def __init__(self, folder: Path, kind: str, server: LiveServer, prefix: str = "") -> None:
        self.folder = folder
        self.kind = kind
        self.server = server
        self.port, self.tls_port, self.redirect_port = free_port(), free_port(), free_port()
        self.origin = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.origin}{prefix}"
        self.probe = f"{self.origin}/.well-known/oauth-authorization-server{prefix}"
        self.log = folder / "proxy.log"
        self.access_log = folder / "access.log"
        self.environment = dict(os.environ)
        server.environment["PUBLIC_URL"] = self.url

    def command(self) -> list[str]:
        """Write the configuration; return what starts the proxy."""
        return list(getattr(self, f"_{self.kind}")())

    @property
    def upstream(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def _nginx(self) -> list[str]:
        nginx = program("nginx")
        Authority(self.folder).context("star.example")
        site = shipped(
            "nginx.conf",
            {
                "listen 80;": f"listen 127.0.0.1:{self.redirect_port};",
                "listen [::]:80;": "",
                "listen 443 ssl;": f"listen 127.0.0.1:{self.port};",
                "listen [::]:443 ssl;": f"listen 127.0.0.1:{self.tls_port} ssl;",
                "server 127.0.0.1:8000;": f"server {self.upstream};",
                "/var/log/nginx/star.log": str(self.access_log),
                "/var/log/nginx/star-error.log": str(self.folder / "error.log"),
                "/etc/ssl/star/fullchain.pem": str(self.folder / "server.pem"),
                "/etc/ssl/star/privkey.pem": str(self.folder / "server.pem"),
            },
        )
        if self.url != self.origin:
            site = self._under_a_path(site)
        (self.folder / "star.conf").write_text(site)
        paths = "".join(
            f"{name}_temp_path {self.folder / name}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;" if os.geteuid() == 0 else ""  # the folders of tests are their maker's alone
        main = f"daemon off; {user} pid {self.folder}/pid; error_log stderr; worker_processes 2; events {{}}\n"
        (self.folder / "nginx.conf").write_text(f"{main}http {{ {paths} include {self.folder}/star.conf; }}\n")
        command = [nginx, "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]
        tested = run(*command, "-t")
        assert tested.returncode == 0, tested.stderr
        assert "[warn]" not in tested.stderr
        return command

    def _under_a_path(self, site: str) -> str:
        """Do what docs/deploy-proxies.md says of a sub-path."""
        location = re.search(r"    location / \{\n(.*?)\n    \}\n", site, re.DOTALL)
        assert location
        (self.folder / "star-proxy.conf").write_text(location[1])
        guide = (ROOT / "docs" / "deploy-proxies.md").read_text(encoding="utf-8")
        [block] = re.findall(r"```nginx\n(.*?)```", guide, re.DOTALL)
        return site.replace(location[0], block)

    def _caddy(self) -> list[str]:
        caddy = program("caddy")
        self.environment |= {
            "SITE_ADDRESS": self.url,
            "UPSTREAM": self.upstream,
            "CADDY_ADMIN": f"127.0.0.1:{free_port()}",
            "HOME": str(self.folder),
            "XDG_DATA_HOME": str(self.folder),
            "XDG_CONFIG_HOME": str(self.folder),
        }
        arguments = ["--config", str(DEPLOY / "Caddyfile"), "--adapter", "caddyfile"]
        tested = run(caddy, "validate", *arguments, env=self.environment)
        assert tested.returncode == 0, tested.stderr
        assert "not formatted" not in tested.stderr
        return [caddy, "run", *arguments]

    def _traefik(self) -> list[str]:
        traefik = program("traefik")
        changes = {
            "star.example": "127.0.0.1",
            "http://127.0.0.1:8000": f"http://{self.upstream}",
            "      tls:\n        certResolver: letsencrypt\n": "",
        }
        dynamic = self.folder / "star.yaml"  # Traefik would take traefik.yaml for its static configuration
        dynamic.write_text(shipped("traefik-dynamic.yaml", changes))
        quiet = ("--global.checkNewVersion=false", "--global.sendAnonymousUsage=false")  # it asks the internet
        entry = f"--entryPoints.websecure.address=127.0.0.1:{self.port}"
        return [traefik, entry, f"--providers.file.filename={dynamic}", "--log.level=INFO", *quiet]

    @contextmanager
    def running(self) -> Iterator[Proxy]:
        command = self.command()
        with self.log.open("ab") as log:
            process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, cwd=self.folder)
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while self._status() != 200:
                assert process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.05)
            yield self
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)

    def _status(self) -> int:
        try:
            return httpx2.get(self.probe, trust_env=False, timeout=PATIENCE_SECONDS).status_code
        except httpx2.TransportError:
            return 0


@pytest.fixture(scope="module", params=["nginx", "caddy", "traefik"])
def proxy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, live_databases: LiveDatabases
) -> Iterator[Proxy]:
    program(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    server = LiveServer(folder, live_databases.copy())
    proxy = Proxy(folder, request.param, server)
    server.start("manage.py", "serve", "--port", str(server.port))
    try:
        with proxy.running():
            yield proxy
    finally:
        server.stop()


@pytest.fixture
async def at_the_site(proxy: Proxy) -> AsyncIterator[Program]:
    program = Program(proxy.server.environment)
    yield program
    program.close()


def test_a_person_connects_a_client_through_it(proxy: Proxy) -> None:
    with httpx2.Client(base_url=proxy.url, trust_env=False, timeout=PATIENCE_SECONDS) as http:
        challenged = http.post("/star", json={})
        assert challenged.status_code == 401
        assert f'resource_metadata="{proxy.url}/.well-known/' in challenged.headers["www-authenticate"]
        assert http.get("/.well-known/oauth-authorization-server").json()["issuer"] == proxy.url
        with Person("demo", "demo") as person:
            token = log_in(proxy.url, person).access_token
        request = message("tools/call", {"name": "protected-data", "arguments": {}})
        headers = {**request["headers"], "Authorization": f"Bearer {token}"}
        assert '"demo"' in http.post("/star", content=request["content"], headers=headers).text.replace("\\", "")
        assert http.get("/static/star/star.css").status_code == 200
        assert http.get("/healthz").text == "ok"


def test_under_a_path_all_is_under_it_but_what_the_specifications_have_at_the_root(
    new_server: Callable[[], LiveServer], tmp_path: Path
) -> None:
    program("nginx")
    server = new_server()
    proxy = Proxy(tmp_path, "nginx", server, "/prefix")
    server.start("manage.py", "serve", "--port", str(server.port))
    with proxy.running(), httpx2.Client(trust_env=False, timeout=PATIENCE_SECONDS) as http:
        resource = http.get(f"{proxy.origin}/.well-known/oauth-protected-resource/prefix/star").json()["resource"]
        assert resource == f"{proxy.url}/star"
        challenge = http.post(resource, json={}).headers["www-authenticate"]
        assert f'"{proxy.origin}/.well-known/oauth-protected-resource/prefix/star"' in challenge
        assert http.get(f"{proxy.origin}/.well-known/openid-configuration/prefix").json()["issuer"] == proxy.url
        with Person("demo", "demo") as person:
            token = log_in(proxy.url, person).access_token
        request = message("tools/call", {"name": "protected-data", "arguments": {}})
        headers = {**request["headers"], "Authorization": f"Bearer {token}"}
        assert http.post(resource, content=request["content"], headers=headers).status_code == 200
        assert http.get(f"{proxy.url}/static/star/star.css").status_code == 200
        assert http.get(f"{proxy.origin}/o/token/").status_code == 404, "the rest of the host is somebody else's"


async def test_a_change_comes_through_it_at_once(proxy: Proxy, at_the_site: Program) -> None:
    """On SQLite a change is heard in the process that made it, so there only the stream itself is looked at."""
    grant = await anyio.to_thread.run_sync(at_the_site.run, f"result = grant({proxy.url + '/star'!r})")
    through = LiveServer(proxy.folder, "")
    through.url = proxy.url
    async with listening(through, grant["token"]) as subscription:
        if not proxy.server.environment["DATABASE_URL"].startswith("sqlite"):
            tell = "from mcpapp import events; events.tools_changed()"
            await anyio.to_thread.run_sync(at_the_site.run, tell)
            assert await heard(subscription) == ToolsListChanged()
        await anyio.to_thread.run_sync(at_the_site.run, f"Token.objects.filter(pk={grant['row']}).delete()")
        assert await heard(subscription) is None


def test_the_longest_token_comes_through_it(proxy: Proxy) -> None:
    headers = {"Authorization": f"Bearer {'x' * 16 * 1024}"}
    answer = httpx2.post(f"{proxy.url}/star", json={}, headers=headers, trust_env=False, timeout=PATIENCE_SECONDS)
    assert answer.status_code == 401
    assert "invalid_token" in answer.headers["www-authenticate"]


def test_nobody_chooses_the_address_that_limits_count(proxy: Proxy) -> None:
    names = ("X-Forwarded-For", "X-Real-IP", "X-Client-IP", "CF-Connecting-IP", "X-Forwarded-Host")
    headers = dict.fromkeys(names, "203.0.113.9") | {"Forwarded": "for=203.0.113.9;host=evil.example"}
    answer = httpx2.get(f"{proxy.url}/nothing-{proxy.kind}", headers=headers, trust_env=False, timeout=PATIENCE_SECONDS)
    assert answer.status_code == 404
    deadline = time.monotonic() + PATIENCE_SECONDS
    while f"GET /nothing-{proxy.kind}" not in (log := proxy.server.log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    [line] = [line for line in log.splitlines() if f"GET /nothing-{proxy.kind}" in line]
    assert "uvicorn.access: 127.0.0.1:0" in line, "uvicorn says port 0 of an address that a proxy told"


def test_what_is_too_large_is_refused(proxy: Proxy) -> None:
    if proxy.kind == "traefik":
        pytest.skip("it bounds a body only by keeping it whole; the server has bounds of its own")
    answer = httpx2.post(f"{proxy.url}/star", content=b"x" * (6 << 20), trust_env=False, timeout=PATIENCE_SECONDS)
    assert answer.status_code in {401, 413}, "refused before it is read"


def test_nginx_logs_no_query_and_redirects_to_https(proxy: Proxy) -> None:
    if proxy.kind != "nginx":
        pytest.skip("nginx alone is told to log")
    query = {"state": "secret-state", "redirect_uri": CALLBACK}
    httpx2.get(f"{proxy.url}/o/authorize/", params=query, trust_env=False, timeout=PATIENCE_SECONDS)
    httpx2.get(f"{proxy.url}/accounts/password/reset/key/1-secret-state/", trust_env=False, timeout=PATIENCE_SECONDS)
    plain = f"http://127.0.0.1:{proxy.redirect_port}/star?x=secret-state"
    answer = httpx2.get(plain, trust_env=False, timeout=PATIENCE_SECONDS)
    assert (answer.status_code, answer.headers["location"]) == (301, "https://star.example/star?x=secret-state")
    secure = httpx2.get(f"https://127.0.0.1:{proxy.tls_port}/healthz", verify=False, trust_env=False)
    assert secure.text == "ok"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while "/healthz" not in (log := proxy.access_log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert '"GET /o/authorize/" 4' in log
    assert '"GET /accounts/password/reset/key/-" ' in log
    assert "secret-state" not in log + (proxy.folder / "error.log").read_text()


def test_new_requests_wait_while_the_one_process_is_replaced(
    proxy: Proxy, new_server: Callable[[], LiveServer]
) -> None:
    if proxy.kind != "caddy":
        pytest.skip("Caddy alone is told to wait")
    proxy.server.stop()
    import threading

    answers: list[int] = []
    asking = threading.Thread(
        target=lambda: answers.append(
            httpx2.get(f"{proxy.url}/healthz", trust_env=False, timeout=PATIENCE_SECONDS).status_code
        )
    )
    asking.start()
    proxy.server.start("manage.py", "serve", "--port", str(proxy.server.port))
    asking.join(PATIENCE_SECONDS)
    assert answers in ([200], [503]), "it waited for at most 15 s"
