"""Dynamic client registration (RFC 7591) and its management (RFC 7592)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from oauth2_provider.models import get_access_token_model

from authapp.models import Application
from tests.oauth import CALLBACK, HOST, ISSUER, PKCE, authorize, browser, redeem, register, registered

pytestmark = pytest.mark.django_db

VS_CODE = {
    "client_name": "Visual Studio Code",
    "client_uri": "https://code.visualstudio.com",
    "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
    "response_types": ["code"],
    "redirect_uris": [
        "https://insiders.vscode.dev/redirect",
        "https://vscode.dev/redirect",
        "http://127.0.0.1/",
        "http://127.0.0.1:33418/",
    ],
    "scope": "mcp:tools",
    "token_endpoint_auth_method": "none",
    "application_type": "native",
}
CURSOR = {
    "client_name": "Cursor",
    "redirect_uris": [
        "http://localhost:8787/callback",
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "https://www.cursor.com/agents/mcp/oauth/callback",
    ],
    "grant_types": ["authorization_code", "refresh_token"],
    "response_types": ["code"],
    "token_endpoint_auth_method": "none",
    "application_type": "web",
}
CLAUDE = {
    "client_name": "Claude",
    "redirect_uris": ["https://claude.ai/api/mcp/auth_callback", "https://claude.com/api/mcp/auth_callback"],
    "grant_types": ["authorization_code", "refresh_token"],
    "response_types": ["code"],
    "token_endpoint_auth_method": "client_secret_post",
    "scope": "mcp:tools offline_access",
}


@pytest.mark.rfc("7591 3.2.1")
@pytest.mark.parametrize("body", [VS_CODE, CURSOR, CLAUDE], ids=["VS Code", "Cursor", "Claude"])
def test_a_real_client_is_registered_and_told_all_it_asked_for(body: dict[str, Any]) -> None:
    response = register(**body)
    assert response.status_code == 201
    information = response.json()
    assert {name: information[name] for name in body} == body
    assert information["client_id"]
    assert information["client_id_issued_at"] > 1_700_000_000
    assert ("client_secret" in information) == (body["token_endpoint_auth_method"] != "none")
    if "client_secret" in information:
        assert information["client_secret_expires_at"] == 0
    assert information["registration_client_uri"] == f"{ISSUER}/o/register/{information['client_id']}/"
    assert response["Cache-Control"] == "no-store"


@pytest.mark.rfc("7591 2")
def test_what_a_client_leaves_out_gets_the_defaults_of_the_specification() -> None:
    information = registered(
        client_name=None, grant_types=None, response_types=None, token_endpoint_auth_method=None, unknown="ignored"
    )
    assert information["grant_types"] == ["authorization_code"]
    assert information["response_types"] == ["code"]
    assert information["token_endpoint_auth_method"] == "client_secret_basic"
    assert "client_name" not in information
    assert "unknown" not in information


@pytest.mark.rfc("7591 3.2.2")
@pytest.mark.parametrize(
    "uris",
    [
        ["http://evil.example/cb"],
        ["http://10.0.0.1/cb"],
        ["https://10.0.0.1/cb"],
        ["https://[2001:db8::1]/cb"],
        ["https://2130706433/cb"],
        ["https://user:password@app.example/cb"],
        ["https://app.example\\@evil.example/cb"],
        ["https://app.example/cb\x00"],
        ["https://app.example/cb%00"],
        ["https://app.example/c%0d%0ab"],
        ["https://app.example/cb\n"],
        ["https://app.example/cb#fragment"],
        ["https://app.example/cb#"],
        ["https://*.example/cb"],
        ["https://app.example:*/cb"],
        ["https://app.example:abc/cb"],
        ["https://app.example:99999/cb"],
        ["https://app.example:0/cb"],
        ["http://127.0.0.1:*/cb"],
        ["http://127.0.0.1:99999/cb"],
        ["http://127.0.0.1.evil.example/cb"],
        ["http://localhost.evil.example/cb"],
        ["http://localhost@evil.example/cb"],
        ["https://app.example/a https://evil.example/b"],
        ["https://app.example/cb\thttps://evil.example/b"],
        ["https://intranet/cb"],
        ["https:///cb"],
        ["https:app.example/cb"],
        ["//app.example/cb"],
        ["javascript:alert(1)"],
        ["data:text/html,x"],
        ["vscode://evil/cb"],
        ["cursor://anysphere.cursor-mcp/oauth/callback/more"],
        ["cursor://evil/oauth/callback"],
        ["HTTPS://app.example/cb"],
        ["https://APP.example/cb"],
        ["https://ехample.com/cb"],
        ["https://app.example/" + "a" * 2000],
        ["http://[::1/cb"],
        [""],
        [],
        [None],
        [{"uri": CALLBACK}],
        CALLBACK,
        {"0": CALLBACK},
        [CALLBACK] * 50,
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_a_redirect_uri_that_could_lead_elsewhere_is_refused(uris: Any) -> None:
    response = register(redirect_uris=uris)
    assert response.status_code == 400
    assert response.json()["error"] == "invalid_redirect_uri"
    assert not Application.objects.exists()


@pytest.mark.parametrize(
    "uri",
    [
        "https://app.example/cb",
        "https://app.example:8443/cb?tenant=1",
        "http://127.0.0.1/cb",
        "http://127.0.0.1:49152/cb",
        "http://[::1]:49152/cb",
        "http://localhost:3334/oauth/callback",
        "cursor://anysphere.cursor-mcp/oauth/callback",
    ],
)
def test_a_redirect_uri_that_leads_to_the_client_is_registered(uri: str) -> None:
    assert registered(redirect_uris=[uri])["redirect_uris"] == [uri]


@pytest.mark.rfc("7591 3.2.2")
@pytest.mark.parametrize(
    "metadata",
    [
        {"client_name": {"en": "x"}},
        {"client_name": 1},
        {"client_name": "x" * 201},
        {"client_name": "Claude\u202egpj"},
        {"client_name": "a\x00b"},
        {"client_name": "\u3164"},
        {"client_name": "Claude\u00ad"},
        {"client_name": "Cla\u034fude"},
        {"client_name": "\u2800\u2800"},
        {"client_name": "x\U000e0041"},
        {"grant_types": "authorization_code"},
        {"grant_types": [1]},
        {"grant_types": ["refresh_token"]},
        {"grant_types": ["client_credentials"]},
        {"grant_types": ["password"]},
        {"grant_types": ["implicit"]},
        {"grant_types": ["urn:ietf:params:oauth:grant-type:jwt-bearer"]},
        {"response_types": ["token"]},
        {"response_types": "code"},
        {"token_endpoint_auth_method": "private_key_jwt"},
        {"token_endpoint_auth_method": ["none"]},
        {"scope": ["mcp:tools"]},
        {"scope": 'a"b'},
        {"scope": "x" * 1001},
        {"application_type": "desktop"},
        {"client_uri": "javascript:alert(1)"},
        {"client_uri": "http://[::1"},
        {"logo_uri": 5},
        {"contacts": "a@b.example"},
        {"contacts": ["a@b.example"] * 11},
        {"software_id": "x" * 256},
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_malformed_metadata_is_refused(metadata: dict[str, Any]) -> None:
    response = register(**metadata)
    assert response.status_code == 400
    assert response.json()["error"] == "invalid_client_metadata"
    assert response["Cache-Control"] == "no-store"
    assert not Application.objects.exists()


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{", b"\xff", b'{"client_name": ' + b"[" * 30_000, b'{"a": ' + b"1" * 5000 + b"}"],
    ids=["empty", "array", "null", "cut off", "not UTF-8", "deeply nested", "huge number"],
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    response = browser().post("/o/register/", body, content_type="application/json")
    assert (response.status_code, response.json()["error"]) in {
        (400, "invalid_client_metadata"),
        (400, "invalid_redirect_uri"),  # {"a": …}: sound JSON without redirect_uris
    }


def test_a_body_that_is_too_large_is_refused_before_it_is_read() -> None:
    response = browser().post("/o/register/", b"x" * 70_000, content_type="application/json")
    assert response.status_code == 400
    assert response.json()["error"] == "invalid_client_metadata"


def test_a_body_without_a_length_is_bounded_too() -> None:
    from io import BytesIO

    payload = BytesIO(b'{"client_name": "' + b"x" * 3_000_000 + b'"}')
    response = browser().generic(
        "POST", "/o/register/", payload.read(), content_type="application/json", CONTENT_LENGTH=""
    )
    assert response.status_code == 400
    assert response.json()["error"] == "invalid_client_metadata"


@pytest.mark.parametrize("name", ["Visual Studio Code", "克劳德", "Café ☕", "אבג", "Claude (Ünïcode) – 2"])
def test_a_name_people_can_read_is_taken(name: str) -> None:
    assert registered(client_name=name)["client_name"] == name


def test_a_null_counts_as_left_out() -> None:
    body = {"redirect_uris": [CALLBACK], "client_name": None, "scope": None, "token_endpoint_auth_method": "none"}
    response = browser().post("/o/register/", json.dumps(body), content_type="application/json")
    assert response.status_code == 201


@pytest.mark.parametrize("extra", ["client_credentials", "password", "implicit"])
def test_a_grant_that_is_not_for_everybody_is_left_out_whatever_else_is_asked(extra: str) -> None:
    """Our choice: RFC 7591 §2 lets the server replace what was asked; clients list all they know."""
    information = registered(grant_types=["authorization_code", extra])
    assert information["grant_types"] == ["authorization_code"]
    assert Application.objects.get().authorization_grant_type == "authorization-code"


def test_a_cookie_never_binds_a_client_to_its_owner(alice: Any) -> None:
    """A web page can make a visitor's browser post text/plain, with the visitor's cookies, without a preflight."""
    body = json.dumps({"redirect_uris": ["https://evil.example/cb"], "token_endpoint_auth_method": "none"})
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        assert browser(alice).post("/o/register/", body, content_type=content_type).status_code == 400
    response = browser(alice).post("/o/register/", body, content_type="application/json; charset=utf-8")
    assert response.status_code == 201
    assert Application.objects.get().user is None
    assert get_access_token_model().objects.get().user is None


def test_a_generated_secret_is_stored_hashed_and_quick_to_check() -> None:
    information = registered(token_endpoint_auth_method="client_secret_post")
    stored = Application.objects.get().client_secret
    assert information["client_secret"] not in stored
    assert stored.startswith("generated_secret$")


def test_a_public_client_has_no_secret() -> None:
    assert "client_secret" not in registered()
    assert Application.objects.get().client_secret == ""


# RFC 7592


def manage(method: str, information: dict[str, Any], token: str | None = None, body: Any = None):
    headers = {"host": HOST, "authorization": f"Bearer {token or information['registration_access_token']}"}
    return getattr(Client(enforce_csrf_checks=True), method)(
        information["registration_client_uri"].removeprefix(ISSUER),
        data=json.dumps(body) if body is not None else "",
        content_type="application/json",
        headers=headers,
    )


@pytest.mark.rfc("7592 2.1")
def test_a_client_reads_its_registration() -> None:
    information = registered(client_uri="https://app.example")
    response = manage("get", information)
    assert response.status_code == 200
    assert response.json() == information
    assert response["Cache-Control"] == "no-store"


@pytest.mark.rfc("7592 2.2")
def test_a_client_changes_its_registration_under_the_rules_it_was_made_by() -> None:
    information = registered()
    body = {"redirect_uris": ["https://app.example/cb"], "client_name": "New", "token_endpoint_auth_method": "none"}
    changed = manage("put", information, body=body)
    assert changed.status_code == 200
    assert changed.json()["redirect_uris"] == ["https://app.example/cb"]
    assert changed.json()["registration_access_token"] != information["registration_access_token"]
    assert manage("get", information).status_code == 401, "the old token ended"
    information = changed.json()
    for bad in (
        {"redirect_uris": ["http://evil.example/cb"]},
        {"grant_types": ["password"]},
        {"grant_types": ["implicit"]},
        {"token_endpoint_auth_method": "client_secret_post"},
    ):
        response = manage("put", information, body=body | bad)
        assert response.status_code == 400, bad
    assert manage("get", information).json() == information


@pytest.mark.rfc("7592 2.3")
def test_a_client_deletes_its_registration() -> None:
    information = registered()
    assert manage("delete", information).status_code == 204
    assert not Application.objects.exists()


def test_one_client_cannot_manage_another() -> None:
    mine, theirs = registered(), registered()
    assert manage("get", mine).status_code == 200
    for method, body in (("get", None), ("put", {"redirect_uris": [CALLBACK]}), ("delete", None)):
        response = manage(method, theirs, token=mine["registration_access_token"], body=body)
        assert response.status_code == 401
    assert Application.objects.count() == 2


def test_an_access_token_does_not_manage_a_registration(alice: Any) -> None:
    information = registered()
    pkce = PKCE()
    code = authorize(alice, information["client_id"], pkce)["code"]
    token = redeem(information["client_id"], code, pkce).json()["access_token"]
    assert manage("delete", information, token=token).status_code == 401
