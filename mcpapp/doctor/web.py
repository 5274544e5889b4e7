"""HTTP for the doctor: every request has an end, no redirect is followed, nothing is kept from one to the next.

The servers are strangers': they may be slow, endless, compressed a thousandfold or no HTTP at all.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from time import perf_counter
from types import TracebackType
from typing import Any

import httpx2

from mcpapp.doctor.secrecy import Secrets

MAXIMUM_BYTES = 1024 * 1024
"""Of one answer; the rest is not read."""
SECONDS = 20.0
"""For one request, from its connection to the last byte."""
_DEFAULT_HEADERS = {"User-Agent": "mcp_doctor", "Accept": "*/*", "Accept-Encoding": "identity"}


class Unreachable(Exception):
    """No answer came; the text says why in plain words, and `kind` in one."""

    def __init__(self, reason: str, kind: str = "network") -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered."""

    status: int
    headers: httpx2.Headers
    body: bytes = field(repr=False)
    seconds: float
    http_version: str
    url: str
    is_whole: bool = True
    """Whether `body` is all of it."""

    @property
    def content_type(self) -> str:
        """The media type, in lower case and without parameters."""
        return str(self.headers.get("content-type", "")).partition(";")[0].strip().lower()

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        """The body as JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def document(self) -> dict[str, Any]:
        """The body as a JSON object; an empty one if it is none."""
        value = self.json
        return value if isinstance(value, dict) else {}


class Streaming:
    """An answer whose body is read while it comes: for what arrives when."""

    def __init__(self, response: httpx2.Response, started: float) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self.http_version = response.http_version
        self._response = response
        self._started = started
        self.seconds = perf_counter() - started
        """Until the headers were there."""

    async def chunks(self) -> AsyncIterator[tuple[float, bytes]]:
        """Yield pieces of the body, as they were sent, each with the seconds since the request began.

        Raises: Unreachable.
        """
        size = 0
        try:
            async for chunk in self._response.aiter_raw():
                yield perf_counter() - self._started, chunk
                size += len(chunk)
                if size > MAXIMUM_BYTES:
                    return
        except httpx2.HTTPError as error:
            raise explained(error) from error


class Web:
    """Requests to the world. An async context manager; what is sent as a credential is told to `secrets`."""

    def __init__(
        self,
        secrets: Secrets | None = None,
        *,
        seconds: float = SECONDS,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self.secrets = secrets or Secrets()
        self.seconds = seconds
        self._verify = verify
        self._client: httpx2.AsyncClient | None = None

    async def __aenter__(self) -> Web:
        """Open it."""
        # A connection for each request: some faults are of one worker or one address among several.
        self._client = httpx2.AsyncClient(
            verify=self._verify,
            timeout=self.seconds,
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # none is kept: `pages.Browser` has its own
            # A proxy of the environment leads out of this machine, not back to it.
            mounts={f"all://{host}": None for host in ("127.0.0.1", "localhost", "[::1]")},
            limits=httpx2.Limits(max_keepalive_connections=0),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        if self._client is not None:
            await self._client.aclose()

    def tls_context(self) -> ssl.SSLContext:
        """Return how certificates are checked, for connections that are not for HTTP."""
        return httpx2.create_ssl_context(verify=self._verify)

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
        *,
        until: Callable[[bytes], bool] | None = None,
    ) -> Answer:
        """Send a request and return its answer, whatever its status.

        `until` ends the reading early, when it says so of what has been read: a stream of events has no end.

        Raises: Unreachable.
        """
        started = perf_counter()
        received = bytearray()
        is_whole = True
        async with self.stream(method, url, headers, body) as streaming:
            async for _, chunk in streaming.chunks():
                received += chunk
                if len(received) > MAXIMUM_BYTES or (until and until(bytes(received))):
                    is_whole = False
                    break
        answered, whole = _decoded(bytes(received[:MAXIMUM_BYTES]), streaming.headers.get("content-encoding", ""))
        for cookie in streaming.headers.get_list("set-cookie"):
            self.secrets.add(cookie.partition(";")[0].partition("=")[2])
        seconds = perf_counter() - started
        return Answer(
            streaming.status, streaming.headers, answered, seconds, streaming.http_version, url, is_whole and whole
        )

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
    ) -> AsyncIterator[Streaming]:
        """Send a request and yield its answer as soon as the headers are there.

        Raises: Unreachable, also when all of it takes too long.
        """
        started = perf_counter()
        deadline = asyncio.timeout(self.seconds)
        try:
            async with deadline:
                response = await self._send(method, url, headers or {}, body)
                try:
                    yield Streaming(response, started)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise Unreachable(f"no whole answer came within {self.seconds:g} seconds", "timeout") from error

    async def _send(self, method: str, url: str, given: Mapping[str, str], body: bytes | str | None) -> httpx2.Response:
        assert self._client is not None, "a Web is a context manager"  # noqa: S101
        try:
            sent = httpx2.Headers(_DEFAULT_HEADERS)
            sent.update(given)
            self._keep_secret(sent)
            request = self._client.build_request(method, url, headers=sent, content=body)
            for name in _DEFAULT_HEADERS:
                if given.get(name) == "":  # sends none
                    request.headers.pop(name, None)
            return await self._client.send(request, stream=True)
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, OSError, OverflowError, ExceptionGroup) as error:
            raise explained(error) from error

    def _keep_secret(self, headers: httpx2.Headers) -> None:
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        self.secrets.add(credentials or scheme)
        for cookie in headers.get("cookie", "").split(";"):
            self.secrets.add(cookie.partition("=")[2].strip())


def _decoded(raw: bytes, encoding: str) -> tuple[bytes, bool]:
    """Return a body uncompressed, as much of it as is read, and whether that is all."""
    if encoding.strip().lower() not in ("gzip", "deflate"):
        return raw, True
    decompress = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        return decompress.decompress(raw, MAXIMUM_BYTES), not decompress.unconsumed_tail
    except zlib.error:
        return raw, False


def explained(error: Exception) -> Unreachable:
    """Return in plain words why there is no answer."""
    if isinstance(error, httpx2.ConnectTimeout):
        return Unreachable("nobody answered the connection in time (a firewall may be dropping it)", "timeout")
    if isinstance(error, httpx2.TimeoutException):
        return Unreachable("the server took the request and did not answer in time", "timeout")
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Unreachable(f"its TLS certificate is not accepted: {cause.verify_message}", "certificate")
        if isinstance(cause, ssl.SSLError):
            return Unreachable(f"no TLS connection comes about: {cause.reason or cause}", "tls")
        if isinstance(cause, socket.gaierror):
            return Unreachable("its host name has no address in the DNS", "dns")
        if isinstance(cause, ConnectionRefusedError):
            return Unreachable("the connection was refused: nothing listens there", "refused")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx2.ConnectError):
        return Unreachable(f"no connection comes about: {error}", "network")
    if isinstance(error, httpx2.RemoteProtocolError):
        return Unreachable(f"what it sends is not HTTP, or ends early: {error}", "protocol")
    if isinstance(error, httpx2.ReadError | httpx2.WriteError | httpx2.CloseError):
        return Unreachable("the connection broke off before the answer was complete", "broken")
    if isinstance(error, httpx2.HTTPError):
        return Unreachable(f"the request failed: {error}", "network")
    return Unreachable(f"the address cannot be asked: {error}", "url")
