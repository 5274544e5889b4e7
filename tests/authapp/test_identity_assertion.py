"""Enterprise-managed authorization: what an ID-JAG becomes.

"The extension" is MCP's, "the draft" draft-ietf-oauth-identity-assertion-authz-grant. Forged and foreign assertions are
in test_identity_assertion_forged.py, and how people are found in test_identities.py.
"""

from __future__ import annotations

import base64
import logging
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from oauth2_provider.models import get_access_token_model, get_refresh_token_model

from authapp import asserted_access, conf
from authapp.models import Application, AssertedToken, AuditEvent, Connection, KeySet, TrustedIssuer, UsedAssertion
from tests.authapp.enterprise import (
    SECRET,
    assertion_for,
    client_of_owner,
    exchange,
    link,
    make_client,
    provider,
    reasons,
    trust,
    user_of,
)
from tests.authapp.identity_provider import IdentityProvider, Key
from tests.oauth import CALLBACK, ISSUER, PKCE, RESOURCE, authorize, browser, connected, post_form, redeem

__all__ = ["client_of_owner", "provider"]

pytestmark = pytest.mark.django_db

AccessToken = get_access_token_model()
METADATA = ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"]


def assert_error(response: Any, error: str, status: int = 400) -> None:
    assert (response.status_code, response.json()["error"]) == (status, error), response.content
    assert response["Cache-Control"] == "no-store"


@pytest.fixture
def desk(client_of_owner: Application) -> Application:
    return client_of_owner


# --- What is issued -----------------------------------------------------------------------------------------


def test_an_assertion_becomes_an_access_token_of_its_person(
    provider: IdentityProvider, desk: Application, alice: Any, bob: Any
) -> None:
    """The extension §5.2, RFC 6749 §5.1."""
    link(provider, alice)
    link(provider, bob)
    response = exchange(desk, assertion_for(provider, desk, alice))
    answer = response.json()
    assert response.status_code == 200, answer
    assert (answer["token_type"], answer["scope"], answer["resource"]) == ("Bearer", "mcp:tools", RESOURCE)
    assert response["Cache-Control"] == "no-store"
    assert user_of(response) == alice
    token = AccessToken.objects.get(asserted__identity__subject="alice")
    assert (token.user, token.application, token.resource) == (alice, desk, [RESOURCE])
    assert user_of(exchange(desk, assertion_for(provider, desk, bob))) == bob


def test_there_is_never_a_refresh_token(provider: IdentityProvider, desk: Application, alice: Any) -> None:
    """The draft §4.4.3: the provider decides anew each time."""
    link(provider, alice)
    answer = exchange(desk, assertion_for(provider, desk, scope="mcp:tools offline_access")).json()
    assert "refresh_token" not in answer
    assert answer["scope"] == "mcp:tools"
    assert not get_refresh_token_model().objects.exists()


@pytest.mark.parametrize(("seconds", "expected"), [(60, 60), (7200, 3600)])
def test_the_token_lives_no_longer_than_the_setting_and_than_other_tokens(
    provider: IdentityProvider, desk: Application, alice: Any, settings: Any, seconds: int, expected: int
) -> None:
    settings.AUTHAPP = {**settings.AUTHAPP, "ASSERTED_TOKEN_SECONDS": seconds}
    link(provider, alice)
    assert exchange(desk, assertion_for(provider, desk)).json()["expires_in"] == expected
    left = AccessToken.objects.get().expires - timezone.now()
    assert timedelta(seconds=expected - 20) < left <= timedelta(seconds=expected)


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "EdDSA"])
def test_keys_of_the_usual_kinds_are_accepted(
    provider: IdentityProvider, desk: Application, alice: Any, algorithm: str
) -> None:
    provider.keys = provider.published = [Key(algorithm)]
    link(provider, alice)
    assert user_of(exchange(desk, assertion_for(provider, desk))) == alice


def test_the_client_may_authenticate_with_basic(provider: IdentityProvider, desk: Application, alice: Any) -> None:
    link(provider, alice)
    form = {"grant_type": conf.JWT_BEARER, "assertion": assertion_for(provider, desk)}
    credentials = base64.b64encode(f"{desk.client_id}:{SECRET}".encode()).decode()
    assert user_of(post_form("/o/token/", form, {"authorization": f"Basic {credentials}"})) == alice


