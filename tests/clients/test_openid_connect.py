"""Clients of OpenID Connect that know nothing but the issuer: openid-client (JavaScript), PyJWT and Authlib."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from authlib.oidc.core import CodeIDToken
from joserfc import jwt as joserfc
from joserfc.jwk import KeySet

from tests.clients.desk import HERE, Desk, installed, node
from tests.clients.person import Person

pytestmark = [pytest.mark.live, pytest.mark.clients]


@pytest.fixture
def cookies(tmp_path: Path) -> Path:
    """A browser of its own: somebody signs out in it."""
    return tmp_path / "cookies"


@pytest.fixture
def own_desk(tmp_path: Path, cookies: Path) -> Desk:
    installed("openid-client/package.json")
    return Desk(tmp_path, cookies)


def log_in(desk: Desk, issuer: str, algorithm: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(desk.run(node(), str(HERE / "openid_connect.mjs"), issuer, algorithm).stdout)
    return said


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_openid_client_signs_a_person_in_knows_them_refreshes_and_signs_them_out(
    live_server_url: str, own_desk: Desk, cookies: Path, algorithm: str
) -> None:
    said = log_in(own_desk, live_server_url, algorithm)
    assert (said["issuer"], said["algorithm"]) == (live_server_url, algorithm)
    assert said["claims"]["iss"] == live_server_url
    assert said["claims"]["preferred_username"] == "demo"
    assert said["userinfo"]["sub"] == said["claims"]["sub"] == said["refreshed"]["sub"]
    assert said["refreshed"]["auth_time"] == said["claims"]["auth_time"]
    assert "nonce" in said["claims"]
    assert "nonce" not in said["refreshed"]

    with Person("demo", "demo", cookies) as person:
        assert "demo" in person.browser.get(f"{live_server_url}/connected-apps/").text
        gone = person.browser.get(said["logout"])
        assert gone.headers["location"] == "https://app.example/bye?state=after"
        asked = person.browser.get(f"{live_server_url}/connected-apps/")
        assert "/accounts/login/" in asked.headers["location"]


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_pyjwt_and_authlib_verify_an_id_token_with_the_published_keys(
    live_server_url: str, own_desk: Desk, algorithm: str
) -> None:
    said = log_in(own_desk, live_server_url, algorithm)
    with httpx2.Client(trust_env=False) as http:
        metadata = http.get(f"{live_server_url}/.well-known/openid-configuration").json()
        keys = http.get(metadata["jwks_uri"]).json()
    audience = said["refreshed"]["aud"]

    key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(said["idToken"])
    claims = jwt.decode(
        said["idToken"],
        key,
        algorithms=metadata["id_token_signing_alg_values_supported"],
        audience=audience,
        issuer=live_server_url,
        options={"require": ["exp", "iat", "sub", "aud", "iss"]},
    )
    assert claims == said["refreshed"]

    token = joserfc.decode(said["idToken"], KeySet.import_key_set(keys), algorithms=[algorithm])
    options = {"iss": {"essential": True, "value": live_server_url}, "aud": {"essential": True, "value": audience}}
    checked = CodeIDToken(token.claims, token.header, options, {"client_id": audience})
    checked.validate()
    assert checked["sub"] == said["claims"]["sub"]
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(said["idToken"][:-8] + "AAAAAAAA", key, algorithms=[algorithm], audience=audience)
