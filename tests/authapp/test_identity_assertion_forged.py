"""Assertions that must not count, each with the reason in the audit trail, beside a sound one that does.

The client hears `invalid_grant` and nothing of why (the extension, §7.4 and §7.6; the draft, §4.4.1; RFC 7523 §3).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connections
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from oauth2_provider.models import get_access_token_model

from authapp import conf
from authapp.models import Application, LinkedIdentity, UsedAssertion
from tests.authapp.enterprise import (
    SECRET,
    assertion_for,
    client_of_owner,
    exchange,
    link,
    make_client,
    provider,
    reasons,
    trust,
    user_of,
)
from tests.authapp.identity_provider import IdentityProvider, Key, base64url
from tests.oauth import ISSUER, RESOURCE, post_form

__all__ = ["client_of_owner", "provider"]

pytestmark = pytest.mark.django_db

NOW = 1_800_000_000  # the clock stands still at this time, in Unix seconds
OTHER_HOST = ISSUER.replace("127.0.0.1", "localhost")


class Case:
    """A provider, and what a sound assertion of it says."""

    def __init__(self, provider: IdentityProvider, client: Application) -> None:
        self.provider = provider
        self.key = provider.keys[0]
        self.claims = {
            "iss": provider.issuer,
            "sub": "alice",
            "aud": ISSUER,
            "client_id": client.client_id,
            "jti": "the-jti",
            "iat": NOW,
            "exp": NOW + 300,
            "resource": RESOURCE,
            "scope": "mcp:tools",
        }

    def signed(self, header: dict[str, Any] | None = None, key: Key | None = None, **claims: Any) -> str:
        """Return it with some claims changed; None leaves one out."""
        changed = {name: value for name, value in (self.claims | claims).items() if value is not None}
        return (key or self.key).sign(changed, **(header or {}))

    def with_text(self, old: str, new: str) -> str:
        """Return it with its JSON changed as text."""
        text = json.dumps(self.claims)
        assert old in text
        return self.key.sign(text.replace(old, new).encode())

    def parts(self) -> list[str]:
        return self.signed().split(".")


def with_secret(case: Case, secret: bytes) -> str:
    """HS256 over a key that everybody knows."""
    message = f"{base64url(json.dumps({'alg': 'HS256', 'typ': 'oauth-id-jag+jwt'}).encode())}.{case.parts()[1]}"
    return f"{message}.{base64url(hmac.digest(secret, message.encode(), 'sha256'))}"


def unsigned(case: Case) -> str:
    return f"{base64url(json.dumps({'alg': 'none', 'typ': 'oauth-id-jag+jwt'}).encode())}.{case.parts()[1]}."


def of_another_key_with_its_kid(case: Case) -> str:
    return case.signed({"kid": case.key.kid}, key=Key())


def tampered(case: Case) -> str:
    header, payload, signature = case.parts()
    other = base64.urlsafe_b64decode(payload + "==").replace(b'"alice"', b'"bobby"')
    return f"{header}.{base64url(other)}.{signature}"


FORGED: dict[str, tuple[Callable[[Case], str], str]] = {
    # The JWT itself (RFC 7515, RFC 8725)
    "alg none": (unsigned, "base64url"),
    "alg none with a signature": (lambda c: c.signed({"alg": "none"}), "alg"),
    "HS256 with the public key": (lambda c: with_secret(c, json.dumps(c.key.jwk).encode()), "alg"),
    "HS256 with the client's secret": (lambda c: with_secret(c, SECRET.encode()), "alg"),
    "another key": (lambda c: c.signed({"kid": None}, key=Key()), "signature"),
    "another key with a known kid": (of_another_key_with_its_kid, "signature"),
    "an unknown kid": (lambda c: c.signed({"kid": "elsewhere"}), "no key"),
    "a key of its own in the header": (lambda c: c.signed({"jwk": Key().jwk, "kid": None}, key=Key()), "signature"),
    "an algorithm that is not the key's": (lambda c: c.signed({"alg": "RS256"}), "no key"),
    "claims changed after signing": (tampered, "signature"),
    "no signature": (lambda c: ".".join([*c.parts()[:2], ""]), "base64url"),
    "four parts": (lambda c: c.signed() + ".x", "three parts"),
    "two parts": (lambda c: ".".join(c.parts()[:2]), "three parts"),
    "encrypted": (lambda c: "a.b.c.d.e", "three parts"),
    "padding": (lambda c: c.signed() + "=", "base64url"),
    "not base64": (lambda c: "*." + ".".join(c.parts()[1:]), "base64url"),
    "crit": (lambda c: c.signed({"crit": ["exp"]}), "extensions"),
    "a claim twice": (lambda c: c.with_text('"sub": "alice"', '"sub": "alice", "sub": "bob"'), "twice"),
    "no object": (lambda c: c.key.sign(b"[]"), "no object"),
    "no JSON": (lambda c: c.key.sign(b"{"), "base64url"),
    "empty": (lambda c: ".", "three parts"),
    "beyond ASCII": (lambda c: c.signed() + "é", "ASCII"),
    # What kind of JWT (the draft, §4.4.1)
    "typ JWT": (lambda c: c.signed({"typ": "JWT"}), "typ"),
    "no typ": (lambda c: c.signed({"typ": None}), "typ"),
    "typ of an access token": (lambda c: c.signed({"typ": "at+jwt"}), "typ"),
    "typ in capitals": (lambda c: c.signed({"typ": "OAUTH-ID-JAG+JWT"}), "typ"),
    "typ as a media type": (lambda c: c.signed({"typ": "application/oauth-id-jag+jwt"}), "typ"),
    # Who says so
    "an unknown issuer": (lambda c: c.signed(iss="https://login.elsewhere.example"), "iss is not trusted"),
    "the issuer with a slash": (lambda c: c.signed(iss=c.provider.issuer + "/"), "iss is not trusted"),
    "the issuer in capitals": (lambda c: c.signed(iss=c.provider.issuer.upper()), "iss is not trusted"),
    "ourselves as the issuer": (lambda c: c.signed(iss=ISSUER), "iss is not trusted"),
    "no issuer": (lambda c: c.signed(iss=None), "iss is not trusted"),
    "issuers in a list": (lambda c: c.signed(iss=[c.provider.issuer]), "iss is not trusted"),
    # For whom
    "the token endpoint as aud": (lambda c: c.signed(aud=f"{ISSUER}/o/token/"), "aud"),
    "another server as aud": (lambda c: c.signed(aud="https://star.elsewhere.example"), "aud"),
    "our other name as aud": (lambda c: c.signed(aud=OTHER_HOST), "aud"),
    "aud with a slash": (lambda c: c.signed(aud=ISSUER + "/"), "aud"),
    "aud of two": (lambda c: c.signed(aud=[ISSUER, "https://star.elsewhere.example"]), "aud"),
    "aud of none": (lambda c: c.signed(aud=[]), "aud"),
    "no aud": (lambda c: c.signed(aud=None), "aud"),
    "the resource as aud": (lambda c: c.signed(aud=RESOURCE), "aud"),
    # Which client
    "another client": (lambda c: c.signed(client_id="desk-of-somebody-else"), "client_id"),
    "no client": (lambda c: c.signed(client_id=None), "client_id"),
    "clients in a list": (lambda c: c.signed(client_id=[c.claims["client_id"]]), "client_id"),
    "the client in azp alone": (lambda c: c.signed(client_id=None, azp=c.claims["client_id"]), "client_id"),
    # When
    "expired": (lambda c: c.signed(iat=NOW - 400, exp=NOW - 100), "expired"),
    "no exp": (lambda c: c.signed(exp=None), "exp is missing"),
    "exp as a text": (lambda c: c.signed(exp=str(NOW + 300)), "no number"),
    "exp as true": (lambda c: c.signed(exp=True), "no number"),
    "exp beyond numbers": (lambda c: c.with_text(f'"exp": {NOW + 300}', '"exp": 1e400'), "no number"),
    "exp as NaN": (lambda c: c.with_text(f'"exp": {NOW + 300}', '"exp": NaN'), "not JSON"),
    "good for an hour": (lambda c: c.signed(exp=NOW + 3600), "ahead"),
    "good for longer than it may be": (lambda c: c.signed(iat=NOW - 200, exp=NOW + 200), "longer"),
    "issued endlessly long ago": (lambda c: c.signed(iat=-(10**400), exp=NOW + 200.5), "longer"),
    "issued in the future": (lambda c: c.signed(iat=NOW + 120), "not valid yet"),
    "not before the future": (lambda c: c.signed(nbf=NOW + 120), "not valid yet"),
    "no iat": (lambda c: c.signed(iat=None), "iat is missing"),
    # Once
    "no jti": (lambda c: c.signed(jti=None), "jti"),
    "an empty jti": (lambda c: c.signed(jti=""), "jti"),
    "jti as a number": (lambda c: c.signed(jti=7), "jti"),
    "a jti of 300 characters": (lambda c: c.signed(jti="x" * 300), "jti"),
    # Who
    "no sub": (lambda c: c.signed(sub=None), "sub"),
    "an empty sub": (lambda c: c.signed(sub=""), "sub"),
    "sub as a number": (lambda c: c.signed(sub=1), "sub"),
    "a sub of 300 characters": (lambda c: c.signed(sub="x" * 300), "sub"),
    "a sub beyond ASCII": (lambda c: c.signed(sub="аlice"), "sub"),
    "a sub with a NUL": (lambda c: c.signed(sub="alice\x00"), "NUL"),
    "a sub with half a character": (lambda c: c.signed(sub="\ud800"), "base64url"),
    "an unknown sub": (lambda c: c.signed(sub="mallory"), "nobody is linked"),
    "sub in capitals": (lambda c: c.signed(sub="Alice"), "nobody is linked"),
    "a tenant": (lambda c: c.signed(tenant="t-1"), "tenant"),
    # For what (the extension, §7.6.2)
    "another resource": (lambda c: c.signed(resource="https://mcp.elsewhere.example/star"), "resource"),
    "no resource": (lambda c: c.signed(resource=None), "resource"),
    "no resource in a list": (lambda c: c.signed(resource=[]), "resource"),
    "a resource of ours and another": (lambda c: c.signed(resource=[RESOURCE, "https://x.example"]), "resource"),
    "a resource as an object": (lambda c: c.signed(resource={"uri": RESOURCE}), "resource"),
    "a scope that is not here": (lambda c: c.signed(scope="mcp:tools chat.read"), "scope"),
    # What narrows it, and is not understood
    "cnf": (lambda c: c.signed(cnf={"jkt": "x"}), "cnf"),
    "authorization_details": (lambda c: c.signed(authorization_details=[]), "authorization_details"),
    "aud_tenant": (lambda c: c.signed(aud_tenant="t-1"), "aud_tenant"),
}


@pytest.fixture
def desk(client_of_owner: Application) -> Application:
    return client_of_owner


@pytest.fixture
def case(provider: IdentityProvider, desk: Application, alice: Any, bob: Any) -> Case:
    """A case with Alice and Bob linked, and the clock standing still."""
    link(provider, alice)
    link(provider, bob)
    return Case(provider, desk)


@pytest.mark.parametrize("name", FORGED)
def test_what_is_wrong_with_an_assertion_is_written_down_and_not_told(
    case: Case, desk: Application, alice: Any, name: str
) -> None:
    forge, expected = FORGED[name]
    with patch("authapp.assertions.time.time", lambda: NOW):
        response = exchange(desk, forge(case))
        assert (response.status_code, response.json()) == (
            400,
            {"error": "invalid_grant", "error_description": "The assertion is not accepted."},
        )
        [reason] = reasons()
        assert expected in reason
        assert not get_access_token_model().objects.exists()
        assert not UsedAssertion.objects.exists()
        assert user_of(exchange(desk, case.signed())) == alice, "the sound one"


def test_there_are_enough_of_them() -> None:
    assert len(FORGED) >= 35


@pytest.mark.parametrize("value", [None, "", "x" * 9000, "a.b.c\x00", ["a.b.c", "a.b.c"]], ids=ascii)
def test_an_assertion_that_is_none_is_invalid_request(case: Case, desk: Application, alice: Any, value: Any) -> None:
    """RFC 6749 §5.2."""
    response = exchange(desk, value)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")
    with patch("authapp.assertions.time.time", lambda: NOW):
        assert user_of(exchange(desk, case.signed())) == alice


def test_the_name_the_request_is_at_is_the_one_that_counts(provider: IdentityProvider, desk: Application) -> None:
    """The draft §4.4.1: `aud` is the issuer identifier, of which development has two."""
    [at_host] = [post_form_at("localhost:8000", desk, assertion_for(provider, desk, aud=aud)) for aud in [ISSUER]]
    assert at_host.status_code == 400
    assert reasons() == ["aud is not this server, or not this server alone"]


def post_form_at(host: str, client: Application, assertion: str) -> Any:
    form = {"grant_type": conf.JWT_BEARER, "client_id": client.client_id, "client_secret": SECRET}
    return post_form("/o/token/", form | {"assertion": assertion}, {"host": host})


def test_an_assertion_for_one_client_is_nothing_to_another(case: Case, desk: Application, alice: Any) -> None:
    """Nor is it used up by the attempt."""
    other = make_client()
    with patch("authapp.assertions.time.time", lambda: NOW):
        assertion = case.signed()
        assert exchange(other, assertion).json()["error"] == "invalid_grant"
        assert user_of(exchange(desk, assertion)) == alice


def test_a_client_id_that_is_not_the_authenticated_clients_is_refused(
    case: Case, desk: Application, alice: Any
) -> None:
    other = make_client()
    credentials = base64.b64encode(f"{desk.client_id}:{SECRET}".encode()).decode()
    form = {"grant_type": conf.JWT_BEARER, "client_id": other.client_id}
    with patch("authapp.assertions.time.time", lambda: NOW):
        form["assertion"] = case.signed()
        response = post_form("/o/token/", form, {"authorization": f"Basic {credentials}"})
        assert (response.status_code, response.json()["error"]) == (401, "invalid_client")
        form["client_id"] = desk.client_id
        assert user_of(post_form("/o/token/", form, {"authorization": f"Basic {credentials}"})) == alice


def test_one_issuer_says_nothing_about_the_people_of_another(
    provider: IdentityProvider, desk: Application, alice: Any, settings: Any
) -> None:
    link(provider, alice)
    with IdentityProvider() as other:
        trust(settings, provider)
        [sound] = settings.AUTHAPP["TRUSTED_ISSUERS"]
        settings.AUTHAPP = {
            **settings.AUTHAPP,
            "TRUSTED_ISSUERS": [sound, {"issuer": other.issuer, "jwks_uri": other.jwks_uri}],
            "PRIVATE_KEY_HOSTS": [provider.host, other.host],
        }
        assert exchange(desk, assertion_for(other, desk)).json()["error"] == "invalid_grant"
        mixed = other.keys[0].sign(provider.claims(sub="alice", aud=ISSUER, client_id=desk.client_id))
        assert exchange(desk, mixed).json()["error"] == "invalid_grant"
    assert user_of(exchange(desk, assertion_for(provider, desk))) == alice


@pytest.mark.django_db(transaction=True)
def test_of_parallel_requests_with_one_assertion_one_gets_a_token(
    provider: IdentityProvider, desk: Application, alice: Any
) -> None:
    link(provider, alice)
    assertion = assertion_for(provider, desk)
    start = threading.Barrier(6)

    def send() -> int:
        start.wait(10)
        try:
            return int(exchange(desk, assertion).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        statuses = sorted(pool.map(lambda _: send(), range(6)))
    assert statuses == [200, 400, 400, 400, 400, 400]
    assert get_access_token_model().objects.count() == 1


# --- Whatever is sent, no 5xx -------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=10), children, max_size=3),
    max_leaves=6,
)
CLAIMS = ["iss", "sub", "aud", "client_id", "jti", "iat", "exp", "nbf", "resource", "scope", "tenant", "act", "email"]


@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(
    claims=st.dictionaries(st.sampled_from(CLAIMS), JSON, max_size=4),
    header=st.dictionaries(st.sampled_from(["kid", "typ", "alg", "crit", "jwk", "b64"]), JSON, max_size=2),
    parameters=st.dictionaries(st.sampled_from(["scope", "resource", "client_id"]), st.text(max_size=60), max_size=2),
    cut=st.integers(0, 40) | st.just(-1),
)
def test_whatever_an_assertion_says_the_answer_is_the_rfcs(
    case: Case, desk: Application, claims: Any, header: Any, parameters: Any, cut: int
) -> None:
    try:
        assertion = case.key.sign(json.dumps(case.claims | {"exp": int(time.time()) + 200} | claims).encode(), **header)
        form = {name: value.encode("utf-8", "replace").decode() for name, value in parameters.items()}
    except (TypeError, ValueError):
        return  # not JSON at all
    response = exchange(desk, assertion[:-cut] if cut > 0 else assertion, **form)
    assert response.status_code in {200, 400, 401}
    if response.status_code != 200:
        assert response.json()["error"] in {
            "invalid_grant",
            "invalid_request",
            "invalid_client",
            "invalid_scope",
            "invalid_target",
        }
    assert LinkedIdentity.objects.count() == 2


def test_the_digest_of_a_used_assertion_is_all_that_is_kept_of_it(case: Case, desk: Application) -> None:
    """So that nobody who reads the database learns what people were called at their provider when."""
    with patch("authapp.assertions.time.time", lambda: NOW):
        assert exchange(desk, case.signed(email="alice@example.com")).status_code == 200
    [row] = UsedAssertion.objects.values()
    assert len(row["digest"]) == len(hashlib.sha256().hexdigest())
    assert "alice" not in str(row)
