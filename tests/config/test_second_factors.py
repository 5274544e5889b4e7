"""Second factors: a code besides the password, sealed in the database, and recovery codes that count once."""

from __future__ import annotations

import time
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret, hotp_value
from django.core.cache import cache

from tests.oauth import HOST, PKCE, authorization_url, browser, registered

pytestmark = pytest.mark.django_db


@pytest.fixture
def secret(alice: Any) -> str:
    secret = str(generate_totp_secret())
    TOTP.activate(alice, secret)
    RecoveryCodes.activate(alice)
    return secret


def code(secret: str, steps: int = 0) -> str:
    return f"{hotp_value(secret, int(time.time()) // 30 + steps):06d}"


def after_the_password(path: str = "/") -> Any:
    client = browser()
    form = {"login": "alice", "password": "alice-password", "next": path}
    response = client.post("/accounts/login/", form)
    assert response["Location"].startswith("/accounts/2fa/authenticate/"), "the password alone does not do"
    assert client.get("/connected-apps/").status_code == 302
    return client


def test_a_code_is_asked_for_after_the_password_and_leads_back_to_the_consent(alice: Any, secret: str) -> None:
    url = authorization_url(registered()["client_id"], PKCE())
    client = after_the_password(url)
    wrong = client.post("/accounts/2fa/authenticate/", {"code": "000000"})
    assert wrong.status_code == 200
    assert client.get("/connected-apps/").status_code == 302
    right = client.post("/accounts/2fa/authenticate/", {"code": code(secret)})
    assert right["Location"] == url
    assert client.get(url).status_code == 200


def test_a_code_counts_once(alice: Any, secret: str) -> None:
    once = code(secret)
    assert after_the_password().post("/accounts/2fa/authenticate/", {"code": once}).status_code == 302
    assert after_the_password().post("/accounts/2fa/authenticate/", {"code": once}).status_code == 200


def test_a_recovery_code_lets_in_once(alice: Any, secret: str) -> None:
    recovery = Authenticator.objects.get(user=alice, type="recovery_codes").wrap().get_unused_codes()[0]
    assert after_the_password().post("/accounts/2fa/authenticate/", {"code": recovery}).status_code == 302
    assert after_the_password().post("/accounts/2fa/authenticate/", {"code": recovery}).status_code == 200


def test_secrets_are_sealed_in_the_database_and_opened_by_a_former_key(alice: Any, secret: str, settings: Any) -> None:
    stored = [row.data for row in Authenticator.objects.all()]
    assert secret not in str(stored)
    recovery = Authenticator.objects.get(type="recovery_codes").wrap().get_unused_codes()[0]
    assert recovery not in str(stored)
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = (
        [settings.SECRET_KEY],
        "another key of more than fifty letters" * 2,
    )
    assert after_the_password().post("/accounts/2fa/authenticate/", {"code": code(secret)}).status_code == 302


def test_with_a_key_that_is_lost_no_code_fits_and_nothing_breaks(alice: Any, secret: str, settings: Any) -> None:
    settings.SECRET_KEY = "another key of more than fifty letters" * 2
    assert after_the_password().post("/accounts/2fa/authenticate/", {"code": code(secret)}).status_code == 200


def test_guessing_codes_is_limited_and_locks_nobody_out_for_long(alice: Any, secret: str) -> None:
    cache.clear()
    client = after_the_password()
    found = [client.post("/accounts/2fa/authenticate/", {"code": f"{number:06d}"}) for number in range(12)]
    assert "Too many" in found[-1].content.decode() or found[-1].status_code == 429


@pytest.mark.parametrize("path", ["/accounts/2fa/", "/accounts/2fa/totp/activate/", "/accounts/2fa/webauthn/"])
def test_the_pages_are_there_for_who_has_just_proved_who_they_are(alice: Any, path: str) -> None:
    assert browser().get(path)["Location"].startswith("/accounts/login/")
    client = browser()
    client.post("/accounts/login/", {"login": "alice", "password": "alice-password"})
    response = client.get(path)
    if "activate" in path:  # what adds a factor wants the password once more
        asked = response["Location"]
        assert asked.startswith("/accounts/reauthenticate/")
        response = client.get(client.post(asked, {"password": "alice-password"})["Location"])
    assert response.status_code == 200
    assert "unsafe" not in response["Content-Security-Policy"]


@pytest.mark.parametrize(("host", "offered"), [(HOST, False), ("localhost:8000", True)])
def test_a_passkey_is_offered_where_browsers_take_one(host: str, offered: bool) -> None:
    """An IP address is no domain (W3C Web Authentication §5.1.3)."""
    page = browser().get("/accounts/login/", headers={"host": host}).content.decode()
    assert ("passkey" in page) == offered
