"""Clients that prove who they are with a key (RFC 7523 §2.2, §3; RFC 8725): what passes, and all that does not.

What is forged is sent to the introspection endpoint, where being authenticated is all that counts; each refusal is
followed by a sound assertion of the same client, which must pass.
"""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.utils import timezone

from authapp import assertions, client_assertions
from authapp.models import Application, UsedAssertion
from tests.keys import JWT_BEARER, Key, claims, encode, hmac_signed, unsigned
from tests.oauth import ISSUER, PKCE, authorization_url, authorize, browser, post_form, redeem, registered

pytestmark = pytest.mark.django_db

KEYS = {algorithm: Key(algorithm) for algorithm in ("RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA")}
KEY = KEYS["ES256"]
RSA = KEYS["RS256"]
OTHER = Key("ES256")
TOKEN_ENDPOINT = f"{ISSUER}/o/token/"


def with_key(key: Key = KEY, **metadata: Any) -> str:
    """Register a client with a key; return its identifier."""
    information = registered(
        token_endpoint_auth_method="private_key_jwt", **{"jwks": {"keys": [key.public]}, **metadata}
    )
    return str(information["client_id"])


def proof(assertion: str, **form: str) -> dict[str, str]:
    return {"client_assertion_type": JWT_BEARER, "client_assertion": assertion} | form


def introspect(assertion: str, *, headers: dict[str, str] | None = None, **form: str) -> Any:
    return post_form("/o/introspect/", proof(assertion, token="unknown") | form, headers)


def require_refused(response: Any) -> None:
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")
    assert "traceback" not in response.content.decode().lower()


def require_accepted(response: Any) -> None:
    assert (response.status_code, response.json()) == (200, {"active": False})


# --- What passes -------------------------------------------------------------------------------------------


@pytest.mark.rfc("7518 3.1")
@pytest.mark.parametrize("algorithm", [*KEYS, "Ed25519"])
def test_a_client_proves_itself_with_a_key_of_each_kind(algorithm: str) -> None:
    """Ed25519 is RFC 9864's name for what RFC 8037 calls EdDSA."""
    key = KEYS["EdDSA" if algorithm == "Ed25519" else algorithm]
    client_id = with_key(key)
    require_accepted(introspect(key.sign(claims(client_id), alg=algorithm)))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"aud": TOKEN_ENDPOINT},
        {"aud": [ISSUER]},
        {"iat": None},
        {"nbf": lambda: int(time.time()) - 5},
        {"exp": lambda: time.time() + 30.5},
        {"iat": lambda: int(time.time()) + 10},
        {"jti": "j" * 255},
        {"something": {"else": [1, None, True]}},
    ],
    ids=lambda change: " ".join(change) or "nothing",
)
def test_an_assertion_may_say_it_in_these_ways(change: dict[str, Any]) -> None:
    # Times are of when the test runs, which may be minutes after it was collected.
    change = {name: value() if callable(value) else value for name, value in change.items()}
    client_id = with_key()
    require_accepted(
        introspect(KEY.sign(claims(client_id) | change if "iat" not in change else claims(client_id, **change)))
    )


@pytest.mark.parametrize(
    "header", [{"typ": None}, {"typ": "JWT"}, {"typ": client_assertions.TYP}, {"kid": None}], ids=str
)
def test_a_header_may_leave_out_what_is_optional(header: dict[str, Any]) -> None:
    client_id = with_key()
    require_accepted(introspect(KEY.sign(claims(client_id), **header)))


