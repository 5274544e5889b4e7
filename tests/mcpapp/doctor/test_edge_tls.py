"""TLS and addresses: each fault of a certificate is told apart, and said for whoever has to mend it."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from mcpapp.doctor.clients import PROFILES
from mcpapp.doctor.edge_arrival import check_arrival
from mcpapp.doctor.edge_paths import check_paths
from mcpapp.doctor.edge_tls import check_addresses
from mcpapp.doctor.report import Finding, Level, Report
from mcpapp.doctor.target import Target
from mcpapp.doctor.way import examine as walk
from mcpapp.doctor.web import Web
from tests.mcpapp.doctor.edge_site import Proxy, Reply, examine, proxied_site, resolving, wrong
from tests.mcpapp.over_http import served

pytestmark = pytest.mark.anyio
HOST = "star.test"


class Signer:
    """Somebody who certifies others: an authority, one in between, or a server itself."""

    def __init__(self, name: str, by: Signer | None = None, *, days: float = 90, **options: Any) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (by or self).certify(self, days, **options)

    def certify(
        self, other: Signer, days: float, hosts: tuple[str, ...] = (), from_now: int = -10, aia: bool = False
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(other.name)
            .issuer_name(self.name)
            .public_key(other.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=from_now))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=not hosts, path_length=None), critical=True)
        )
        if hosts:
            names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        if aia:
            where = x509.UniformResourceIdentifier("http://ca.example/intermediate.crt")
            access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, where)
            builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


class Certificates:
    """An authority that the doctor trusts, and files of certificates for a server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = Signer("Trusted authority")
        (folder / "root.pem").write_bytes(self.root.pem)

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folder / "root.pem"))

    def file(self, by: Signer | None = None, *chain: Signer, host: str = HOST, **options: Any) -> str:
        """Return the file of a server's certificate, its key and what it sends besides."""
        signer = by or self.root
        server = Signer("server", signer, hosts=(host,), **options)
        key = server.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return self._write(key + server.pem + b"".join(one.pem for one in chain))

    def own(self) -> str:
        """Return the file of a certificate that a server has signed for itself."""
        server = Signer(HOST, hosts=(HOST,))
        return self._write(server.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + server.pem)

    def _write(self, content: bytes) -> str:
        path = self.folder / "server.pem"
        path.write_bytes(content)
        return str(path)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


async def not_found(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def told(monkeypatch: Any, certificates: Certificates, file: str) -> Report:
    """Examine a server with a certificate."""
    async with served(not_found, lifespan="off", ssl_certfile=file) as address:
        with resolving(monkeypatch, https=int(address.rpartition(":")[2])):
            return await examine(f"https://{HOST}/star", verify=certificates.trust, is_own_site=False)


def only(report: Report, check: str) -> Finding:
    """Return the one thing that is said; after it nothing can be asked."""
    assert [one.check for one in report.findings] == [check], report.as_text()
    [finding] = report.findings
    assert finding.level is Level.ERROR
    assert finding.why
    assert "Claude" in finding.matters_to
    assert "nginx:" in finding.fix
    return finding


async def test_a_good_certificate_is_accepted(monkeypatch: Any, certificates: Certificates) -> None:
    report = await told(monkeypatch, certificates, certificates.file())
    assert "edge.certificate" in {one.check for one in report.findings if one.level is Level.OK}
    assert not any("certificate" in check for check in wrong(report))


async def test_a_certificate_with_its_chain_is_accepted(monkeypatch: Any, certificates: Certificates) -> None:
    between = Signer("Intermediate", certificates.root)
    report = await told(monkeypatch, certificates, certificates.file(between, between, aia=True))
    assert not any("certificate" in check for check in wrong(report))


async def test_a_missing_intermediate_certificate_is_found(monkeypatch: Any, certificates: Certificates) -> None:
    between = Signer("Intermediate", certificates.root)
    finding = only(
        await told(monkeypatch, certificates, certificates.file(between, aia=True)), "edge.certificate-incomplete"
    )
    assert "the intermediate one of Intermediate" in finding.saw
    assert "Browsers fetch what is missing" in finding.why
    assert "fullchain.pem" in finding.fix


async def test_an_expired_certificate_is_found(monkeypatch: Any, certificates: Certificates) -> None:
    finding = only(await told(monkeypatch, certificates, certificates.file(days=-2)), "edge.certificate-expired")
    day = datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=2)
    assert day.isoformat() in finding.saw


