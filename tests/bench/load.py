"""Load one server over kept-alive connections, each one call after another, and check every reply.

    echo '{"port": 8000, …}' | python -m tests.bench.load

Runs in a process of its own and prints one line of JSON: so its CPU is not the server's.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

PLACE = "VALUE-OF-EACH-REQUEST"
"""Stands in a request for what differs from one to the next: a token, or the id of a session."""
_DIGITS = b"0123456789"


class BadReply(Exception):
    """Not the result of the tool."""


@dataclass(frozen=True)
class Plan:
    """What to send: for some seconds, or so many calls, whichever ends first."""

    port: int
    request: str
    values: list[str]
    """What takes the place of `PLACE`; a connection sends every so manieth of them, in turn."""
    resource: str
    connections: int = 16
    seconds: float = 3600
    count: int = 1 << 60


@dataclass
class Report:
    """What came of it."""

    calls: int
    seconds: float
    waits: dict[str, float] = field(default_factory=dict)
    """Milliseconds until the answer: `p50` and `p99`."""
    cpu: float = 0.0
    """How much of a core the sender used; near 1 means that it, not the server, was the limit."""


def run(plan: Plan) -> Report:
    """Carry a plan out in another process. A reply that is not the tool's result ends the benchmark."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.load"],
        input=json.dumps(asdict(plan)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr.strip() or f"The load generator ended with {done.returncode}.")
    return Report(**json.loads(done.stdout))


def require_result(body: bytes, resource: str) -> None:
    """Return if a body, JSON or an event stream, is the tool's result.

    Raises:
        BadReply: it is not.
    """
    text = body.decode()
    if not text.startswith("{"):
        text = next((line[5:] for line in text.splitlines() if line.startswith("data:") and "{" in line), "")
    try:
        result: dict[str, Any] = json.loads(text)["result"]
        answer = result["structuredContent"]
        good = not result.get("isError") and answer["resource"] == resource
        good = good and sorted(answer) == ["resource", "server", "time"]
        good = good and all(isinstance(value, str) for value in answer.values())
    except (ValueError, KeyError, TypeError) as error:
        raise BadReply(f"Not a result: {body[:300]!r}") from error
    if not good:
        raise BadReply(f"Not the expected result: {body[:300]!r}")


class Sender:
    """All connections together."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.waits: list[float] = []
        self.left = plan.count
        self.until = 0.0
        self.seen: set[bytes] = set()
        """Bodies that were read whole, without their digits: a later one that differs in those alone is the same."""

    async def work(self) -> Report:
        """Send until time or calls are over, and all answers are there."""
        loop = asyncio.get_running_loop()
        started, cpu = time.monotonic(), time.process_time()
        self.until = started + self.plan.seconds
        lines = []
        for number in range(self.plan.connections):
            values = self.plan.values[number :: self.plan.connections] or self.plan.values
            requests = [self.plan.request.replace(PLACE, value).encode("latin-1") for value in values]
            _, line = await loop.create_connection(lambda r=requests: Line(self, r), "127.0.0.1", self.plan.port)
            lines.append(line)
        for line in lines:
            await line.finished
        took = time.monotonic() - started
        self.waits.sort()
        at = {name: self.waits[int(len(self.waits) * share)] * 1000 for name, share in (("p50", 0.5), ("p99", 0.99))}
        return Report(len(self.waits), took, at, (time.process_time() - cpu) / took)

    def more(self) -> bool:
        """Take the right to one more call."""
        self.left -= 1
        return self.left >= 0 and time.monotonic() < self.until

    def check(self, status: bytes, body: bytes) -> None:
        """Return if a reply is good.

        Raises:
            BadReply: it is not.
        """
        if b" 200 " not in status:
            raise BadReply(f"{status!r} {body[:300]!r}")
        without_digits = body.translate(None, _DIGITS)
        if without_digits not in self.seen:
            require_result(body, self.plan.resource)
            if len(self.seen) < 100:
                self.seen.add(without_digits)


class Line(asyncio.Protocol):
    """One connection: sends, waits for the whole reply, sends the next."""

    def __init__(self, sender: Sender, requests: list[bytes]) -> None:
        self.sender = sender
        self.requests = requests
        self.turn = 0
        self.buffer = b""
        self.sent_at = 0.0
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self.transport = transport
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        """End; before the work is done that is a failure."""
        if not self.finished.done():
            self.finished.set_exception(BadReply("The server closed a connection in the middle of the work."))

    def data_received(self, data: bytes) -> None:
        """Take a piece of the reply in; go on when it is whole."""
        self.buffer += data
        try:
            reply = whole_reply(self.buffer)
            if reply is None:
                return
            self.buffer = b""
            self.sender.check(*reply)
        except BadReply as error:
            if not self.finished.done():
                self.finished.set_exception(error)
            self.transport.close()
            return
        self.sender.waits.append(time.monotonic() - self.sent_at)
        self._next()

    def _next(self) -> None:
        if not self.sender.more():
            self.finished.set_result(None)
            self.transport.close()
            return
        self.sent_at = time.monotonic()
        self.transport.write(self.requests[self.turn])
        self.turn = (self.turn + 1) % len(self.requests)


def whole_reply(data: bytes) -> tuple[bytes, bytes] | None:
    """Return status line and body of a reply (RFC 9112 §6), or None if it is not whole yet.

    Raises:
        BadReply: something follows it that was not asked for, or its length is not told.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head, rest = data[:end].lower(), data[end + 4 :]
    place = head.find(b"\r\ncontent-length:")
    if place >= 0:
        length = int(head[place + 17 :].partition(b"\r\n")[0])
        if len(rest) > length:
            raise BadReply(f"More than one reply to a request: {data[:300]!r}")
        return (data[: head.find(b"\r\n")], rest) if len(rest) == length else None
    if b"\r\ntransfer-encoding: chunked" not in head:
        raise BadReply(f"A reply without a length: {head!r}")
    if not rest.endswith(b"0\r\n\r\n"):
        return None
    body = bytearray()
    while True:
        size, separator, rest = rest.partition(b"\r\n")
        length = int(size.partition(b";")[0] or b"0", 16) if separator else 0
        if len(rest) < length + 2:
            return None
        if not length:
            return data[: head.find(b"\r\n")], bytes(body)
        body += rest[:length]
        rest = rest[length + 2 :]


def main() -> None:
    """Read a plan, carry it out, print the report."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        new_event_loop = asyncio.new_event_loop
    sender = Sender(Plan(**json.load(sys.stdin)))
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            report = runner.run(sender.work())
    except (BadReply, OSError) as error:
        raise SystemExit(f"{error}") from None
    print(json.dumps(asdict(report)))


if __name__ == "__main__":
    main()
