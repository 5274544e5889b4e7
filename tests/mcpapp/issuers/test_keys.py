"""Keys of an issuer: fetched once for all, rotated under load, and kept while the issuer is away."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import gzip
import json
import logging
import time
from typing import Any

import pytest

from authapp.models import LinkedIdentity
from mcpapp import conf
from mcpapp.issuers import keys, lookup
from mcpapp.issuers.refusal import Refused, Unavailable
from mcpapp.issuers.settings import token_issuers
from tests.issuer import OTHER_TENANT, TENANT, Issuer
from tests.keys import Key
from tests.mcpapp.helpers import send, serving
from tests.mcpapp.issuers.conftest import trust

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


async def test_a_flood_of_made_up_key_names_at_a_slow_issuer_leaves_room_for_others(
    linked: LinkedIdentity, trusted: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who wait for keys take places that everybody's tokens are looked up in."""
    monkeypatch.setattr(keys, "MAXIMUM_WAITING", 3)
    trusted.is_slow.set()
    (issuer,) = token_issuers()
    known = keys.Keys(issuer)
    waiting = [asyncio.create_task(known.find(f"made up {number}")) for number in range(5)]
    done, still = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 2
    assert {type(task.exception()) for task in done} == {Unavailable}
    trusted.is_slow.clear()
    await asyncio.wait(still)
    assert {type(task.exception()) for task in still} == {Refused}, "the issuer has said that it has no such key"
    assert await known.find("first")


@pytest.mark.rfc("8725 3.1")
async def test_a_key_counts_for_the_algorithm_that_its_jwk_names_alone(
    issuer: Issuer, settings: Any, alice: Any
) -> None:
    trust(settings, issuer.oidc(algorithms=["RS256", "PS256", "ES256", "ES384"]))
    await LinkedIdentity.objects.acreate(issuer=issuer.url, subject="alice", user=alice)
    free, bound, curve = Key("RS256", kid="free"), Key("RS256", kid="bound", alg="RS256"), Key("ES256", kid="curve")
    free.public.pop("alg", None)
    issuer.keys = [free, bound, curve]

    async def signed_as(key: Key, algorithm: str) -> int:
        other = copy.copy(key)
        other.algorithm = algorithm
        return await status(endpoint, issuer.token(issuer.plain_claims(), key=other))

    async with serving() as endpoint:
        assert await signed_as(free, "RS256") == 200
        assert await signed_as(free, "PS256") == 200, "the positive control: both are allowed, and it names neither"
        assert await signed_as(bound, "RS256") == 200
        assert await signed_as(bound, "PS256") == 401
        assert await signed_as(curve, "ES256") == 200
        assert await status(endpoint, issuer.token(issuer.plain_claims(), key=curve, alg="RS256")) == 401
        assert await status(endpoint, issuer.token(issuer.plain_claims(), key=curve, alg="ES384")) == 401


async def test_a_key_of_another_tenant_signs_nothing_of_ours(
    linked: LinkedIdentity, trusted: Issuer, impatient: None
) -> None:
    """Entra says in `issuer` of a JWK whose tokens it signs; `{tenantid}` stands for each one's own."""
    ours = Key("RS256", kid="ours", issuer=trusted.v2)
    everybodys = Key("RS256", kid="everybody's", issuer=trusted.v2.replace(TENANT, "{tenantid}"))
    theirs = Key("RS256", kid="theirs", issuer=trusted.v2.replace(TENANT, OTHER_TENANT))
    trusted.keys += [ours, everybodys, theirs]
    async with serving() as endpoint:
        for key in (ours, everybodys):
            for version in (1, 2):
                assert await status(endpoint, trusted.token(trusted.claims(version), key=key)) == 200
        assert await status(endpoint, trusted.token(key=theirs)) == 401


async def test_an_odd_key_in_the_set_does_not_take_the_others_away(linked: LinkedIdentity, trusted: Issuer) -> None:
    good = trusted.keys[0].public
    odd: list[Any] = [
        good | {"kid": "a", "alg": ["RS256"]},
        good | {"kid": ["a"]},
        good | {"kid": {"a": 1}},
        good | {"kid": "k" * 100_000},
        good | {"kid": "b", "kty": ["RSA"]},
        good | {"kid": "c", "use": ["sig"]},
        good | {"kid": "d", "n": 5},
        good | {"kid": "e", "e": "AA"},
        good | {"kid": "f", "key_ops": ["encrypt"]},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "g"},
        {"kty": "OKP", "crv": "X25519", "x": "A" * 43, "kid": "h"},
    ]
    trusted.answers[KEYS] = (200, {}, json.dumps({"keys": [*odd, good]}).encode())
    (issuer,) = token_issuers()
    assert list(await keys.fetch_keys(issuer)) == ["first"]
    async with serving() as endpoint:
        assert await status(endpoint, trusted.token()) == 200


@pytest.mark.parametrize(
    "jwks_uri",
    ["http://login.example/keys", "ftp://login.example/keys", "https://[", "https://", "//login.example/keys", 5, None],
)
async def test_keys_are_fetched_from_nowhere_but_https(issuer: Issuer, settings: Any, jwks_uri: Any) -> None:
    """Also on the issuer's own host: whoever sits on the way would sign for everybody."""
    trust(settings, issuer.oidc())
    (known,) = token_issuers()
    away = dataclasses.replace(known, issuer="https://login.example")
    asked: list[str] = []

    async def answer(_: Any, url: str) -> dict[str, Any]:
        asked.append(url)
        if url == away.configuration_url:
            return {"issuer": away.issuer, "jwks_uri": jwks_uri}
        return {"keys": [issuer.keys[0].public]}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "_get", answer)
        with pytest.raises(keys.KeysError, match="https"):
            await keys.fetch_keys(away)
        assert asked == [away.configuration_url]
        jwks_uri = "https://keys.example/of?tenant=this"
        assert list(await keys.fetch_keys(away)) == ["first"]


async def test_a_key_that_is_withdrawn_ends_the_tokens_that_are_kept(
    linked: LinkedIdentity, trusted: Issuer, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    """A token may say that it is good for years; it is kept for minutes, then its key is looked for again."""
    token = trusted.token(trusted.claims(exp=int(time.time()) + 10**8))
    looked_up: list[str] = []

    async def find(token: str) -> Any:
        looked_up.append(token)
        return await lookup.find_issued_token(token)

    monkeypatch.setattr(conf, "token_lookups", lambda: (find,))
    async with serving() as endpoint:
        for number in range(200):  # nothing is kept before the feed of changes is there
            assert await status(endpoint, token) == 200
            if len(looked_up) <= number:
                break
        trusted.keys = [Key("RS256", kid="second")]
        assert await status(endpoint, trusted.token()) == 200, "a new key makes the set be fetched again"
        assert await status(endpoint, token) == 200, "kept"
        now = time.time() + lookup.KEPT_SECONDS + 1
        monkeypatch.setattr(time, "time", lambda: now)
        assert await status(endpoint, token) == 401
        assert await status(endpoint, trusted.token()) == 200


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