async def test_a_certificate_of_tomorrow_is_found(monkeypatch: Any, certificates: Certificates) -> None:
    only(await told(monkeypatch, certificates, certificates.file(from_now=1)), "edge.certificate-not-yet-valid")


async def test_a_certificate_for_another_name_is_found(monkeypatch: Any, certificates: Certificates) -> None:
    finding = only(
        await told(monkeypatch, certificates, certificates.file(host="www.star.test")), "edge.certificate-other-name"
    )
    assert finding.saw == "The certificate is for www.star.test, not for star.test."


async def test_a_certificate_that_signs_itself_is_found(monkeypatch: Any, certificates: Certificates) -> None:
    only(await told(monkeypatch, certificates, certificates.own()), "edge.certificate-self-signed")


async def test_an_authority_that_nobody_knows_is_found(monkeypatch: Any, certificates: Certificates) -> None:
    unknown = Signer("House authority")
    for chain in ((), (unknown,)):
        file = certificates.file(unknown, *chain)
        finding = only(await told(monkeypatch, certificates, file), "edge.certificate-unknown-authority")
        assert "signed by House authority" in finding.saw


async def test_a_certificate_that_was_not_renewed_is_doubtful(monkeypatch: Any, certificates: Certificates) -> None:
    """Of three months it has one day left; one for six days that has two left is as it should be."""
    finding = wrong(await told(monkeypatch, certificates, certificates.file(days=1, from_now=-89)))
    assert finding["edge.certificate-expires-soon"].level is Level.WARNING
    short_lived = await told(monkeypatch, certificates, certificates.file(days=2, from_now=-4))
    assert "edge.certificate-expires-soon" not in wrong(short_lived)


async def test_a_port_without_tls_is_found(monkeypatch: Any, certificates: Certificates) -> None:
    async with served(not_found, lifespan="off") as address:
        with resolving(monkeypatch, https=int(address.rpartition(":")[2])):
            report = await examine(f"https://{HOST}/star", verify=certificates.trust)
    only(report, "edge.tls-failed")


async def test_a_port_where_nobody_listens_is_found(monkeypatch: Any, certificates: Certificates) -> None:
    with resolving(monkeypatch, https=await closed_port()):
        report = await examine(f"https://{HOST}/star", verify=certificates.trust)
    [finding] = report.findings
    assert finding.check == "edge.unreachable"
    with resolving(monkeypatch, http=await closed_port()):
        report = await examine(f"http://{HOST}/star")
    assert [one.check for one in report.findings][-1] == "edge.unreachable"


async def test_http_on_a_public_host_is_found(monkeypatch: Any) -> None:
    async with served(not_found, lifespan="off") as address:
        with resolving(monkeypatch, http=int(address.rpartition(":")[2])):
            report = await examine(f"http://{HOST}/star", is_own_site=False)
    assert wrong(report)["edge.not-https"].level is Level.ERROR


async def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- The whole, with TLS --------------------------------------------------------------------------------------------


@asynccontextmanager
async def https_site(
    settings: Any, monkeypatch: Any, certificates: Certificates, **site: Any
) -> AsyncIterator[tuple[Proxy, str]]:
    edge = {"ssl_certfile": certificates.file()}
    with resolving(monkeypatch):
        async with proxied_site(settings, monkeypatch, HOST, edge, **site) as proxied:
            yield proxied


async def test_a_healthy_site_behind_tls_has_nothing_wrong_and_knows_that_it_is_https(
    settings: Any, monkeypatch: Any, certificates: Certificates, transactional_db: None
) -> None:
    async with https_site(settings, monkeypatch, certificates) as (_, url):
        report = await examine(url, verify=certificates.trust)
    assert wrong(report) == {}, report.as_text()
    seen = {one.check: one for one in report.findings}
    assert seen["edge.scheme"].saw == "The application sees https."
    assert seen["edge.http2"].level is Level.NOTE
    assert "http2" in seen["edge.http2"].fix
    assert seen["edge.client-address"].level is Level.OK


async def test_a_scheme_that_gets_lost_is_found(
    settings: Any, monkeypatch: Any, certificates: Certificates, transactional_db: None
) -> None:
    async with https_site(settings, monkeypatch, certificates) as (proxy, url):
        proxy.on_request = lambda request: request.drop("x-forwarded-proto")
        found = wrong(await examine(url, check_arrival, verify=certificates.trust))
    assert list(found) == ["edge.scheme-lost"]
    assert found["edge.scheme-lost"].saw == "The application sees http, not https; there is no X-Forwarded-Proto."
    assert "X-Forwarded-Proto $scheme" in found["edge.scheme-lost"].fix


