"""All of it at a real server: sign in at Entra, consent, call a tool as that person; then the account is disabled."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from html import unescape
from pathlib import Path
from urllib.parse import urljoin

import httpx2
import pytest

from tests.conftest import LiveServer
from tests.entra_sign_in import ALICE, SITE_SECRET, SignInProvider
from tests.oauth import PKCE

pytestmark = pytest.mark.live

CALLBACK = "http://127.0.0.1:7777/callback"
SECONDS = 2


@pytest.fixture
def server(new_server: Callable[[], LiveServer], provider: SignInProvider) -> LiveServer:
    """A site that is set up by its environment, as its owner does it."""
    server = new_server()
    provider.serve(
        server,
        ENTRA_ONLY="true",
        ENTRA_GROUPS='{"Tool.User": "Tool users"}',
        ENTRA_ACCOUNT_CHECK_SECONDS=str(SECONDS),
        LOG_LEVEL="DEBUG",
    )
    server.start("-m", "uvicorn", "config.asgi:application", "--port", str(server.port))
    return server


def press(browser: httpx2.Client, page: httpx2.Response, button: str, **values: str) -> httpx2.Response:
    """Send the form that has a button with this text."""
    for attributes, body in re.findall(r"<form([^>]*)>(.*?)</form>", page.text, re.DOTALL):
        if button in body:
            action = re.search(r'action="([^"]*)"', attributes)
            fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', body)
            data = {name: unescape(value) for name, value in fields} | values
            address = urljoin(str(page.url), unescape(action[1]) if action else "")
            return browser.post(address, data=data, headers={"Origin": f"http://{page.url.host}:{page.url.port}"})
    raise AssertionError(page.text)


def follow(browser: httpx2.Client, response: httpx2.Response) -> httpx2.Response:
    """Follow redirects, to the provider too, until there is a page, or one that leads to the client."""
    while response.has_redirect_location:
        target = urljoin(str(response.url), response.headers["location"])
        if target.startswith(CALLBACK):
            break
        response = browser.get(target)
    return response


def call(server: LiveServer, token: str) -> httpx2.Response:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "protected-data", "arguments": {}}}
    headers = {"authorization": f"Bearer {token}", "accept": "application/json, text/event-stream"}
    return httpx2.post(f"{server.url}/star", json=body, headers=headers, trust_env=False)


def test_a_person_signs_in_consents_calls_and_is_disabled(server: LiveServer, provider: SignInProvider) -> None:
    provider.claims = {"roles": ["Tool.User"]}
    pkce = PKCE()
    with httpx2.Client(trust_env=True, timeout=30) as browser:  # trusts the provider's certificate
        metadata = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none", "client_name": "Test"}
        client_id = browser.post(f"{server.url}/o/register/", json=metadata).json()["client_id"]
        query = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": CALLBACK,
            "code_challenge": pkce.challenge,
            "code_challenge_method": "S256",
            "scope": "mcp:tools offline_access",
        }
        page = follow(browser, browser.get(f"{server.url}/o/authorize/", params=query))
        assert 'name="password"' not in page.text
        page = follow(browser, press(browser, page, "Sign in with Microsoft"))
        assert page.url.path == "/o/authorize/", page.text
        answer = press(browser, page, "Allow", allow="true")
        code = httpx2.URL(answer.headers["location"]).params["code"]
        form = {
            "grant_type": "authorization_code",
            "client_id": client_id,
            "redirect_uri": CALLBACK,
            "code": code,
            "code_verifier": pkce.verifier,
        }
        tokens = browser.post(f"{server.url}/o/token/", data=form).json()
        said = call(server, tokens["access_token"]).text
        assert "alice" in said
        assert "Tool users" in said

        def refresh() -> httpx2.Response:
            form = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": tokens["refresh_token"]}
            return browser.post(f"{server.url}/o/token/", data=form)

        time_of_check = time.monotonic() + SECONDS
        while provider.refreshes() == 0:
            assert time.monotonic() < time_of_check + 20
            response = refresh()
            assert response.status_code == 200, "an account that is enabled goes on"
            tokens = response.json()
        access_token = tokens["access_token"]
        assert call(server, access_token).status_code == 200
        provider.disabled[ALICE] = 50057
        disabled_at = time.monotonic()
        while (response := refresh()).status_code == 200:
            tokens = response.json()
            access_token = tokens["access_token"]
            assert time.monotonic() < disabled_at + SECONDS + 20
        assert response.json()["error"] == "invalid_grant"
        assert call(server, access_token).status_code == 401, "the access token ends as well"
        page = follow(browser, browser.get(f"{server.url}/o/authorize/", params=query))
        assert page.url.path == "/accounts/oidc/entra/reauthenticate/", "the session connects nothing more"
    written = server.log.read_bytes()
    assert b"AADSTS50057" in written
    for secret in (*provider.given, SITE_SECRET, tokens["refresh_token"]):
        assert secret.encode() not in written
        for file in _database_files(server):
            assert secret.encode() not in file


def _database_files(server: LiveServer) -> list[bytes]:
    url = server.environment["DATABASE_URL"]
    if not url.startswith("sqlite:///"):
        return []
    path = Path(url.removeprefix("sqlite:///"))
    return [file.read_bytes() for file in path.parent.glob(f"{path.name}*")]
