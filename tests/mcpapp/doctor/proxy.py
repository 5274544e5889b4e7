"""A proxy in front of a real server that breaks one thing, as proxies, gateways and other people's servers do."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass
class Asked:
    """A request on its way."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))

    @form.setter
    def form(self, values: dict[str, str]) -> None:
        self.body = urlencode(values).encode()

    @property
    def message(self) -> dict[str, Any]:
        """The JSON that is sent."""
        try:
            sent = json.loads(self.body)
        except ValueError:
            return {}
        return sent if isinstance(sent, dict) else {}

    def header(self, name: str) -> str:
        return next((value for known, value in self.headers if known.lower() == name.lower()), "")


@dataclass
class Reply:
    """An answer on its way."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    pieces: Iterator[bytes] | None = None
    """Of a stream that is passed on as it comes; nobody breaks anything in it."""

    @classmethod
    def of_json(cls, document: Any, status: int = 200) -> Reply:
        return cls(status, [("Content-Type", "application/json")], json.dumps(document).encode())

    @classmethod
    def page(cls, title: str, status: int) -> Reply:
        text = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
        return cls(status, [("Content-Type", "text/html; charset=utf-8")], text.encode())

    def header(self, name: str) -> str:
        return next((value for known, value in self.headers if known.lower() == name.lower()), "")

    def without(self, name: str) -> Reply:
        self.headers = [(known, value) for known, value in self.headers if known.lower() != name.lower()]
        return self

    def with_header(self, name: str, value: str) -> Reply:
        self.without(name).headers.append((name, value))
        return self

    @property
    def document(self) -> dict[str, Any]:
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def saying(self, **members: Any) -> Reply:
        """Change members of its JSON; None takes one out."""
        document = self.document | members
        self.body = json.dumps({name: value for name, value in document.items() if value is not None}).encode()
        return self


Forward = Callable[[Asked], Reply]
Fault = Callable[[Asked, Forward], Reply]


def no_fault(asked: Asked, forward: Forward) -> Reply:
    return forward(asked)


class Proxy:
    """It forwards as its `fault` says."""

    def __init__(self) -> None:
        self.fault: Fault = no_fault
        self.upstream_port = 0
        self.seen: list[Asked] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked = Asked(self.command, self.path, list(self.headers.items()), body)
                proxy.seen.append(asked)
                reply = proxy.fault(asked, proxy.forward)
                if not reply.status:  # no answer at all
                    self.close_connection = True
                    return
                self.send_response_only(reply.status)
                for name, value in reply.headers:
                    if name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                if reply.pieces is not None:
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    with suppress(ConnectionError):  # the client has seen enough
                        for piece in reply.pieces:
                            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                        self.wfile.write(b"0\r\n\r\n")
                    return
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = answer

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def forward(self, asked: Asked) -> Reply:
        upstream = http.client.HTTPConnection("127.0.0.1", self.upstream_port, timeout=30)
        try:
            upstream.putrequest(asked.method, asked.target, skip_host=True, skip_accept_encoding=True)
            for name, value in asked.headers:
                if name.lower() not in HOP_BY_HOP:
                    upstream.putheader(name, value)
            if asked.body or asked.method in ("POST", "PUT"):
                upstream.putheader("Content-Length", str(len(asked.body)))
            upstream.endheaders(asked.body)
            answer = upstream.getresponse()
            listens = "subscriptions/listen" in (asked.header("Mcp-Method"), asked.message.get("method"))
            is_stream = answer.getheader("Content-Type", "") == "text/event-stream"
            if is_stream and (listens or asked.header("Star-Doctor")):
                upstream, kept = http.client.HTTPConnection("127.0.0.1"), upstream
                return Reply(answer.status, answer.getheaders(), pieces=_pieces(kept, answer))
            return Reply(answer.status, answer.getheaders(), answer.read())
        finally:
            upstream.close()


def _pieces(upstream: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while piece := answer.read1():
            yield piece
    finally:
        upstream.close()


@contextmanager
def proxying() -> Iterator[Proxy]:
    """Run a proxy; its upstream is set later, for it decides the address under which that is known."""
    proxy = Proxy()
    thread = threading.Thread(target=proxy.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.server.shutdown()
        proxy.server.server_close()
        thread.join()
