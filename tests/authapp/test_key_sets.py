"""Key sets behind a `jwks_uri`, over real TLS: what is fetched, what is never connected to, how often (RFC 7517 §5).

The internet is tests/tls.py's; the rest of the transport is tested in test_client_id_metadata_fetch.py.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections
from django.utils import timezone

from authapp import key_sets
from authapp.assertions import LEEWAY_SECONDS
from authapp.key_sets import KeySetError
from authapp.models import Application, KeySet, UsedAssertion
from authapp.transactions import in_transaction
from tests.authapp.test_client_assertions import introspect, require_accepted, require_refused
from tests.authapp.test_client_id_metadata_fetch import NOT_PUBLIC, authority, limit
from tests.keys import JWT_BEARER, Key, claims
from tests.oauth import HOST as HOST_OF_SITE
from tests.oauth import PKCE, authorize, post_form, register, registered
from tests.tls import PUBLIC, PUBLIC_IPV6, Authority, Internet, TLSServer, http

pytestmark = pytest.mark.django_db

__all__ = ["authority", "limit"]

HOST = "keys.example"
URI = f"https://{HOST}/jwks.json"
OLD, NEW, OTHER = Key(kid="old"), Key(kid="new"), Key(kid="other")


def jwks(*keys: Key, **headers: str) -> bytes:
    body = json.dumps({"keys": [key.public for key in keys]}).encode()
    return http(body, *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()))


@pytest.fixture
def server(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[TLSServer]:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    server = TLSServer(authority.context(HOST, "idp.intranet.example"))
    server.answer = jwks(OLD)
    yield server
    server.close()


@pytest.fixture
def internet(server: TLSServer, monkeypatch: pytest.MonkeyPatch) -> Internet:
    return connected_to(server, monkeypatch)


def connected_to(server: TLSServer, monkeypatch: pytest.MonkeyPatch) -> Internet:
    internet = Internet(server)
    internet.has(HOST, PUBLIC)
    monkeypatch.setattr(socket, "getaddrinfo", internet.getaddrinfo)
    monkeypatch.setattr(socket.socket, "connect", lambda *arguments: internet.connect(*arguments))  # noqa: PLW0108
    return internet


@pytest.fixture
def client_id(internet: Internet) -> str:
    """A client with its keys at the address."""
    return str(registered(token_endpoint_auth_method="private_key_jwt", jwks_uri=URI)["client_id"])


def later(**passed: float) -> None:
    """Let time pass for what is stored."""
    ago = timedelta(**passed)
    for key_set in KeySet.objects.all():
        for name in ("fresh_until", "tried_at", "busy_until"):
            if value := getattr(key_set, name):
                setattr(key_set, name, value - ago)
        key_set.save()


def kids(uri: str = URI) -> list[Any]:
    return [key["kid"] for key in key_sets.known(uri)]


# --- A client with its keys at an address -------------------------------------------------------------------


def test_keys_are_fetched_when_they_are_first_needed_and_then_kept(
    client_id: str, internet: Internet, server: TLSServer
) -> None:
    assert server.requests == []
    require_accepted(introspect(OLD.sign(claims(client_id))))
    require_accepted(introspect(OLD.sign(claims(client_id))))
    assert (internet.connections, server.server_names) == ([(PUBLIC, 443)], [HOST])
    [request] = server.requests
    assert request.splitlines()[0] == "GET /jwks.json HTTP/1.1"
    assert f"\r\nHost: {HOST}\r\n" in request
    assert "cookie" not in request.lower()


@pytest.mark.rfc("7591 2")
def test_a_new_key_counts_with_the_first_request_that_uses_it(client_id: str, server: TLSServer) -> None:
    require_accepted(introspect(OLD.sign(claims(client_id))))
    server.answer = jwks(NEW)
    later(seconds=61)
    require_accepted(introspect(NEW.sign(claims(client_id))))
    require_refused(introspect(OLD.sign(claims(client_id))))


def test_somebody_who_claims_key_after_key_makes_us_ask_once_a_minute(client_id: str, server: TLSServer) -> None:
    require_accepted(introspect(OLD.sign(claims(client_id))))
    for number in range(30):
        require_refused(introspect(OTHER.sign(claims(client_id), kid=f"made-up-{number}")))
    assert len(server.requests) == 1
    later(seconds=61)
    for number in range(30):
        require_refused(introspect(OTHER.sign(claims(client_id), kid=f"made-up-{number}")))
    assert len(server.requests) == 2
    require_accepted(introspect(OLD.sign(claims(client_id))))


def test_while_the_host_is_down_the_keys_that_were_had_last_count_for_a_week(
    client_id: str, internet: Internet, server: TLSServer
) -> None:
    require_accepted(introspect(OLD.sign(claims(client_id))))
    internet.refusing = {PUBLIC}
    later(days=7)
    require_accepted(introspect(OLD.sign(claims(client_id))))
    later(days=1, minutes=1)
    require_refused(introspect(OLD.sign(claims(client_id))))
    internet.refusing = set()
    later(minutes=2)
    require_accepted(introspect(OLD.sign(claims(client_id))))


def test_a_set_that_was_emptied_ends_the_keys(client_id: str, server: TLSServer) -> None:
    require_accepted(introspect(OLD.sign(claims(client_id))))
    server.answer = jwks()
    later(days=2)
    require_refused(introspect(OLD.sign(claims(client_id))))
    assert KeySet.objects.get().keys == []


def test_nobody_makes_us_fetch_by_naming_a_client_that_is_unknown_disabled_or_has_a_secret(
    client_id: str, internet: Internet
) -> None:
    secret_id = registered(token_endpoint_auth_method="client_secret_post", jwks_uri=URI)["client_id"]
    require_refused(introspect(OLD.sign(claims("nobody"))))
    require_refused(introspect(OLD.sign(claims(secret_id))))
    Application.objects.filter(client_id=client_id).update(disabled_at=timezone.now())
    require_refused(introspect(OLD.sign(claims(client_id))))
    require_refused(introspect("not.a.jwt"))
    assert internet.connections == []
    Application.objects.update(disabled_at=None)
    require_accepted(introspect(OLD.sign(claims(client_id))))


def test_one_address_makes_us_fetch_so_many_sets(internet: Internet, server: TLSServer, settings: Any) -> None:
    settings.AUTHAPP = {**settings.AUTHAPP, "DOCUMENT_FETCH_BURST": 2}
    for number in range(4):
        uri = f"{URI}?{number}"
        client_id = registered(token_endpoint_auth_method="private_key_jwt", jwks_uri=uri)["client_id"]
        response = introspect(OLD.sign(claims(client_id)))
        require_accepted(response) if number < 2 else require_refused(response)
    assert len(server.requests) == 2
    key_sets.refresh(f"{URI}?3")
    assert kids(f"{URI}?3") == ["old"], "what the site's owner configured is not counted"


@pytest.mark.django_db(transaction=True)
def test_parallel_requests_make_one_fetch_and_all_get_its_keys(internet: Internet, server: TLSServer) -> None:
    arrived = threading.Event()

    def slowly(connection: socket.socket) -> None:
        arrived.wait(0.3)
        connection.sendall(jwks(OLD))

    server.answer = slowly

    def ask(_: int) -> list[Any]:
        try:
            key_sets.refresh(URI)
            return kids()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(key_sets.FETCHES_AT_ONCE) as pool:
        answers = list(pool.map(ask, range(key_sets.FETCHES_AT_ONCE)))
    assert answers == [["old"]] * key_sets.FETCHES_AT_ONCE
    assert len(server.requests) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("slow", ["each at another host", "all for one host"])
def test_slow_hosts_of_strangers_keep_nobody_from_the_keys_of_trusted_issuers(
    internet: Internet, server: TLSServer, slow: str
) -> None:
    leave, arrived = threading.Event(), threading.Event()

    def hold(connection: socket.socket) -> None:
        arrived.set()
        leave.wait(4)

    server.answer = hold

    def ask(number: int) -> None:
        try:
            key_sets.refresh(URI if slow == "all for one host" else f"{URI}?{number}", meta={"REMOTE_ADDR": "9.9.9.9"})
        finally:
            connections.close_all()

    with ThreadPoolExecutor(key_sets.FETCHES_AT_ONCE) as pool:
        for number in range(key_sets.FETCHES_AT_ONCE):
            pool.submit(ask, number)
        arrived.wait(4)
        time.sleep(0.2)  # for those that wait for the one
        server.answer = jwks(OLD)
        key_sets.refresh(f"{URI}?trusted")
        assert kids(f"{URI}?trusted") == ["old"]
        if slow == "all for one host":  # nor from those of another stranger
            key_sets.refresh(f"{URI}?other", meta={"REMOTE_ADDR": "9.9.9.8"})
            assert kids(f"{URI}?other") == ["old"]
        leave.set()


@pytest.mark.django_db(transaction=True)
def test_slow_hosts_hold_few_requests_at_one_time(internet: Internet, server: TLSServer) -> None:
    leave = threading.Event()
    server.answer = lambda connection: leave.wait(4) and None

    def ask(number: int) -> None:
        try:
            key_sets.refresh(f"{URI}?{number}")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(10) as pool:
        for number in range(key_sets.FETCHES_AT_ONCE):
            pool.submit(ask, number)
        while len(server.requests) < key_sets.FETCHES_AT_ONCE:
            leave.wait(0.01)
        key_sets.refresh(f"{URI}?more")
        assert len(server.requests) == key_sets.FETCHES_AT_ONCE
        leave.set()
    server.answer = jwks(OLD)
    key_sets.refresh(f"{URI}?more")
    assert kids(f"{URI}?more") == ["old"]


def test_nothing_is_fetched_in_a_transaction(internet: Internet) -> None:
    in_transaction(lambda: key_sets.refresh(URI))
    assert internet.connections == []
    key_sets.refresh(URI)
    assert len(internet.connections) == 1


def test_a_client_with_a_document_has_its_keys_at_an_address(
    alice: Any, internet: Internet, server: TLSServer, settings: Any
) -> None:
    """Document and keys are both fetched before the transaction of one token request, or neither."""
    settings.OAUTH2_PROVIDER = {**settings.OAUTH2_PROVIDER, "CIMD_ENABLED": True}
    url, callback = f"https://{HOST}/client.json", f"https://{HOST}/callback"
    document = {
        "client_id": url,
        "client_name": "App",
        "redirect_uris": [callback],
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks_uri": URI,
    }

    def answer(connection: socket.socket) -> None:
        is_document = server.requests[-1].startswith("GET /client.json ")
        connection.sendall(http(json.dumps(document).encode()) if is_document else jwks(OLD))

    server.answer = answer
    pkce = PKCE()
    code = authorize(alice, url, pkce, redirect_uri=callback)["code"]
    form = {"grant_type": "authorization_code", "code": code, "code_verifier": pkce.verifier}
    proof = {"client_assertion_type": JWT_BEARER, "client_assertion": OLD.sign(claims(url))}
    response = post_form("/o/token/", form | proof)
    assert response.status_code == 200, response.content
    assert [request.split()[1] for request in server.requests] == ["/client.json", "/jwks.json"]
    Application.objects.all().delete()
    KeySet.objects.all().delete()
    # Nobody authorized it here: it is first met at the token endpoint, where only the assertion names it.
    require_accepted(introspect(OLD.sign(claims(url))))


# --- What is fetched, and from where -----------------------------------------------------------------------


@pytest.mark.rfc("9111 4.2")
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({}, 86400), ({"Cache_Control": "max-age=3600"}, 3600), ({"Cache_Control": "no-store"}, 300)],
    ids=str,
)
def test_a_set_is_fresh_for_as_long_as_http_says(
    internet: Internet, server: TLSServer, headers: dict[str, str], seconds: int
) -> None:
    server.answer = jwks(OLD, **headers)
    key_sets.refresh(URI)
    fresh_for = KeySet.objects.get().fresh_until - timezone.now()
    assert seconds - 10 < fresh_for.total_seconds() <= seconds
    server.answer = jwks(NEW)
    later(seconds=seconds - 60)
    key_sets.refresh(URI)
    assert kids() == ["old"]
    later(seconds=61)
    key_sets.refresh(URI)
    assert kids() == ["new"]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_no_connection_is_made_to_an_address_that_is_not_public(internet: Internet, address: str) -> None:
    internet.has(HOST, PUBLIC, address)
    key_sets.refresh(URI)
    assert (internet.connections, kids()) == ([], [])
    internet.has(HOST, PUBLIC)
    later(minutes=2)
    key_sets.refresh(URI)
    assert kids() == ["old"]


SECRET = json.dumps({"keys": [OLD.secret]}).encode()
BODY = json.dumps({"keys": [OLD.public]}).encode()


@pytest.mark.parametrize(
    "answer",
    [
        http(BODY, "Location: https://127.0.0.1/", status="302 Found"),
        http(BODY, status="404 Not Found"),
        http(BODY, status="500 Oops"),
        http(BODY, status="206 Partial Content"),
        http(BODY, media_type="text/html"),
        http(BODY, "Content-Encoding: gzip"),
        http(b"<html>"),
        http(b""),
        http(b"[]"),
        http(b'{"keys": {}}'),
        http(b'{"keys": [5]}'),
        http(b"[" * 60_000),
        http(b'{"keys": ' + b"[" * 60_000),
        http(SECRET),
        http(json.dumps({"keys": [{"kty": "oct", "k": "AAAA"}]}).encode()),
        http(json.dumps({"keys": [Key("RS256", bits=1024).public]}).encode()),
        http(json.dumps({"keys": [OLD.public] * 21}).encode()),
        http(BODY[:-1] + b" " * key_sets.MAXIMUM_BYTES + b"}"),
        http(b"\xff\xfe"),
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
        b"no HTTP at all",
        b"",
    ],
    ids=lambda answer: repr(answer[:60]),
)
def test_an_answer_that_is_no_key_set_changes_nothing(internet: Internet, server: TLSServer, answer: bytes) -> None:
    server.answer = jwks(OLD)
    key_sets.refresh(URI)
    server.answer = answer
    later(days=2)
    key_sets.refresh(URI)
    assert len(server.requests) == 2
    assert kids() == ["old"]
    server.answer = jwks(NEW)
    later(minutes=2)
    key_sets.refresh(URI)
    assert kids() == ["new"]


def test_a_host_that_drips_cannot_hold_us(internet: Internet, server: TLSServer, limit: Callable[..., None]) -> None:
    limit(FETCH_TIMEOUT_SECONDS=0.3)

    def drip(connection: socket.socket) -> None:
        for byte in jwks(OLD):
            server.stopping.wait(0.05)
            connection.sendall(bytes([byte]))

    server.answer = drip
    key_sets.refresh(URI)
    assert kids() == []
    assert KeySet.objects.get().busy_until is None


def test_a_set_with_certificates_is_stored_without_them(internet: Internet, server: TLSServer) -> None:
    server.answer = http(json.dumps({"keys": [OLD.public | {"x5c": ["A" * 2000]}] * 15}).encode())
    key_sets.refresh(URI)
    assert KeySet.objects.get().keys == [OLD.public] * 15


def test_a_set_with_text_that_no_database_takes_is_one_of_sound_keys(internet: Internet, server: TLSServer) -> None:
    rsa = Key("RS256", kid="rsa").public
    server.answer = http(
        json.dumps({"keys": [OLD.public | {"n": "\x00"}, rsa | {"crv": "\ud800", "x": "\x00"}]}).encode()
    )
    key_sets.refresh(URI)
    assert KeySet.objects.get().keys == [OLD.public, rsa]
    assert KeySet.objects.get().busy_until is None


@pytest.mark.parametrize(
    "uri",
    [
        "http://keys.example/jwks.json",
        "https://localhost/jwks.json",
        "https://127.0.0.1/jwks.json",
        "https://keys.example",
        "https://KEYS.example/jwks.json",
        "https://keys.example./jwks.json",
        "https://a@keys.example/jwks.json",
        "https://keys.example/jwks.json#a",
        "https://keys.example/jwks.json\r\nX: y",
        "file:///etc/passwd",
        "",
    ],
)
def test_an_address_that_is_not_plain_is_never_looked_up(internet: Internet, uri: str) -> None:
    for is_strangers in (True, False):
        with pytest.raises(KeySetError):
            key_sets.require_fetchable(uri, is_strangers=is_strangers)
    key_sets.refresh(uri)
    assert (internet.lookups, internet.connections, key_sets.known(uri)) == ([], [], [])


# --- Hosts that the site's owner named ---------------------------------------------------------------------

INTRANET = "https://idp.intranet.example:8443/keys"


def test_a_host_of_the_settings_may_have_a_private_address(internet: Internet, settings: Any) -> None:
    internet.has("idp.intranet.example", "10.1.2.3")
    key_sets.refresh(INTRANET)
    assert internet.connections == []
    later(minutes=2)
    settings.AUTHAPP = {**settings.AUTHAPP, "PRIVATE_KEY_HOSTS": ["idp.intranet.example:8443"]}
    key_sets.refresh(INTRANET)
    assert internet.connections == [("10.1.2.3", 8443)]
    assert kids(INTRANET) == ["old"]


@pytest.mark.parametrize(
    "hosts", [["idp.intranet.example"], ["intranet.example:8443"], [".intranet.example:8443"], ["*"], ["10.1.2.3:8443"]]
)
def test_a_host_of_the_settings_is_just_that_one(internet: Internet, settings: Any, hosts: list[str]) -> None:
    internet.has("idp.intranet.example", "10.1.2.3")
    settings.AUTHAPP = {**settings.AUTHAPP, "PRIVATE_KEY_HOSTS": hosts}
    key_sets.refresh(INTRANET)
    assert internet.connections == []


@pytest.fixture
def plain_server() -> Iterator[TLSServer]:
    server = TLSServer(None)
    server.answer = jwks(OLD)
    yield server
    server.close()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_host_of_the_settings_on_loopback_may_be_asked_in_clear(
    plain_server: TLSServer, settings: Any, name: str
) -> None:
    uri = f"http://{name}:{plain_server.address[1]}/jwks.json"
    with pytest.raises(KeySetError):
        key_sets.require_fetchable(uri, is_strangers=False)
    settings.AUTHAPP = {**settings.AUTHAPP, "PRIVATE_KEY_HOSTS": [f"{name}:{plain_server.address[1]}"]}
    key_sets.refresh(uri)
    assert kids(uri) == ["old"]
    assert f"\r\nHost: {name}:{plain_server.address[1]}\r\n" in plain_server.requests[0]


def test_no_client_that_registered_itself_makes_us_ask_a_host_of_the_settings(
    internet: Internet, settings: Any
) -> None:
    """A stranger could choose what is asked of the intranet; the owner's clients may have their keys there."""
    internet.has("idp.intranet.example", "10.1.2.3")
    settings.AUTHAPP = {**settings.AUTHAPP, "PRIVATE_KEY_HOSTS": ["idp.intranet.example", "idp:8443"]}
    in_the_intranet = "https://idp.intranet.example/keys"
    assert register(token_endpoint_auth_method="private_key_jwt", jwks_uri="https://idp:8443/keys").status_code == 400
    client_id = registered(token_endpoint_auth_method="private_key_jwt", jwks_uri=in_the_intranet)["client_id"]
    require_refused(introspect(OLD.sign(claims(client_id))))
    assert internet.connections == []
    later(minutes=2)
    Application.objects.update(registration_source="manual")
    require_accepted(introspect(OLD.sign(claims(client_id))))
    assert internet.connections == [("10.1.2.3", 443)]


