"""Keys in several processes: two that start at once, and a rotation while many sign in."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import jwt
import pytest

from tests.clients.person import Person
from tests.conftest import ROOT, LiveServer
from tests.oauth import PKCE
from tests.over_http import CALLBACK

pytestmark = pytest.mark.live

MAKE = """
import django, sys
django.setup()
from authapp.openid import signing_keys, subjects
from authapp.models import SigningKey
SigningKey.objects.exists()
print("ready", flush=True)
sys.stdin.readline()
print(*(signing_keys.signer(algorithm).kid for algorithm in ("RS256", "ES256")), subjects._secret().hex())
"""


def test_processes_that_start_at_once_make_one_key_of_each_kind(new_server: Callable[[], LiveServer]) -> None:
    server = new_server()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE],
            cwd=ROOT,
            env=server.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.stderr and process.stderr.read()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(said) == 1, "all of them sign with the same, and tell people apart by the same secret"
    listed = server.manage("rotate_signing_keys", "--list").splitlines()
    assert sorted(line.split()[0] for line in listed) == ["ES256", "RS256"]
    assert all(line.endswith(" signs") for line in listed)


class Relying:
    """A client that keeps the key set for as long as it may, and never asks for an unknown key."""

    def __init__(self, http: httpx2.Client, max_age: float) -> None:
        self.http = http
        self.max_age, self.read_at, self.keys = max_age, -1e9, {}

    def verify(self, id_token: str, client_id: str) -> None:
        if time.monotonic() - self.read_at > self.max_age:
            self.read_at = time.monotonic()
            self.keys = {key["kid"]: jwt.PyJWK(key) for key in self.http.get("/o/jwks/").json()["keys"]}
        key = self.keys[jwt.get_unverified_header(id_token)["kid"]]
        jwt.decode(id_token, key, algorithms=["RS256", "ES256"], audience=client_id)


def sign_in(http: httpx2.Client, url: str, algorithm: str) -> dict[str, Any]:
    body = {
        "redirect_uris": [CALLBACK],
        "token_endpoint_auth_method": "none",
        "client_name": "Relying",
        "id_token_signed_response_alg": algorithm,
    }
    client_id = http.post("/o/register/", json=body).json()["client_id"]
    pkce = PKCE()
    query = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": CALLBACK,
        "code_challenge": pkce.challenge,
        "code_challenge_method": "S256",
        "scope": "openid",
    }
    with Person("demo", "demo") as person:
        answer = httpx2.URL(person.approve(str(httpx2.URL(f"{url}/o/authorize/", params=query))))
    form = {
        "grant_type": "authorization_code",
        "client_id": client_id,
        "redirect_uri": CALLBACK,
        "code": answer.params["code"],
        "code_verifier": pkce.verifier,
    }
    tokens: dict[str, Any] = http.post("/o/token/", data=form).json()
    return tokens | {"client_id": client_id}


def test_clients_that_cache_the_keys_verify_everything_while_they_rotate(
    new_server: Callable[[], LiveServer], tmp_path: Any
) -> None:
    server = new_server()
    settings = tmp_path / "settings_of_a_fast_site.py"
    settings.write_text(
        "from config.settings import *\n"
        "AUTHAPP = {**AUTHAPP, 'JWKS_MAX_AGE_SECONDS': 4, 'ID_TOKEN_SECONDS': 2, 'REGISTRATION_BURST': 0}\n"
    )
    server.environment |= {"DJANGO_SETTINGS_MODULE": settings.stem, "PYTHONPATH": str(tmp_path)}
    server.start("-m", "uvicorn", "config.asgi:application", "--port", str(server.port), "--workers", "2")
    over, seen, count = threading.Event(), set(), []

    def live(algorithm: str) -> None:
        with httpx2.Client(base_url=server.url, trust_env=False, timeout=60) as http:
            use(Relying(http, max_age=2.5), algorithm)  # less than the site says, for a busy machine

    def use(relying: Relying, algorithm: str) -> None:
        tokens = sign_in(relying.http, server.url, algorithm)
        while not over.is_set():
            relying.verify(tokens["id_token"], tokens["client_id"])
            seen.add(jwt.get_unverified_header(tokens["id_token"])["kid"])
            count.append(1)
            form = {
                "grant_type": "refresh_token",
                "client_id": tokens["client_id"],
                "refresh_token": tokens["refresh_token"],
            }
            response = relying.http.post("/o/token/", data=form)
            assert response.status_code == 200, response.text
            tokens |= response.json()

    with ThreadPoolExecutor(4) as threads:
        futures = [threads.submit(live, algorithm) for algorithm in ("RS256", "ES256") * 2]
        try:
            for number in range(4):
                if number:
                    server.manage("rotate_signing_keys")
                deadline = time.monotonic() + 30
                while len(seen) < 2 * (number + 1) and time.monotonic() < deadline:
                    assert not any(future.done() for future in futures), [f.exception() for f in futures if f.done()]
                    over.wait(0.1)
        finally:
            over.set()
        for future in futures:
            future.result()
    assert len(seen) >= 8, "the first and three more of each algorithm have signed"
    assert len(count) > 40