def test_the_client_may_authenticate_with_a_key(provider: IdentityProvider, alice: Any) -> None:
    """The extension §7.5.1: better than a secret. Its assertion and the provider's are not taken for each other."""
    key = Key()
    desk = make_client(
        token_endpoint_auth_method="private_key_jwt", jwks={"keys": [key.jwk]}, grant_types=[conf.JWT_BEARER]
    )
    link(provider, alice)

    def proof() -> str:
        claims = provider.claims(iss=desk.client_id, sub=desk.client_id, aud=ISSUER)
        return key.sign(claims, typ="JWT")

    form = {
        "grant_type": conf.JWT_BEARER,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    }
    sound = form | {"client_assertion": proof(), "assertion": assertion_for(provider, desk)}
    assert user_of(post_form("/o/token/", sound)) == alice
    swapped = form | {"client_assertion": assertion_for(provider, desk), "assertion": proof()}
    assert_error(post_form("/o/token/", swapped), "invalid_client", 401)
    twice = form | {"client_assertion": proof(), "assertion": proof()}
    assert_error(post_form("/o/token/", twice), "invalid_grant")
    assert_error(exchange(desk, assertion_for(provider, desk)), "invalid_client", 401)


def test_what_has_expired_is_cleared_away(provider: IdentityProvider, desk: Application, alice: Any) -> None:
    """The link stays."""
    link(provider, alice)
    assert user_of(exchange(desk, assertion_for(provider, desk))) == alice
    call_command("clear_expired_tokens", stdout=StringIO())
    assert AssertedToken.objects.count() == 1
    AccessToken.objects.update(expires=timezone.now() - timedelta(seconds=1))
    call_command("clear_expired_tokens", stdout=StringIO())
    assert not AssertedToken.objects.exists()
    assert user_of(exchange(desk, assertion_for(provider, desk))) == alice


def test_the_resource_is_the_assertions_where_the_request_names_none(
    provider: IdentityProvider, desk: Application, alice: Any
) -> None:
    """The extension §5.1."""
    link(provider, alice)
    other = RESOURCE.replace("127.0.0.1", "localhost")
    answer = exchange(desk, assertion_for(provider, desk, resource=other), resource=None).json()
    assert answer["resource"] == other
    assert AccessToken.objects.get().resource == [other]


@pytest.mark.parametrize("value", [RESOURCE + "/", [RESOURCE]])
def test_one_resource_may_be_spelled_as_specifications_spell_it(
    provider: IdentityProvider, desk: Application, alice: Any, value: Any
) -> None:
    link(provider, alice)
    assert exchange(desk, assertion_for(provider, desk, resource=value)).json()["resource"] == RESOURCE


def test_a_request_for_another_resource_than_the_assertions_is_refused(
    provider: IdentityProvider, desk: Application, alice: Any
) -> None:
    """RFC 8707 §2; and the assertion is not used up by it."""
    link(provider, alice)
    assertion = assertion_for(provider, desk)
    assert_error(exchange(desk, assertion, resource="https://elsewhere.example/mcp"), "invalid_target")
    assert_error(exchange(desk, assertion, resource=RESOURCE.replace("127.0.0.1", "localhost")), "invalid_target")
    assert user_of(exchange(desk, assertion)) == alice


# --- Scopes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asserted", "asked", "of_issuer", "of_client", "granted"),
    [
        ("mcp:tools mcp:write", None, None, "", "mcp:write"),
        ("mcp:tools", None, None, "", "mcp:tools"),
        ("mcp:tools mcp:write", "mcp:tools", None, "", "mcp:tools"),
        ("mcp:write", "mcp:tools", None, "", "mcp:tools"),
        ("mcp:tools", "mcp:tools mcp:write", None, "", "mcp:tools"),
        ("mcp:write", None, ["mcp:tools"], "", "mcp:tools"),
        ("mcp:write", None, None, "mcp:tools", "mcp:tools"),
        ("mcp:write", "mcp:write mcp:tools", ["mcp:write"], "mcp:write", "mcp:write mcp:tools"),
        ("mcp:tools", "mcp:write", None, "", None),
        ("mcp:tools", "unheard-of", None, "", None),
        ("mcp:tools", None, ["unheard-of"], "", None),
        ("offline_access", None, None, "", None),
        ("", None, None, "", None),
        (None, None, None, "", None),
        (None, "mcp:tools", None, "mcp:tools", None),
        (None, None, ["mcp:tools"], "", "mcp:tools"),
        (None, "mcp:tools", ["mcp:write"], "", "mcp:tools"),
    ],
)
def test_scopes_are_what_assertion_request_issuer_and_client_all_allow(
    provider: IdentityProvider,
    alice: Any,
    settings: Any,
    asserted: str | None,
    asked: str | None,
    of_issuer: list[str] | None,
    of_client: str,
    granted: str | None,
) -> None:
    """The extension §7.2.1. Without a claim the owner's list for the issuer decides, and nothing without a list."""
    trust(settings, provider, scopes=of_issuer)
    desk = make_client(scope=of_client)
    link(provider, alice)
    response = exchange(desk, assertion_for(provider, desk, scope=asserted), scope=asked)
    if granted is None:
        assert_error(response, "invalid_scope")
        assert not AccessToken.objects.exists()
    else:
        assert response.json()["scope"] == granted
        assert AccessToken.objects.get().scope == granted


