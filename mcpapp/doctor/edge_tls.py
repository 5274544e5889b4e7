"""What a client meets first: TLS, its certificate, and the addresses of the host."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import ssl
import time
from datetime import UTC, datetime
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from mcpapp.doctor.checks.check import EVERYONE, GEMINI, MCP_REMOTE
from mcpapp.doctor.edge_frame import HOSTED, Edge

SECONDS = 8.0
"""For one connection."""
DAY = 24 * 3600
RENEWED_DAYS = 14
"""Who renews a certificate by itself has done so by then; short-lived ones are renewed in their last quarter."""
MAXIMUM_ADDRESSES = 4
_NO_IPV6 = {errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EHOSTUNREACH}

# Verification errors of OpenSSL (X509_V_ERR_…).
_NOT_YET_VALID, _EXPIRED, _SELF_SIGNED, _OWN_ROOT = 9, 10, 18, 19
_NO_ISSUER = {2, 20, 21}
_OTHER_NAME = {62, 64}


async def check_tls(edge: Edge) -> bool:
    """Tell of the connection; return whether a request can follow."""
    edge.step = "Edge: the connection"
    if not edge.is_https:
        if not edge.is_on_this_machine:
            edge.error(
                "edge.not-https",
                f"{edge.target.url} is not https.",
                "Hosted clients take no other, and tokens travel in clear.",
                EVERYONE,
                edge.proxy_fix("certificate", "Serve https:"),
            )
        return True
    port = urlsplit(edge.target.url).port or 443
    context = edge.web.tls_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(edge.host, port, ssl=context, server_hostname=edge.host)
    except ssl.SSLCertVerificationError as error:
        _tell_refused(edge, error, await _unverified(edge.host, port))
        return False
    except ssl.SSLError as error:
        edge.error(
            "edge.tls-failed",
            f"No TLS connection comes about: {error.reason or error}.",
            "What answers there speaks no TLS, or none that is still safe.",
            EVERYONE,
            edge.proxy_fix("certificate", "Let the port of the URL speak TLS 1.2 and 1.3:"),
        )
        return False
    except (OSError, ValueError) as error:  # a ValueError: a host name that can be none
        reason = getattr(error, "strerror", None) or ("nobody answered in time" if not str(error) else error)
        edge.error(
            "edge.unreachable",
            f"No connection comes about: {reason}.",
            "Nothing else can be asked.",
            EVERYONE,
            "Look whether the DNS names the right address and the firewall lets the port through.",
        )
        return False
    certificate = writer.get_extra_info("peercert") or {}
    protocol = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    writer.close()
    if certificate:
        _tell_accepted(edge, certificate)
    if protocol == "h2":
        edge.ok("edge.http2", "HTTP/2 is offered.")
    else:
        fix = edge.proxy_fix("http2", "Not needed. To offer it:")
        edge.note("edge.http2", "HTTP/2 is not offered.", "Clients then open a connection for each open stream.", fix)
    return True


def _tell_accepted(edge: Edge, certificate: dict[str, object]) -> None:
    until = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
    since = ssl.cert_time_to_seconds(str(certificate["notBefore"]))
    left, day = until - time.time(), _day(until)
    if left < min(RENEWED_DAYS * DAY, (until - since) / 4):
        edge.warning(
            "edge.certificate-expires-soon",
            f"The certificate is good until {day}, which is in {max(0, int(left // DAY))} days.",
            "It should have been renewed by now; when it has expired no client connects.",
            EVERYONE,
            edge.proxy_fix("certificate", "Renew it, and see why that did not happen by itself:"),
        )
    else:
        edge.ok("edge.certificate", f"The certificate is accepted, and good until {day}.")


def _tell_refused(edge: Edge, error: ssl.SSLCertVerificationError, leaf: x509.Certificate | None) -> None:
    """Tell why a certificate is not accepted, in the words of the person who has to mend it."""
    code, why = error.verify_code, "Clients end the connection before they send anything."
    issuer = _name(leaf.issuer) if leaf is not None else "nobody knows whom"
    if code == _EXPIRED:
        day = _day(leaf.not_valid_after_utc.timestamp()) if leaf is not None else "an earlier day"
        check, saw, fix = "edge.certificate-expired", f"The certificate expired on {day}.", "Renew it:"
    elif code == _NOT_YET_VALID:
        check, saw = "edge.certificate-not-yet-valid", "The certificate is not valid yet."
        fix = "Look at the clocks of this machine and of the one that made it, or wait:"
    elif code in _OTHER_NAME:
        check = "edge.certificate-other-name"
        saw = f"The certificate is for {_names(leaf)}, not for {edge.host}."
        fix = f"Get a certificate with the name {edge.host}, and let the proxy use it for that name:"
    elif code == _SELF_SIGNED:
        check, saw = "edge.certificate-self-signed", "The certificate is signed by itself: no authority vouches for it."
        fix = "Get one from an authority that everybody knows, such as Let's Encrypt:"
    elif code in _NO_ISSUER and leaf is not None and _says_where_its_issuer_is(leaf):
        check = "edge.certificate-incomplete"
        saw = f"The server sends its certificate without the intermediate one of {issuer} that vouches for it."
        why = (
            "Browsers fetch what is missing by themselves, so the site looks well in them; clients do not, and refuse."
        )
        fix = "Send the whole chain:"
    elif code in _NO_ISSUER or code == _OWN_ROOT:
        check, saw = "edge.certificate-unknown-authority", f"The certificate is signed by {issuer}, unknown here."
        why += " Who has installed that authority connects; hosted clients never have."
        fix = "Get one from an authority that everybody knows, or send the intermediate certificate if one is missing:"
    else:
        check, saw = "edge.certificate-refused", f"The certificate is not accepted: {error.verify_message}."
        fix = "Get another certificate:"
    edge.error(check, saw, why, EVERYONE, edge.proxy_fix("certificate", fix))


async def _unverified(host: str, port: int) -> x509.Certificate | None:
    """Return the server's certificate, whatever it is worth: it is only looked at."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
        encoded = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        certificate = x509.load_der_x509_certificate(encoded)
        _ = certificate.issuer, certificate.extensions  # which are read only now
        return certificate
    except (OSError, ValueError, TypeError):
        return None


