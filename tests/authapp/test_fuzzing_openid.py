"""Fuzzing of OpenID Connect's endpoints: sound requests, bent, in the way of tests/authapp/test_fuzzing.py."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import strategies as st
from oauth2_provider.models import get_grant_model

from authapp.models import Application, SigningKey
from tests.authapp.test_fuzzing import (
    CSRF,
    FORM,
    OUR_ISSUERS,
    REQUESTS,
    Answer,
    Sent,
    encoded,
    fuzz,
    mutated_headers,
    mutated_pairs,
    odd_json,
    odd_text,
    require_machine_answer,
    send,
)
from tests.oauth import CALLBACK, HOST, PKCE, RESOURCE, browser, registered
from tests.openid import signed_in

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(max(300, REQUESTS // 20))]

BACK = f"{CALLBACK}?bye=1"  # which the rules of the other file know as registered


@pytest.fixture
def openid(alice: Any, settings: Any) -> SimpleNamespace:
    settings.AUTHAPP = {**settings.AUTHAPP, "REGISTRATION_BURST": 0}
    client, tokens = signed_in(alice, registered(post_logout_redirect_uris=[BACK]))
    return SimpleNamespace(
        alice=alice, client_id=client["client_id"], tokens=tokens, session=browser(alice).cookies["sessionid"].value
    )


@st.composite
def userinfo_requests(draw: st.DrawFn, openid: SimpleNamespace) -> Sent:
    kind = draw(st.sampled_from(["access_token", "access_token", "access_token", "id_token", "refresh_token"]))
    headers = {"host": HOST, "authorization": f"Bearer {openid.tokens[kind]}", "content-type": FORM}
    pairs = [("access_token", openid.tokens["access_token"])]
    return Sent(
        draw(st.sampled_from(["GET", "GET", "POST", "HEAD", "PUT"])),
        draw(st.sampled_from(["/o/userinfo/", "/o/userinfo"])),
        query=draw(st.one_of(st.just(b""), mutated_pairs(pairs).flatmap(encoded))),
        headers=draw(mutated_headers(headers)),
        body=draw(st.one_of(st.just(b""), mutated_pairs(pairs).flatmap(encoded))),
    )


def test_userinfo_tells_nobody_without_the_token_whatever_is_sent(openid: SimpleNamespace) -> None:
    right = openid.tokens["access_token"].encode()

    def check(sent: Sent, answer: Answer) -> None:
        if answer.status == 400:
            return  # by the site, before any endpoint: this one answers it to nobody
        if answer.status == 401 and answer.body == b"{}":  # RFC 6750 §3.1: no error where nothing was presented
            assert answer.header("www-authenticate") in {f'Bearer realm="{issuer}"' for issuer in OUR_ISSUERS}
            return
        require_machine_answer(sent, answer)
        if answer.status == 200:
            assert sent.header(b"authorization").split()[1:] == [right]
            assert answer.json()["sub"] == str(openid.alice.pk)

    fuzz(userinfo_requests(openid), 0.1, {200, 401, 405}, check)


@st.composite
def logout_requests(draw: st.DrawFn, openid: SimpleNamespace) -> Sent:
    pairs = [
        ("id_token_hint", openid.tokens["id_token"]),
        ("client_id", openid.client_id),
        ("post_logout_redirect_uri", BACK),
        ("state", "the-state"),
    ]
    if draw(st.booleans()):
        pairs = pairs[1:]
    query = draw(mutated_pairs(pairs, ("logout_hint", "ui_locales", "sign_out")).flatmap(encoded))
    session = draw(st.sampled_from(["", f"sessionid={openid.session}; csrftoken={CSRF[:32]}"]))
    headers = {"host": HOST, "cookie": session, "content-type": FORM, "x-csrftoken": CSRF[:32]}
    method = draw(st.sampled_from(["GET", "GET", "GET", "POST", "POST", "PUT"]))
    body = b""
    if method == "POST":
        pressed = mutated_pairs([("sign_out", "true")]).flatmap(encoded)
        body = draw(st.one_of(st.just(b"sign_out=true"), pressed, st.just(query)))
    return Sent(
        method,
        draw(st.sampled_from(["/o/logout/", "/o/logout"])),
        query=query,
        headers=draw(mutated_headers({name: value for name, value in headers.items() if value})),
        body=body,
    )


def test_signing_out_leads_only_to_what_the_client_registered_whatever_is_sent(openid: SimpleNamespace) -> None:
    def check(sent: Sent, answer: Answer) -> None:
        location = answer.header("location")
        if answer.status == 303:
            assert location.startswith("/o/logout")
        elif location:
            assert location == BACK or location.startswith(f"{BACK}&state="), location
            assert b"sessionid" in sent.header(b"cookie"), "nobody is sent on without a session"

    fuzz(logout_requests(openid), 0.2, {200, 302, 303, 400, 405}, check)


@st.composite
def authentication_requests(draw: st.DrawFn, openid: SimpleNamespace) -> Sent:
    pairs = [
        ("response_type", "code"),
        ("client_id", openid.client_id),
        ("redirect_uri", CALLBACK),
        ("code_challenge", PKCE().challenge),
        ("code_challenge_method", "S256"),
        ("scope", "openid profile"),
        ("resource", RESOURCE),
        ("nonce", "the-nonce"),
        ("max_age", "100"),
        ("claims", "{}"),
        ("id_token_hint", openid.tokens["id_token"]),
        ("prompt", draw(st.sampled_from(["none", "consent", "login", ""]))),
    ]
    further = ("request", "request_uri", "registration", "display", "ui_locales", "acr_values", "authenticated_at")
    kept = [pair for pair in pairs if draw(st.integers(0, 9)) or pair[0] in {"client_id", "redirect_uri"}]
    return Sent(
        "GET",
        "/o/authorize/",
        query=draw(mutated_pairs(kept, further).flatmap(encoded)),
        headers=draw(mutated_headers({"host": HOST, "cookie": f"sessionid={openid.session}"})),
    )


def test_no_authentication_request_makes_a_code_without_a_person_who_agrees(openid: SimpleNamespace) -> None:
    def check(sent: Sent, answer: Answer) -> None:
        assert not get_grant_model().objects.exists()

    fuzz(authentication_requests(openid), 0.15, {302, 400}, check)


@st.composite
def key_set_requests(draw: st.DrawFn, openid: SimpleNamespace) -> Sent:
    return Sent(
        draw(st.sampled_from(["GET", "GET", "HEAD", "POST", "OPTIONS"])),
        draw(st.sampled_from(["/o/jwks/", "/o/jwks"])),
        query=draw(mutated_pairs([("kid", "x")]).flatmap(encoded)),
        headers=draw(mutated_headers({"host": HOST, "if-none-match": '"x"', "accept": "application/json"})),
    )


def test_the_key_set_is_the_same_whatever_is_asked(openid: SimpleNamespace) -> None:
    expected = browser().get("/o/jwks/").content

    def check(sent: Sent, answer: Answer) -> None:
        if answer.status == 200 and sent.method == "GET":
            assert answer.body == expected
        assert SigningKey.objects.count() == 2

    fuzz(key_set_requests(openid), 0.05, {200, 405}, check)


@st.composite
def registrations(draw: st.DrawFn) -> Sent:
    metadata: dict[str, Any] = {
        "redirect_uris": [CALLBACK],
        "token_endpoint_auth_method": "none",
        "id_token_signed_response_alg": "ES256",
        "post_logout_redirect_uris": [BACK],
    }
    for name in ("id_token_signed_response_alg", "post_logout_redirect_uris"):
        if draw(st.booleans()):
            metadata[name] = draw(st.one_of(odd_json, odd_text, st.lists(odd_text, max_size=3)))
    body = json.dumps(metadata).encode()
    return Sent(
        "POST",
        "/o/register/",
        headers=((b"host", HOST.encode()), (b"content-type", b"application/json")),
        body=body,
    )


def test_nothing_unsafe_can_be_registered(openid: SimpleNamespace) -> None:
    def check(sent: Sent, answer: Answer) -> None:
        require_machine_answer(sent, answer)
        if answer.status == 201:
            made = Application.objects.get(client_id=answer.json()["client_id"])
            assert made.id_token_signed_response_alg in {"", "RS256", "ES256"}
            for uri in made.registered_post_logout_redirect_uris:
                assert uri.startswith(("https://", "http://127.0.0.1", "http://localhost", "cursor://anysphere"))

    fuzz(registrations(), 0.1, {201, 400}, check)


def test_a_sound_request_of_every_kind_succeeds(openid: SimpleNamespace) -> None:
    """Without this the fuzzing would prove nothing."""
    host = (b"host", HOST.encode())
    token = (b"authorization", f"Bearer {openid.tokens['access_token']}".encode())
    assert send(Sent("GET", "/o/userinfo/", headers=(host, token))).status == 200
    assert send(Sent("GET", "/o/userinfo/", headers=(host,))).status == 401
    query = f"id_token_hint={openid.tokens['id_token']}&post_logout_redirect_uri={CALLBACK}%3Fbye%3D1".encode()
    cookie = (b"cookie", f"sessionid={openid.session}".encode())
    assert send(Sent("GET", "/o/logout/", query=query, headers=(host, cookie))).header("location") == BACK
    assert send(Sent("GET", "/o/logout/", query=query, headers=(host,))).status == 200
