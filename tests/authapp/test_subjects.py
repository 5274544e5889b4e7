"""Who a person is to a client: public and pairwise subjects (OIDC Core §8)."""

from __future__ import annotations

from typing import Any

import pytest

from authapp.models import Application, PairwiseSecret
from authapp.openid.subjects import sector, subject
from tests.devices import DEVICE_CODE, device_connected
from tests.oauth import CALLBACK, browser, post_form, redeem, registered
from tests.oauth import PKCE as MakePKCE
from tests.oauth import authorize as press_allow
from tests.openid import claims_of, signed_in, verified

pytestmark = pytest.mark.django_db


@pytest.fixture
def pairwise(settings: Any) -> None:
    settings.AUTHAPP = settings.AUTHAPP | {"SUBJECT_TYPE": "pairwise"}


def client(*uris: str, **fields: Any) -> Application:
    application: Application = Application.objects.create(
        redirect_uris=" ".join(uris),
        client_type=Application.CLIENT_PUBLIC,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        client_secret="",
        **fields,
    )
    return application


def test_by_default_a_person_is_the_same_to_every_client(alice: Any, bob: Any) -> None:
    one, other = client("https://one.example/cb"), client("https://two.example/cb")
    assert subject(alice, one) == subject(alice, other) == str(alice.pk) != subject(bob, one)
    assert PairwiseSecret.objects.count() == 0


@pytest.mark.usefixtures("pairwise")
def test_pairwise_a_person_is_another_to_every_host_and_the_same_to_the_clients_of_one(alice: Any, bob: Any) -> None:
    one, same = client("https://one.example/cb"), client("https://one.example/other", "https://one.example/third")
    other = client("https://two.example/cb")
    assert subject(alice, one) == subject(alice, same)
    assert len({subject(alice, one), subject(alice, other), subject(bob, one), subject(bob, other)}) == 4
    assert str(alice.pk) != subject(alice, one)
    assert len(subject(alice, one)) == 43
    assert PairwiseSecret.objects.count() == 1


@pytest.mark.parametrize(
    ("uris", "fields", "expected"),
    [
        (["https://one.example/cb"], {}, "one.example"),
        (["https://one.example/cb", "https://one.example:8443/cb"], {}, "one.example"),
        (["https://one.example/cb", "https://two.example/cb"], {}, None),
        (["https://one.example/cb", CALLBACK], {}, None),
        ([CALLBACK], {}, None),
        (["cursor://anysphere.cursor-mcp/oauth/callback"], {}, None),
        (
            ["https://one.example/cb"],
            {"registration_source": "cimd", "client_id": "https://one.example/client.json"},
            "one.example",
        ),
        (["https://one.example/cb"], {"registration_source": "cimd", "client_id": "https://evil.example/c.json"}, None),
        (["https://one.example/cb"], {"grant_types": ["authorization_code", DEVICE_CODE]}, None),
    ],
)
def test_a_sector_is_one_host_that_all_answers_go_to_or_the_client(
    uris: list[str], fields: dict[str, Any], expected: str | None
) -> None:
    application = client(*uris, **fields)
    assert sector(application) == (expected or application.client_id)


@pytest.mark.usefixtures("pairwise")
def test_a_device_does_not_learn_who_a_person_is_to_a_host_that_its_client_names(alice: Any) -> None:
    """No answer of the device flow goes to a redirect URI, so anybody could name another's (OIDC Core §8.1)."""
    theirs, mine = "https://theirs.example/cb", {"grant_types": ["authorization_code", DEVICE_CODE]}
    registration, tokens = device_connected(alice, registered(redirect_uris=[theirs], **mine), scope="openid")
    learned = verified(tokens["id_token"], registration["client_id"])["sub"]
    assert learned != subject(alice, client(theirs))
    assert learned == subject(alice, Application.objects.get(client_id=registration["client_id"]))


