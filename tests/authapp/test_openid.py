"""ID tokens and discovery (OIDC Core, OIDC Discovery)."""

from __future__ import annotations

import base64
import hashlib
import time
from typing import Any

import jwt
import pytest
from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from oauth2_provider.models import get_access_token_model, get_grant_model, get_id_token_model
from oauth2_provider.settings import oauth2_settings

from authapp.models import Application, SigningKey, TokenFamily
from authapp.openid import id_tokens
from tests.devices import device_connected
from tests.oauth import (
    HOST,
    ISSUER,
    PKCE,
    answer,
    authorization_url,
    authorize,
    browser,
    connected,
    redeem,
    refresh,
    register,
    registered,
)
from tests.openid import SCOPE, claims_of, signed_in, verified

pytestmark = pytest.mark.django_db


@pytest.fixture
def client_id(db: None) -> str:
    return str(registered()["client_id"])


# --- What is in one ------------------------------------------------------------------------------------------


@pytest.mark.rfc("OIDC Core 2")
def test_an_id_token_says_who_signed_in_for_whom_and_until_when(alice: Any, client_id: str) -> None:
    claims = claims_of(alice, client_id, scope="openid", nonce="the-nonce")
    assert claims.pop("exp") - claims.pop("iat") == 600
    assert len(claims.pop("at_hash")) == 22
    assert claims == {"iss": ISSUER, "sub": str(alice.pk), "aud": client_id, "nonce": "the-nonce"}


@pytest.mark.rfc("OIDC Core 3.1.3.6")
def test_at_hash_is_of_the_access_token_beside_it(alice: Any) -> None:
    client, tokens = signed_in(alice)
    half = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
    assert verified(tokens["id_token"], client["client_id"])["at_hash"] == base64.urlsafe_b64encode(
        half
    ).decode().rstrip("=")


def test_without_openid_there_is_none_and_no_key_is_made(alice: Any) -> None:
    with CaptureQueriesContext(connection) as queries:
        _, tokens = connected(alice, scope="mcp:tools profile email")
    assert "id_token" not in tokens
    assert [query["sql"] for query in queries if "signingkey" in query["sql"]] == []
    assert SigningKey.objects.count() == 0
    assert "id_token" in signed_in(alice)[1]


@pytest.mark.rfc("8628 3.5")
def test_a_device_gets_one_too_and_only_with_openid(alice: Any) -> None:
    client, tokens = device_connected(alice, scope="openid mcp:tools")
    claims = verified(tokens["id_token"], client["client_id"])
    half = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
    assert claims["sub"] == str(alice.pk)
    assert claims["at_hash"] == base64.urlsafe_b64encode(half).decode().rstrip("=")
    assert "id_token" not in device_connected(alice, scope="mcp:tools")[1]


@pytest.mark.rfc("OIDC Core 5.4")
def test_claims_follow_the_scopes_and_what_is_not_known_is_left_out(alice: Any, bob: Any, client_id: str) -> None:
    alice.last_name, alice.email = "Ärmel", "alice@example.org"
    alice.save()
    personal = {"name", "given_name", "family_name", "preferred_username", "email", "email_verified"}
    assert not personal & claims_of(alice, client_id, scope="openid").keys()
    profile = claims_of(alice, client_id, scope="openid profile")
    assert {name: profile[name] for name in personal & profile.keys()} == {
        "name": "Alice Ärmel",
        "given_name": "Alice",
        "family_name": "Ärmel",
        "preferred_username": "alice",
    }
    email = claims_of(alice, client_id, scope="openid email")
    assert {name: email[name] for name in personal & email.keys()} == {
        "email": "alice@example.org",
        "email_verified": False,
    }
    assert "email" not in claims_of(bob, client_id, scope="openid email"), "Bob has none"


@pytest.mark.parametrize("verified_address", ["alice@example.org", "ALICE@example.org"])
def test_an_address_is_verified_if_the_site_made_sure_of_it(
    alice: Any, bob: Any, client_id: str, verified_address: str
) -> None:
    alice.email = "alice@example.org"
    alice.save()
    EmailAddress.objects.create(user=alice, email="other@example.org", verified=True)
    EmailAddress.objects.create(user=bob, email="alice@example.org", verified=False)
    assert claims_of(alice, client_id)["email_verified"] is False
    EmailAddress.objects.create(user=alice, email=verified_address, verified=True)
    assert claims_of(alice, client_id)["email_verified"] is True