def test_a_client_with_a_key_logs_a_person_in_refreshes_introspects_and_revokes(alice: Any) -> None:
    """The whole life of a login; at each endpoint an assertion is wanted, and one is enough."""
    client_id, pkce = with_key(), PKCE()
    code = authorize(alice, client_id, pkce)["code"]
    form = {"grant_type": "authorization_code", "code": code, "code_verifier": pkce.verifier}
    assert post_form("/o/token/", form | {"client_id": client_id}).json()["error"] == "invalid_client"
    response = post_form("/o/token/", proof(KEY.sign(claims(client_id)), **form))
    assert response.status_code == 200, response.content
    tokens = response.json()

    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "client_id": client_id}
    assert post_form("/o/token/", form).json()["error"] == "invalid_client"
    tokens = post_form("/o/token/", proof(KEY.sign(claims(client_id)), **form)).json()

    token = {"token": tokens["access_token"]}
    assert introspect(KEY.sign(claims(client_id)), **token).json()["active"] is True
    assert post_form("/o/revoke_token/", token | {"client_id": client_id}).json()["error"] == "invalid_client"
    assert introspect(KEY.sign(claims(client_id)), **token).json()["active"] is True
    assert post_form("/o/revoke_token/", proof(KEY.sign(claims(client_id)), **token)).status_code == 200
    assert introspect(KEY.sign(claims(client_id)), **token).json() == {"active": False}


def test_an_assertion_is_only_for_the_issuer_the_request_is_at(settings: Any) -> None:
    other = "http://localhost:8000"
    settings.AUTHAPP = {**settings.AUTHAPP, "ISSUERS": [ISSUER, other]}
    settings.ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
    client_id = with_key()
    at_other = {"host": "localhost:8000"}
    require_refused(introspect(KEY.sign(claims(client_id)), headers=at_other))
    require_refused(introspect(KEY.sign(claims(client_id, aud=other))))
    require_accepted(introspect(KEY.sign(claims(client_id, aud=other)), headers=at_other))


# --- What does not -----------------------------------------------------------------------------------------

Forge = Callable[[SimpleNamespace], str]


def said(**changes: Any) -> Forge:
    return lambda world: KEY.sign(claims(world.client_id) | changes)


def unsaid(name: str) -> Forge:
    return lambda world: KEY.sign(claims(world.client_id, **{name: None}))


def headed(**header: Any) -> Forge:
    return lambda world: KEY.sign(claims(world.client_id), **header)


def payload(change: Callable[[str], str]) -> Forge:
    """Sign a payload that JSON's writer would not write."""
    return lambda world: KEY.sign_text(change(json.dumps(claims(world.client_id))))


def text(change: Callable[[str], str]) -> Forge:
    """Change the text of a sound assertion."""
    return lambda world: change(KEY.sign(claims(world.client_id)))