@pytest.mark.usefixtures("pairwise")
def test_pairwise_discovery_id_token_userinfo_and_introspection_agree(alice: Any) -> None:
    assert browser().get("/.well-known/openid-configuration").json()["subject_types_supported"] == ["pairwise"]
    registration = registered(token_endpoint_auth_method="client_secret_post")
    pkce = MakePKCE()
    code = press_allow(alice, registration["client_id"], pkce, scope="openid")["code"]
    tokens = redeem(registration["client_id"], code, pkce, client_secret=registration["client_secret"]).json()
    userinfo = browser().get("/o/userinfo/", headers={"authorization": f"Bearer {tokens['access_token']}"}).json()
    credentials = {"client_id": registration["client_id"], "client_secret": registration["client_secret"]}
    introspected = post_form("/o/introspect/", credentials | {"token": tokens["access_token"]}).json()
    expected = subject(alice, Application.objects.get(client_id=registration["client_id"]))
    assert userinfo["sub"] == introspected["sub"] == expected != str(alice.pk)


@pytest.mark.usefixtures("pairwise")
def test_pairwise_no_client_learns_a_name_by_asking_about_its_own_token(alice: Any, settings: Any) -> None:
    """With `username` (RFC 7662 §2.2), two clients would know that it is the same person (OIDC Core §8.1)."""

    def introspected(scope: str) -> Any:
        registration = registered(token_endpoint_auth_method="client_secret_post")
        credentials = {"client_id": registration["client_id"], "client_secret": registration["client_secret"]}
        pkce = MakePKCE()
        code = press_allow(alice, registration["client_id"], pkce, scope=scope)["code"]
        token = redeem(registration["client_id"], code, pkce, client_secret=credentials["client_secret"]).json()
        as_itself = post_form("/o/introspect/", credentials | {"token": token["access_token"]}).json()
        settings.AUTHAPP = settings.AUTHAPP | {"INTROSPECTING_CLIENTS": [registration["client_id"]]}
        as_resource_server = post_form("/o/introspect/", credentials | {"token": token["access_token"]}).json()
        settings.AUTHAPP = settings.AUTHAPP | {"INTROSPECTING_CLIENTS": []}
        assert as_resource_server["username"] == "alice"
        return as_itself

    assert "username" not in introspected("mcp:tools")
    assert introspected("mcp:tools profile")["username"] == "alice", "the person allowed that"


@pytest.mark.usefixtures("pairwise")
def test_a_subject_outlives_the_secret_key(alice: Any, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    application = client("https://one.example/cb")
    before, old = subject(alice, application), settings.SECRET_KEY
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "n" * 60, [old]
    assert subject(alice, application) == before
    settings.SECRET_KEY_FALLBACKS = []
    assert subject(alice, application) == before, "sealed anew"

    settings.SECRET_KEY = "m" * 60
    stranger = subject(alice, application)
    assert stranger != before
    assert "strangers to the clients" in caplog.text
    assert subject(alice, application) == stranger
    settings.SECRET_KEY_FALLBACKS = ["n" * 60]
    assert subject(alice, application) == before, "once that is mended"
    assert PairwiseSecret.objects.count() == 2


@pytest.mark.usefixtures("pairwise")
def test_a_client_cannot_move_to_the_host_of_another_and_take_its_tokens_along(alice: Any) -> None:
    registration = registered(redirect_uris=["https://mine.example/cb"])
    path = registration["registration_client_uri"].partition("8000")[2]
    headers = {"authorization": f"Bearer {registration['registration_access_token']}"}

    def change(uri: str) -> Any:
        body = {"redirect_uris": [uri], "token_endpoint_auth_method": "none"}
        return browser().put(path, body, content_type="application/json", headers=headers)

    refused = change("https://theirs.example/cb")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client_metadata")
    stored = Application.objects.get(client_id=registration["client_id"])
    assert stored.redirect_uris == "https://mine.example/cb"
    accepted = change("https://mine.example/elsewhere")
    assert accepted.status_code == 200


def test_where_subjects_are_public_a_client_may_move() -> None:
    registration = registered(redirect_uris=["https://mine.example/cb"])
    path = registration["registration_client_uri"].partition("8000")[2]
    headers = {"authorization": f"Bearer {registration['registration_access_token']}"}
    body = {"redirect_uris": ["https://new.example/cb"], "token_endpoint_auth_method": "none"}
    assert browser().put(path, body, content_type="application/json", headers=headers).status_code == 200


@pytest.mark.usefixtures("pairwise")
def test_id_tokens_of_one_client_agree_with_each_other(alice: Any) -> None:
    registration, _ = signed_in(alice)
    again = claims_of(alice, registration["client_id"])["sub"]
    assert again == claims_of(alice, registration["client_id"])["sub"]