def test_the_issuer_is_the_one_the_client_is_at(alice: Any, client_id: str) -> None:
    pkce = PKCE()
    code = authorize(alice, client_id, pkce, scope=SCOPE)["code"]
    tokens = redeem(client_id, code, pkce, headers={"host": "localhost:8000"}).json()
    assert verified(tokens["id_token"], client_id, issuer="http://localhost:8000")


def test_nothing_of_an_id_token_is_stored(alice: Any) -> None:
    signed_in(alice, nonce="the-nonce")
    assert get_id_token_model().objects.count() == 0
    assert get_access_token_model().objects.filter(id_token__isnull=False).count() == 0
    assert get_grant_model().objects.count() == 0, "nor the nonce, once the code is redeemed"


# --- Signatures ----------------------------------------------------------------------------------------------


def test_a_client_gets_rs256_unless_it_registered_es256(alice: Any) -> None:
    for asked, algorithm in ((None, "RS256"), ("RS256", "RS256"), ("ES256", "ES256")):
        client = registered(id_token_signed_response_alg=asked)
        assert client.get("id_token_signed_response_alg") == asked
        _, tokens = signed_in(alice, client)
        assert jwt.get_unverified_header(tokens["id_token"])["alg"] == algorithm
        assert verified(tokens["id_token"], client["client_id"])["sub"] == str(alice.pk)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS512", "PS256", "EdDSA", "", 7, ["RS256"], "ES256\x00"])
def test_no_other_signature_can_be_registered(algorithm: Any) -> None:
    response = register(id_token_signed_response_alg=algorithm)
    if algorithm == "":
        assert response.status_code == 201
        return
    assert (response.status_code, response.json()["error"]) == (400, "invalid_client_metadata")


# --- Refresh, auth_time, nonce -------------------------------------------------------------------------------


@pytest.mark.rfc("OIDC Core 12.2")
def test_a_refresh_yields_an_id_token_of_the_same_sign_in_without_the_nonce(
    alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = time.time() - 1000
    monkeypatch.setattr("authapp.conf.authenticated_at", lambda: lambda request: moment)
    client, tokens = signed_in(alice, nonce="n")
    first = verified(tokens["id_token"], client["client_id"])
    monkeypatch.setattr("authapp.conf.authenticated_at", lambda: lambda request: time.time())
    for _ in range(2):
        tokens = refresh(client["client_id"], tokens["refresh_token"]).json()
        later = verified(tokens["id_token"], client["client_id"])
        assert "nonce" not in later
        assert later["auth_time"] == first["auth_time"] == int(moment)
        assert (later["iss"], later["sub"], later["aud"]) == (first["iss"], first["sub"], first["aud"])


def test_a_refresh_for_fewer_scopes_tells_no_more_than_they_allow(alice: Any) -> None:
    client, tokens = signed_in(alice)
    narrowed = refresh(client["client_id"], tokens["refresh_token"], scope="mcp:tools").json()
    assert "id_token" not in narrowed
    again = refresh(client["client_id"], narrowed["refresh_token"], scope="openid").json()
    assert "name" not in verified(again["id_token"], client["client_id"])
    assert "name" in verified(tokens["id_token"], client["client_id"])


def test_a_refresh_cannot_add_openid(alice: Any) -> None:
    client, tokens = connected(alice, scope="mcp:tools")
    response = refresh(client["client_id"], tokens["refresh_token"], scope="openid mcp:tools")
    assert (response.status_code, response.json()["error"]) == (400, "invalid_scope")
    assert refresh(client["client_id"], tokens["refresh_token"], scope="mcp:tools").status_code == 200


@pytest.mark.rfc("OIDC Core 3.1.2.1")
def test_with_max_age_the_id_token_says_when_the_person_signed_in(
    alice: Any, client_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = time.time() - 50
    monkeypatch.setattr("authapp.conf.authenticated_at", lambda: lambda request: moment)
    assert claims_of(alice, client_id, max_age="100")["auth_time"] == int(moment)
    too_old = browser(alice).get(authorization_url(client_id, PKCE(), scope=SCOPE, max_age="10"))
    assert too_old["Location"].startswith("/accounts/reauthenticate/")
    silent = browser(alice).get(authorization_url(client_id, PKCE(), scope=SCOPE, max_age="10", prompt="none"))
    assert answer(silent)["error"] == "login_required"


def test_where_the_site_does_not_know_there_is_no_auth_time(alice: Any, client_id: str) -> None:
    claims = claims_of(alice, client_id)
    assert "auth_time" not in claims
    assert TokenFamily.objects.get().authenticated_at is None


def test_a_nonce_is_bounded(alice: Any, client_id: str) -> None:
    longest = "n" * id_tokens.MAXIMUM_NONCE_LENGTH
    assert claims_of(alice, client_id, nonce=longest)["nonce"] == longest
    assert authorize(alice, client_id, PKCE(), scope=SCOPE, nonce=longest + "n")["error"] == "invalid_request"


@pytest.mark.parametrize("nonce", ["ü☃", '"<script>', "%00", "\ufffd", " "])
def test_a_nonce_comes_back_as_it_was(alice: Any, client_id: str, nonce: str) -> None:
    assert claims_of(alice, client_id, nonce=nonce)["nonce"] == nonce


def test_parameters_of_the_token_request_are_no_claims(alice: Any, client_id: str) -> None:
    """oauthlib's request answers for any attribute with a parameter of that name."""
    pkce = PKCE()
    code = authorize(alice, client_id, pkce, scope="openid")["code"]
    injected = {"nonce": "x", "openid_nonce": "x", "authenticated_at": "1", "user": "2", "scopes": "profile"}
    tokens = redeem(client_id, code, pkce, response_type="code", **injected).json()
    claims = verified(tokens["id_token"], client_id)
    assert claims.keys() == {"iss", "sub", "aud", "iat", "exp", "at_hash"}
    assert claims["sub"] == str(alice.pk)


# --- Requests that are refused -------------------------------------------------------------------------------


@pytest.mark.rfc("OIDC Core 3.1.2.6")
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("request", "request_not_supported"),
        ("request_uri", "request_uri_not_supported"),
        ("registration", "registration_not_supported"),
    ],
)
def test_request_objects_are_refused_before_anyone_signs_in(client_id: str, name: str, error: str) -> None:
    url = authorization_url(client_id, PKCE(), scope="openid", **{name: "https://app.example/x"})
    got = answer(browser().get(url))
    assert (got["error"], got["state"], got["iss"]) == (error, "the-state", ISSUER)
    assert browser().get(authorization_url(client_id, PKCE(), scope="openid"))["Location"].startswith("/accounts/")


