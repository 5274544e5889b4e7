"""Which redirect URIs may be registered, and which requested one matches a registered one.

RFC 9700 §2.1: exact comparison. RFC 8252 §7.3: any port on loopback. RFC 8252 §7.1: private-use schemes, here
only URIs that the settings list in full.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from authapp import conf

MAXIMUM_LENGTH = 2000
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})

# RFC 3986 §2: the characters a URI is made of, less "#" (RFC 6749 §3.1.2 forbids a fragment). A backslash, a
# space, a control or a non-ASCII character never is one of them, however a browser would mend it.
_URI = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]+")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%00|%0[aAdD]")
_HOST = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]")
_PORT = re.compile(r":[0-9]{1,5}\Z")


class InvalidRedirectURI(ValueError):
    """The URI may not be registered; the message says why, in words for the client's developer."""


def require_registrable(uri: str) -> None:
    """Check one redirect URI of a registration.

    Raises:
        InvalidRedirectURI: with the reason.
    """
    if not 1 <= len(uri) <= MAXIMUM_LENGTH:
        raise InvalidRedirectURI(f"A redirect URI has 1 to {MAXIMUM_LENGTH} characters.")
    if not _URI.fullmatch(uri) or _BROKEN_ESCAPE.search(uri):
        raise InvalidRedirectURI(
            "A redirect URI has no fragment, white space, backslash, control or non-ASCII character."
        )
    if uri in conf.private_use_redirect_uris():
        return
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        raise InvalidRedirectURI("The redirect URI cannot be parsed.") from None
    if parts.scheme not in {"http", "https"} or not uri.startswith(f"{parts.scheme}://"):
        raise InvalidRedirectURI(
            "A redirect URI starts with https://, or with http:// on loopback; "
            "private-use schemes must be allowed by this server's administrator, each URI in full."
        )
    if "@" in parts.netloc:
        raise InvalidRedirectURI("A redirect URI has no user name or password.")
    if ":" in parts.netloc.rpartition("]")[2] and (not _PORT.search(parts.netloc) or port == 0):
        raise InvalidRedirectURI("The port of the redirect URI is not a number between 1 and 65535.")
    host = parts.hostname or ""
    if (parts.scheme, parts.netloc) in {urlsplit(issuer)[:2] for issuer in conf.issuers()}:
        # A code would end in our own pages' URLs, and in what they link to.
        raise InvalidRedirectURI("A redirect URI leads to the client, not to this server.")
    if parts.netloc != parts.netloc.lower():
        raise InvalidRedirectURI("Spell the host of the redirect URI in lower case: it is compared byte for byte.")
    if host in LOOPBACK_HOSTS:
        return
    if parts.scheme == "http":
        raise InvalidRedirectURI("http:// is for 127.0.0.1, [::1] and localhost only; use https://.")
    if "[" in parts.netloc or _is_ip_address(host):
        raise InvalidRedirectURI("Name the host of the redirect URI; an IP address is accepted for loopback only.")
    if not _HOST.fullmatch(host):
        raise InvalidRedirectURI("The host of the redirect URI is not a fully qualified domain name.")


def is_registrable(uri: str) -> bool:
    """Return whether `require_registrable` accepts the URI."""
    try:
        require_registrable(uri)
    except InvalidRedirectURI:
        return False
    return True


def matches(registered: str, requested: str) -> bool:
    """Return whether a requested redirect URI is the registered one: byte for byte, any port on loopback."""
    if registered == requested:
        return True
    if not _URI.fullmatch(requested) or _BROKEN_ESCAPE.search(requested):
        return False
    try:
        ours, theirs = urlsplit(registered), urlsplit(requested)
        _ = theirs.port
    except ValueError:
        return False
    if not (is_loopback(registered) and is_loopback(requested)) or not requested.startswith("http://"):
        return False
    if ("?" in registered) != ("?" in requested):
        return False
    return _without_port(ours) == _without_port(theirs) and _has_plain_port(theirs)


def is_loopback(uri: str) -> bool:
    """Return whether the URI leads back to the person's own machine over http."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return False
    return parts.scheme == "http" and (parts.hostname or "") in LOOPBACK_HOSTS and "@" not in parts.netloc


def is_native(uri: str) -> bool:
    """Return whether the URI leads to a program on the person's own machine: loopback or a private-use scheme."""
    return is_loopback(uri) or not uri.startswith("https://")


def destination(uri: str) -> str:
    """Return what to show a person about where a redirect URI leads: a host, or a program's scheme and name."""
    parts = urlsplit(uri)
    if parts.scheme in {"http", "https"}:
        return parts.hostname or ""
    return f"{parts.scheme}://{parts.netloc}"


def _is_ip_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        # Browsers also read 2130706433, 0x7f.1 and 127.1 as addresses.
        return bool(re.fullmatch(r"[0-9.]+|0x[0-9a-f.x]+", host))
    return True


def _without_port(parts: SplitResult) -> tuple[str, str, str, str]:
    host = parts.netloc if parts.port is None else parts.netloc.rpartition(":")[0]
    return (parts.scheme, host, parts.path, parts.query)


def _has_plain_port(parts: SplitResult) -> bool:
    return parts.port != 0 and (":" not in parts.netloc.rpartition("]")[2] or bool(_PORT.search(parts.netloc)))
