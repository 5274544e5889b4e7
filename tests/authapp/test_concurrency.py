"""Parallel use of one code and one refresh token, over HTTP, several processes, on the database the tests run on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.clients.person import Person
from tests.conftest import LiveDatabases, LiveServer
from tests.oauth import PKCE

pytestmark = pytest.mark.live
AT_ONCE = 20
CALLBACK = "http://127.0.0.1:1/callback"


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory, live_databases: LiveDatabases) -> Iterator[str]:
    server = LiveServer(tmp_path_factory.mktemp("parallel"), live_databases.copy())
    server.start("-m", "uvicorn", "config.asgi:application", "--port", str(server.port), "--workers", "3")
    yield server.url
    server.stop()


def code_form(server_url: str, client_id: str | None = None) -> dict[str, str]:
    """Return the form that redeems a fresh code, of a new client if none is given."""
    pkce = PKCE()
    body = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none", "client_name": "Parallel"}
    client_id = client_id or str(
        httpx2.post(f"{server_url}/o/register/", json=body, trust_env=False).json()["client_id"]
    )
    query = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": CALLBACK,
        "code_challenge": pkce.challenge,
        "code_challenge_method": "S256",
    }
    with Person("demo", "demo") as person:
        answer = httpx2.URL(person.approve(str(httpx2.URL(f"{server_url}/o/authorize/", params=query))))
    return {
        "grant_type": "authorization_code",
        "client_id": client_id,
        "code": answer.params["code"],
        "redirect_uri": CALLBACK,
        "code_verifier": pkce.verifier,
    }


def at_once(server_url: str, form: dict[str, str]) -> list[httpx2.Response]:
    """POST the same form many times at the same moment, each on its own connection."""

    def post(_: int) -> httpx2.Response:
        return httpx2.post(f"{server_url}/o/token/", data=form, trust_env=False, timeout=60)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(post, range(AT_ONCE)))


def works(server_url: str, tokens: dict[str, Any]) -> bool:
    headers = {"Authorization": f"Bearer {tokens['access_token']}", "Accept": "application/json, text/event-stream"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    return httpx2.post(f"{server_url}/star", json=body, headers=headers, trust_env=False).status_code == 200


@pytest.mark.rfc("6749 4.1.2")
def test_of_twenty_parallel_redemptions_of_a_code_exactly_one_succeeds(server_url: str) -> None:
    responses = at_once(server_url, code_form(server_url))
    assert Counter(response.status_code for response in responses) == {200: 1, 400: AT_ONCE - 1}
    assert {response.json()["error"] for response in responses if response.status_code == 400} == {"invalid_grant"}


def test_of_twenty_parallel_refreshes_every_one_succeeds_and_nobody_is_logged_out(server_url: str) -> None:
    form = code_form(server_url)
    first = httpx2.post(f"{server_url}/o/token/", data=form, trust_env=False).json()
    refresh = {
        "grant_type": "refresh_token",
        "client_id": form["client_id"],
        "refresh_token": first["refresh_token"],
    }
    responses = at_once(server_url, refresh)
    assert Counter(response.status_code for response in responses) == {200: AT_ONCE}
    pairs = [response.json() for response in responses]
    assert len({pair["access_token"] for pair in pairs}) == AT_ONCE
    assert all(works(server_url, pair) for pair in pairs)
    assert not works(server_url, first)
    again = httpx2.post(
        f"{server_url}/o/token/", data=refresh | {"refresh_token": pairs[-1]["refresh_token"]}, trust_env=False
    )
    assert again.status_code == 200