@pytest.mark.parametrize("response_type", ["id_token", "id_token token", "code id_token", "code token", "none"])
def test_only_a_code_is_given_at_the_authorization_endpoint(alice: Any, client_id: str, response_type: str) -> None:
    url = authorization_url(client_id, PKCE(), scope="openid", response_type=response_type, nonce="n")
    got = answer(browser(alice).get(url))
    assert got["error"] in {"unsupported_response_type", "unauthorized_client"}
    assert got.keys() == {"error", "error_description", "state", "iss"} or got.keys() == {"error", "state", "iss"}
    assert browser(alice).get(authorization_url(client_id, PKCE(), scope="openid")).status_code == 200


@pytest.mark.parametrize("claims", ["{}", "not json", '{"id_token": {"email": {"essential": true}}}', "[" * 1000])
def test_the_claims_parameter_is_ignored(alice: Any, client_id: str, claims: str) -> None:
    alice.email = "alice@example.org"
    alice.save()
    assert "email" not in claims_of(alice, client_id, scope="openid", claims=claims)


@pytest.mark.rfc("OIDC Core 3.1.2.1")
def test_a_silent_request_about_somebody_else_is_answered_login_required(alice: Any, bob: Any) -> None:
    application = Application.objects.create(
        name="By hand",
        redirect_uris="https://app.example/cb",
        client_type=Application.CLIENT_PUBLIC,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        client_secret="",
    )
    wanted = {"scope": SCOPE, "redirect_uri": "https://app.example/cb"}
    hints = {}
    for user in (alice, bob):
        pkce = PKCE()
        code = authorize(user, application.client_id, pkce, **wanted)["code"]
        tokens = redeem(application.client_id, code, pkce, redirect_uri="https://app.example/cb").json()
        hints[user.username] = tokens["id_token"]

    def silent(hint: str) -> dict[str, str]:
        url = authorization_url(application.client_id, PKCE(), prompt="none", id_token_hint=hint, **wanted)
        return answer(browser(alice).get(url))

    assert "code" in silent(hints["alice"])
    assert silent(hints["bob"])["error"] == "login_required"
    assert "code" in silent("not.a.token"), "what is none of ours says nothing"


# --- The consent page ----------------------------------------------------------------------------------------


def test_the_page_says_in_plain_words_what_the_client_will_know(alice: Any, client_id: str) -> None:
    page = browser(alice).get(authorization_url(client_id, PKCE(), scope=SCOPE)).content.decode()
    for words in ("sign in there with your account here", "See your name and user name", "See your email address"):
        assert words in page
    assert "See your email" not in browser(alice).get(authorization_url(client_id, PKCE())).content.decode()