# --- Whose client -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"registration_source": Application.RegistrationSource.DCR}, "unauthorized_client"),
        ({"registration_source": Application.RegistrationSource.CIMD}, "invalid_client"),
        ({"authorization_grant_type": Application.GRANT_AUTHORIZATION_CODE}, "unauthorized_client"),
        ({"authorization_grant_type": Application.GRANT_CLIENT_CREDENTIALS}, "unauthorized_client"),
        ({"client_type": Application.CLIENT_PUBLIC}, "unauthorized_client"),
        ({"disabled_at": timezone.now()}, "invalid_client"),
        ({"client_secret": "another-one"}, "invalid_client"),
    ],
    ids=lambda value: next(iter(value.items())) if isinstance(value, dict) else value,
)
def test_only_confidential_clients_of_the_owner_that_have_the_grant_are_let_in(
    provider: IdentityProvider, desk: Application, alice: Any, changes: dict[str, Any], error: str
) -> None:
    """The draft §8.1, RFC 6749 §5.2."""
    link(provider, alice)
    other = make_client(**changes)
    assert_error(exchange(other, assertion_for(provider, other)), error, 401 if error == "invalid_client" else 400)
    assert user_of(exchange(desk, assertion_for(provider, desk))) == alice


@pytest.mark.parametrize("secret", [None, "", "wrong"])
def test_a_client_without_its_secret_is_401(
    provider: IdentityProvider, desk: Application, alice: Any, secret: str | None
) -> None:
    link(provider, alice)
    assertion = assertion_for(provider, desk)
    assert_error(exchange(desk, assertion, client_secret=secret), "invalid_client", 401)
    assert user_of(exchange(desk, assertion)) == alice


def test_no_client_registers_itself_for_it(provider: IdentityProvider) -> None:
    """Nor does a grant of the owner show in what a registration got (RFC 7591 §2)."""
    body = {
        "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", conf.JWT_BEARER],
        "token_endpoint_auth_method": "client_secret_post",
    }
    response = browser().post("/o/register/", body, content_type="application/json")
    assert conf.JWT_BEARER not in response.json().get("grant_types", [])


def test_a_list_of_clients_keeps_an_issuer_to_its_own(
    provider: IdentityProvider, desk: Application, alice: Any, settings: Any
) -> None:
    link(provider, alice)
    other = make_client()
    trust(settings, provider, clients=[desk.client_id])
    assert_error(exchange(other, assertion_for(provider, other)), "invalid_grant")
    assert reasons() == ["the issuer does not speak for this client"]
    assert user_of(exchange(desk, assertion_for(provider, desk))) == alice


# --- Which issuer -------------------------------------------------------------------------------------------


def test_without_a_trusted_issuer_there_is_no_such_grant(desk: Application) -> None:
    assert_error(exchange(desk, "a.b.c"), "unsupported_grant_type")
    for path in METADATA:
        metadata = browser().get(path).json()
        assert conf.JWT_BEARER not in metadata["grant_types_supported"]
        assert "authorization_grant_profiles_supported" not in metadata


@pytest.mark.parametrize("path", METADATA)
def test_metadata_names_the_grant_and_its_profile(provider: IdentityProvider, path: str) -> None:
    """The draft §7.2; and never whom we trust (§8.4)."""
    response = browser().get(path)
    metadata = response.json()
    assert conf.JWT_BEARER in metadata["grant_types_supported"]
    assert metadata["authorization_grant_profiles_supported"] == ["urn:ietf:params:oauth:grant-profile:id-jag"]
    assert provider.host not in response.content.decode()


