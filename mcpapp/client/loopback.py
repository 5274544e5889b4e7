"""The address on this machine to which the browser comes back with the answer to a sign-in (RFC 8252 7.3).

A server of our own on a free port of 127.0.0.1 that understands one request, `GET /callback?…`, and is gone after it.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from html import escape
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

MAX_REQUEST_BYTES = 16 * 1024
SECONDS_TO_SEND_A_REQUEST = 10
SECONDS_TO_FINISH = 1
_HEADERS = (
    "Content-Type: text/html; charset=utf-8\r\n"
    "Cache-Control: no-store\r\n"
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Connection: close\r\n"
)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 1.1rem/1.5 system-ui, sans-serif }}
body {{ display: grid; place-items: center; min-height: 90vh; margin: 0 1rem; text-align: center }}
</style></head><body><main><h1>{title}</h1><p>{text}</p></main></body></html>
"""


class Answer(NamedTuple):
    """What the authorization server said through the browser: a code, or why there is none (RFC 6749 4.1.2)."""

    code: str
    state: str | None
    issuer: str | None
    error: str = ""
    error_description: str = ""


class Loopback:
    """The address, from `async with` until the answer is there or the block ends."""

    def __init__(self, host: str = "127.0.0.1", path: str = "/callback") -> None:
        """`host` is how the redirect URI names this machine, `path` what is in it after the port."""
        self._host = host
        self._path = path
        self._state = ""
        self._answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0

    async def listen(self, port: int = 0) -> None:
        """Take a free port of 127.0.0.1, or the one that is named. Raises: OSError if that one is taken."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=MAX_REQUEST_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def redirect_uri(self) -> str:
        """Where the browser is to come back to."""
        return f"http://{self._host}:{self.port}{self._path}"

    async def answer(self, state: str, seconds: float) -> Answer:
        """Wait for the browser to bring the answer with this state, `seconds` at the most.

        Any page may send the browser here; what has another state is turned away, and ends nothing (RFC 6749 10.12).
        Raises: TimeoutError.
        """
        self._state = state
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(self._answer)
        finally:
            self.close()

    def close(self) -> None:
        """Give the port back. A request that is being answered is answered to its end, by `finished`."""
        if self._server:
            self._server.close()

    async def finished(self) -> None:
        """Give the port back, and let the page go out that is on its way. Never raises."""
        self.close()
        if self._serving:
            await asyncio.wait(self._serving, timeout=SECONDS_TO_FINISH)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        try:
            async with asyncio.timeout(SECONDS_TO_SEND_A_REQUEST):
                head = await reader.readuntil(b"\r\n\r\n")
                status, title, text, answer = self._read(head)
                if answer and not self._answer.done():
                    self._answer.set_result(answer)
                body = _PAGE.format(title=escape(title), text=escape(text)).encode()
                lines = f"HTTP/1.1 {status}\r\n{_HEADERS}Content-Length: {len(body)}\r\n\r\n"
                writer.write(lines.encode() + body)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever it was, they did not speak HTTP, or went away
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _read(self, head: bytes) -> tuple[str, str, str, Answer | None]:
        """Return the status line, a title, a text, and the answer if this request brings it."""
        lines = head.decode("latin-1").split("\r\n")
        method, _, rest = lines[0].partition(" ")
        target = rest.partition(" ")[0]
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        # A page that a stranger's DNS name leads here names that name: only our own address is answered.
        if headers.get("host") != f"{self._host}:{self.port}":
            return "421 Misdirected Request", "Not here", "This address answers to its own name only.", None
        url = urlsplit(target)
        if url.path != (self._path or "/"):
            return "404 Not Found", "Nothing is here", "Go back to the terminal.", None
        if method != "GET":
            return "405 Method Not Allowed", "Nothing is here", "Go back to the terminal.", None
        parameters = parse_qs(url.query, keep_blank_values=True)
        if self._answer.done() or any(len(values) > 1 for values in parameters.values()):
            return "400 Bad Request", "That was not expected", "Go back to the terminal.", None
        given = {name: values[0] for name, values in parameters.items()}
        expected = secrets.compare_digest(given.get("state", "").encode(), self._state.encode())
        if not self._state or not expected or ("code" not in given and "error" not in given):
            return "400 Bad Request", "That was not expected", "Go back to the terminal.", None
        answer = Answer(
            given.get("code", ""),
            given.get("state"),
            given.get("iss"),
            given.get("error", ""),
            given.get("error_description", ""),
        )
        if answer.error:
            return "200 OK", "You are not signed in", "Nothing was allowed. You can close this page.", answer
        return "200 OK", "That is all", "You can close this page and go back to the terminal.", answer