def test_a_client_that_asks_for_all_scopes_there_are_gets_a_page_of_six_lines(alice: Any, client_id: str) -> None:
    """Gemini's client asks for whatever the authorization server lists."""
    listed = browser().get("/.well-known/oauth-authorization-server").json()["scopes_supported"]
    page = browser(alice).get(authorization_url(client_id, PKCE(), scope=" ".join(listed))).content.decode()
    assert page.count("<li>") == len(listed) == 6
    assert claims_of(alice, client_id, scope=" ".join(listed))["sub"] == str(alice.pk)


def test_a_client_of_the_mcp_server_is_not_told_of_openid() -> None:
    resource = browser().get("/.well-known/oauth-protected-resource/star").json()
    assert resource["scopes_supported"] == ["mcp:tools", "mcp:write"]


def test_a_request_without_scope_gets_none_of_it(alice: Any) -> None:
    _, tokens = connected(alice, scope=None)
    assert tokens["scope"] == "mcp:tools"
    assert "id_token" not in tokens


# --- Discovery -----------------------------------------------------------------------------------------------


@pytest.mark.rfc("OIDC Discovery 3")
def test_discovery_has_what_openid_connect_requires() -> None:
    metadata = browser().get("/.well-known/openid-configuration").json()
    assert metadata == browser().get("/.well-known/oauth-authorization-server").json()
    expected = {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/o/authorize/",
        "token_endpoint": f"{ISSUER}/o/token/",
        "userinfo_endpoint": f"{ISSUER}/o/userinfo/",
        "jwks_uri": f"{ISSUER}/o/jwks/",
        "end_session_endpoint": f"{ISSUER}/o/logout/",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        "claims_parameter_supported": False,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
    }
    assert {name: metadata.get(name) for name in expected} == expected
    assert {"openid", "profile", "email"} <= set(metadata["scopes_supported"])
    assert {"sub", "email", "auth_time"} <= set(metadata["claims_supported"])


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/openid-configuration/star",
        "/.well-known/oauth-authorization-server/star",
        "/star/.well-known/openid-configuration",
        "/o/.well-known/openid-configuration",
    ],
)
def test_the_resource_is_no_issuer_so_it_has_no_discovery(path: str) -> None:
    """Clients of MCP probe them; a document whose issuer is another than they asked for they would have to refuse."""
    assert Client().get(path, headers={"host": HOST}).status_code == 404


# --- Switched off --------------------------------------------------------------------------------------------


@pytest.fixture
def switched_off(settings: Any) -> None:
    settings.AUTHAPP = settings.AUTHAPP | {"OPENID": False}
    oidc = ("openid", "profile", "email")
    scopes = {name: text for name, text in oauth2_settings.SCOPES.items() if name not in oidc}
    settings.OAUTH2_PROVIDER = settings.OAUTH2_PROVIDER | {"SCOPES": scopes}


@pytest.mark.usefixtures("switched_off")
def test_switched_off_nothing_knows_of_it(alice: Any) -> None:
    metadata = browser().get("/.well-known/openid-configuration").json()
    told = {
        "userinfo_endpoint",
        "jwks_uri",
        "end_session_endpoint",
        "subject_types_supported",
        "id_token_signing_alg_values_supported",
        "claims_supported",
        "request_parameter_supported",
    }
    assert not told & metadata.keys()
    assert metadata["scopes_supported"] == ["mcp:tools", "mcp:write", "offline_access"]
    for path in ("jwks", "userinfo", "logout"):
        for method in ("get", "post"):
            assert getattr(browser(alice), method)(f"/o/{path}/").status_code == 404
    client = registered(id_token_signed_response_alg="HS256", post_logout_redirect_uris=["nonsense"])
    assert not {"id_token_signed_response_alg", "post_logout_redirect_uris"} & client.keys()
    _, tokens = connected(alice, client, scope="openid profile mcp:tools", nonce="n", request="x")
    assert tokens["scope"] == "mcp:tools"
    assert "id_token" not in tokens
    assert SigningKey.objects.count() == 0


def test_a_site_without_the_scope_does_not_offer_it_either(settings: Any) -> None:
    settings.OAUTH2_PROVIDER = settings.OAUTH2_PROVIDER | {"SCOPES": {"mcp:tools": "Tools"}}
    assert "jwks_uri" not in browser().get("/.well-known/openid-configuration").json()


def test_the_site_offers_it_by_default() -> None:
    assert settings.OPENID_CONNECT is True
    assert settings.AUTHAPP["OPENID"] is True
