"""Keys of an issuer: fetched once for all, rotated under load, and kept while the issuer is away."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import time
from typing import Any

import pytest

from authapp.models import LinkedIdentity
from mcpapp.issuers import keys
from tests.issuer import TENANT, Issuer
from tests.keys import Key
from tests.mcpapp.helpers import send, serving

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]

KEYS = f"/{TENANT}/discovery/v2.0/keys"


async def status(endpoint: Any, token: str) -> int:
    return int((await send(endpoint, token, "tools/list")).status_code)


async def test_many_first_calls_fetch_the_keys_once(linked: LinkedIdentity, trusted: Issuer) -> None:
    tokens = [trusted.token(trusted.claims(uti=str(number))) for number in range(20)]
    async with serving() as endpoint:
        found = await asyncio.gather(*(status(endpoint, token) for token in tokens))
    assert found == [200] * 20
    assert trusted.requests == [KEYS]


async def test_keys_are_rotated_under_load_and_no_good_token_is_refused(
    linked: LinkedIdentity, trusted: Issuer, impatient: None
) -> None:
    """The new key is published before it signs, the old one stays until its tokens have ended, as Entra does it."""
    first, second = trusted.keys[0], Key("RS256", kid="second")
    found: list[int] = []
    number = 0

    async def calls(endpoint: Any, end: float) -> None:
        nonlocal number
        while time.monotonic() < end:
            number += 1
            found.append(await status(endpoint, trusted.token(trusted.claims(uti=str(number)))))

    async with serving() as endpoint:
        end = time.monotonic() + 3
        load = [asyncio.create_task(calls(endpoint, end)) for _ in range(4)]
        await asyncio.sleep(0.7)
        trusted.keys = [first, second]
        await asyncio.sleep(0.7)
        trusted.keys = [second, first]
        await asyncio.sleep(0.7)
        trusted.keys = [second]
        await asyncio.gather(*load)
        assert set(found) == {200}
        assert len(found) > 20
        assert 1 < trusted.requests.count(KEYS) < 10, "not one for each token of the new key"


async def test_a_key_that_is_withdrawn_counts_until_the_keys_are_old(
    linked: LinkedIdentity, trusted: Issuer, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    first = trusted.keys[0]
    async with serving() as endpoint:
        assert await status(endpoint, trusted.token()) == 200
        trusted.keys = [Key("RS256", kid="second")]
        assert await status(endpoint, trusted.token(key=first)) == 200
        monkeypatch.setattr(keys, "FRESH_SECONDS", 0)
        await status(endpoint, trusted.token(trusted.claims(uti="starts a fetch"), key=first))
        for number in range(200):
            token = trusted.token(trusted.claims(uti=str(number)), key=first)
            if await status(endpoint, token) == 401:
                return
        pytest.fail("the withdrawn key still counts")


async def test_made_up_key_names_make_one_request_in_a_while(linked: LinkedIdentity, trusted: Issuer) -> None:
    async with serving() as endpoint:
        assert await status(endpoint, trusted.token()) == 200
        found = [await status(endpoint, trusted.token(kid=f"made up {number}")) for number in range(30)]
        assert set(found) == {401}
        assert trusted.requests == [KEYS]
        assert await status(endpoint, trusted.token(trusted.claims(uti="another"))) == 200


async def test_a_dead_issuer_is_told_as_that_and_its_known_keys_go_on_counting(
    linked: LinkedIdentity,
    trusted: Issuer,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as endpoint:
        trusted.is_down = True
        with caplog.at_level(logging.INFO, "mcpapp"):
            response = await send(endpoint, trusted.token(), "tools/list")
        assert response.status_code == 503, "nobody can say that the token is bad"
        assert response.headers["retry-after"] == "5"
        assert "www-authenticate" not in response.headers
        assert "keys unavailable" in caplog.text
        trusted.is_down = False
        assert await status(endpoint, trusted.token()) == 200
        trusted.is_down = True
        monkeypatch.setattr(keys, "FRESH_SECONDS", 0)
        for number in range(5):
            assert await status(endpoint, trusted.token(trusted.claims(uti=str(number)))) == 200
        second = Key("RS256", kid="second")
        assert await status(endpoint, trusted.token(key=second)) == 503, "it may be a new key"
        monkeypatch.setattr(keys, "STALE_SECONDS", 0)
        assert await status(endpoint, trusted.token(trusted.claims(uti="late"))) == 503


BIG = json.dumps({"keys": [], "x": "x" * 300_000}).encode()


@pytest.mark.parametrize(
    ("code", "headers", "body"),
    [
        (200, {}, b""),
        (200, {}, b"[]"),
        (200, {}, b"[" * 100_000),
        (200, {}, b'{"keys": {}}'),
        (200, {}, b'{"keys": []}'),
        (200, {}, b'{"keys": [1, null, "x", {"kty": "RSA"}, {"kty": "RSA", "n": "!", "e": "AQAB", "kid": "first"}]}'),
        (200, {}, BIG),
        (200, {"Content-Encoding": "gzip"}, gzip.compress(BIG)),
        (404, {}, b"{}"),
        (500, {}, b"{}"),
        (302, {"Location": "/elsewhere"}, b""),
    ],
)
async def test_whatever_is_answered_instead_of_keys_nobody_gets_in_and_nothing_breaks(
    linked: LinkedIdentity, trusted: Issuer, impatient: None, code: int, headers: dict[str, str], body: bytes
) -> None:
    trusted.answers[KEYS] = (code, headers, body)
    async with serving() as endpoint:
        assert await status(endpoint, trusted.token()) == 503
        assert "/elsewhere" not in trusted.requests
        trusted.answers.clear()
        assert await status(endpoint, trusted.token()) == 200
