"""The real site on loopback, and in front of it a proxy that does everything right but for what a test breaks."""

from __future__ import annotations

import inspect
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from asgiref.sync import sync_to_async
from django.db import connections

from mcpapp.doctor.edge import check_edge
from mcpapp.doctor.edge_frame import Edge
from mcpapp.doctor.report import Finding, Level, Report
from mcpapp.doctor.target import Target
from mcpapp.doctor.web import Web
from tests.mcpapp.over_http import served

HOP_BY_HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"server"}
Header = tuple[bytes, bytes]
TRUST = ssl.create_default_context()
"""Loading it takes longer than most checks."""


@dataclass
class Request:
    """What a client sent, before it is passed on."""

    method: str
    path: str
    headers: list[Header]
    body: bytes

    def header(self, name: str) -> str:
        """Return the value of a header; empty if it has none."""
        return next((value.decode() for line, value in self.headers if line == name.encode()), "")

    def drop(self, *names: str) -> None:
        """Take out headers."""
        self.headers = [(name, value) for name, value in self.headers if name.decode() not in names]

    def put(self, name: str, value: str) -> None:
        """Replace a header."""
        self.drop(name)
        self.headers.append((name.encode(), value.encode()))


@dataclass
class Reply:
    """What goes back to the client."""

    status: int
    headers: list[Header] = field(default_factory=list)
    body: bytes | None = None
    """None: what the site sends, piece by piece."""
    is_cut: bool = False
    """Whether the connection ends before the body does."""

    drop = Request.drop
    put = Request.put


class Proxy:
    """An ASGI application that passes on; a test gives it `on_request` or `on_reply` to break something."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.on_request: Callable[[Request], Reply | Awaitable[Reply | None] | None] = lambda request: None
        self.on_reply: Callable[[Request, Reply], None] = lambda request, reply: None
        self.is_buffering = False
        self.adds_to_forwarded_for = False
        self.requests: list[Request] = []
        self._client = httpx2.AsyncClient(trust_env=False, timeout=60)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = bytearray()
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        path = scope["raw_path"].decode() + (f"?{scope['query_string'].decode()}" if scope["query_string"] else "")
        request = Request(
            scope["method"], path, [(n, v) for n, v in scope["headers"] if n not in HOP_BY_HOP], bytes(body)
        )
        sent = request.header("x-forwarded-for")
        address = scope["client"][0]
        request.put("x-forwarded-for", f"{sent}, {address}" if self.adds_to_forwarded_for and sent else address)
        request.put("x-forwarded-proto", scope["scheme"])
        self.requests.append(request)
        reply = self.on_request(request)
        if isinstance(reply, Awaitable):
            reply = await reply
        if reply is not None:
            await _send(send, reply, reply.body or b"")
            return
        passed = httpx2.Request(request.method, self.site + request.path, headers=request.headers, content=request.body)
        if not request.body and request.method != "POST":
            passed.headers.pop("content-length", None)
        response = await self._client.send(passed, stream=True)
        reply = Reply(
            response.status_code, [(n.lower(), v) for n, v in response.headers.raw if n.lower() not in HOP_BY_HOP]
        )
        try:
            self.on_reply(request, reply)
            if reply.body is not None or self.is_buffering:
                whole = b"".join([chunk async for chunk in response.aiter_raw()])
                await _send(send, reply, whole if reply.body is None else reply.body)
                return
            await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
            async for chunk in response.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await response.aclose()


async def _send(send: Any, reply: Reply, body: bytes) -> None:
    headers = [(n, v) for n, v in reply.headers if n != b"content-length"]
    headers.append((b"content-length", str(len(body) + reply.is_cut).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": reply.is_cut})


def names(settings: Any, origin: str) -> None:
    """Make an address the public one of the site."""
    resource = f"{origin}/star"
    host = origin.partition("//")[2].partition(":")[0]
    settings.PUBLIC_URL, settings.PUBLIC_URLS, settings.RESOURCES = origin, [origin], [resource]
    settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, host]
    settings.MCPAPP = {**settings.MCPAPP, "RESOURCES": [resource], "AUTHORIZATION_SERVERS": [origin]}
    settings.AUTHAPP = {**settings.AUTHAPP, "ISSUERS": [origin], "RESOURCES": [resource]}


@asynccontextmanager
async def proxied_site(
    settings: Any, monkeypatch: Any, name: str = "127.0.0.1", edge: dict[str, Any] | None = None, **site: Any
) -> AsyncIterator[tuple[Proxy, str]]:
    """Serve the site behind a proxy; give the proxy and the public URL of the endpoint."""
    import config.asgi
    from mcpapp.asgi import ResourceServer

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await config.asgi.application(scope, receive, send)

    proxy = Proxy("")
    edge = edge or {}
    async with served(proxy, lifespan="off", date_header=False, proxy_headers=False, **edge) as public:
        origin = public.replace("127.0.0.1", name)
        if "ssl_certfile" in edge:
            origin = origin.replace("http:", "https:")
        names(settings, origin)
        monkeypatch.setattr(config.asgi, "resource_server", ResourceServer())
        async with served(application, lifespan="on", **site) as proxy.site:
            yield proxy, f"{origin}/star"
    await proxy._client.aclose()
    await sync_to_async(connections.close_all)()


async def examine(url: str, *checks: Any, verify: Any = TRUST, **options: Any) -> Report:
    """Examine the edge of an endpoint; only in some respects, if they are named."""
    report = Report(url)
    target = Target(url, **{"is_own_site": True, **options})
    async with Web(report.secrets, verify=verify) as web:
        if not checks:
            await check_edge(web, target, report)
            return report
        edge = Edge(web, target, report)
        base = await edge.post()
        await edge.discover()
        for check in checks:
            await (check(edge, base) if len(inspect.signature(check).parameters) == 2 else check(edge))
    return report


def wrong(report: Report) -> dict[str, Finding]:
    """Return what is doubtful or wrong, by its id."""
    return {one.check: one for one in report.findings if one.level in (Level.WARNING, Level.ERROR)}


@contextmanager
def resolving(monkeypatch: Any, **ports: int) -> Iterator[None]:
    """Let star.test lead to this machine: `https=` and `http=` replace the usual ports, `ipv6=` that of [::1]."""
    getaddrinfo, connect = socket.getaddrinfo, socket.socket.connect
    moved = {("127.0.0.1", 443): ports.get("https", 443), ("127.0.0.1", 80): ports.get("http", 80)}

    def resolve(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if (host.decode() if isinstance(host, bytes) else host) != "star.test":
            return getaddrinfo(host, port, *arguments, **options)
        found: Any = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
        if "ipv6" in ports:
            found.append((socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)))
        return found

    def reach(client: socket.socket, address: Any) -> None:
        if client.family == socket.AF_INET6 and "ipv6" in ports:
            address = (address[0], ports["ipv6"])
        elif client.family == socket.AF_INET:
            address = (address[0], moved.get(address, address[1]))
        connect(client, address)

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", resolve)
        patched.setattr(socket.socket, "connect", reach)
        yield
