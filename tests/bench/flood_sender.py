"""Send made-up tokens to /star as cheaply as can be: many requests at once over a few kept-alive connections.

    python -m tests.bench.flood_sender PORT RATE SECONDS CONNECTIONS PREFIX

Prints a line when it has begun, and one of JSON at the end. Needs nothing but Python, so that it costs little.
"""

from __future__ import annotations

import json
import secrets
import selectors
import socket
import sys
import time
from contextlib import suppress

TICK = 0.005
MAXIMUM_WAITING = 64
"""How many requests of a connection may wait for their answers; further ones are not sent."""


class Line:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.waiting = 0
        self.tail = b""
        self.unsent = b""

    def write(self, data: bytes) -> None:
        """Send what the socket takes; keep the rest."""
        self.unsent += data
        with suppress(BlockingIOError):
            self.unsent = self.unsent[self.socket.send(self.unsent) :]

    def read(self) -> int:
        """Return how many answers have come, each a 401."""
        try:
            data = self.tail + self.socket.recv(1 << 16)
        except BlockingIOError:
            return 0
        if data == self.tail:
            raise SystemExit("The server closed a connection.")
        if b"HTTP/1.1 2" in data or b"HTTP/1.1 5" in data:
            raise SystemExit(f"Not refused: {data[:300]!r}")
        answers = data.count(b"HTTP/1.1 401")
        self.tail = data[-11:]  # too short for a whole one, so none is counted twice
        self.waiting -= answers
        return answers


def main() -> None:
    """Send, and report."""
    port, rate, seconds, connections, prefix = sys.argv[1:]
    lines = [Line(int(port)) for _ in range(int(connections))]
    selector = selectors.DefaultSelector()
    for line in lines:
        selector.register(line.socket, selectors.EVENT_READ, line)
    salt, sent, answered, turn = secrets.token_hex(8), 0, 0, 0
    print("begun", flush=True)
    start, cpu = time.monotonic(), time.process_time()
    last, owed = start, 0.0
    while (now := time.monotonic()) < start + float(seconds):
        # What could not be sent in time is not made up for: that would be more than the rate.
        owed = min(owed + (now - last) * int(rate), 0.05 * int(rate))
        last, due = now, int(owed)
        share = -(-due // len(lines))
        for _ in range(len(lines)):
            line = lines[turn := (turn + 1) % len(lines)]
            batch = min(share, due, MAXIMUM_WAITING - line.waiting)
            if batch > 0:
                line.write(
                    b"".join(
                        b"POST /star HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nAuthorization: Bearer %s%s%027d\r\n"
                        b"Content-Length: 0\r\n\r\n" % (port.encode(), prefix.encode(), salt.encode(), sent + number)
                        for number in range(batch)
                    )
                )
                line.waiting += batch
                sent += batch
                due -= batch
                owed -= batch
            elif line.unsent:
                line.write(b"")
        until = time.monotonic() + TICK
        while (left := until - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                answered += key.data.read()
            time.sleep(max(0.0, min(0.002, until - time.monotonic())))  # answers are read in heaps
    took = time.monotonic() - start
    print(json.dumps({"answered": answered, "rate": answered / took, "cpu": (time.process_time() - cpu) / took}))


if __name__ == "__main__":
    main()
