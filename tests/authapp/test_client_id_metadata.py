"""Client ID Metadata Documents: what of a document is kept. DOT's fetcher and its SSRF rules are DOT's."""

from __future__ import annotations

from typing import Any

import pytest
from oauth2_provider.cimd import CIMDError, SafeMetadataFetcher

from authapp.client_id_metadata import narrowed
from authapp.models import Application
from tests.oauth import PKCE, authorization_url, authorize, browser, redeem, refresh

URL = "https://vscode.dev/oauth/client-metadata.json"
VS_CODE = {
    "client_id": URL,
    "client_name": "Visual Studio Code",
    "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
    "response_types": ["code"],
    "redirect_uris": ["http://127.0.0.1:33418/", "https://vscode.dev/redirect", "http://127.0.0.1/"],
    "token_endpoint_auth_method": "none",
}


def test_a_document_with_several_grants_keeps_those_we_have() -> None:
    assert narrowed(VS_CODE)["grant_types"] == ["authorization_code", "refresh_token"]


def test_a_redirect_uri_that_only_other_servers_take_is_left_out() -> None:
    document = VS_CODE | {"redirect_uris": ["com.example.app:/callback", "https://app.example/cb", 5]}
    assert narrowed(document)["redirect_uris"] == ["https://app.example/cb"]


@pytest.mark.parametrize(
    "change",
    [
        {"client_name": None},
        {"client_name": ""},
        {"client_name": 5},
        {"redirect_uris": ["http://evil.example/cb"]},
        {"redirect_uris": []},
        {"redirect_uris": None},
        {"grant_types": ["client_credentials"]},
        {"grant_types": ["implicit"]},
        {"token_endpoint_auth_method": "private_key_jwt"},
    ],
    ids=str,
)
def test_a_document_that_leaves_nothing_usable_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CIMDError):
        narrowed(VS_CODE | change)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch, settings: Any) -> list[str]:
    """Serve VS Code's document in place of the internet; return what was fetched."""
    urls: list[str] = []

    def fetch(self: Any, client_id: str) -> tuple[dict[str, Any], int]:
        urls.append(client_id)
        if client_id != URL:
            raise CIMDError("not found")
        return dict(VS_CODE), 300

    monkeypatch.setattr(SafeMetadataFetcher, "fetch", fetch)
    settings.OAUTH2_PROVIDER = {**settings.OAUTH2_PROVIDER, "CIMD_ENABLED": True}
    return urls


@pytest.mark.django_db
def test_a_client_with_a_document_logs_in_without_registering(alice: Any, fetched: list[str]) -> None:
    pkce = PKCE()
    page = browser(alice).get(authorization_url(URL, pkce, redirect_uri="http://127.0.0.1:50000/"))
    assert "vscode.dev" in page.content.decode()
    code = authorize(alice, URL, pkce, redirect_uri="http://127.0.0.1:50000/")["code"]
    response = redeem(URL, code, pkce, redirect_uri="http://127.0.0.1:50000/")
    assert response.status_code == 200
    assert refresh(URL, response.json()["refresh_token"]).status_code == 200
    assert fetched == [URL], "once: the document is fresh for its max-age"
    application = Application.objects.get()
    assert (application.client_type, application.user) == ("public", None)


@pytest.mark.django_db
def test_a_document_that_cannot_be_had_is_an_unknown_client(alice: Any, fetched: list[str]) -> None:
    missing = "https://app.example/missing.json"
    assert browser(alice).get(authorization_url(missing, PKCE())).status_code == 400
    assert redeem(missing, "code", PKCE()).status_code == 401
    assert fetched == [missing], "and it is not asked for again at once"
