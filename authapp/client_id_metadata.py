"""Client ID Metadata Documents (draft-ietf-oauth-client-id-metadata-document-02): how one is fetched and read.

DOT resolves, stores and refreshes clients; its setting CIMD_METADATA_FETCHER leads here. URL and document come from an
anonymous stranger, so the fetch is bounded as a whole; docs/decisions/0006 says why DOT's own transport does not do.
"""

from __future__ import annotations

import http.client
import logging
import queue
import socket
import ssl
import threading
import time
from email.message import Message
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from django.db import connection
from oauth2_provider import cimd
from oauth2_provider.cimd import CIMDError, SafeMetadataFetcher
from oauth2_provider.scopes import get_scopes_backend
from oauth2_provider.settings import oauth2_settings

from authapp import client_hosts, client_metadata, conf, redirect_uris
from authapp.client_hosts import ClientIDURL
from authapp.client_metadata import RegistrationError

logger = logging.getLogger(__name__)

MAXIMUM_ADDRESSES = 4
MAXIMUM_HEADER_BYTES = 64 * 1024

_NAT64 = ip_network("64:ff9b::/96")
_GLOBAL_UNICAST = ip_network("2000::/3")
# What the ipaddress module calls global, in Python 3.11 at least, and is not the address of one public machine.
_SPECIAL = tuple(
    ip_network(block)
    for block in ("192.0.0.0/24", "192.88.99.0/24", "224.0.0.0/4", "2001::/23", "2002::/16", "3fff::/20")
)


class InvalidDocument(CIMDError):
    """The document was fetched, and cannot be used; any other `CIMDError` is about getting it."""


class MetadataFetcher(SafeMetadataFetcher):
    """Fetch a document and keep only what this server supports; DOT asks it (CIMD_METADATA_FETCHER)."""

    def fetch(self, client_id: str) -> tuple[dict[str, Any], int]:
        """Return the document and for how many seconds it is fresh.

        Raises:
            CIMDError: the document cannot be had, or must not be used.
        """
        if not connection.in_atomic_block:
            connection.close()  # given back to the pool: a slow host must not keep it from everybody else
        try:
            document, max_age = self._get(client_hosts.parse_url(client_id))
            if document.get("client_id") != client_id:
                raise InvalidDocument("client_id in the document is not the URL of the document")
            return narrowed(document), max_age
        except CIMDError as error:
            # The answer to the client stays generic; this line is for the administrator.
            logger.info("The client document %r was not used: %s.", client_id, error)
            if isinstance(error, InvalidDocument):
                client_hosts.remember_as_invalid(client_id)
            raise

    def _get(self, url: ClientIDURL) -> tuple[dict[str, Any], int]:
        """Ask the addresses of the host one after the other, within one deadline."""
        deadline = time.monotonic() + oauth2_settings.CIMD_FETCH_TIMEOUT_SECONDS
        addresses = _public_addresses(url, deadline)[:MAXIMUM_ADDRESSES]
        headers = {
            "Accept": "application/json, application/*+json",
            "User-Agent": f"Star (+{conf.issuers()[0]})",  # some hosts refuse a request that has none
            "Connection": "close",
        }
        problem: Exception | None = None
        for number, address in enumerate(addresses):
            connection = _Connection(url, address, deadline, share=len(addresses) - number)
            try:
                connection.request("GET", url.target, headers=headers)
                return self._read_document(connection.getresponse())
            except (OSError, http.client.HTTPException) as error:
                problem = error
            finally:
                connection.close()
        raise CIMDError(f"no address of the host answered as it should: {problem!r}")

    def _read_document(self, response: http.client.HTTPResponse) -> tuple[dict[str, Any], int]:
        """Read a response with DOT's checks of status, media type, size and JSON, and ours."""
        if response.status != 200:
            challenged = " (a challenge for browsers)" if response.headers.get("cf-mitigated") else ""
            raise CIMDError(f"the host answered HTTP {response.status}{challenged}")
        try:
            if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
                raise CIMDError("the document is compressed, which was not asked for")
            document, _max_age = super()._read_document(response)
        except (CIMDError, RecursionError, ValueError) as error:
            raise InvalidDocument(str(error)) from error
        return document, _freshness_seconds(response.headers)


