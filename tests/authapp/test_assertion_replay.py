"""One client assertion, many workers: over HTTP, several processes, on the database the tests run on (RFC 7523 §3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.conftest import LiveDatabases, LiveServer
from tests.keys import JWT_BEARER, Key, claims

pytestmark = pytest.mark.live
AT_ONCE = 20
KEY = Key("ES256")


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory, live_databases: LiveDatabases) -> Iterator[str]:
    server = LiveServer(tmp_path_factory.mktemp("replay"), live_databases.copy())
    server.start("-m", "uvicorn", "config.asgi:application", "--port", str(server.port), "--workers", "3")
    yield server.url
    server.stop()


@pytest.mark.rfc("7523 3")
def test_of_twenty_parallel_uses_of_an_assertion_exactly_one_succeeds(server_url: str) -> None:
    body = {
        "redirect_uris": ["http://127.0.0.1:1/callback"],
        "client_name": "Parallel",
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks": {"keys": [KEY.public]},
    }
    client_id = httpx2.post(f"{server_url}/o/register/", json=body, trust_env=False).json()["client_id"]

    def post(assertion: str) -> httpx2.Response:
        form = {"client_assertion_type": JWT_BEARER, "client_assertion": assertion, "token": "unknown"}
        return httpx2.post(f"{server_url}/o/introspect/", data=form, trust_env=False, timeout=60)

    same = [KEY.sign(claims(client_id, aud=server_url))] * AT_ONCE
    different = [KEY.sign(claims(client_id, aud=server_url)) for _ in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert Counter(response.status_code for response in pool.map(post, same)) == {200: 1, 401: AT_ONCE - 1}
        assert Counter(response.status_code for response in pool.map(post, different)) == {200: AT_ONCE}