def test_a_host_in_clear_is_bounded_in_size_too(plain_server: TLSServer, settings: Any) -> None:
    uri = f"http://127.0.0.1:{plain_server.address[1]}/jwks.json"
    settings.AUTHAPP = {**settings.AUTHAPP, "PRIVATE_KEY_HOSTS": [f"127.0.0.1:{plain_server.address[1]}"]}
    plain_server.answer = http(b" " * 10_000_000)
    key_sets.refresh(uri)
    assert kids(uri) == []


@pytest.mark.parametrize("address", ["10.1.2.3", PUBLIC, PUBLIC_IPV6, "169.254.169.254"])
def test_nothing_but_loopback_is_asked_in_clear(
    plain_server: TLSServer, monkeypatch: pytest.MonkeyPatch, settings: Any, address: str
) -> None:
    internet = connected_to(plain_server, monkeypatch)
    internet.has("idp.intranet.example", address)
    settings.AUTHAPP = {**settings.AUTHAPP, "PRIVATE_KEY_HOSTS": ["idp.intranet.example"]}
    key_sets.refresh("http://idp.intranet.example/keys")
    assert internet.connections == []
    internet.has("idp.intranet.example", "127.0.0.1")
    later(minutes=2)
    key_sets.refresh("http://idp.intranet.example/keys")
    assert internet.connections == [("127.0.0.1", 80)]
    assert kids("http://idp.intranet.example/keys") == ["old"]


