"""The lines for proxies: the programs take them, and in front of the real site they mend what they say they mend."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from asgiref.sync import sync_to_async
from django.db import connections

from mcpapp.doctor.edge_arrival import check_arrival, check_refusal
from mcpapp.doctor.edge_limits import check_body_limit, check_header_limit
from mcpapp.doctor.edge_pages import check_web_pages
from mcpapp.doctor.edge_paths import check_paths, check_user_agents
from mcpapp.doctor.edge_streams import check_streams
from mcpapp.doctor.proxies import FIXES, fix
from mcpapp.doctor.report import Finding, Level
from tests.conftest import free_port
from tests.mcpapp.doctor.edge_site import examine, names, wrong
from tests.mcpapp.doctor.test_edge_tls import Certificates
from tests.mcpapp.over_http import served

pytestmark = pytest.mark.anyio
NGINX, CADDY = shutil.which("nginx") or "", shutil.which("caddy") or ""
needs_nginx = pytest.mark.skipif(not NGINX, reason="nginx is not installed")
needs_caddy = pytest.mark.skipif(not CADDY, reason="caddy is not installed")


# --- Lines that the programs take -------------------------------------------------------------------------------------


def nginx_conf(folder: Path, port: int, lines: str, above: str = "") -> Path:
    """Write a whole configuration around the lines of one server."""
    listens = "" if lines.lstrip().startswith("listen") else f"listen 127.0.0.1:{port};"
    kept = " ".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = folder / "nginx.conf"
    path.write_text(
        f"pid {folder}/nginx.pid; error_log stderr; daemon off; master_process off; events {{}}\n"
        f"http {{ access_log off; {kept} {above}\nserver {{ {listens}\n{lines}\n}} }}\n"
    )
    return path


@needs_nginx
@pytest.mark.parametrize("name", FIXES)
def test_nginx_takes_its_lines(tmp_path: Path, name: str) -> None:
    file = Certificates(tmp_path).file()
    lines = re.sub(r"/etc/letsencrypt/live/star\.example/\w+\.pem", file, FIXES[name].nginx)
    above = f"ssl_certificate {file}; ssl_certificate_key {file};"
    conf = nginx_conf(tmp_path, free_port(), lines, above)
    done = subprocess.run([NGINX, "-t", "-e", "stderr", "-c", conf], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", FIXES)
def test_every_location_for_nginx_has_what_that_of_the_site_has(name: str) -> None:
    """A `proxy_set_header` cancels those outside of its location: a client could say what its own address is."""
    conf = (Path(__file__).parents[3] / "deploy" / "nginx.conf").read_text()
    wanted = set(re.findall(r"^ +(proxy_(?!pass|read)[^;]+;)", conf.partition("location / {")[2], re.MULTILINE))
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in wanted
    for location in re.findall(r"^location [^{]+\{(.*?)^\}", FIXES[name].nginx, re.MULTILINE | re.DOTALL):
        assert wanted <= {line.strip() for line in location.splitlines()}
    assert "{ proxy" not in FIXES[name].nginx


@needs_nginx
def test_nginx_refuses_lines_that_are_none(tmp_path: Path) -> None:
    conf = nginx_conf(tmp_path, free_port(), "proxy_buffer off;")
    done = subprocess.run([NGINX, "-t", "-e", "stderr", "-c", conf], capture_output=True, text=True, check=False)
    assert done.returncode != 0


def caddy_validates(folder: Path, lines: str) -> subprocess.CompletedProcess[str]:
    path = folder / "Caddyfile"
    path.write_text(lines if lines.startswith("{") else f"star.example {{\n{lines}\n}}\n")
    command = [CADDY, "validate", "--adapter", "caddyfile", "--config", path]
    home = {"HOME": str(folder), "PATH": os.environ["PATH"]}
    return subprocess.run(command, capture_output=True, text=True, env=home, check=False)


@needs_caddy
@pytest.mark.parametrize("name", FIXES)
def test_caddy_takes_its_lines(tmp_path: Path, name: str) -> None:
    file = Certificates(tmp_path).file()
    done = caddy_validates(tmp_path, re.sub(r"/etc/ssl/star\.example/\w+\.pem", file, FIXES[name].caddy))
    assert done.returncode == 0, done.stderr


@needs_caddy
def test_caddy_refuses_lines_that_are_none(tmp_path: Path) -> None:
    assert caddy_validates(tmp_path, "reverse_proxi 127.0.0.1:8000").returncode != 0


# Members of Traefik's configuration that are used here, as traefik-v3-file-provider.json and traefik-v3.json of
# https://www.schemastore.org have them; "*" stands for a name of one's own.
TRAEFIK = {
    "http.routers.*": {"rule", "service", "tls", "priority", "middlewares"},
    "http.services.*": {"loadBalancer"},
    "http.services.*.loadBalancer": {"servers", "passHostHeader", "responseForwarding"},
    "http.services.*.loadBalancer.responseForwarding": {"flushInterval"},
    "http.middlewares.*": {"errors", "compress", "buffering"},
    "http.middlewares.*.errors": {"status", "service", "query"},
    "http.middlewares.*.compress": {"excludedContentTypes"},
    "http.middlewares.*.buffering": {"maxRequestBodyBytes"},
    "entryPoints.*": {"address", "http", "forwardedHeaders"},
    "entryPoints.*.forwardedHeaders": {"insecure", "trustedIPs"},
    "entryPoints.*.http": {"redirections", "maxHeaderBytes"},
    "entryPoints.*.http.redirections": {"entryPoint"},
    "entryPoints.*.http.redirections.entryPoint": {"to", "scheme", "permanent"},
}


@pytest.mark.parametrize("name", FIXES)
def test_traefik_has_the_members_of_its_lines(name: str) -> None:
    document = yaml.safe_load(FIXES[name].traefik)
    assert set(document) in ({"http"}, {"entryPoints"}, {"tls"})

    def look(node: Any, path: str) -> None:
        own = TRAEFIK.get(path)
        if isinstance(node, dict):
            assert own is None or set(node) <= own, path
            for key, value in node.items():
                is_named = path in ("http.routers", "http.services", "http.middlewares", "entryPoints")
                look(value, f"{path}.{'*' if is_named else key}".lstrip("."))

    look(document, "")


def test_lines_are_those_of_the_endpoint_that_was_examined() -> None:
    text = fix("user-agents", "https://star.corp.example/api/mcp", "Do this:")
    assert text.startswith("Do this:\nnginx:\n")
    assert "location ~ ^/api/mcp/?$ {" in text
    assert "Host(`star.corp.example`)" in text
    assert "/star" not in text
    assert "/etc/ssl/star.corp.example/fullchain.pem" in fix("certificate", "https://star.corp.example/api/mcp", "")
    assert "location = / {" in fix("slash", "https://corp.example/", "")


# --- Lines that mend --------------------------------------------------------------------------------------------------

PASS = "proxy_pass http://127.0.0.1:8000; proxy_set_header Host $http_host;"
FAULTS: dict[str, tuple[str, str, tuple[Any, ...]]] = {
    "edge.host-rewritten": ("host", "location / { proxy_pass http://127.0.0.1:8000; }", (check_arrival,)),
    "edge.path-rewritten": (
        "path",
        f"location / {{ {PASS} }} location /star {{ proxy_pass http://127.0.0.1:8000/inner; "
        "proxy_set_header Host $http_host; }",
        (check_arrival,),
    ),
    "edge.well-known-elsewhere": (
        "well-known",
        f"location /.well-known/ {{ root /nonexistent; }} location / {{ {PASS} }}",
        (check_arrival,),
    ),
    "edge.redirect-loses": ("slash", f"location /star/ {{ {PASS} }}", (check_paths,)),
    "edge.authorization-lost": (
        "authorization",
        f'location / {{ {PASS} proxy_set_header Authorization ""; }}',
        (check_arrival,),
    ),
    "edge.request-header-lost": (
        "request-headers",
        f'location / {{ {PASS} proxy_set_header Mcp-Name ""; }}',
        (check_arrival,),
    ),
    "edge.method-blocked": (
        "methods",
        f"location / {{ {PASS} limit_except GET POST {{ deny all; }} }}",
        (check_arrival,),
    ),
    "edge.upstream-http-1.0": ("upstream-http", f"location / {{ {PASS} }}", (check_arrival,)),
    "edge.response-header-removed": (
        "response-headers",
        f"location / {{ {PASS} proxy_hide_header WWW-Authenticate; }}",
        (check_arrival, check_refusal),
    ),
    "edge.error-page-replaced": (
        "error-pages",
        f"location / {{ {PASS} proxy_intercept_errors on; error_page 401 /401.html; }} "
        "location = /401.html { return 200 sorry; }",
        (check_arrival, check_refusal),
    ),
    "edge.stream-compressed": (
        "compression",
        f"gzip on; gzip_proxied any; gzip_types text/event-stream; gzip_min_length 0; "
        f"location / {{ {PASS} proxy_http_version 1.1; proxy_ignore_headers X-Accel-Buffering; }}",
        (check_arrival, check_streams),
    ),
    "edge.body-limit-low": (
        "body",
        f"client_max_body_size 64k; location / {{ {PASS} }}",
        (check_arrival, check_body_limit),
    ),
    "edge.header-limit-low": (
        "header-size",
        f"large_client_header_buffers 4 2k; location / {{ {PASS} }}",
        (check_arrival, check_header_limit),
    ),
    "edge.user-agent-blocked": (
        "user-agents",
        f"location / {{ if ($http_user_agent ~ (node|python)) {{ return 403; }} {PASS} }}",
        (check_user_agents,),
    ),
    "edge.cors-doubled": (
        "cors",
        f"add_header Access-Control-Allow-Origin * always; location / {{ {PASS} }}",
        (check_web_pages,),
    ),
}


@asynccontextmanager
async def behind_nginx(folder: Path, port: int, lines: str) -> AsyncIterator[None]:
    """Run nginx with the lines of its server."""
    async with running(port, NGINX, "-e", "stderr", "-c", nginx_conf(folder, port, lines)):
        yield


@asynccontextmanager
async def behind_caddy(folder: Path, port: int, lines: str) -> AsyncIterator[None]:
    """Run Caddy with the lines of its site."""
    path = folder / "Caddyfile"
    path.write_text(f"{{\n    admin off\n    auto_https off\n}}\nhttp://127.0.0.1:{port} {{\n{lines}\n}}\n")
    home = {"HOME": str(folder), "PATH": os.environ["PATH"]}
    async with running(port, CADDY, "run", "--adapter", "caddyfile", "--config", path, env=home):
        yield


@asynccontextmanager
async def running(port: int, *command: str | Path, env: dict[str, str] | None = None) -> AsyncIterator[None]:
    """Run a program until its port is open, and then for as long as it is asked."""
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE, env=env)
    try:
        while True:
            assert process.returncode is None, (await process.stderr.read()).decode() if process.stderr else ""
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


def told(findings: tuple[Finding, ...], check: str) -> bool:
    return any(one.check == check and one.level in (Level.NOTE, Level.WARNING, Level.ERROR) for one in findings)


@needs_nginx
@pytest.mark.parametrize("check", FAULTS)
async def test_what_nginx_does_wrong_is_found_and_the_lines_mend_it(
    settings: Any, monkeypatch: Any, tmp_path: Path, transactional_db: None, check: str
) -> None:
    import config.asgi
    from mcpapp.asgi import ResourceServer

    name, fault, checks = FAULTS[check]
    port = free_port()
    names(settings, f"http://127.0.0.1:{port}")
    monkeypatch.setattr(config.asgi, "resource_server", ResourceServer())
    mended = FIXES[name].nginx
    if "location / {" not in mended:
        mended += f"\nlocation / {{ {PASS} }}"
    url = f"http://127.0.0.1:{port}/star"
    async with served(config.asgi.application, lifespan="on") as site:
        upstream = site.removeprefix("http://")
        async with behind_nginx(tmp_path, port, fault.replace("127.0.0.1:8000", upstream)):
            report = await examine(url, *checks)
            assert told(report.findings, check), report.as_text()
        async with behind_nginx(tmp_path, port, mended.replace("127.0.0.1:8000", upstream)):
            report = await examine(url, *checks)
            assert not told(report.findings, check), report.as_text()
            assert wrong(report) == {}, report.as_text()
    await sync_to_async(connections.close_all)()


def test_each_fault_of_nginx_that_a_proxy_on_loopback_can_have_is_tried() -> None:
    # It passes the chunks of uvicorn on as they come unless it compresses them, whatever proxy_buffering says.
    others = {"buffering", "forwarded", "forged", "redirect", "cache", "certificate", "http2", "ipv6"}
    assert {name for name, _, _ in FAULTS.values()} | others == set(FIXES)


@pytest.mark.parametrize(
    ("behind", "lines"),
    [
        pytest.param(behind_nginx, FIXES["buffering"].nginx, marks=needs_nginx, id="nginx"),
        pytest.param(behind_caddy, FIXES["buffering"].caddy, marks=needs_caddy, id="Caddy"),
        pytest.param(
            behind_caddy, FIXES["slash"].caddy + "\nreverse_proxy 127.0.0.1:8000", marks=needs_caddy, id="slash"
        ),
        pytest.param(behind_caddy, FIXES["compression"].caddy, marks=needs_caddy, id="compression"),
    ],
)
async def test_behind_a_proxy_with_these_lines_nothing_is_wrong(
    settings: Any, monkeypatch: Any, tmp_path: Path, transactional_db: None, behind: Any, lines: str
) -> None:
    import config.asgi
    from mcpapp.asgi import ResourceServer

    port = free_port()
    names(settings, f"http://127.0.0.1:{port}")
    monkeypatch.setattr(config.asgi, "resource_server", ResourceServer())
    async with (
        served(config.asgi.application, lifespan="on") as site,
        behind(tmp_path, port, lines.replace("127.0.0.1:8000", site.removeprefix("http://"))),
    ):
        report = await examine(f"http://127.0.0.1:{port}/star")
    await sync_to_async(connections.close_all)()
    assert wrong(report) == {}, report.as_text()
    assert {one.check for one in report.findings} >= {"edge.stream", "edge.host", "edge.cors", "edge.upstream-http"}
