"""A local server that speaks OpenAI's chat completions on the wire, and answers as it was told to beforehand.

Each request takes the next of `turns`; what was asked is kept in `requests`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Turn = Callable[["Wire"], None]
USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


@dataclass
class Asked:
    """A request as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.body["messages"]

    def results(self) -> list[str]:
        """What the tools had answered."""
        return [message["content"] for message in self.messages if message["role"] == "tool"]


@dataclass
class Wire:
    """One response on its way."""

    handler: BaseHTTPRequestHandler
    asked: Asked
    _is_open: bool = field(default=False)

    def error(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        body = {"error": {"message": message, "type": "error", "param": None, "code": code}}
        self.raw(status, json.dumps(body).encode(), **headers)

    def raw(self, status: int, data: bytes, **headers: str) -> None:
        self.handler.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.send_header("Content-Length", str(len(data)))
        self.handler.end_headers()
        self.handler.wfile.write(data)

    def event(self, data: str) -> None:
        if not self._is_open:
            self._is_open = True
            self.handler.send_response(200)
            self.handler.send_header("Content-Type", "text/event-stream")
            self.handler.send_header("Transfer-Encoding", "chunked")
            self.handler.end_headers()
        piece = f"data: {data}\n\n".encode()
        self.handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.handler.wfile.flush()

    def chunk(self, delta: dict[str, Any] | None = None, finish: str | None = None, usage: Any = None) -> None:
        choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
        whole = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "test", "choices": choices}
        self.event(json.dumps({**whole, "usage": usage}))

    def end(self, usage: Any = USAGE) -> None:
        if usage and self.asked.body.get("stream_options", {}).get("include_usage"):
            self.chunk(usage=usage)
        self.event("[DONE]")
        self.handler.wfile.write(b"0\r\n\r\n")
        self.handler.wfile.flush()

    def break_off(self) -> None:
        """The connection ends in the middle of the body."""
        self.handler.wfile.flush()
        self.handler.connection.close()
        self.handler.close_connection = True


def says(*pieces: str, finish: str = "stop", usage: Any = USAGE) -> Turn:
    """An answer in words, in these pieces."""

    def turn(wire: Wire) -> None:
        wire.chunk({"role": "assistant", "content": ""})
        for piece in pieces:
            wire.chunk({"content": piece})
        wire.chunk({}, finish)
        wire.end(usage)

    return turn


def calls(*wanted: tuple[str, dict[str, Any] | str], finish: str = "tool_calls", text: str = "") -> Turn:
    """An answer that asks for tools, their arguments in small pieces, those of several calls in turns."""

    def turn(wire: Wire) -> None:
        wire.chunk({"role": "assistant", "content": text or None})
        written = [value if isinstance(value, str) else json.dumps(value) for _, value in wanted]
        for index, (name, _) in enumerate(wanted):
            function = {"name": name, "arguments": ""}
            call = {"index": index, "id": f"call_{name}_{index}", "type": "function", "function": function}
            wire.chunk({"tool_calls": [call]})
        for start in range(0, max(map(len, written)), 7):
            for index, value in enumerate(written):
                if piece := value[start : start + 7]:
                    wire.chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        wire.chunk({}, finish)
        wire.end()

    return turn


def refuses(status: int, message: str = "No.", code: str | None = None, **headers: str) -> Turn:
    """An error."""
    return lambda wire: wire.error(status, message, code, **headers)


def breaks_off(*pieces: str, wanted: str = "") -> Turn:
    """An answer that ends in its middle, in that of the call it asks for when one is `wanted`."""

    def turn(wire: Wire) -> None:
        wire.chunk({"role": "assistant", "content": ""})
        for piece in pieces:
            wire.chunk({"content": piece})
        if wanted:
            function = {"name": wanted, "arguments": "{}"}
            wire.chunk({"tool_calls": [{"index": 0, "id": "cut", "type": "function", "function": function}]})
        wire.break_off()

    return turn


@dataclass
class OpenAIServer:
    """The server: `url` is what a client takes as its base URL."""

    url: str
    turns: list[Turn] = field(default_factory=list)
    requests: list[Asked] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def stalls(self, *pieces: str) -> Turn:
        """An answer that begins and does not go on until the server is `released`."""

        def turn(wire: Wire) -> None:
            wire.chunk({"role": "assistant", "content": ""})
            for piece in pieces:
                wire.chunk({"content": piece})
            self.released.wait(30)

        return turn


@contextmanager
def openai_server() -> Iterator[OpenAIServer]:
    """Run one on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            server.requests.append(asked)
            turn = server.turns.pop(0) if server.turns else refuses(400, "The test told no more turns.")
            try:
                turn(Wire(self, asked))
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Keep the output of the tests clean."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server = OpenAIServer(f"http://127.0.0.1:{http.server_port}/v1")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        http.shutdown()
        thread.join(5)
        http.server_close()
