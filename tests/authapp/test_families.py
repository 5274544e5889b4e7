"""A login ends whole, whatever runs beside its end: several processes over HTTP, on the database the tests run on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.authapp.test_concurrency import CALLBACK, code_form, works
from tests.conftest import LiveDatabases, LiveServer

pytestmark = pytest.mark.live
ROUNDS = 8


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory, live_databases: LiveDatabases) -> Iterator[str]:
    server = LiveServer(tmp_path_factory.mktemp("families"), live_databases.copy())
    server.start("-m", "uvicorn", "config.asgi:application", "--port", str(server.port), "--workers", "3")
    yield server.url
    server.stop()


def post(url: str, form: dict[str, str]) -> httpx2.Response:
    return httpx2.post(url, data=form, trust_env=False, timeout=60)


def login(server_url: str) -> tuple[str, dict[str, Any]]:
    form = code_form(server_url)
    return form["client_id"], post(f"{server_url}/o/token/", form).json()


def refresh_form(client_id: str, tokens: dict[str, Any]) -> dict[str, str]:
    return {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": tokens["refresh_token"]}


def nothing_lives(server_url: str, client_id: str, pairs: list[dict[str, Any]]) -> bool:
    return not any(
        works(server_url, pair) or post(f"{server_url}/o/token/", refresh_form(client_id, pair)).status_code == 200
        for pair in pairs
    )


@pytest.mark.rfc("7009 2.1")
def test_a_refresh_beside_a_revocation_leaves_nothing_alive(server_url: str) -> None:
    for _ in range(ROUNDS):
        client_id, tokens = login(server_url)
        revoke = {"client_id": client_id, "token": tokens["refresh_token"]}
        with ThreadPoolExecutor(4) as pool:
            refreshes = [pool.submit(post, f"{server_url}/o/token/", refresh_form(client_id, tokens)) for _ in range(3)]
            assert pool.submit(post, f"{server_url}/o/revoke_token/", revoke).result().status_code == 200
            answers = [refresh.result() for refresh in refreshes]
        assert {answer.status_code for answer in answers} <= {200, 400}
        pairs = [tokens, *(answer.json() for answer in answers if answer.status_code == 200)]
        assert nothing_lives(server_url, client_id, pairs)


@pytest.mark.rfc("9700 4.14.2")
def test_a_refresh_beside_a_detected_replay_leaves_nothing_alive(server_url: str) -> None:
    for _ in range(ROUNDS):
        client_id, first = login(server_url)
        second = post(f"{server_url}/o/token/", refresh_form(client_id, first)).json()
        third = post(f"{server_url}/o/token/", refresh_form(client_id, second)).json()
        with ThreadPoolExecutor(5) as pool:
            honest = [
                pool.submit(post, f"{server_url}/o/token/", refresh_form(client_id, tokens))
                for tokens in (third, second, third)
            ]
            replay = pool.submit(post, f"{server_url}/o/token/", refresh_form(client_id, first))
            assert replay.result().status_code == 400
            answers = [answer.result() for answer in honest]
        pairs = [third, *(answer.json() for answer in answers if answer.status_code == 200)]
        assert nothing_lives(server_url, client_id, pairs)


@pytest.mark.rfc("7592 2.3")
def test_changing_and_deleting_a_registration_at_once_ends_in_one_of_the_two(server_url: str) -> None:
    for _ in range(ROUNDS):
        body = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none", "client_name": "Raced"}
        client = httpx2.post(f"{server_url}/o/register/", json=body, trust_env=False).json()
        headers = {"Authorization": f"Bearer {client['registration_access_token']}"}
        url = client["registration_client_uri"]
        with ThreadPoolExecutor(4) as pool:
            puts = [pool.submit(httpx2.put, url, json=body, headers=headers, trust_env=False) for _ in range(3)]
            delete = pool.submit(httpx2.delete, url, headers=headers, trust_env=False)
            statuses = sorted(answer.result().status_code for answer in puts)
        assert set(statuses) <= {200, 401}
        assert statuses.count(200) <= 1, "the registration token was used up by the first"
        assert delete.result().status_code in {204, 401}
        if delete.result().status_code == 204:
            response = post(
                f"{server_url}/o/token/",
                {"grant_type": "refresh_token", "client_id": client["client_id"], "refresh_token": "x"},
            )
            assert response.status_code == 401, "gone for good"


def test_deleting_a_client_while_it_is_used_breaks_nothing(server_url: str) -> None:
    for _ in range(ROUNDS // 2):
        body = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none", "client_name": "Raced"}
        client = httpx2.post(f"{server_url}/o/register/", json=body, trust_env=False).json()
        form = code_form(server_url, client["client_id"])
        tokens = post(f"{server_url}/o/token/", form).json()
        headers = {"Authorization": f"Bearer {client['registration_access_token']}"}
        with ThreadPoolExecutor(6) as pool:
            uses = [
                pool.submit(post, f"{server_url}/o/token/", refresh_form(client["client_id"], tokens)) for _ in range(5)
            ]
            url = client["registration_client_uri"]
            assert pool.submit(httpx2.delete, url, headers=headers, trust_env=False).result().status_code == 204
            assert {use.result().status_code for use in uses} <= {200, 400, 401}
        assert not works(server_url, tokens)