class _Connection(http.client.HTTPConnection):
    """HTTPS to one address that was checked: the host's name is for SNI, certificate and Host header alone."""

    default_port = 443

    def __init__(self, url: ClientIDURL, address: str, deadline: float, *, share: int) -> None:
        super().__init__(url.host, url.port)
        self.address, self.deadline, self.share = address, deadline, share

    def connect(self) -> None:
        """Connect and shake hands; an address that does not answer leaves the others their share of the time."""
        context = ssl.create_default_context()
        context.sslsocket_class = _BoundedSocket
        plain = socket.create_connection((self.address, self.port), _seconds_until(self.deadline) / self.share)
        try:
            plain.settimeout(_seconds_until(self.deadline))
            secure = context.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise
        assert isinstance(secure, _BoundedSocket)  # noqa: S101  (the class given to the context)
        secure.deadline = self.deadline
        self.sock = secure


class _BoundedSocket(ssl.SSLSocket):
    """A TLS connection whose whole answer has a deadline and a size.

    The timeout of a socket starts anew with each byte, so a host that drips could hold a worker for hours.
    """

    deadline = 0.0
    received = 0

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """Receive within what is left of the time."""
        self.settimeout(_seconds_until(self.deadline))
        count = super().recv_into(buffer, nbytes, flags)
        self.received += count
        if self.received > MAXIMUM_HEADER_BYTES + oauth2_settings.CIMD_MAX_DOCUMENT_SIZE:
            raise OSError("the answer is too large")
        return count


def _seconds_until(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("the time for the document is over")
    return seconds


def _public_addresses(url: ClientIDURL, deadline: float) -> list[str]:
    """Resolve the host once, in a thread because a resolver has no timeout; refuse it if any address is not public."""
    answers: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(cimd._resolve_and_validate(url.host, url.port))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=look_up, name="client-document-resolver", daemon=True).start()
    try:
        answer = answers.get(timeout=_seconds_until(deadline))
    except queue.Empty:
        raise CIMDError("the name of the host was not resolved in time") from None
    if isinstance(answer, Exception):
        raise answer if isinstance(answer, CIMDError) else CIMDError(f"the host cannot be resolved: {answer!r}")
    for address in answer:
        if not _is_public(address):
            raise CIMDError(f"the host has the address {address}, which is not public")
    return list(dict.fromkeys(answer))


def _is_public(text: str) -> bool:
    """Return whether an address is that of one machine on the public internet; stricter than DOT's check before it."""
    address: IPv4Address | IPv6Address = ip_address(text)
    if address in _NAT64:
        address = IPv4Address(int(address) & 0xFFFFFFFF)
    elif isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not any(address in block for block in _SPECIAL)


def _freshness_seconds(headers: Message) -> int:
    """Return for how long a response is fresh (RFC 9111 §4.2), within the bounds of DOT's settings (draft §5.2)."""
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


# --- What of a document is kept ----------------------------------------------------------------------------


# OpenID Connect's: django-oauth-toolkit does not store them, so what other servers understand does no harm here.
_NOT_TAKEN = frozenset({"id_token_signed_response_alg", "post_logout_redirect_uris"})


def narrowed(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with the grants and redirect URIs that this server can serve.

    Raises:
        InvalidDocument: `client_name` is missing, or nothing usable is left.
    """
    # A document speaks to every server at once, so a redirect URI that only others take is left out.
    uris = document.get("redirect_uris")
    if isinstance(uris, list):
        uris = [uri for uri in uris if isinstance(uri, str) and redirect_uris.is_registrable(uri)]
    public = document | {"token_endpoint_auth_method": _auth_method(document)}
    try:
        metadata = client_metadata.from_dict(
            {name: value for name, value in public.items() if value is not None and name not in _NOT_TAKEN}
            | {"redirect_uris": uris},
            known_scopes=frozenset(get_scopes_backend().get_all_scopes()),
        )
    except RegistrationError as error:
        raise InvalidDocument(error.description) from error
    if not metadata.client_name or not metadata.is_public:
        raise InvalidDocument("the document has no client_name, or a client with a secret")
    return public | {
        "client_name": metadata.client_name,
        "redirect_uris": metadata.redirect_uris,
        "grant_types": metadata.grant_types,
    }


def _auth_method(document: dict[str, Any]) -> Any:
    """Return the client authentication that a document asks for, `none` where it offers that beside keys.

    ChatGPT's prefers `private_key_jwt` and lists `none` too (OpenID Connect RP Metadata Choices).
    """
    method = document.get("token_endpoint_auth_method", "none")
    offered = document.get("token_endpoint_auth_methods_supported")
    if method == "private_key_jwt" and isinstance(offered, list) and "none" in offered:
        return "none"
    return method
