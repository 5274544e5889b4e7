"""Keys in what a client says of itself: in a registration (RFC 7591 §2, RFC 7592), and in its document."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from authapp.client_id_metadata import narrowed
from authapp.models import Application, KeySet
from tests.authapp.test_client_assertions import introspect, require_accepted, require_refused
from tests.authapp.test_client_id_metadata import URL, VS_CODE, Documents, documents
from tests.keys import Key, claims
from tests.oauth import CALLBACK, PKCE, authorization_url, authorize, browser, redeem, register, registered

pytestmark = pytest.mark.django_db

__all__ = ["documents"]

KEY = Key("ES256")
NEW = Key("ES256", kid="key-2")
RSA = Key("RS256")
WEAK = Key("RS256", bits=1024)
JWKS_URI = "https://app.example/jwks.json"
LOOPBACK = "http://127.0.0.1:50000/"


def with_key(**metadata: Any) -> Any:
    body = {"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [KEY.public]}} | metadata
    return register(**body)


def configuration(information: dict[str, Any], method: str = "get", **changes: Any) -> Any:
    path = information["registration_client_uri"].removeprefix("http://127.0.0.1:8000")
    headers = {"authorization": f"Bearer {information['registration_access_token']}"}
    if method != "put":
        return getattr(browser(), method)(path, headers=headers)
    body = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "private_key_jwt"} | changes
    return browser().put(path, body, content_type="application/json", headers=headers)


# --- Registration ------------------------------------------------------------------------------------------


@pytest.mark.rfc("7591 2")
def test_a_client_registers_keys_and_gets_no_secret() -> None:
    response = with_key(token_endpoint_auth_signing_alg="ES256")
    assert response.status_code == 201
    information = response.json()
    assert information["jwks"] == {"keys": [KEY.public]}
    assert information["token_endpoint_auth_method"] == "private_key_jwt"
    assert information["token_endpoint_auth_signing_alg"] == "ES256"
    assert not {"client_secret", "client_secret_expires_at", "jwks_uri"} & information.keys()
    assert configuration(information).json()["jwks"] == information["jwks"]
    application = Application.objects.get()
    assert (application.client_type, application.client_secret) == ("confidential", "")


@pytest.mark.rfc("7591 2")
def test_a_client_registers_the_address_of_its_keys_which_is_not_asked_at_once() -> None:
    information = with_key(jwks=None, jwks_uri=JWKS_URI).json()
    assert (information["jwks_uri"], "jwks" in information) == (JWKS_URI, False)
    assert not KeySet.objects.exists()


def test_of_a_key_only_what_is_needed_is_kept() -> None:
    key = KEY.public | {"x5c": ["AAAA"], "x5t": "x", "note": "hello"}
    assert with_key(jwks={"keys": [key], "note": "hello"}).json()["jwks"] == {"keys": [KEY.public]}


@pytest.mark.parametrize("value", ["\x00", "\ud800", float("nan"), {"\x00": []}], ids=["NUL", "half", "NaN", "object"])
@pytest.mark.parametrize("name", ["crv", "x", "y", "key_ops", "use"])
def test_what_no_signature_needs_of_a_key_reaches_no_database(name: str, value: Any) -> None:
    """PostgreSQL keeps no NUL and no half of a pair, no database NaN: members of other types are not looked at."""
    response = with_key(jwks={"keys": [RSA.public | {name: value}]})
    if name in {"crv", "x", "y"}:
        assert response.json()["jwks"] == {"keys": [RSA.public]}
    else:
        assert (response.status_code, response.json()["error"]) == (400, "invalid_client_metadata")
    assert with_key(jwks={"keys": [RSA.public | {"key_ops": ["verify"]}]}).status_code == 201


def test_a_key_of_a_type_that_is_not_known_is_left_out() -> None:
    """RFC 7517 §5."""
    unknown = [{"kty": "AKP", "alg": "ML-DSA-44", "pub": "x"}, {"kty": "EC", "crv": "secp256k1", "x": "A", "y": "A"}]
    assert with_key(jwks={"keys": [*unknown, KEY.public]}).json()["jwks"] == {"keys": [KEY.public]}


@pytest.mark.parametrize("method", ["none", "client_secret_basic"])
def test_keys_that_are_of_no_use_are_ignored_as_before(method: str) -> None:
    """RFC 7591 §2 of metadata that a server does not understand."""
    information = registered(token_endpoint_auth_method=method, jwks={"keys": "x"}, jwks_uri="ftp://x/")
    assert not {"jwks", "jwks_uri"} & information.keys()
    assert Application.objects.get().jwks is None


UNUSABLE: dict[str, dict[str, Any]] = {
    "no keys at all": {"jwks": None},
    "keys in both places": {"jwks_uri": JWKS_URI},
    "a set that is a list": {"jwks": [KEY.public]},
    "a set that is text": {"jwks": "keys"},
    "a set without keys": {"jwks": {}},
    "an empty set": {"jwks": {"keys": []}},
    "keys that are an object": {"jwks": {"keys": {"0": KEY.public}}},
    "a key that is text": {"jwks": {"keys": ["key"]}},
    "a key without a type": {"jwks": {"keys": [{"kid": "1"}]}},
    "a type that is a list": {"jwks": {"keys": [{"kty": ["EC"]}]}},
    "a curve that is an object": {"jwks": {"keys": [KEY.public | {"crv": {}}]}},
    "a private elliptic key": {"jwks": {"keys": [KEY.secret]}},
    "a private RSA key": {"jwks": {"keys": [RSA.secret]}},
    "one private key among others": {"jwks": {"keys": [RSA.public, KEY.secret]}},
    "a private key of an unknown type": {"jwks": {"keys": [KEY.public, {"kty": "EC", "crv": "secp256k1", "d": "x"}]}},
    "a symmetric key": {"jwks": {"keys": [KEY.public, {"kty": "oct", "k": "c2VjcmV0"}]}},
    "an RSA key of 1024 bits": {"jwks": {"keys": [WEAK.public]}},
    "an RSA key of 1024 bits among others": {"jwks": {"keys": [KEY.public, WEAK.public]}},
    "an RSA key of 16384 bits": {"jwks": {"keys": [RSA.public | {"n": "_" * 2731}]}},
    "an RSA key of 8208 bits": {"jwks": {"keys": [RSA.public | {"n": "_" * 1368}]}},
    "an RSA key with the exponent 2^32 + 1": {"jwks": {"keys": [RSA.public | {"e": "AQAAAAE"}]}},
    "an RSA exponent of one": {"jwks": {"keys": [RSA.public | {"e": "AQ"}]}},
    "an even RSA exponent": {"jwks": {"keys": [RSA.public | {"e": "Ag"}]}},
    "a huge RSA exponent": {"jwks": {"keys": [RSA.public | {"e": RSA.public["n"]}]}},
    "a point that is not on the curve": {"jwks": {"keys": [KEY.public | {"y": KEY.public["x"]}]}},
    "coordinates of another curve": {"jwks": {"keys": [Key("ES384").public | {"crv": "P-256"}]}},
    "a coordinate that is a number": {"jwks": {"keys": [KEY.public | {"x": 5}]}},
    "a coordinate with padding": {"jwks": {"keys": [KEY.public | {"x": KEY.public["x"] + "="}]}},
    "a kid that is a number": {"jwks": {"keys": [KEY.public | {"kid": 5}]}},
    "a kid that is long": {"jwks": {"keys": [KEY.public | {"kid": "k" * 256}]}},
    "a kid with a NUL": {"jwks": {"keys": [KEY.public | {"kid": "a\x00"}]}},
    "an alg that is a list": {"jwks": {"keys": [KEY.public | {"alg": ["ES256"]}]}},
    "key_ops of odd things": {"jwks": {"keys": [KEY.public | {"key_ops": [{"verify": "\x00"}]}]}},
    "keys to encrypt with alone": {"jwks": {"keys": [KEY.public | {"use": "enc"}]}},
    "more than twenty keys": {"jwks": {"keys": [KEY.public] * 21}},
    "an algorithm without a key": {"token_endpoint_auth_signing_alg": "RS256"},
    "the algorithm none": {"token_endpoint_auth_signing_alg": "none"},
    "an algorithm with a shared secret": {"token_endpoint_auth_signing_alg": "HS256"},
    "an algorithm that is a list": {"token_endpoint_auth_signing_alg": ["ES256"]},
    **{
        f"the address {address!r:.60}": {"jwks": None, "jwks_uri": address}
        for address in (
            "http://app.example/jwks.json",
            "ftp://app.example/jwks.json",
            "https://app.example",
            "https://127.0.0.1/jwks.json",
            "https://[::1]/jwks.json",
            "https://localhost/jwks.json",
            "https://2130706433/jwks.json",
            "https://user@app.example/jwks.json",
            "https://app.example/jwks.json#here",
            "https://app.example/a/../jwks.json",
            "https://app.example:99999/jwks.json",
            "https://app.example/\x00",
            "https://app.example/" + "x" * 500,
            "",
            5,
            [JWKS_URI],
        )
    },
}


@pytest.mark.rfc("7591 3.2.2")
@pytest.mark.parametrize("kind", UNUSABLE)
def test_keys_that_cannot_be_used_are_refused(kind: str) -> None:
    response = with_key(**UNUSABLE[kind])
    assert (response.status_code, response.json()["error"]) == (400, "invalid_client_metadata")
    assert not Application.objects.exists()
    assert with_key().status_code == 201


@pytest.mark.rfc("7592 2.2")
def test_a_client_changes_its_keys() -> None:
    information = with_key().json()
    client_id = information["client_id"]
    response = configuration(information, "put", jwks={"keys": [NEW.public]})
    assert (response.status_code, response.json()["jwks"]) == (200, {"keys": [NEW.public]})
    require_refused(introspect(KEY.sign(claims(client_id))))
    require_accepted(introspect(NEW.sign(claims(client_id))))
    response = configuration(response.json(), "put", jwks_uri=JWKS_URI)
    assert (response.json()["jwks_uri"], "jwks" in response.json()) == (JWKS_URI, False)
    require_refused(introspect(NEW.sign(claims(client_id))))


@pytest.mark.parametrize("method", ["none", "client_secret_basic", "client_secret_post", None])
def test_a_client_with_a_key_stays_one(method: str | None) -> None:
    """*Our choice*: whoever has the registration access token shall not get around the key."""
    information = with_key().json()
    response = configuration(information, "put", token_endpoint_auth_method=method)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_client_metadata")
    require_accepted(introspect(KEY.sign(claims(information["client_id"]))))


@pytest.mark.parametrize("method", ["none", "client_secret_basic"])
def test_a_client_without_a_key_stays_one(method: str) -> None:
    information = registered(token_endpoint_auth_method=method)
    response = configuration(information, "put", jwks={"keys": [KEY.public]})
    assert (response.status_code, response.json()["error"]) == (400, "invalid_client_metadata")
    assert configuration(information, "put", token_endpoint_auth_method=method).status_code == 200


# --- Documents ---------------------------------------------------------------------------------------------


def publish(documents: Documents, *, offers_none: bool = False, **members: Any) -> None:
    offered = {"token_endpoint_auth_methods_supported": ["private_key_jwt", "none"]} if offers_none else {}
    documents.published[URL] = VS_CODE | {"token_endpoint_auth_method": "private_key_jwt"} | offered | members


def log_in(user: Any, **proof: str) -> Any:
    pkce = PKCE()
    code = authorize(user, URL, pkce, redirect_uri=LOOPBACK)["code"]
    return redeem(URL, code, pkce, redirect_uri=LOOPBACK, **proof)


def signed(key: Key = KEY) -> dict[str, str]:
    return {
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": key.sign(claims(URL)),
    }


def test_a_client_whose_document_has_a_key_alone_needs_it(alice: Any, documents: Documents) -> None:
    publish(documents, jwks={"keys": [KEY.public]})
    assert log_in(alice).json()["error"] == "invalid_client"
    assert log_in(alice, **signed(NEW)).json()["error"] == "invalid_client"
    assert log_in(alice, **signed()).status_code == 200
    application = Application.objects.get()
    assert (application.client_type, application.token_endpoint_auth_method) == ("confidential", "private_key_jwt")


def test_a_client_whose_document_offers_a_key_or_nothing_may_do_either_and_not_lie(
    alice: Any, documents: Documents
) -> None:
    """ChatGPT's: nothing tells it which of the two this server would choose."""
    publish(documents, offers_none=True, jwks={"keys": [KEY.public]})
    assert log_in(alice).status_code == 200
    assert log_in(alice, **signed()).status_code == 200
    assert log_in(alice, **signed(NEW)).json()["error"] == "invalid_client"


