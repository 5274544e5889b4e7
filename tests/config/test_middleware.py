"""One public address, plain input, and popups: what config.middleware sees to."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core import mail
from django.test import Client

from tests.oauth import CALLBACK, HOST, ISSUER, browser, registered

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("host", ["127.0.0.1:6666", "localhost:6666", "localhost", "[::1]:8000", HOST])
def test_links_in_mails_lead_to_the_public_address(alice: Any, host: str) -> None:
    alice.email = "alice@example.com"
    alice.save()
    Client().post("/accounts/password/reset/", {"email": "alice@example.com"}, headers={"host": host})
    [message] = mail.outbox
    assert re.findall(r"https?://[^/\s]+", message.body) == [ISSUER]


def test_the_limit_on_guessing_does_not_start_over_for_another_spelling_of_the_host(alice: Any) -> None:
    def guess(host: str) -> str:
        form = {"login": "alice", "password": "wrong"}
        return Client().post("/accounts/login/", form, headers={"host": host}).content.decode()

    for _ in range(5):
        assert "Too many" not in guess(HOST)
    for host in (HOST, "127.0.0.1:1", "127.0.0.1:2"):
        assert "Too many" in guess(host)


def test_a_host_that_is_not_ours_is_refused_as_ever() -> None:
    assert Client().get("/", headers={"host": "evil.example"}).status_code == 400


ENCODINGS = ["rot13", "hex", "base64", "zlib", "idna", "undefined", "unicode_escape", "utf-16", "nonsense", "utf-8"]


@pytest.mark.parametrize("charset", ENCODINGS)
def test_a_form_in_an_odd_encoding_is_read_as_utf_8(alice: Any, charset: str) -> None:
    kinds = ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x")
    body = b"grant_type=authorization_code&code=%5Cud800&client_id=x"
    for content_type in (f"{kind}; charset={charset}" for kind in kinds):
        for path in ("/o/token/", "/o/revoke_token/"):
            response = browser().generic("POST", path, body, content_type=content_type)
            assert response.status_code in {400, 401}
            assert response.json()["error"] in {"invalid_request", "invalid_client"}
        page = browser().generic("POST", "/accounts/login/", b"login=a&password=b", content_type=content_type)
        assert page.status_code == 200


@pytest.mark.parametrize("key", ['"\\000aaaaaaaaaaaa"', "../../etc", "A" * 5000, "", "é"])
@pytest.mark.parametrize("path", ["/", "/accounts/login/", "/admin/", "/o/authorize/"])
def test_a_session_key_that_cannot_be_one_is_nobodys_session(key: str, path: str) -> None:
    response = Client().get(path, headers={"host": HOST, "cookie": f"sessionid={key}"})
    assert response.status_code in {200, 302, 400}


def test_a_real_session_is_a_session(alice: Any) -> None:
    assert "alice" in browser(alice).get("/").content.decode()


def test_a_session_is_secure_and_strict_transport_is_asked_for_behind_a_tls_proxy(settings: Any, alice: Any) -> None:
    """No header of the proxy is needed: the scheme is that of PUBLIC_URL."""
    settings.PUBLIC_URLS = ["https://star.example"]
    settings.ALLOWED_HOSTS = ["star.example"]
    response = Client().get("/", headers={"host": "star.example"})
    assert response.wsgi_request.is_secure()
    settings.PUBLIC_URLS = [ISSUER]
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    spoofed = Client().get("/", headers={"host": HOST, "x-forwarded-proto": "https", "star-public-scheme": "https"})
    assert not spoofed.wsgi_request.is_secure()


def test_a_redirect_uri_on_this_server_is_refused() -> None:
    from tests.oauth import register

    assert register(redirect_uris=[f"{ISSUER}/somewhere"]).status_code == 400
    assert registered(redirect_uris=[CALLBACK])


@pytest.mark.parametrize("path", ["/accounts/email/", "/accounts/confirm-email/x/"])
def test_pages_this_site_has_no_use_for_are_not_there(alice: Any, path: str) -> None:
    assert browser(alice).get(path).status_code == 404
