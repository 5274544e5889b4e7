"""Discovery of the authorization server (RFC 8414)."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.devices import DEVICE_CODE
from tests.oauth import HOST, ISSUER, post_form, registered

pytestmark = pytest.mark.django_db

PATHS = ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"]


def get(path: str, **headers: str):
    return Client().get(path, headers={"host": HOST, **headers})


@pytest.mark.rfc("8414 3.2")
@pytest.mark.parametrize("path", PATHS)
def test_metadata_names_our_issuer_and_its_endpoints(path: str) -> None:
    metadata = get(path).json()
    assert metadata["issuer"] == ISSUER
    assert metadata["authorization_endpoint"] == f"{ISSUER}/o/authorize/"
    assert metadata["token_endpoint"] == f"{ISSUER}/o/token/"
    assert metadata["registration_endpoint"] == f"{ISSUER}/o/register/"
    assert metadata["revocation_endpoint"] == f"{ISSUER}/o/revoke_token/"
    assert metadata["response_types_supported"] == ["code"]
    assert metadata["grant_types_supported"] == ["authorization_code", "refresh_token", DEVICE_CODE]
    assert metadata["device_authorization_endpoint"] == f"{ISSUER}/o/device_authorization/"
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    # "none" first: mcp-remote takes the first it knows.
    methods = ["none", "client_secret_post", "client_secret_basic", "private_key_jwt"]
    assert metadata["token_endpoint_auth_methods_supported"] == methods
    assert metadata["scopes_supported"] == [
        "email",
        "mcp:tools",
        "mcp:write",
        "offline_access",
        "openid",
        "profile",
    ]
    assert metadata["authorization_response_iss_parameter_supported"] is True
    assert metadata["introspection_endpoint"] == f"{ISSUER}/o/introspect/"
    assert metadata["revocation_endpoint_auth_methods_supported"] == methods
    assert metadata["introspection_endpoint_auth_methods_supported"] == methods[1:]
    for endpoint in ("token", "revocation", "introspection"):
        algorithms = metadata[f"{endpoint}_endpoint_auth_signing_alg_values_supported"]
        assert {"RS256", "ES256", "EdDSA"} <= set(algorithms)
        assert not {"none", "HS256", "HS384", "HS512"} & set(algorithms)


def test_both_well_known_paths_state_the_same_facts() -> None:
    assert get(PATHS[0]).json() == get(PATHS[1]).json()


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-host": "evil.example"},
        {"x-forwarded-proto": "https", "x-forwarded-port": "4"},
        {"forwarded": "host=evil.example;proto=https"},
        {"host": "127.0.0.1:4"},
        {"host": "127.0.0.1"},
        {"host": "[::1]:8000"},
    ],
)
def test_no_header_changes_the_issuer(headers: dict[str, str]) -> None:
    metadata = get(PATHS[0], **headers).json()
    assert metadata["issuer"] == ISSUER
    assert {metadata[name].partition("/o/")[0] for name in metadata if name.endswith("_endpoint")} == {ISSUER}


def test_in_development_the_localhost_spelling_is_an_issuer_of_its_own() -> None:
    metadata = get(PATHS[0], host="localhost:8000").json()
    assert metadata["issuer"] == "http://localhost:8000"
    assert metadata["token_endpoint"] == "http://localhost:8000/o/token/"
    resource = get("/.well-known/oauth-protected-resource/star", host="localhost:8000").json()
    assert resource["resource"] == "http://localhost:8000/star"
    assert resource["authorization_servers"] == ["http://localhost:8000"]


@pytest.mark.rfc("8414 3.1")
@pytest.mark.parametrize("path", [f"{path}/{suffix}" for path in PATHS for suffix in ("star", "evil/path")])
def test_an_issuer_we_are_not_has_no_metadata(path: str) -> None:
    assert get(path).status_code == 404


@pytest.mark.parametrize("path", [*PATHS, "/.well-known/oauth-protected-resource/star"])
def test_a_web_page_of_any_origin_may_read_metadata(path: str) -> None:
    response = get(path, origin="https://app.example")
    assert response["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in response


@pytest.mark.parametrize("path", ["/o/token/", "/o/register/", "/o/revoke_token/", "/token"])
def test_a_web_page_of_any_origin_may_use_the_endpoints_of_clients(path: str) -> None:
    response = Client().options(
        path,
        headers={
            "host": HOST,
            "origin": "https://app.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization, content-type, mcp-protocol-version",
        },
    )
    assert response.status_code == 200
    assert response["Access-Control-Allow-Origin"] == "*"
    assert "mcp-protocol-version" in response["Access-Control-Allow-Headers"]


@pytest.mark.parametrize("path", ["/o/device_authorization/", "/o/device_authorization"])
def test_no_web_page_reads_the_code_that_a_visitors_browser_asked_for(path: str) -> None:
    """The page of the device would say "the network you are on now" of a phisher's request (RFC 8628 §5.4)."""
    client_id = registered(grant_types=["authorization_code", DEVICE_CODE])["client_id"]
    response = post_form(path, {"client_id": client_id}, {"origin": "https://phisher.example"})
    assert "device_code" in response.json()
    assert "Access-Control-Allow-Origin" not in response


@pytest.mark.parametrize("path", ["/o/authorize/", "/accounts/login/", "/admin/", "/"])
def test_no_web_page_may_read_the_pages_of_people(path: str) -> None:
    assert "Access-Control-Allow-Origin" not in get(path, origin="https://app.example")
