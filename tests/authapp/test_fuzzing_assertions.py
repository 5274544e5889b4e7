"""Fuzzing of `client_assertion` at the endpoints that take it: never a 5xx, and nobody is authenticated by a bent one.

It begins like tests/authapp/test_fuzzing.py with a sound request that works, and changes parts of it.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from hypothesis import strategies as st

from tests.authapp.test_fuzzing import (
    FORM,
    Answer,
    Sent,
    bent,
    encoded,
    fuzz,
    mutated_headers,
    mutated_pairs,
    odd_text,
    require_machine_answer,
    send,
)
from tests.keys import JWT_BEARER, Key, claims, encode
from tests.oauth import HOST, ISSUER, registered

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(300)]

KEY, OTHER = Key("ES256"), Key("ES256")
PATHS = {
    "/o/token/": [("grant_type", "refresh_token"), ("refresh_token", "unknown")],
    "/o/revoke_token/": [("token", "unknown")],
    "/o/introspect/": [("token", "unknown")],
}
ODD = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), odd_text, st.just(10**400), st.just(ISSUER)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(odd_text, inner, max_size=3)),
    max_leaves=5,
)
CLAIMS = ("iss", "sub", "aud", "exp", "iat", "nbf", "jti")
MEMBERS = ("alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5c", "x5u", "zip", "enc", "cty")


@st.composite
def assertions(draw: st.DrawFn, client_id: str) -> tuple[str, bool]:
    """An assertion, and whether it is bent in any way."""
    said = claims(client_id)
    how = draw(st.sampled_from(["sound", "claim", "claim", "member", "member", "text", "part", "key", "payload"]))
    if how == "claim":
        said[draw(st.sampled_from(CLAIMS))] = draw(ODD)
        return KEY.sign_text(json.dumps(said)), True
    if how == "member":
        return KEY.sign(said, **{draw(st.sampled_from(MEMBERS)): draw(ODD)}), True
    sound = KEY.sign(said)
    if how == "text":
        return draw(bent(sound)), True
    if how == "part":
        parts = sound.split(".")
        odd = draw(ODD)
        parts[draw(st.integers(0, 2))] = encode(json.dumps(odd).encode())
        return ".".join(parts), True
    if how == "payload":
        return KEY.sign_text(draw(bent(json.dumps(said))).encode("utf-8", "replace").decode()), True
    if how == "key":
        return OTHER.sign(said), True
    return sound, False


@pytest.fixture
def world(settings: Any) -> SimpleNamespace:
    settings.AUTHAPP = {**settings.AUTHAPP, "REGISTRATION_BURST": 0}
    information = registered(token_endpoint_auth_method="private_key_jwt", jwks={"keys": [KEY.public]})
    return SimpleNamespace(client_id=information["client_id"])


def sound_request(client_id: str, path: str) -> Sent:
    assertion = KEY.sign(claims(client_id))
    form = "&".join(f"{name}={value}" for name, value in pairs_of(path, client_id, assertion))
    return Sent("POST", path, b"", ((b"host", HOST.encode()), (b"content-type", FORM.encode())), form.encode())


def pairs_of(path: str, client_id: str, assertion: str) -> list[tuple[str, str]]:
    return [
        *PATHS[path],
        ("client_id", client_id),
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", assertion),
    ]


@pytest.mark.parametrize("path", PATHS)
def test_the_sound_request_is_authenticated(world: SimpleNamespace, path: str) -> None:
    answer = send(sound_request(world.client_id, path))
    # An unknown refresh token is what the token endpoint comes to speak of once it knows whose request it is.
    assert answer.status == (400 if path == "/o/token/" else 200)
    assert b"invalid_client" not in answer.body


def test_nobody_is_authenticated_by_an_assertion_that_is_bent(world: SimpleNamespace) -> None:
    bodies: dict[bytes, bool] = {}

    @st.composite
    def requests(draw: st.DrawFn) -> Sent:
        path = draw(st.sampled_from(sorted(PATHS)))
        assertion, is_bent = draw(assertions(world.client_id))
        pairs = pairs_of(path, world.client_id, assertion)
        if draw(st.booleans()):
            pairs = draw(mutated_pairs(pairs, ("client_secret", "client_assertion_verified", "client")))
        body = draw(encoded(pairs))
        bodies[body] = is_bent
        headers = draw(mutated_headers({"host": HOST, "content-type": FORM}))
        return Sent("POST", path, b"", headers, body)

    def check(sent: Sent, answer: Answer) -> None:
        require_machine_answer(sent, answer)
        if bodies[sent.body] and (answer.status == 200 or b"invalid_grant" in answer.body):
            # What is left is what RFC 7519 lets a claim or a member be.
            assertion = dict(sent.parameters(sent.body))["client_assertion"]
            require_harmless(assertion, world.client_id)

    fuzz(requests(), 0.3, {200, 400, 401}, check)


def require_harmless(assertion: str, client_id: str) -> None:
    """Judge by another library whether an assertion that was changed is still one of the client's."""
    decoded = jwt.decode_complete(
        assertion,
        jwt.PyJWK(KEY.public),
        ["ES256"],
        audience=[ISSUER, f"{ISSUER}/o/token/"],
        issuer=client_id,
        leeway=30,
    )
    assert decoded["payload"]["sub"] == client_id
    assert isinstance(decoded["payload"]["jti"], str)
    assert decoded["header"].get("kid", KEY.kid) == KEY.kid
    assert not {"crit", "b64"} & decoded["header"].keys()