def test_an_issuer_of_the_admin_counts_like_one_of_the_settings(
    provider: IdentityProvider, desk: Application, alice: Any, settings: Any
) -> None:
    settings.AUTHAPP = {**settings.AUTHAPP, "TRUSTED_ISSUERS": []}
    link(provider, alice)
    assertion = assertion_for(provider, desk)
    assert_error(exchange(desk, assertion), "unsupported_grant_type")
    TrustedIssuer.objects.create(issuer=provider.issuer, jwks_uri=provider.jwks_uri)
    assert conf.JWT_BEARER in browser().get(METADATA[0]).json()["grant_types_supported"]
    assert user_of(exchange(desk, assertion)) == alice


def test_a_disabled_row_refuses_an_issuer_that_the_settings_list(
    provider: IdentityProvider, desk: Application, alice: Any
) -> None:
    link(provider, alice)
    row = TrustedIssuer.objects.create(issuer=provider.issuer, jwks_uri=provider.jwks_uri, disabled_at=timezone.now())
    assert conf.JWT_BEARER not in browser().get(METADATA[0]).json()["grant_types_supported"]
    assert_error(exchange(desk, assertion_for(provider, desk)), "unsupported_grant_type")
    row.delete()
    assert user_of(exchange(desk, assertion_for(provider, desk))) == alice


def test_settings_win_over_a_row_with_the_same_issuer(
    provider: IdentityProvider, desk: Application, alice: Any, settings: Any
) -> None:
    link(provider, alice)
    TrustedIssuer.objects.create(issuer=provider.issuer, jwks_uri=provider.jwks_uri, scopes="mcp:write")
    trust(settings, provider, scopes=["mcp:tools"])
    assert exchange(desk, assertion_for(provider, desk, scope="mcp:write")).json()["scope"] == "mcp:tools"