def _says_where_its_issuer_is(certificate: x509.Certificate) -> bool:
    """Return whether it names an address of its issuer's certificate (RFC 5280 §4.2.2.1), as public authorities do."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return any(one.access_method == AuthorityInformationAccessOID.CA_ISSUERS for one in access)


def _names(certificate: x509.Certificate | None) -> str:
    if certificate is None:
        return "another name"
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = found.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        names = []
    return ", ".join(names[:5]) or "no name at all"


def _name(name: x509.Name) -> str:
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common[0].value) if common else name.rfc4514_string()


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


# --- Addresses --------------------------------------------------------------------------------------------------------


async def check_addresses(edge: Edge) -> None:
    """Connect to each IPv6 address of the host: a client that begins with one that is silent waits, or gives up."""
    edge.step = "Edge: the connection"
    if edge.is_on_this_machine or _is_address(edge.host):
        return
    parts = urlsplit(edge.target.url)
    port = parts.port or (443 if edge.is_https else 80)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(edge.host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return  # told already: nothing can be reached
    addresses = list(dict.fromkeys(str(one[4][0]) for one in found if one[0] == socket.AF_INET6))[:MAXIMUM_ADDRESSES]
    if not addresses:
        edge.ok("edge.ipv6", "The host has no IPv6 address, or none that this machine can ask for.")
        return
    silent = []
    for address in addresses:
        try:
            async with asyncio.timeout(SECONDS):
                _, writer = await asyncio.open_connection(address, port, family=socket.AF_INET6)
            writer.close()
        except OSError as error:
            if error.errno in _NO_IPV6:
                edge.skipped("edge.ipv6", f"The host has the IPv6 address {address}; this machine has no IPv6.")
                return
            silent.append(address)
    if silent:
        edge.warning(
            "edge.ipv6-silent",
            f"Nobody answers at {', '.join(silent)}, which the DNS names for {edge.host}.",
            "Clients that try IPv6 first wait until they give up, or fail. (If this machine's own IPv6 is at fault, "
            "other IPv6 sites fail here as well.)",
            (*HOSTED, MCP_REMOTE, GEMINI),
            edge.proxy_fix("ipv6", "Listen there as well, or take the AAAA record out of the DNS:"),
        )
    else:
        edge.ok("edge.ipv6", f"The IPv6 address answers: {', '.join(addresses)}.")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
