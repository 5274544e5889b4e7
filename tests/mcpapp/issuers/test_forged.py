"""Forged and foreign tokens: each is refused, for the reason that it is wrong, and a good one beside it is taken."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authapp import issuer_people
from authapp.models import LinkedIdentity
from mcpapp import conf
from mcpapp.issuers import lookup
from mcpapp.issuers.refusal import Refusal, Refused
from mcpapp.signals import token_refused
from tests.issuer import OTHER_TENANT, TENANT, Issuer
from tests.keys import Key, encode, hmac_signed, unsigned
from tests.mcpapp.helpers import call, send, serving

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]

Make = Callable[[Issuer], str]


def with_claims(version: int = 2, **changes: Any) -> Make:
    return lambda issuer: issuer.token(issuer.claims(version, **changes))


def with_header(**header: Any) -> Make:
    return lambda issuer: issuer.token(**header)


def with_payload(change: Callable[[str], str]) -> Make:
    return lambda issuer: issuer.keys[0].sign_text(change(json.dumps(issuer.claims())))


def with_header_text(text: str) -> Make:
    return lambda issuer: issuer.keys[0].sign_text(json.dumps(issuer.claims()), header_text=text)


def parts(change: Callable[[list[str]], list[str]]) -> Make:
    return lambda issuer: ".".join(change(issuer.token().split(".")))


def as_hmac(form: Callable[[Any], bytes]) -> Make:
    """Sign with the published key as if it were a secret (RFC 8725 §2.1)."""

    def make(issuer: Issuer) -> str:
        head = encode(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "first"}).encode())
        message = f"{head}.{encode(json.dumps(issuer.claims()).encode())}"
        secret = form(issuer.keys[0].private.public_key())
        return f"{message}.{encode(hmac.new(secret, message.encode(), hashlib.sha256).digest())}"

    return make


def by_another_key(issuer: Issuer) -> str:
    return issuer.token(key=Key("RS256", kid="first"))


def by_an_embedded_key(issuer: Issuer) -> str:
    key = Key("RS256", kid="first")
    return issuer.token(key=key, jwk=key.public, jku="https://evil.example/keys", x5u="https://evil.example/x")


def swapped_payload(issuer: Issuer) -> str:
    head, _, signature = issuer.token().split(".")
    _, payload, _ = issuer.token(issuer.claims(oid="somebody-else")).split(".")
    return f"{head}.{payload}.{signature}"


def spelled_in_another_way(issuer: Issuer) -> str:
    """Change bits of the last letter that stand for nothing: another text, and the same signature (RFC 4648 §3.5)."""
    token = issuer.token()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = token[:-1] + letters[letters.index(token[-1]) ^ 1]
    assert decode(other.rpartition(".")[2]) == decode(token.rpartition(".")[2])
    return other


def decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


GENERIC = {
    "The access token is expired, revoked, or not for this resource.",
    "The access token has none of the scopes of this resource.",
}
NOW = int(time.time())
FORGED: list[tuple[str, Make, Refusal]] = [
    ("alg none", lambda issuer: unsigned(issuer.claims()), Refusal.MALFORMED),
    ("alg none with a kid", with_header(alg="none"), Refusal.BAD_ALGORITHM),
    ("alg none, no signature", parts(lambda p: [encode(b'{"alg":"none","kid":"first"}'), p[1], "AA"]), Refusal.BAD_ALGORITHM),
    ("alg NONE", with_header(alg="NONE"), Refusal.BAD_ALGORITHM),
    ("alg as a list", with_header(alg=["RS256"]), Refusal.MALFORMED),
    ("no alg", with_header(alg=None), Refusal.MALFORMED),
    ("HS256 with the public key as PEM", as_hmac(lambda key: key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)), Refusal.BAD_ALGORITHM),
    ("HS256 with the public key as DER", as_hmac(lambda key: key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)), Refusal.BAD_ALGORITHM),
    ("HS256 with an empty secret", lambda issuer: hmac_signed(issuer.claims(), b""), Refusal.MALFORMED),
    ("an algorithm that is not allowed", with_header(alg="RS512"), Refusal.BAD_ALGORITHM),
    ("another family of algorithm", lambda issuer: issuer.token(key=Key("ES256", kid="first")), Refusal.BAD_ALGORITHM),
    ("unknown kid", with_header(kid="second"), Refusal.UNKNOWN_KEY),
    ("kid of another case", with_header(kid="First"), Refusal.UNKNOWN_KEY),
    ("kid as a path", with_header(kid="../../dev/null"), Refusal.UNKNOWN_KEY),
    ("kid as SQL", with_header(kid="' OR 1=1 --"), Refusal.UNKNOWN_KEY),
    ("no kid", with_header(kid=None), Refusal.MALFORMED),
    ("kid as a number", with_header(kid=1), Refusal.MALFORMED),
    ("kid too long", with_header(kid="k" * 300), Refusal.MALFORMED),
    ("signed by another key under a known kid", by_another_key, Refusal.BAD_SIGNATURE),
    ("its own key in the header", by_an_embedded_key, Refusal.BAD_SIGNATURE),
    ("payload of another token", swapped_payload, Refusal.BAD_SIGNATURE),
    ("signature cut", parts(lambda p: [p[0], p[1], encode(decode(p[2])[:-6])]), Refusal.BAD_SIGNATURE),
    ("signature spelled in another way", spelled_in_another_way, Refusal.MALFORMED),
    ("signature empty", parts(lambda p: [p[0], p[1], ""]), Refusal.MALFORMED),
    ("two parts", parts(lambda p: p[:2]), Refusal.MALFORMED),
    ("five parts, as if encrypted", parts(lambda p: [*p, "AA", "AA"]), Refusal.MALFORMED),
    ("crit", with_header(crit=["exp"]), Refusal.MALFORMED),
    ("b64", with_header(b64=False), Refusal.MALFORMED),
    ("typ of an ID-JAG", with_header(typ="oauth-id-jag+jwt"), Refusal.MALFORMED),
    ("typ of a logout token", with_header(typ="logout+jwt"), Refusal.MALFORMED),
    ("header is no object", with_header_text("[]"), Refusal.MALFORMED),
    ("header nested without end", with_header_text("[" * 2500), Refusal.MALFORMED),
    ("header has a name twice", with_header_text('{"alg":"none","alg":"RS256","kid":"first"}'), Refusal.MALFORMED),
    ("header too long", with_header_text(json.dumps({"alg": "RS256", "kid": "first", "x": "x" * 4000})), Refusal.MALFORMED),
    ("payload is no JSON", with_payload(lambda text: text[:-1]), Refusal.MALFORMED),
    ("payload is a list", with_payload(lambda text: f"[{text}]"), Refusal.MALFORMED),
    ("payload has a name twice", with_payload(lambda text: text[:-1] + f', "tid": "{TENANT}"}}'), Refusal.MALFORMED),
    ("payload nested without end", with_payload(lambda text: text[:-1] + ', "a": ' + "[" * 5000 + "}"), Refusal.MALFORMED),
    ("a token in a token", lambda issuer: issuer.keys[0].sign_text(json.dumps(issuer.token())), Refusal.MALFORMED),
    ("NaN", with_payload(lambda text: text[:-1] + ', "nbf2": NaN}'), Refusal.MALFORMED),
    ("no iss", with_claims(iss=None), Refusal.WRONG_ISSUER),
    ("iss of somebody", with_claims(iss="https://evil.example"), Refusal.WRONG_ISSUER),
    ("iss with a slash more", lambda issuer: issuer.token(issuer.claims(iss=issuer.v2 + "/")), Refusal.WRONG_ISSUER),
    ("iss as a list", with_claims(iss=["https://evil.example"]), Refusal.WRONG_ISSUER),
    ("iss that is no URL", with_claims(iss="https://["), Refusal.WRONG_ISSUER),
    ("iss whose host would be normalised", with_claims(iss="https://login\u2100.example/"), Refusal.WRONG_ISSUER),
    ("iss of another tenant", lambda issuer: issuer.token(issuer.claims(iss=issuer.v2.replace(TENANT, OTHER_TENANT))), Refusal.WRONG_TENANT),
    ("iss with the tenant in capitals", lambda issuer: issuer.token(issuer.claims(iss=issuer.v2.replace(TENANT, TENANT.upper()))), Refusal.WRONG_TENANT),
    ("iss of the common tenant", lambda issuer: issuer.token(issuer.claims(iss=issuer.v2.replace(TENANT, "common"))), Refusal.WRONG_TENANT),
    ("tid of another tenant under our iss", with_claims(tid=OTHER_TENANT), Refusal.WRONG_TENANT),
    ("no tid", with_claims(tid=None), Refusal.WRONG_TENANT),
    ("version 1 under the iss of version 2", with_claims(ver="1.0"), Refusal.MALFORMED),
    ("no ver", with_claims(ver=None), Refusal.MALFORMED),
    ("aud of another API", with_claims(aud="api://another"), Refusal.WRONG_AUDIENCE),
    ("aud of Microsoft Graph", with_claims(aud="00000003-0000-0000-c000-000000000000"), Refusal.WRONG_AUDIENCE),
    ("aud with a slash more", lambda issuer: issuer.token(issuer.claims(aud=issuer.claims()["aud"] + "/")), Refusal.WRONG_AUDIENCE),
    ("aud as a list of others", with_claims(aud=["a", "b"]), Refusal.WRONG_AUDIENCE),
    ("aud as an object", with_claims(aud={"a": 1}), Refusal.MISSING_CLAIM),
    ("no aud", with_claims(aud=None), Refusal.MISSING_CLAIM),
    ("an ID token for the client", lambda issuer: issuer.token(issuer.claims(aud=issuer.claims()["azp"], scp=None)), Refusal.WRONG_AUDIENCE),
    ("expired", with_claims(exp=NOW - 60), Refusal.EXPIRED),
    ("no exp", with_claims(exp=None), Refusal.MISSING_CLAIM),
    ("exp as a text", with_claims(exp=str(NOW + 60)), Refusal.MALFORMED),
    ("exp as true", with_claims(exp=True), Refusal.MALFORMED),
    ("exp of a thousand digits", with_claims(exp=10**1000), Refusal.MALFORMED),
    ("exp beyond all time", with_payload(lambda text: text.replace('"exp": ', '"exp": 1e400, "x": ')), Refusal.MALFORMED),
    ("not yet valid", with_claims(nbf=NOW + 3000), Refusal.NOT_YET_VALID),
    ("issued in the future", with_claims(iat=NOW + 3000), Refusal.NOT_YET_VALID),
    ("app-only by idtyp", with_claims(idtyp="app"), Refusal.APP_ONLY),
    ("app-only: roles and no scp", with_claims(scp=None, roles=["mcp:tools"]), Refusal.APP_ONLY),
    ("no scp", with_claims(scp=None), Refusal.APP_ONLY),
    ("scp empty", with_claims(scp=" "), Refusal.APP_ONLY),
    ("scp as a list", with_claims(scp=["mcp:tools"]), Refusal.APP_ONLY),
    ("roles beside scp", with_claims(roles=["admin"]), Refusal.ROLES),
    ("scopes of another API alone", with_claims(scp="User.Read Mail.Read"), Refusal.MISSING_SCOPE),
    ("a scope of another case", with_claims(scp="MCP:Tools"), Refusal.MISSING_SCOPE),
    ("no oid", with_claims(oid=None), Refusal.MISSING_CLAIM),
    ("oid as a number", with_claims(oid=1), Refusal.MISSING_CLAIM),
    ("oid of a stranger with the same e-mail", with_claims(oid="99999999-2222-3333-4444-555555555555"), Refusal.UNKNOWN_USER),
    ("version 1, expired", with_claims(1, exp=NOW - 60), Refusal.EXPIRED),
    ("version 1, app-only", with_claims(1, scp=None, roles=["x"], appidacr="1"), Refusal.APP_ONLY),
    ("version 1, tid of another tenant", with_claims(1, tid=OTHER_TENANT), Refusal.WRONG_TENANT),
]  # fmt: skip


def test_the_table_is_as_long_as_it_should_be() -> None:
    assert len(FORGED) >= 40
    assert len({name for name, _, _ in FORGED}) == len(FORGED)


@pytest.mark.parametrize(("make", "reason"), [case[1:] for case in FORGED], ids=[case[0] for case in FORGED])
async def test_each_is_refused_for_its_reason_beside_one_that_is_taken(
    linked: LinkedIdentity, trusted: Issuer, make: Make, reason: Refusal, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[dict[str, Any]] = []

    def hear(**known: Any) -> None:
        told.append(known)

    token_refused.connect(hear, weak=False)
    forged = make(trusted)
    try:
        async with serving() as endpoint:
            with caplog.at_level(logging.INFO, "mcpapp"):
                response = await send(endpoint, forged, "tools/call", {"name": "protected-data", "arguments": {}})
            taken = await call(endpoint, trusted.token(), "protected-data")
    finally:
        token_refused.disconnect(hear)
    assert taken["structuredContent"]["username"] == "alice"
    error = "insufficient_scope" if reason is Refusal.MISSING_SCOPE else "invalid_token"
    assert response.status_code == (403 if reason is Refusal.MISSING_SCOPE else 401)
    assert f'error="{error}"' in response.headers["www-authenticate"]
    is_form_wrong = forged.count(".") != 2 or ".." in forged or forged.endswith(".")
    if not is_form_wrong:  # what has not the form of a signed token is unknown like any other
        assert [known["reason"] for known in told] == [reason.value]
        assert reason.value in caplog.text
    assert len(told) == 1
    # Nothing of why, to the client; nothing of the token, to the log.
    assert response.json()["error_description"] in GENERIC
    assert forged not in caplog.text
    signature = forged.rpartition(".")[2]
    assert len(signature) < 20 or signature not in caplog.text


async def test_a_huge_token_is_refused_before_it_is_read(linked: LinkedIdentity, trusted: Issuer) -> None:
    huge = trusted.token(trusted.claims(groups=["x" * 36] * 1000))
    large = trusted.token(trusted.claims(groups=["x" * 36] * 200))
    async with serving() as endpoint:
        assert len(huge) > 16 * 1024
        assert (await send(endpoint, huge, "tools/list")).status_code == 401
        assert trusted.requests == []
        assert len(large) > 4096, "the positive control: people in many groups have large tokens"
        assert (await send(endpoint, large, "tools/list")).status_code == 200


async def test_an_unknown_issuer_costs_no_request_and_no_query(
    linked: LinkedIdentity, trusted: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def find_person(issuer: str, *rest: Any) -> Any:
        asked.append(issuer)
        return issuer_people.find_person(issuer, *rest)

    monkeypatch.setattr(conf, "issuer_user", lambda: find_person)
    foreign = trusted.token(trusted.claims(iss="https://evil.example"))
    with pytest.raises(Refused, match="wrong issuer"):
        await lookup.find_issued_token(foreign)
    assert (asked, trusted.requests) == ([], [])
    assert await lookup.find_issued_token(trusted.token())
    assert asked == [trusted.v2]
    assert trusted.requests != []


async def test_a_key_that_is_too_weak_or_no_signing_key_is_not_taken(
    linked: LinkedIdentity, trusted: Issuer, impatient: None
) -> None:
    weak, sealing = Key("RS256", kid="weak", bits=1024), Key("RS256", kid="sealing", use="enc")
    secret = {"kty": "oct", "kid": "secret", "k": base64.urlsafe_b64encode(b"x" * 32).decode()}
    trusted.keys += [weak, sealing]
    path = f"/{TENANT}/discovery/v2.0/keys"
    published = [*(key.public for key in trusted.keys), secret]
    trusted.answers[path] = (200, {}, json.dumps({"keys": published}).encode())
    async with serving() as endpoint:
        for key in (weak, sealing):
            assert (await send(endpoint, trusted.token(key=key), "tools/list")).status_code == 401
        shared = jwt.encode(trusted.claims(), b"x" * 32, algorithm="HS256", headers={"kid": "secret"})
        assert (await send(endpoint, shared, "tools/list")).status_code == 401
        assert (await send(endpoint, trusted.token(), "tools/list")).status_code == 200