def test_an_entry_that_cannot_be_understood_is_left_out_and_breaks_nothing(
    provider: IdentityProvider, desk: Application, alice: Any, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    link(provider, alice)
    [sound] = settings.AUTHAPP["TRUSTED_ISSUERS"]
    settings.AUTHAPP = {**settings.AUTHAPP, "TRUSTED_ISSUERS": ["?", {"issuer": "https://x.example"}, sound]}
    assert user_of(exchange(desk, assertion_for(provider, desk))) == alice
    assert "left out" in caplog.text
    settings.AUTHAPP = {**settings.AUTHAPP, "TRUSTED_ISSUERS": ["?"]}
    assert_error(exchange(desk, assertion_for(provider, desk)), "unsupported_grant_type")


# --- Keys ---------------------------------------------------------------------------------------------------


def test_a_new_key_of_the_provider_is_fetched_once(provider: IdentityProvider, desk: Application, alice: Any) -> None:
    """The extension §7.4.1."""
    link(provider, alice)
    assert user_of(exchange(desk, assertion_for(provider, desk))) == alice
    assert user_of(exchange(desk, assertion_for(provider, desk))) == alice
    assert provider.requests == ["GET /keys"]
    old = provider.keys[0]
    provider.rotate()
    KeySet.objects.update(tried_at=timezone.now() - timedelta(minutes=2))
    assert user_of(exchange(desk, assertion_for(provider, desk))) == alice
    assert provider.requests == ["GET /keys"] * 2
    provider.keys = [old]
    assert_error(exchange(desk, assertion_for(provider, desk)), "invalid_grant")


def test_keys_that_are_known_go_on_counting_while_the_provider_is_down(
    provider: IdentityProvider, desk: Application, alice: Any
) -> None:
    link(provider, alice)
    assert user_of(exchange(desk, assertion_for(provider, desk))) == alice
    provider.is_down = True
    long_ago = timezone.now() - timedelta(minutes=5)
    KeySet.objects.update(fresh_until=long_ago, tried_at=long_ago)
    assert user_of(exchange(desk, assertion_for(provider, desk))) == alice
    assert provider.requests == ["GET /keys"] * 2


def test_a_provider_that_was_never_reached_is_asked_again_later(
    provider: IdentityProvider, desk: Application, alice: Any
) -> None:
    link(provider, alice)
    provider.is_down = True
    assertion = assertion_for(provider, desk)
    assert_error(exchange(desk, assertion), "invalid_grant")
    assert_error(exchange(desk, assertion), "invalid_grant")
    assert provider.requests == ["GET /keys"], "once a minute"
    provider.is_down = False
    KeySet.objects.update(tried_at=timezone.now() - timedelta(minutes=2))
    assert user_of(exchange(desk, assertion)) == alice


def test_made_up_keys_make_the_server_ask_once_a_minute_and_never_elsewhere(
    provider: IdentityProvider, desk: Application, alice: Any
) -> None:
    link(provider, alice)
    for number in range(5):
        forged = Key().sign(
            provider.claims(sub="alice", aud=ISSUER), kid=f"made-up-{number}", jku="http://127.0.0.1:1/"
        )
        assert_error(exchange(desk, forged, client_secret="wrong"), "invalid_client", 401)
    assert provider.requests == ["GET /keys"]


def test_pinned_keys_need_no_network(provider: IdentityProvider, desk: Application, alice: Any, settings: Any) -> None:
    trust(settings, provider, jwks_uri=None, jwks=provider.jwks())
    link(provider, alice)
    assert user_of(exchange(desk, assertion_for(provider, desk))) == alice
    provider.rotate()
    assert_error(exchange(desk, assertion_for(provider, desk)), "invalid_grant")
    assert provider.requests == []


# --- Replay -------------------------------------------------------------------------------------------------


def test_an_assertion_works_once(provider: IdentityProvider, desk: Application, alice: Any) -> None:
    """The extension §7.4.2 (the draft's §4.4.3 would let clients send one again)."""
    link(provider, alice)
    assertion = assertion_for(provider, desk)
    assert user_of(exchange(desk, assertion)) == alice
    assert_error(exchange(desk, assertion), "invalid_grant")
    assert reasons() == ["it was used before"]
    assert UsedAssertion.objects.count() == 1
    assert AccessToken.objects.count() == 1
    assert user_of(exchange(desk, assertion_for(provider, desk))) == alice


def test_one_that_was_refused_for_what_can_be_put_right_is_not_used_up(
    provider: IdentityProvider, desk: Application, alice: Any
) -> None:
    assertion = assertion_for(provider, desk)
    assert_error(exchange(desk, assertion), "invalid_grant")
    assert_error(exchange(desk, assertion, scope="mcp:write"), "invalid_scope")
    link(provider, alice)
    assert user_of(exchange(desk, assertion)) == alice


# --- What is told and kept ----------------------------------------------------------------------------------


def test_the_audit_trail_says_on_whose_word_a_token_was_issued_and_no_secret(
    provider: IdentityProvider, desk: Application, alice: Any, caplog: pytest.LogCaptureFixture
) -> None:
    link(provider, alice)
    assertion = assertion_for(provider, desk, act={"sub": "agent-7"})
    with caplog.at_level(logging.INFO):
        token = exchange(desk, assertion).json()["access_token"]
        exchange(desk, assertion)
    event = AuditEvent.objects.get(action=AuditEvent.Action.TOKEN_ISSUED)
    assert (event.user, event.application) == (alice, desk)
    assert event.detail["issuer"] == provider.issuer
    assert (event.detail["subject"], event.detail["actor"]) == ("alice", "agent-7")
    told = caplog.text + str(list(AuditEvent.objects.values()))
    assert "it was used before" in told
    for secret in (assertion, assertion.rpartition(".")[2], token, SECRET):
        assert secret not in told


def test_a_person_sees_that_their_organisation_connected_a_client_and_can_end_it(
    provider: IdentityProvider, desk: Application, alice: Any
) -> None:
    link(provider, alice)
    response = exchange(desk, assertion_for(provider, desk))
    page = browser(alice).get("/connected-apps/").content.decode()
    assert "Desk" in page
    assert "Through your organisation" in page
    assert "Example Inc." in page
    assert "can connect it again" in page
    assert "Use the tools of this site as you" in page
    connection = Connection.objects.get(user=alice)
    browser(alice).post(f"/connected-apps/{connection.pk}/disconnect/")
    assert user_of(response) is None
    assert not Connection.objects.exists()
    assert user_of(exchange(desk, assertion_for(provider, desk))) == alice, "the organisation connects it again"


def test_the_end_of_an_issuer_leaves_what_people_consented_to_themselves(
    provider: IdentityProvider, alice: Any, bob: Any
) -> None:
    desk = make_client()
    for user in (alice, bob):
        link(provider, user)
        assert exchange(desk, assertion_for(provider, desk, user)).status_code == 200
    Connection.objects.filter(user=alice).update(scope="mcp:tools")  # as after a consent of her own
    asserted_access.end_issuer(provider.issuer, {}, by="test")
    found = Connection.objects.get()
    assert (found.user, found.scope, found.issuer, found.asserted_scope) == (alice, "mcp:tools", "", "")


def test_more_clients_of_an_organisation_cost_a_person_and_its_end_no_more_queries(
    settings: Any, provider: IdentityProvider, alice: Any, bob: Any
) -> None:
    trust(settings, provider)
    row = {name: value for name, value in settings.AUTHAPP["TRUSTED_ISSUERS"][0].items() if value}
    settings.AUTHAPP = {**settings.AUTHAPP, "TRUSTED_ISSUERS": []}
    TrustedIssuer.objects.create(**row)

    def queries(work: Any) -> int:
        with CaptureQueriesContext(connection) as captured:
            work()
        return len(captured)

    def connect(*users: Any) -> None:
        for user in users:
            client = make_client()
            assert exchange(client, assertion_for(provider, client, user)).status_code == 200

    def end() -> None:
        asserted_access.end_issuer(provider.issuer, {}, by="test")
        assert not Connection.objects.exists()

    for user in (alice, bob):
        link(provider, user)
    page = browser(alice)
    connect(alice)
    queries(lambda: page.get("/connected-apps/"))
    of_one = queries(lambda: page.get("/connected-apps/")), queries(end)
    connect(alice, alice, bob)
    assert page.get("/connected-apps/").content.decode().count("Example Inc.") == 2
    assert (queries(lambda: page.get("/connected-apps/")), queries(end)) == of_one


def test_a_clients_own_consent_page_does_not_remember_what_the_organisation_allowed(
    provider: IdentityProvider, alice: Any
) -> None:
    """And the other way round: what the person consented to is neither more nor less for an assertion."""
    web = "https://app.example/cb"
    desk = make_client(
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        grant_types=[conf.JWT_BEARER],
        redirect_uris=web,
    )
    link(provider, alice)
    assert exchange(desk, assertion_for(provider, desk, scope="mcp:write")).status_code == 200
    pkce = PKCE()
    url = f"/o/authorize/?response_type=code&client_id={desk.client_id}&redirect_uri={web}"
    url += f"&code_challenge={pkce.challenge}&code_challenge_method=S256&scope=mcp:tools&resource={RESOURCE}"
    assert browser(alice).get(url).status_code == 200, "asks"
    authorize(alice, desk.client_id, pkce, redirect_uri=web)
    assert browser(alice).get(url).status_code == 302, "remembers what the person allowed"
    at = Connection.objects.get().authorized_at
    assert exchange(desk, assertion_for(provider, desk, scope="mcp:write")).status_code == 200
    connection = Connection.objects.get()
    assert (connection.scope, connection.asserted_scope, connection.authorized_at) == ("mcp:tools", "mcp:write", at)
    assert browser(alice).get(url.replace("scope=mcp:tools", "scope=mcp:write")).status_code == 200, "asks"


def test_the_client_may_revoke_and_introspect_its_token(
    provider: IdentityProvider, desk: Application, alice: Any
) -> None:
    """RFC 7009 §2.1, RFC 7662."""
    link(provider, alice)
    response = exchange(desk, assertion_for(provider, desk))
    form = {"token": response.json()["access_token"], "client_id": desk.client_id, "client_secret": SECRET}
    assert post_form("/o/introspect/", form).json()["username"] == "alice"
    other = make_client()
    post_form("/o/revoke_token/", form | {"client_id": other.client_id})
    assert user_of(response) == alice
    assert post_form("/o/revoke_token/", form).status_code == 200
    assert user_of(response) is None
    event = AuditEvent.objects.latest("pk")
    assert (event.action, event.client_id, event.username) == ("token_revoked", desk.client_id, "alice")


def test_an_assertion_in_the_url_is_refused(provider: IdentityProvider, desk: Application, alice: Any) -> None:
    """The extension §7.3."""
    link(provider, alice)
    assertion = assertion_for(provider, desk)
    form = {"grant_type": conf.JWT_BEARER, "client_id": desk.client_id, "client_secret": SECRET}
    assert_error(post_form(f"/o/token/?assertion={assertion}", form), "invalid_request")
    assert user_of(post_form("/o/token/", form | {"assertion": assertion})) == alice


def test_other_grants_go_on_as_before(provider: IdentityProvider, alice: Any) -> None:
    _, tokens = connected(alice)
    assert tokens["refresh_token"]
    desk = make_client()
    assert_error(redeem(desk.client_id, "x", PKCE(), client_secret=SECRET), "unauthorized_client")
