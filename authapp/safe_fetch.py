"""Get a document from a host that a stranger named: public addresses alone, over TLS, bounded in time and size.

A name is resolved once, every address is checked, and the connection goes to an address that was checked: a second
look-up could lead elsewhere. Redirects are never followed. docs/decisions/0006 says why no library's transport does.
"""

from __future__ import annotations

import http.client
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable
from email.message import Message
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, NamedTuple, TypeVar

from oauth2_provider.settings import oauth2_settings

from authapp import conf

Result = TypeVar("Result")

MAXIMUM_ADDRESSES = 4
MAXIMUM_HEADER_BYTES = 64 * 1024

_NAT64 = ip_network("64:ff9b::/96")
_GLOBAL_UNICAST = ip_network("2000::/3")
# What the ipaddress module calls global, in Python 3.11 at least, and is not the address of one public machine.
_SPECIAL = tuple(
    ip_network(block)
    for block in ("192.0.0.0/24", "192.88.99.0/24", "224.0.0.0/4", "2001::/23", "2002::/16", "3fff::/20")
)


class FetchError(Exception):
    """A document cannot be had; the message is for the administrator."""


class Place(NamedTuple):
    """Where a document is: the URL in parts, and what its host may be."""

    host: str
    port: int
    target: str
    """Path and query, as they go into the request line."""
    is_private: bool = False
    """Whether the site's owner named the host: it may have any address."""
    is_plain: bool = False
    """Whether it is asked over http: on loopback alone."""


def get(place: Place, read: Callable[[http.client.HTTPResponse], Result], *, maximum_bytes: int) -> Result:
    """Return what `read` makes of the response; addresses of the host are asked one after the other, in one deadline.

    Args:
        read: it must read no more than it needs, and check the status: any response comes here.
        maximum_bytes: of the document; a longer answer ends the connection.

    Raises:
        FetchError: the host cannot be reached, may not be, or answers too late or too much.
    """
    deadline = time.monotonic() + oauth2_settings.CIMD_FETCH_TIMEOUT_SECONDS
    addresses = _addresses(place, deadline)[:MAXIMUM_ADDRESSES]
    headers = {
        "Accept": "application/json, application/*+json",
        "User-Agent": f"Star (+{conf.issuers()[0]})",  # some hosts refuse a request that has none
        "Connection": "close",
    }
    problem: Exception | None = None
    for number, address in enumerate(addresses):
        connection = _Connection(place, address, deadline, share=len(addresses) - number)
        connection.maximum_bytes = MAXIMUM_HEADER_BYTES + maximum_bytes
        try:
            connection.request("GET", place.target, headers=headers)
            return read(connection.getresponse())
        except (OSError, http.client.HTTPException) as error:
            problem = error
        finally:
            connection.close()
    raise FetchError(f"no address of the host answered as it should: {problem!r}")


class _Connection(http.client.HTTPConnection):
    """HTTP to one address that was checked: the host's name is for SNI, certificate and Host header alone."""

    maximum_bytes = 0

    def __init__(self, place: Place, address: str, deadline: float, *, share: int) -> None:
        self.default_port = 80 if place.is_plain else 443  # what the Host header leaves out
        super().__init__(place.host, place.port)
        self.place, self.address, self.deadline, self.share = place, address, deadline, share

    def connect(self) -> None:
        """Connect and shake hands; an address that does not answer leaves the others their share of the time."""
        plain = socket.create_connection((self.address, self.port), _seconds_until(self.deadline) / self.share)
        try:
            plain.settimeout(_seconds_until(self.deadline))
            bounded = self._bounded(plain)
        except BaseException:
            plain.close()
            raise
        bounded.deadline, bounded.maximum_bytes = self.deadline, self.maximum_bytes
        self.sock = bounded

    def _bounded(self, plain: socket.socket) -> _BoundedTLSSocket | _BoundedSocket:
        if self.place.is_plain:
            unencrypted = _BoundedSocket(plain.family, plain.type, plain.proto, plain.detach())
            unencrypted.settimeout(_seconds_until(self.deadline))
            return unencrypted
        context = ssl.create_default_context()
        context.sslsocket_class = _BoundedTLSSocket
        secure = context.wrap_socket(plain, server_hostname=self.host)
        assert isinstance(secure, _BoundedTLSSocket)  # noqa: S101  (the class given to the context)
        return secure