def other_spelling(part: str) -> str:
    """Return base64url that decodes to the same bytes, by the bits that mean nothing."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    for character in alphabet:
        candidate = part[:-1] + character
        if candidate != part and base64.urlsafe_b64decode(candidate + "=" * (-len(part) % 4)) == raw:
            return candidate
    raise AssertionError("every bit of this text means something")


def respelled(world: SimpleNamespace) -> str:
    """The signature of ES256 has 64 bytes, so its last character has bits to spare."""
    head, _, signature = KEY.sign(claims(world.client_id)).rpartition(".")
    return f"{head}.{other_spelling(signature)}"


def nested(world: SimpleNamespace) -> str:
    """A JWE has five parts (RFC 7516 §3)."""
    return ".".join([encode(b'{"alg":"RSA-OAEP","enc":"A256GCM","cty":"JWT"}'), *["AAAA"] * 4])


def jwk_in_header(world: SimpleNamespace) -> str:
    return OTHER.sign(claims(world.client_id), jwk=OTHER.public)


def public_bytes(key: Key) -> bytes:
    return bytes(key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


NOW = int(time.time())
FORGED: dict[str, Forge] = {
    # who signed, and how
    "alg none": lambda world: unsigned(claims(world.client_id)),
    "alg none, in another case": lambda world: unsigned(claims(world.client_id)).replace(
        encode(b'{"alg":"none","typ":"JWT"}'), encode(b'{"alg":"NoNe","typ":"JWT"}')
    ),
    "a sound header with no signature": text(lambda sound: sound.rpartition(".")[0] + "."),
    "HS256 with the public key as PEM": lambda world: hmac_signed(claims(world.client_id), public_bytes(KEY)),
    "HS256 with the public key as JWK": lambda world: hmac_signed(
        claims(world.client_id), json.dumps(KEY.public).encode()
    ),
    "HS256 with the empty secret": lambda world: hmac_signed(claims(world.client_id), b""),
    "another key under the same kid": lambda world: OTHER.sign(claims(world.client_id)),
    "another key without a kid": lambda world: OTHER.sign(claims(world.client_id), kid=None),
    "an unknown kid": headed(kid="key-2"),
    "an empty kid": headed(kid=""),
    "a kid that is a path": headed(kid="../../key-1"),
    "a kid that is a number": headed(kid=1),
    "a kid that is a list": headed(kid=["key-1"]),
    "the key of another client": lambda world: world.stranger.sign(claims(world.client_id)),
    "a key in the header": jwk_in_header,
    "a key at an address in the header": lambda world: OTHER.sign(
        claims(world.client_id), jku="https://evil.example/jwks.json"
    ),
    "a certificate in the header": lambda world: OTHER.sign(
        claims(world.client_id), x5c=["AAAA"], x5u="https://e.example/"
    ),
    "RS256 said of an elliptic key": lambda world: KEY.sign(claims(world.client_id), alg="RS256"),
    "ES384 said of a P-256 key": lambda world: KEY.sign(claims(world.client_id), alg="ES384"),
    "ES256 said of a P-384 key": lambda world: KEYS["ES384"].sign(claims(world.client_id), alg="ES256"),
    "an algorithm nobody has": headed(alg="ES256K"),
    "an algorithm that is a list": headed(alg=["ES256"]),
    "no algorithm": headed(alg=None),
    "the signature of another payload": lambda world: ".".join(
        [*KEY.sign(claims(world.client_id)).split(".")[:2], KEY.sign(claims(world.client_id)).split(".")[2]]
    ),
    "a payload changed after signing": text(
        lambda sound: ".".join([sound.split(".")[0], encode(b'{"iss":"somebody"}'), sound.split(".")[2]])
    ),
    # the header's other members
    "crit": headed(crit=["exp"]),
    "crit of something unknown": headed(crit=["x"], x=1),
    "an unencoded payload": headed(b64=False, crit=["b64"]),
    "b64 alone": headed(b64=False),
    "an access token": headed(typ="at+jwt"),
    "a proof of possession": headed(typ="dpop+jwt"),
    "an identity assertion": headed(typ="oauth-id-jag+jwt"),
    "a typ that is a number": headed(typ=5),
    # whom it is for, and from
    "no aud": unsaid("aud"),
    "an empty aud": said(aud=""),
    "aud of nobody": said(aud=[]),
    "aud of another server": said(aud="https://as.example"),
    "the token endpoint of another host": said(aud="https://as.example/o/token/"),
    "aud with a slash at the end": said(aud=f"{ISSUER}/"),
    "aud in another case": said(aud=ISSUER.upper()),
    "aud of two": said(aud=[ISSUER, "https://as.example"]),
    "aud of both our names": said(aud=[ISSUER, TOKEN_ENDPOINT]),
    "aud of ours twice": said(aud=[ISSUER, ISSUER]),
    "the revocation endpoint": said(aud=f"{ISSUER}/o/revoke_token/"),
    "the resource": said(aud=f"{ISSUER}/star"),
    "aud that is an object": said(aud={"0": ISSUER}),
    "aud that is a list in a list": said(aud=[[ISSUER]]),
    "no iss": unsaid("iss"),
    "an iss that is a list": lambda world: KEY.sign(claims(world.client_id) | {"iss": [world.client_id]}),
    "iss in another case": lambda world: KEY.sign(claims(world.client_id) | {"iss": world.client_id.swapcase()}),
    "no sub": unsaid("sub"),
    "a sub that is another client": lambda world: KEY.sign(claims(world.client_id) | {"sub": world.other_id}),
    "a sub that is a number": said(sub=5),
    "iss of another client": lambda world: KEY.sign(claims(world.other_id)),
    "iss and sub of nobody": lambda world: KEY.sign(claims("nobody")),
    # when
    "no exp": unsaid("exp"),
    "expired": said(exp=NOW - 31),
    "expired long ago": said(exp=0),
    "exp below nothing": said(exp=-(10**18)),
    "exp in a day": said(exp=NOW + 24 * 3600),
    "exp in a million years": said(exp=10**30),
    "exp beyond what a float holds": said(exp=10**400),
    "exp that is text": said(exp=str(NOW + 60)),
    "exp that is a bool": said(exp=True),
    "exp that is null": said(exp=None),
    "exp that is a list": said(exp=[NOW + 60]),
    "exp that is not a number": payload(lambda sound: sound.replace('"exp": ', '"exp": NaN, "was": ')),
    "exp that is infinite": payload(lambda sound: sound.replace('"exp": ', '"exp": Infinity, "was": ')),
    "exp that is 1e400": payload(lambda sound: sound.replace('"exp": ', '"exp": 1e400, "was": ')),
    "exp of five thousand digits": payload(lambda sound: sound.replace('"exp": ', f'"exp": {"9" * 5000}, "was": ')),
    "issued in the future": said(iat=NOW + 3600),
    "iat that is text": said(iat="now"),
    "iat that is a bool": said(iat=False),
    "not valid yet": said(nbf=NOW + 3600),
    "nbf that is null": said(nbf=None),
    # once
    "no jti": unsaid("jti"),
    "an empty jti": said(jti=""),
    "a jti of 300 characters": said(jti="j" * 300),
    "a jti that is a number": said(jti=7),
    "a jti with a NUL": said(jti="a\x00b"),
    "a jti that is half a character": payload(lambda sound: sound.replace('"jti": "', '"jti": "\\ud800')),
    # how it is written
    "a claim twice": payload(lambda sound: sound[:-1] + ', "sub": "x"}'),
    "a claim twice in an object": payload(lambda sound: sound[:-1] + ', "o": {"a": 1, "a": 2}}'),
    "a header member twice": lambda world: KEY.sign_text(
        json.dumps(claims(world.client_id)), header_text='{"alg":"ES256","alg":"ES256","kid":"key-1"}'
    ),
    "a payload that is a list": payload(lambda sound: f"[{sound}]"),
    "a payload that is no JSON": payload(lambda sound: sound + "}"),
    "a payload that is nothing": payload(lambda sound: ""),
    "a payload that is deep": payload(lambda sound: sound[:-1] + f', "a": {"[" * 2000}{"]" * 2000}' + "}"),
    "a header that is text": lambda world: KEY.sign_text(json.dumps(claims(world.client_id)), header_text='"ES256"'),
    "two parts": text(lambda sound: sound.rpartition(".")[0]),
    "four parts": text(lambda sound: f"{sound}.AAAA"),
    "a nested, encrypted one": nested,
    "JSON serialization": text(
        lambda sound: json.dumps(dict(zip(("protected", "payload", "signature"), sound.split("."), strict=True)))
    ),
    "padding": text(lambda sound: f"{sound}=="),
    "the other base64": text(lambda sound: sound[:-1] + "+"),
    "another spelling of the same signature": respelled,
    "a line break at the end": text(lambda sound: f"{sound}\n"),
    "a space before": text(lambda sound: f" {sound}"),
    "digits that are not ASCII": text(lambda sound: f"{sound}٣"),
    "letters that are not ASCII": text(lambda sound: "е" + sound[1:]),
    "empty": lambda world: "",
    "dots": lambda world: "..",
    "not a JWT at all": lambda world: "the-secret",
}


@pytest.fixture
def world() -> SimpleNamespace:
    stranger = Key("ES256")
    return SimpleNamespace(client_id=with_key(), stranger=stranger, other_id=with_key(stranger))


def test_there_are_forgeries_enough() -> None:
    assert len(FORGED) > 80


@pytest.mark.rfc("7523 3")
@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_assertion_proves_nothing(world: SimpleNamespace, kind: str) -> None:
    require_refused(introspect(FORGED[kind](world)))
    assert not UsedAssertion.objects.exists()
    require_accepted(introspect(KEY.sign(claims(world.client_id))))


def test_an_assertion_of_more_than_8192_characters_is_not_even_read(world: SimpleNamespace) -> None:
    sound = claims(world.client_id)
    huge = introspect(KEY.sign(sound | {"padding": "x" * 7000}))
    assert (huge.status_code, huge.json()["error"]) == (400, "invalid_request")
    require_accepted(introspect(KEY.sign(sound | {"padding": "x" * 4000})))


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "PS256"])
def test_a_key_is_only_good_for_its_own_alg(algorithm: str) -> None:
    """RFC 7517 §4.4, RFC 8725 §3.1."""
    key = Key("RS256", alg="RS512")
    client_id = with_key(key)
    require_refused(introspect(Key.sign(with_algorithm(key, algorithm), claims(client_id))))
    require_accepted(introspect(Key.sign(with_algorithm(key, "RS512"), claims(client_id))))


def with_algorithm(key: Key, algorithm: str) -> Key:
    same = Key.__new__(Key)
    same.algorithm, same.kid, same.private = algorithm, key.kid, key.private
    return same


@pytest.mark.rfc("7591 2")
def test_only_the_algorithm_that_was_registered_counts() -> None:
    client_id = with_key(RSA, token_endpoint_auth_signing_alg="PS256")
    require_refused(introspect(RSA.sign(claims(client_id))))
    require_accepted(introspect(with_algorithm(RSA, "PS256").sign(claims(client_id))))


@pytest.mark.rfc("7517 4")
@pytest.mark.parametrize(
    "members", [{"use": "enc"}, {"key_ops": ["encrypt"]}, {"key_ops": []}, {"alg": "ES384"}], ids=str
)
def test_a_key_for_something_else_is_not_used_beside_one_that_is(members: dict[str, Any]) -> None:
    for_something_else = Key("ES256", kid="other", **members)
    client_id = with_key(jwks={"keys": [for_something_else.public, KEY.public]})
    require_refused(introspect(for_something_else.sign(claims(client_id))))
    require_refused(introspect(for_something_else.sign(claims(client_id), kid=None)))
    require_accepted(introspect(KEY.sign(claims(client_id), kid=None)))


# --- Once --------------------------------------------------------------------------------------------------


@pytest.mark.rfc("7523 3")
def test_an_assertion_works_once_at_whichever_endpoint(world: SimpleNamespace) -> None:
    assertion = KEY.sign(claims(world.client_id))
    require_accepted(introspect(assertion))
    require_refused(introspect(assertion))
    require_refused(post_form("/o/revoke_token/", proof(assertion, token="unknown")))
    same_jti = claims(world.client_id) | {"jti": "one"}
    require_accepted(introspect(KEY.sign(same_jti)))
    require_refused(introspect(KEY.sign(same_jti | {"exp": same_jti["exp"] + 1})))
    require_accepted(introspect(KEY.sign(claims(world.client_id))))


def test_two_clients_may_choose_the_same_jti(world: SimpleNamespace) -> None:
    require_accepted(introspect(KEY.sign(claims(world.client_id, jti="1"))))
    require_accepted(introspect(world.stranger.sign(claims(world.other_id, jti="1"))))


def test_an_assertion_is_used_though_the_request_fails_otherwise(world: SimpleNamespace) -> None:
    """*Our choice*: whoever saw the request in transit has nothing left to try."""
    assertion = KEY.sign(claims(world.client_id))
    form = {"grant_type": "refresh_token", "refresh_token": "unknown"}
    assert post_form("/o/token/", proof(assertion, **form)).json()["error"] == "invalid_grant"
    require_refused(introspect(assertion))


# --- One method, the one that was registered ---------------------------------------------------------------


@pytest.mark.rfc("7521 4.2")
def test_a_client_id_beside_an_assertion_is_the_same_client(world: SimpleNamespace) -> None:
    require_refused(introspect(KEY.sign(claims(world.client_id)), client_id=world.other_id))
    require_accepted(introspect(KEY.sign(claims(world.client_id)), client_id=world.client_id))


@pytest.mark.rfc("6749 2.3")
def test_a_second_method_beside_an_assertion_is_refused(world: SimpleNamespace) -> None:
    credentials = base64.b64encode(f"{world.client_id}:secret".encode()).decode()
    for attempt in (
        introspect(KEY.sign(claims(world.client_id)), client_secret="secret"),
        introspect(KEY.sign(claims(world.client_id)), headers={"authorization": f"Basic {credentials}"}),
    ):
        assert (attempt.status_code, attempt.json()["error"]) == (400, "invalid_request")
    require_accepted(introspect(KEY.sign(claims(world.client_id))))


@pytest.mark.parametrize("left_out", ["client_assertion", "client_assertion_type"])
def test_assertion_and_type_stand_together(world: SimpleNamespace, left_out: str) -> None:
    form = proof(KEY.sign(claims(world.client_id)), token="unknown")
    response = post_form("/o/introspect/", {name: value for name, value in form.items() if name != left_out})
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")
    require_accepted(post_form("/o/introspect/", form))


def test_another_type_of_assertion_is_not_known(world: SimpleNamespace) -> None:
    saml = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"
    assertion = KEY.sign(claims(world.client_id))
    require_refused(introspect(assertion, client_assertion_type=saml))
    require_accepted(introspect(assertion))


@pytest.mark.parametrize("secret", ["", "secret"])
def test_a_client_with_a_key_cannot_use_a_secret(world: SimpleNamespace, secret: str) -> None:
    """Not even the empty one, which is what stands in its row."""
    credentials = base64.b64encode(f"{world.client_id}:{secret}".encode()).decode()
    form = {"token": "unknown"}
    require_refused(post_form("/o/introspect/", form | {"client_id": world.client_id, "client_secret": secret}))
    require_refused(post_form("/o/introspect/", form, {"authorization": f"Basic {credentials}"}))
    assert (
        post_form(
            "/o/token/",
            {
                "grant_type": "refresh_token",
                "refresh_token": "x",
                "client_id": world.client_id,
                "client_secret": secret,
            },
        ).status_code
        == 401
    )
    require_accepted(introspect(KEY.sign(claims(world.client_id))))


def test_a_secret_from_before_is_of_no_use_to_a_client_with_a_key(world: SimpleNamespace) -> None:
    """An owner may change how a client proves who it is; the secret stays in the row."""
    application = Application.objects.get(client_id=world.client_id)
    application.client_secret = "from-before"
    application.save()
    form = {"token": "x", "client_id": world.client_id, "client_secret": "from-before"}
    require_refused(post_form("/o/introspect/", form))
    Application.objects.filter(pk=application.pk).update(token_endpoint_auth_method="client_secret_post")
    require_accepted(post_form("/o/introspect/", form))


def test_a_client_with_a_secret_cannot_use_a_key() -> None:
    """*Our choice*, for keys that stand in the row for another reason, too."""
    information = registered(token_endpoint_auth_method="client_secret_post")
    client_id, secret = information["client_id"], information["client_secret"]
    Application.objects.filter(client_id=client_id).update(jwks={"keys": [KEY.public]})
    require_refused(introspect(KEY.sign(claims(client_id))))
    require_accepted(post_form("/o/introspect/", {"token": "x", "client_id": client_id, "client_secret": secret}))


def test_a_client_with_a_secret_may_send_it_in_either_way() -> None:
    """Real clients mix the two up."""
    for method in ("client_secret_post", "client_secret_basic"):
        information = registered(token_endpoint_auth_method=method)
        client_id, secret = information["client_id"], information["client_secret"]
        credentials = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
        form = {"token": "unknown"}
        require_accepted(post_form("/o/introspect/", form, {"authorization": f"Basic {credentials}"}))
        require_accepted(post_form("/o/introspect/", form | {"client_id": client_id, "client_secret": secret}))


def test_a_confidential_client_without_a_secret_is_not_authenticated_by_the_empty_one() -> None:
    application = Application.objects.create(
        client_id="made-by-hand",
        client_type="confidential",
        client_secret="",
        authorization_grant_type="authorization-code",
    )
    form = {"token": "x", "client_id": "made-by-hand", "client_secret": ""}
    require_refused(post_form("/o/introspect/", form))
    application.client_secret = "the-secret"
    application.save()
    require_accepted(post_form("/o/introspect/", form | {"client_secret": "the-secret"}))


def test_a_public_client_has_nothing_to_sign_with(alice: Any) -> None:
    client_id = str(registered()["client_id"])
    require_refused(introspect(KEY.sign(claims(client_id))))
    pkce = PKCE()
    assert redeem(client_id, authorize(alice, client_id, pkce)["code"], pkce).status_code == 200


def test_a_disabled_client_is_not_authenticated(world: SimpleNamespace) -> None:
    Application.objects.filter(client_id=world.client_id).update(disabled_at=timezone.now())
    require_refused(introspect(KEY.sign(claims(world.client_id))))
    Application.objects.filter(client_id=world.client_id).update(disabled_at=None)
    require_accepted(introspect(KEY.sign(claims(world.client_id))))


def test_keys_that_somebody_spoiled_in_the_row_authenticate_nobody(world: SimpleNamespace) -> None:
    application = Application.objects.get(client_id=world.client_id)
    sound = application.jwks
    for spoiled in ([], {}, "x", {"keys": [KEY.secret]}, {"keys": [{"kty": ["EC"]}]}, {"keys": []}):
        Application.objects.filter(pk=application.pk).update(jwks=spoiled)
        require_refused(introspect(KEY.sign(claims(world.client_id))))
    Application.objects.filter(pk=application.pk).update(jwks=sound)
    require_accepted(introspect(KEY.sign(claims(world.client_id))))


def test_the_log_says_why_and_the_answer_does_not(world: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "authapp")
    assertion = KEY.sign(claims(world.client_id) | {"exp": 1})
    response = introspect(assertion)
    assert "expired" in caplog.text
    assert assertion not in caplog.text
    assert "expired" not in response.content.decode()


def test_a_key_does_not_make_a_client_that_registered_itself_known(alice: Any) -> None:
    """*Our choice*: consent is asked for each time, since a key says that it is the same client and not who that is."""
    redirect_uri = "https://app.example/callback"
    client_id = with_key(redirect_uris=[redirect_uri])
    authorize(alice, client_id, PKCE(), redirect_uri=redirect_uri)
    page = browser(alice).get(authorization_url(client_id, PKCE(), redirect_uri=redirect_uri))
    assert (page.status_code, b"Allow" in page.content) == (200, True)


# --- The reader by itself ----------------------------------------------------------------------------------


def test_reading_tells_nothing_but_what_stands_there() -> None:
    assertion = assertions.read(OTHER.sign({"iss": "a", "n": 1}))
    assert (assertion.header["alg"], assertion.claims) == ("ES256", {"iss": "a", "n": 1})


def test_a_kind_of_assertion_is_not_taken_for_another() -> None:
    """RFC 8725 §3.11."""
    options: dict[str, Any] = {"audiences": {ISSUER}, "issuer": "a", "typ": "oauth-id-jag+jwt"}
    for typ in (None, "JWT", "at+jwt", "OAUTH-ID-JAG+JWT"):
        with pytest.raises(assertions.InvalidAssertion, match="typ"):
            assertions.verify(KEY.sign(claims("a"), typ=typ), [KEY.public], **options)
    assert (
        assertions.verify(KEY.sign(claims("a"), typ="oauth-id-jag+jwt"), [KEY.public], **options).claims["iss"] == "a"
    )
