"""What registration must not lose."""

from __future__ import annotations

import json
from typing import Any

import pytest
from oauth2_provider.models import get_access_token_model

from authapp.client_metadata import MAXIMUM_BODY_BYTES, RegistrationError, parse
from authapp.models import Application
from tests.authapp.test_registration import manage
from tests.oauth import CALLBACK, browser, register, registered

pytestmark = pytest.mark.django_db

AccessToken = get_access_token_model()


@pytest.fixture
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> str:
        raise RuntimeError("no token")

    monkeypatch.setattr("authapp.registration.issue_registration_token", fail)


def test_no_client_is_left_over_when_its_token_cannot_be_stored(no_token: None) -> None:
    with pytest.raises(RuntimeError, match="no token"):
        register()
    assert not Application.objects.exists()


@pytest.mark.rfc("7592 2")
@pytest.mark.parametrize("method", ["get", "put", "delete"])
def test_a_client_that_is_deleted_while_its_token_is_read_is_gone(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """DOT reads the token, and then its client by another statement; another request deletes it in between."""
    information = registered()
    body = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"} if method == "put" else None
    assert manage("get", information).status_code == 200
    is_valid = AccessToken.is_valid

    def delete_first(token: Any, scopes: Any) -> bool:
        Application.objects.filter(client_id=information["client_id"]).delete()
        return bool(is_valid(token, scopes))

    monkeypatch.setattr(AccessToken, "is_valid", delete_first)
    response = manage(method, information, body=body)
    assert response.status_code == 401
    assert response.json()["error"] == "invalid_token"
    assert response["WWW-Authenticate"].startswith("Bearer ")


def test_no_change_is_left_over_when_the_new_token_cannot_be_stored(request: pytest.FixtureRequest) -> None:
    information = registered()
    request.getfixturevalue("no_token")
    body = {"redirect_uris": [CALLBACK], "client_name": "New", "token_endpoint_auth_method": "none"}
    with pytest.raises(RuntimeError, match="no token"):
        manage("put", information, body=body)
    assert Application.objects.get().name == information["client_name"]


def test_a_body_beyond_what_django_reads_gets_the_error_of_the_rfc_too() -> None:
    response = browser().post("/o/register/", b"x" * 3_000_000, content_type="application/json")
    assert (response.status_code, response.json()["error"]) == (400, "invalid_client_metadata")


def test_a_length_that_is_no_number_is_a_client_error() -> None:
    body = json.dumps({"redirect_uris": [CALLBACK]})
    response = browser().post("/o/register/", body, content_type="application/json", CONTENT_LENGTH="x")
    assert (response.status_code, response.json()["error"]) == (400, "invalid_client_metadata")


@pytest.mark.parametrize(
    "metadata",
    [
        {"client_uri": "ftp://app.example/"},
        {"client_uri": "javascript://app.example/%0aalert(1)"},
        {"logo_uri": "https://"},
        {"tos_uri": "https:///terms"},
        {"policy_uri": "https://claude.ai@evil.example/"},
        {"client_uri": "https://app.example/a b"},
        {"client_uri": "https://app.example/\u00a0b"},
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_an_address_that_is_no_plain_web_address_is_refused(metadata: dict[str, Any]) -> None:
    response = register(**metadata)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_client_metadata")


@pytest.mark.parametrize(
    "uri",
    [
        "https://user@app.example/cb",
        "https://claude.ai@evil.example/cb",
        "http://user@127.0.0.1/cb",
        "https://app.example:/cb",
        "https://app.example:000443/cb",
        "http://127.0.0.1:/cb",
    ],
)
def test_a_redirect_uri_with_a_user_or_an_odd_port_is_refused(uri: str) -> None:
    response = register(redirect_uris=[uri])
    assert (response.status_code, response.json()["error"]) == (400, "invalid_redirect_uri")


@pytest.mark.rfc("7591 2")
def test_a_scope_we_do_not_have_is_left_out_of_the_registration() -> None:
    assert registered(scope="mcp:tools address mcp:tools")["scope"] == "mcp:tools"


def test_the_media_type_is_compared_without_regard_to_case() -> None:
    body = json.dumps({"redirect_uris": [CALLBACK]})
    assert browser().post("/o/register/", body, content_type="Application/JSON; charset=UTF-8").status_code == 201


def test_a_body_whose_length_was_not_announced_is_limited_too() -> None:
    """HTTP/1.1 chunks and HTTP/2 need no Content-Length."""
    body = json.dumps({"redirect_uris": [CALLBACK], "unknown": "x" * MAXIMUM_BODY_BYTES}).encode()
    with pytest.raises(RegistrationError, match="larger"):
        parse(body, content_type="application/json", known_scopes=frozenset())