class _Bounds:
    """A connection whose whole answer has a deadline and a size.

    The timeout of a socket starts anew with each byte, so a host that drips could hold a worker for hours.
    """

    deadline = 0.0
    maximum_bytes = 0
    received = 0

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """Receive within what is left of the time."""
        self.settimeout(_seconds_until(self.deadline))  # type: ignore[attr-defined]
        count: int = super().recv_into(  # type: ignore[misc]
            buffer, len(buffer) if nbytes is None else nbytes, flags
        )
        self.received += count
        if self.received > self.maximum_bytes:
            raise OSError("the answer is too large")
        return count


class _BoundedTLSSocket(_Bounds, ssl.SSLSocket):
    """TLS."""


class _BoundedSocket(_Bounds, socket.socket):
    """In clear, to loopback."""


def _seconds_until(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("the time for the document is over")
    return seconds


def _addresses(place: Place, deadline: float) -> list[str]:
    """Resolve the host once, in a thread because a resolver has no timeout; refuse it if any address may not be."""
    answers: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(socket.getaddrinfo(place.host, place.port, proto=socket.IPPROTO_TCP))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=look_up, name="safe-fetch-resolver", daemon=True).start()
    try:
        answer = answers.get(timeout=_seconds_until(deadline))
    except queue.Empty:
        raise FetchError("the name of the host was not resolved in time") from None
    if isinstance(answer, Exception):
        raise FetchError(f"the host cannot be resolved: {answer!r}")
    addresses = list(dict.fromkeys(str(information[4][0]) for information in answer))
    for address in addresses:
        if place.is_plain and not ip_address(address).is_loopback:
            raise FetchError(f"the host has the address {address}, which is asked over https alone")
        if not place.is_private and not _is_public(address):
            raise FetchError(f"the host has the address {address}, which is not public")
    if not addresses:
        raise FetchError("the host has no address")
    return addresses


def _is_public(text: str) -> bool:
    """Return whether an address is that of one machine on the public internet."""
    address: IPv4Address | IPv6Address = ip_address(text)
    if address in _NAT64:
        address = IPv4Address(int(address) & 0xFFFFFFFF)
    elif isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not any(address in block for block in _SPECIAL)


def freshness_seconds(headers: Message) -> int:
    """Return for how long a response is fresh (RFC 9111 §4.2), within the bounds of DOT's settings for documents."""
    floor: int = oauth2_settings.CIMD_METADATA_MIN_AGE_SECONDS
    ceiling: int = oauth2_settings.CIMD_METADATA_MAX_AGE_SECONDS
    given = [
        directive.strip().partition("=") for directive in ",".join(headers.get_all("Cache-Control", [])).split(",")
    ]
    directives = {name.strip().lower(): value.strip().strip('"') for name, _equals, value in given}
    if directives.keys() & {"no-store", "no-cache"}:
        lifetime = 0
    elif "max-age" in directives:
        lifetime = _delta_seconds(directives["max-age"])
    elif "Expires" in headers:
        # An Expires that is no date means the past (RFC 9111 §5.3).
        lifetime = int(
            _timestamp(headers["Expires"], default=0) - _timestamp(headers.get("Date", ""), default=time.time())
        )
    else:
        return ceiling
    return max(floor, min(ceiling, lifetime - _delta_seconds(headers.get("Age", ""))))


def _delta_seconds(text: str) -> int:
    """Read RFC 9111 §1.2.2's delta-seconds; what is no number counts as 0."""
    return int(text[:12]) if text.isascii() and text.isdigit() else 0


def _timestamp(text: str, *, default: float) -> float:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return default
