"""The keys that sign ID tokens: their life, how they are stored, and how they are published (RFC 7517)."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import jwt
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from authapp.models import SigningKey
from authapp.openid import sealing, signing_keys
from tests.oauth import browser, registered
from tests.openid import claims_of, key_set, let_pass, signed_in, verified

pytestmark = pytest.mark.django_db

MAX_AGE = 3600
OVERLAP = 600 + MAX_AGE


def rotate(*arguments: str) -> str:
    out = io.StringIO()
    call_command("rotate_signing_keys", *arguments, stdout=out)
    return out.getvalue()


def kids(algorithm: str = "RS256") -> list[str]:
    return [key["kid"] for key in key_set()["keys"] if key["alg"] == algorithm]


def signs_now(algorithm: str = "RS256") -> str:
    return signing_keys.signer(algorithm).kid


# --- Publication ---------------------------------------------------------------------------------------------


@pytest.mark.rfc("7517 4")
def test_the_key_set_has_a_public_key_of_each_algorithm_and_nothing_private() -> None:
    keys = {key["alg"]: key for key in key_set()["keys"]}
    assert keys["RS256"].keys() == {"kty", "n", "e", "kid", "alg", "use"}
    assert keys["ES256"].keys() == {"kty", "crv", "x", "y", "kid", "alg", "use"}
    assert keys["ES256"]["crv"] == "P-256"
    assert {key["use"] for key in keys.values()} == {"sig"}
    assert len(keys["RS256"]["n"]) == 342, "2048 bits"


@pytest.mark.rfc("7638 3")
def test_a_key_is_named_by_its_thumbprint() -> None:
    for key in key_set()["keys"]:
        members = {name: key[name] for name in sorted(key.keys() - {"kid", "alg", "use"})}
        digest = hashlib.sha256(json.dumps(members, separators=(",", ":"), sort_keys=True).encode()).digest()
        assert jwt.utils.base64url_encode(digest).decode() == key["kid"]


@pytest.mark.parametrize("path", ["/o/jwks/", "/o/jwks"])
def test_the_key_set_may_be_kept_for_an_hour_and_asked_for_again_cheaply(path: str) -> None:
    first = browser().get(path)
    assert first["Cache-Control"] == f"public, max-age={MAX_AGE}"
    assert first["Content-Type"] == "application/json"
    again = browser().get(path, headers={"if-none-match": first["ETag"]})
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
    rotate()
    changed = browser().get(path, headers={"if-none-match": first["ETag"]})
    assert changed.status_code == 200
    assert changed["ETag"] != first["ETag"]


def test_any_web_page_may_read_the_key_set_and_nobody_may_post_to_it() -> None:
    response = browser().get("/o/jwks/", headers={"origin": "https://app.example"})
    assert response["Access-Control-Allow-Origin"] == "*"
    assert browser().post("/o/jwks/").status_code == 405


# --- First need ----------------------------------------------------------------------------------------------


def test_keys_are_made_once_at_first_need(alice: Any) -> None:
    assert SigningKey.objects.count() == 0
    client, tokens = signed_in(alice)
    assert sorted(SigningKey.objects.values_list("algorithm", flat=True)) == ["ES256", "RS256"]
    before = key_set()
    assert verified(tokens["id_token"], client["client_id"], keys=before)
    claims_of(alice, client["client_id"])
    assert key_set() == before


def test_who_finds_that_another_worker_made_the_key_uses_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    look = signing_keys._signer

    def slowly(algorithm: str) -> Any:
        found = look(algorithm)
        if found is None:  # the other one is faster between looking and making
            signing_keys._make(algorithm, 1, timezone.now(), OVERLAP)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(signing_keys, "_signer", slowly)
        signing_keys.ensure()
    assert SigningKey.objects.count() == 2
    assert SigningKey.objects.filter(retired_at=None).count() == 2
    assert signs_now() == SigningKey.objects.get(algorithm="RS256").kid


# --- Rotation ------------------------------------------------------------------------------------------------


def test_a_new_key_is_published_before_it_signs_and_the_old_one_until_its_tokens_are_over(alice: Any) -> None:
    client, tokens = signed_in(alice)
    old = signs_now()
    assert "Made the RS256 key" in rotate("--algorithm", "RS256")
    assert len(kids()) == 2
    assert signs_now() == old, "caches may not have the new one yet"

    let_pass(MAX_AGE - 5)
    assert signs_now() == old
    let_pass(10)
    new = signs_now()
    assert new != old
    assert set(kids()) == {new, old}
    assert verified(tokens["id_token"], client["client_id"]), "the old one's tokens are good still"

    let_pass(OVERLAP - 10)
    assert set(kids()) == {new, old}
    let_pass(10)
    assert kids() == [new]


def test_only_the_algorithm_that_was_named_rotates() -> None:
    key_set()
    rotate("--algorithm", "ES256")
    assert (len(kids("RS256")), len(kids("ES256"))) == (1, 2)
    rotate("--algorithm", "RS256")
    assert (len(kids("RS256")), len(kids("ES256"))) == (2, 2)


def test_a_second_rotation_waits_for_the_first_unless_it_has_to_be_now() -> None:
    key_set()
    rotate()
    with pytest.raises(CommandError, match="is published and signs from"):
        rotate()
    assert SigningKey.objects.count() == 4
    waiting = SigningKey.objects.get(algorithm="RS256", number=2)
    rotate("--now")
    assert signs_now() == SigningKey.objects.get(algorithm="RS256", number=3).kid
    waiting.refresh_from_db()
    assert waiting.retired_at is not None, "it never signs"
    assert waiting.retired_at <= timezone.now()


def test_a_key_that_leaked_can_be_gone_at_once(alice: Any) -> None:
    client, tokens = signed_in(alice)
    rotate("--now", "--overlap", "0")
    assert len(kids()) == 1
    with pytest.raises(KeyError):
        verified(tokens["id_token"], client["client_id"])
    assert claims_of(alice, client["client_id"])["sub"] == str(alice.pk)


@pytest.mark.parametrize("arguments", [("--overlap", "10"), ("--overlap", "-1", "--now"), ("--overlap", str(10**12))])
def test_an_overlap_too_short_to_verify_what_was_signed_is_refused(arguments: tuple[str, ...]) -> None:
    key_set()
    with pytest.raises(CommandError, match="--overlap must be at least"):
        rotate(*arguments)
    assert SigningKey.objects.count() == 2
    rotate("--overlap", str(OVERLAP))
    assert SigningKey.objects.count() == 4


def test_a_rotation_before_there_is_a_key_makes_one_that_signs() -> None:
    rotate()
    assert SigningKey.objects.count() == 2
    assert kids() == [signs_now()]


def test_the_list_says_what_each_key_does() -> None:
    assert "no keys yet" in rotate("--list")
    key_set()
    old = signs_now()
    assert f"RS256 {old} signs\n" in rotate("--list")
    rotate()
    assert " signs from 20" in rotate("--list")
    let_pass(MAX_AGE + 1)
    assert f"RS256 {old} retired, published until 20" in rotate("--list")
    let_pass(OVERLAP)
    assert f"RS256 {old} retired\n" in rotate("--list")


def test_a_private_key_is_erased_when_it_signs_no_more_and_the_rest_a_year_later() -> None:
    key_set()
    old = signs_now()
    rotate("--now")
    assert SigningKey.objects.get(kid=old).sealed_private_key == ""
    assert SigningKey.objects.get(kid=signs_now()).sealed_private_key != ""
    let_pass(OVERLAP + 364 * 24 * 3600)
    rotate("--list")
    assert SigningKey.objects.filter(kid=old).exists()
    let_pass(2 * 24 * 3600)
    rotate("--list")
    assert not SigningKey.objects.filter(kid=old).exists()


# --- SECRET_KEY ----------------------------------------------------------------------------------------------


def test_the_private_key_is_not_stored_in_clear() -> None:
    key_set()
    for key in SigningKey.objects.all():
        pem = sealing.unseal(key.sealed_private_key)
        assert pem.startswith(b"-----BEGIN PRIVATE KEY-----")
        assert "PRIVATE" not in key.sealed_private_key
        assert not {"d", "p", "q", "k"} & key.public_jwk.keys()


def test_a_new_secret_key_with_the_old_as_fallback_changes_nothing_and_takes_the_keys_over(settings: Any) -> None:
    published, kid = key_set(), signs_now()
    rotate()
    published = key_set()
    old = settings.SECRET_KEY
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "n" * 60, [old]
    assert (key_set(), signs_now()) == (published, kid)
    settings.SECRET_KEY_FALLBACKS = []
    assert (key_set(), signs_now()) == (published, kid), "sealed anew, the one that waits as well"
    let_pass(MAX_AGE + 1)
    assert signs_now() != kid
    assert key_set() == published


def test_a_new_secret_key_without_the_old_one_makes_new_keys_and_says_so_once(
    alice: Any, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client, tokens = signed_in(alice)
    old = signs_now()
    settings.SECRET_KEY = "m" * 60
    assert claims_of(alice, client["client_id"])["sub"] == str(alice.pk)
    assert signs_now() != old
    assert old in kids(), "it may be needed to verify"
    assert verified(tokens["id_token"], client["client_id"])
    key_set()
    said = [record for record in caplog.records if "cannot be decrypted" in record.message and old in record.message]
    assert len(said) == 1


def test_what_was_sealed_cannot_be_changed(db: None) -> None:
    sealed = sealing.seal(b"secret")
    assert sealing.unseal(sealed) == b"secret"
    assert sealing.reseal(sealed) == sealed
    with pytest.raises(sealing.Unreadable):
        sealing.unseal(sealed[:-6] + "AAAA==")


def test_registered_clients_with_each_algorithm_verify_across_a_rotation(alice: Any) -> None:
    clients = [registered(id_token_signed_response_alg=algorithm) for algorithm in ("RS256", "ES256")]
    kept = key_set()
    for _ in range(3):
        rotate()
        for client in clients:
            _, tokens = signed_in(alice, client)
            assert verified(tokens["id_token"], client["client_id"], keys=kept), "a copy of the set from before"
        let_pass(MAX_AGE - 1)
        kept = key_set()
        let_pass(1)
        for client in clients:
            _, tokens = signed_in(alice, client)
            assert verified(tokens["id_token"], client["client_id"], keys=kept)