def test_unusable_keys_beside_none_cost_nobody_the_connection(alice: Any, documents: Documents) -> None:
    publish(documents, offers_none=True, jwks={"keys": [KEY.secret]})
    assert log_in(alice).status_code == 200
    assert log_in(alice, **signed()).json()["error"] == "invalid_client"


@pytest.mark.parametrize(
    "members", [{}, {"jwks": {"keys": [KEY.secret]}}, {"jwks_uri": "http://vscode.dev/keys"}], ids=str
)
def test_a_document_with_a_key_alone_that_cannot_be_used_makes_no_client(
    alice: Any, documents: Documents, members: dict[str, Any]
) -> None:
    publish(documents, **members)
    page = browser(alice).get(authorization_url(URL, PKCE(), redirect_uri=LOOPBACK))
    assert page.status_code == 400
    assert not Application.objects.exists()
    publish(documents, jwks={"keys": [KEY.public]})
    assert log_in(alice, **signed()).status_code == 200


def expire() -> None:
    Application.objects.update(cimd_expires_at=timezone.now() - timedelta(seconds=1))


def test_keys_follow_the_document(alice: Any, documents: Documents) -> None:
    publish(documents, jwks={"keys": [KEY.public]})
    assert log_in(alice, **signed()).status_code == 200
    publish(documents, jwks={"keys": [NEW.public]})
    expire()
    assert log_in(alice, **signed()).json()["error"] == "invalid_client"
    assert log_in(alice, **signed(NEW)).status_code == 200
    documents.published[URL] = VS_CODE
    expire()
    assert log_in(alice).status_code == 200
    assert log_in(alice, **signed(NEW)).json()["error"] == "invalid_client"
    publish(documents, jwks={"keys": [KEY.public]})
    expire()
    assert log_in(alice).json()["error"] == "invalid_client"
    assert log_in(alice, **signed()).status_code == 200


def test_a_document_whose_client_was_not_saved_goes_to_no_other() -> None:
    narrowed(VS_CODE | {"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [KEY.public]}})
    other = Application.objects.create(
        client_id="https://other.example/client.json",
        client_type="public",
        registration_source="cimd",
        authorization_grant_type="authorization-code",
    )
    assert (other.jwks, other.client_type) == (None, "public")


def test_a_document_that_was_read_changes_no_other_client(alice: Any, documents: Documents) -> None:
    information = with_key().json()
    publish(documents, jwks={"keys": [NEW.public]})
    assert log_in(alice, **signed(NEW)).status_code == 200
    require_accepted(introspect(KEY.sign(claims(information["client_id"]))))
    application = Application.objects.get(client_id=URL)
    application.name = "Renamed in the admin"
    application.save()
    application.refresh_from_db()
    assert application.jwks == {"keys": [NEW.public]}