@pytest.mark.parametrize(
    ("status", "check", "level"),
    [
        (301, "edge.http-redirect-loses-post", Level.WARNING),
        (308, "edge.http", Level.OK),
        (200, "edge.http-served", Level.WARNING),
        (403, "edge.http", Level.OK),
    ],
)
async def test_what_becomes_of_http_is_told(
    monkeypatch: Any, certificates: Certificates, status: int, check: str, level: Level
) -> None:
    async def plain(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"0"), (b"location", b"https://star.test/star")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async with (
        served(not_found, lifespan="off", ssl_certfile=certificates.file()) as https,
        served(plain, lifespan="off") as http,
    ):
        ports = {"https": int(https.rpartition(":")[2]), "http": int(http.rpartition(":")[2])}
        with resolving(monkeypatch, **ports):
            report = await examine(f"https://{HOST}/star", check_paths, verify=certificates.trust)
    [finding] = [one for one in report.findings if one.check.startswith("edge.http")]
    assert (finding.check, finding.level) == (check, level)
    if level is Level.WARNING:
        assert "return 308 https://$host$request_uri;" in finding.fix


# --- Addresses --------------------------------------------------------------------------------------------------------


async def test_an_ipv6_address_where_nobody_answers_is_found(monkeypatch: Any) -> None:
    if not has_ipv6():
        pytest.skip("this machine has no IPv6")
    async with served(not_found, lifespan="off") as address:
        port = int(address.rpartition(":")[2])
        with resolving(monkeypatch, http=port, ipv6=await closed_port()):
            report = await examine(f"http://{HOST}/star", check_addresses)
        finding = wrong(report)["edge.ipv6-silent"]
        assert finding.saw == "Nobody answers at ::1, which the DNS names for star.test."
        assert "listen [::]:443 ssl;" in finding.fix
        listener = await asyncio.start_server(answered, "::1", 0)
        async with listener:
            with resolving(monkeypatch, http=port, ipv6=listener.sockets[0].getsockname()[1]):
                report = await examine(f"http://{HOST}/star", check_addresses)
        assert wrong(report) == {}
        with resolving(monkeypatch, http=port):
            report = await examine(f"http://{HOST}/star", check_addresses)
        assert [one.level for one in report.findings] == [Level.OK]


async def test_a_machine_without_ipv6_says_that_it_cannot_tell(monkeypatch: Any) -> None:
    connect = socket.socket.connect

    def without_ipv6(client: socket.socket, address: Any) -> None:
        if client.family == socket.AF_INET6:
            raise OSError(101, "Network is unreachable")
        connect(client, address)

    monkeypatch.setattr(socket.socket, "connect", without_ipv6)
    async with served(not_found, lifespan="off") as address:
        with resolving(monkeypatch, http=int(address.rpartition(":")[2]), ipv6=1):
            report = await examine(f"http://{HOST}/star", check_addresses)
    assert [one.level for one in report.findings] == [Level.SKIPPED]


async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    writer.close()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_whoever_answers_the_redirect_is_not_followed(monkeypatch: Any) -> None:
    """The doctor asks the target alone: where a stranger sends it is told, and not asked."""
    asked: list[str] = []

    async def elsewhere(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await not_found(scope, receive, send)

    async with served(elsewhere, lifespan="off") as other:
        proxy = Proxy("")
        proxy.on_request = lambda request: Reply(302, [(b"location", f"{other}/inside".encode())])
        async with served(proxy, lifespan="off") as address:
            report = await examine(f"{address}/star", is_own_site=False)
        await proxy._client.aclose()
    assert "edge.redirect-loses" in wrong(report)
    assert asked == []


async def test_whoever_walks_the_way_of_a_client_is_told_what_is_wrong_with_a_certificate(
    monkeypatch: Any, certificates: Certificates
) -> None:
    """The walk itself ends at its first request, which does not get through."""
    async with served(not_found, lifespan="off", ssl_certfile=certificates.file(days=-2)) as address:
        with resolving(monkeypatch, https=int(address.rpartition(":")[2])):
            url = f"https://{HOST}/star"
            report = Report(url)
            async with Web(report.secrets, verify=certificates.trust) as web:
                await walk(web, Target(url), report, [PROFILES["claude"]])
    assert "edge.certificate-expired" in wrong(report)
