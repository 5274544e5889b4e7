"""An internet for tests: a real TLS server, an authority that certifies it, and names and addresses that lead there.

Nothing leaves the machine. What is replaced is the resolver and where a TCP connection ends; TLS, certificates and HTTP
are real.
"""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import threading
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

# Addresses of the public internet, none of which is ever connected to.
PUBLIC = "93.184.215.14"
OTHER_PUBLIC = "151.101.1.69"
PUBLIC_IPV6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"


class Authority:
    """A certificate authority; whoever trusts `certificate` trusts the servers it certifies."""

    def __init__(self, folder: Path, name: str = "Test authority") -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = folder / "authority.pem"
        certificate = self._certificate(self.name, self.key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.certificate.write_bytes(certificate.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def context(self, *hosts: str, days: int = 1) -> ssl.SSLContext:
        """Return the TLS settings of a server for these hosts; with `days` below 0 its certificate has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
        certificate = self._certificate(subject, key, days=days).add_extension(
            x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False
        )
        file = self.folder / "server.pem"
        file.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _certificate(self, subject: x509.Name, key: Any, *, days: int = 1) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=10))
            .not_valid_after(now + datetime.timedelta(days=days))
        )


def http(body: bytes = b"", *headers: str, status: str = "200 OK", media_type: str = "application/json") -> bytes:
    """Return an HTTP response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", f"Content-Type: {media_type}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


class TLSServer:
    """An HTTPS server on loopback that answers with `answer`: bytes, or a function that drives the connection.

    Without a context it answers the first bytes it gets in clear.
    """

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.context = context
        self.answer: bytes | Callable[[socket.socket], None] = http(b"{}")
        self.requests: list[str] = []
        self.server_names: list[str | None] = []
        self.accepted = 0
        self.stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        if context is not None:
            context.sni_callback = lambda _socket, name, _context: self.server_names.append(name)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.005)
        self.address: tuple[str, int] = self._listener.getsockname()
        self._start(self._accept)

    def close(self) -> None:
        """Stop, and end what is under way."""
        self.stopping.set()
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self._listener.accept()
                self.accepted += 1
                self._start(self._serve, connection)

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(5)
        # The other side hangs up when it has seen enough; that is what some tests are about.
        with contextlib.suppress(OSError), plain:
            connection = self.context.wrap_socket(plain, server_side=True) if self.context else plain
            with connection:
                received = b""
                while b"\r\n\r\n" not in received and (part := connection.recv(4096)):
                    received += part
                    if self.context is None:
                        break
                self.requests.append(received.decode("latin-1"))
                if isinstance(self.answer, bytes):
                    connection.sendall(self.answer)
                else:
                    self.answer(connection)


class Internet:
    """The resolver and the network that a program sees: every address leads to one server on this machine."""

    def __init__(self, server: TLSServer) -> None:
        self.server = server
        self.names: dict[str, list[list[str]]] = {}
        """What each lookup of a name answers, one after the other; the last for ever."""
        self.lookups: list[str] = []
        self.connections: list[tuple[str, int]] = []
        """What was connected to, or tried."""
        self.refusing: set[str] = set()
        self.silent: set[str] = set()
        self.resolver_delay = threading.Event()
        self.resolver_delay.set()
        self._getaddrinfo = socket.getaddrinfo
        self._connect = socket.socket.connect

    def has(self, name: str, *addresses: str) -> None:
        """Give a name its addresses."""
        self.names[name] = [list(addresses)]

    def getaddrinfo(self, host: str, port: int, *arguments: Any, **options: Any) -> list[Any]:
        """Stand in for `socket.getaddrinfo`."""
        if _is_address(host):
            return list(self._getaddrinfo(host, port, *arguments, **options))
        self.lookups.append(host)
        self.resolver_delay.wait(5)
        answers = self.names.get(host)
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
            for address in addresses
        ]

    def connect(self, client: socket.socket, address: tuple[str, int]) -> None:
        """Stand in for `socket.socket.connect`."""
        host, port = address[:2]
        self.connections.append((host, port))
        if host in self.refusing:
            raise ConnectionRefusedError(f"{host} refuses")
        if host in self.silent:
            self.server.stopping.wait(client.gettimeout())
            raise TimeoutError(f"{host} is silent")
        loopback, number = self.server.address
        if client.family == socket.AF_INET6:
            self._connect(client, (f"::ffff:{loopback}", number, 0, 0))
        else:
            self._connect(client, (loopback, number))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