# --- Housekeeping ------------------------------------------------------------------------------------------


def cleared() -> str:
    output = StringIO()
    call_command("clear_expired_tokens", stdout=output)
    return output.getvalue()


def test_a_set_is_deleted_when_its_keys_count_no_longer_and_nobody_asks_for_it(
    client_id: str, internet: Internet
) -> None:
    require_accepted(introspect(OLD.sign(claims(client_id))))
    internet.refusing = {PUBLIC}
    later(days=7)
    assert "Deleted 0 key sets." in cleared()
    require_accepted(introspect(OLD.sign(claims(client_id))))
    later(days=1, minutes=1)
    require_refused(introspect(OLD.sign(claims(client_id))))
    assert "Deleted 0 key sets." in cleared(), "somebody asked for it a moment ago"
    later(days=1, minutes=1)
    assert "Deleted 1 key sets." in cleared()
    internet.refusing = set()
    require_accepted(introspect(OLD.sign(claims(client_id))))


def test_a_used_assertion_is_remembered_for_longer_than_it_could_be_used_again(client_id: str) -> None:
    assertion = OLD.sign(claims(client_id))
    require_accepted(introspect(assertion))
    assert "Deleted 0 used assertions." in cleared()
    require_refused(introspect(assertion))
    UsedAssertion.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert "Deleted 1 used assertions." in cleared()
    exp = int(time.time()) + 60
    require_accepted(introspect(OLD.sign(claims(client_id, exp=exp))))
    assert UsedAssertion.objects.get().expires_at.timestamp() >= exp + LEEWAY_SECONDS


def test_used_assertions_do_not_pile_up_until_somebody_cleans_up(client_id: str) -> None:
    for _ in range(10):
        require_accepted(introspect(OLD.sign(claims(client_id))))
    assert UsedAssertion.objects.count() == 10, "none before its time"
    UsedAssertion.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    for _ in range(4):
        require_accepted(introspect(OLD.sign(claims(client_id))))
    assert UsedAssertion.objects.count() == 4


# --- In the admin ------------------------------------------------------------------------------------------


def test_the_admin_shows_where_the_keys_of_a_client_are_and_lets_nobody_change_them(
    client_id: str, admin_client: Any
) -> None:
    application = Application.objects.get(client_id=client_id)
    path = f"/admin/authapp/application/{application.pk}/change/"
    page = admin_client.get(path, headers={"host": HOST_OF_SITE}).content.decode()
    assert URI in page
    assert 'name="jwks_uri"' not in page
    assert 'name="jwks"' not in page


# --- Sets by themselves ------------------------------------------------------------------------------------


def test_what_was_never_fetched_is_not_known(internet: Internet) -> None:
    assert key_sets.known(URI) == []
    assert not KeySet.objects.exists()
    assert internet.connections == []
