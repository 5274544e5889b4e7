"""The token and revocation endpoints (RFC 6749 §4.1.3–6, RFC 7009, RFC 7636, RFC 8707)."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone
from oauth2_provider.models import get_access_token_model, get_grant_model, get_refresh_token_model

from authapp.models import Application, TokenFamily
from authapp.tokens import find_access_token
from tests.oauth import (
    PKCE,
    RESOURCE,
    answer,
    authorization_url,
    authorize,
    browser,
    connected,
    post_form,
    redeem,
    refresh,
    registered,
)

pytestmark = pytest.mark.django_db

AccessToken = get_access_token_model()
RefreshToken = get_refresh_token_model()


def code_for(user: Any, client_id: str, **parameters: Any) -> tuple[str, PKCE]:
    pkce = PKCE()
    return authorize(user, client_id, pkce, **parameters)["code"], pkce


def assert_error(response: Any, error: str, status: int = 400) -> None:
    assert (response.status_code, response.json()["error"]) == (status, error)
    assert response["Cache-Control"] == "no-store"


@pytest.mark.rfc("6749 5.1")
def test_a_code_yields_a_bearer_token_and_a_refresh_token(alice: Any) -> None:
    client_id = registered()["client_id"]
    code, pkce = code_for(alice, client_id, scope="mcp:tools offline_access")
    response = redeem(client_id, code, pkce)
    tokens = response.json()
    assert response.status_code == 200
    assert (tokens["token_type"], tokens["expires_in"], tokens["scope"]) == (
        "Bearer",
        3600,
        "mcp:tools offline_access",
    )
    assert tokens["access_token"] != tokens["refresh_token"]
    assert response["Cache-Control"] == "no-store"
    assert AccessToken.objects.get(user=alice).resource == [RESOURCE]


def test_a_refresh_token_comes_whether_asked_for_or_not(alice: Any) -> None:
    """Our choice: clients that do not know `offline_access` would sign people in every hour."""
    assert connected(alice, scope="mcp:tools")[1]["refresh_token"]


def test_neither_tokens_nor_codes_nor_secrets_are_stored_in_clear(alice: Any) -> None:
    client = registered(token_endpoint_auth_method="client_secret_post")
    code, pkce = code_for(alice, client["client_id"])
    assert code not in str(get_grant_model().objects.values())
    tokens = redeem(client["client_id"], code, pkce, client_secret=client["client_secret"]).json()
    stored = str([list(model.objects.values()) for model in (AccessToken, RefreshToken, Application)])
    for secret in (
        tokens["access_token"],
        tokens["refresh_token"],
        client["client_secret"],
        client["registration_access_token"],
    ):
        assert secret not in stored
    assert client["client_id"] in stored


@pytest.mark.rfc("6749 4.1.2")
def test_a_code_works_once(alice: Any) -> None:
    client_id = registered()["client_id"]
    code, pkce = code_for(alice, client_id)
    assert redeem(client_id, code, pkce).status_code == 200
    assert_error(redeem(client_id, code, pkce), "invalid_grant")


@pytest.mark.rfc("6749 4.1.2")
def test_a_replay_of_a_code_ends_every_token_that_came_from_it(alice: Any) -> None:
    client_id = registered()["client_id"]
    code, pkce = code_for(alice, client_id)
    first = redeem(client_id, code, pkce).json()
    second = refresh(client_id, first["refresh_token"]).json()
    _, untouched = connected(alice, {"client_id": client_id})
    assert async_to_sync(find_access_token)(second["access_token"]) is not None
    assert_error(redeem(client_id, code, PKCE()), "invalid_grant")
    assert async_to_sync(find_access_token)(second["access_token"]) is None
    assert_error(refresh(client_id, second["refresh_token"]), "invalid_grant")
    assert refresh(client_id, untouched["refresh_token"]).status_code == 200, "another login of the same client"


def test_a_code_sent_twice_at_once_costs_nobody_their_login(alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our choice: what was under way when the code was redeemed is the same click, not a thief."""
    client_id = registered()["client_id"]
    code, pkce = code_for(alice, client_id)
    before = timezone.now().timestamp()
    tokens = redeem(client_id, code, pkce).json()
    with monkeypatch.context() as patch:
        patch.setattr("authapp.oauthlib_core.time.time", lambda: before)
        assert_error(redeem(client_id, code, pkce), "invalid_grant")
    assert async_to_sync(find_access_token)(tokens["access_token"]) is not None


def test_another_client_cannot_end_a_login_with_its_code(alice: Any) -> None:
    mine, theirs = registered()["client_id"], registered()["client_id"]
    code, pkce = code_for(alice, mine)
    tokens = redeem(mine, code, pkce).json()
    assert_error(redeem(theirs, code, pkce), "invalid_grant")
    assert async_to_sync(find_access_token)(tokens["access_token"]) is not None


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"code_verifier": PKCE().verifier}, "invalid_grant"),
        ({"code_verifier": None}, "invalid_request"),
        ({"code_verifier": "é"}, "invalid_request"),
        ({"code": "unknown"}, "invalid_grant"),
        ({"code": None}, "invalid_request"),
        ({"redirect_uri": "http://127.0.0.1:7778/callback"}, "invalid_grant"),
        ({"grant_type": None}, "invalid_request"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"grant_type": "password", "username": "alice", "password": "alice-password"}, "unsupported_grant_type"),
        ({"grant_type": "urn:ietf:params:oauth:grant-type:device_code"}, "unauthorized_client"),
        ({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}, "unsupported_grant_type"),
        ({"grant_type": "openid"}, "unsupported_grant_type"),
        ({"grant_type": "\x00"}, "invalid_request"),
        ({"resource": "https://evil.example/"}, "invalid_target"),
        ({"resource": "http://[::1"}, "invalid_target"),
        ({"resource": [RESOURCE, "https://evil.example/"]}, "invalid_target"),
        ({"code": ["a", "b"]}, "invalid_request"),
        ({"code_verifier": ["a", "b"]}, "invalid_request"),
        ({"code": "x" * 9000}, "invalid_request"),
    ],
    ids=lambda value: ascii(value)[:70],
)
def test_a_faulty_redemption_gets_the_error_of_the_rfc_and_loses_nothing(
    alice: Any, change: dict[str, Any], error: str
) -> None:
    client_id = registered()["client_id"]
    code, pkce = code_for(alice, client_id)
    assert_error(redeem(client_id, code, pkce, **change), error)
    assert redeem(client_id, code, pkce).status_code == 200, "the code still works for the one who has all of it"


@pytest.mark.rfc("8707 2.2")
@pytest.mark.parametrize("resource", [None, RESOURCE, f"{RESOURCE}/"])
def test_a_token_is_for_our_resource_however_the_token_request_spells_it(alice: Any, resource: Any) -> None:
    client_id = registered()["client_id"]
    code, pkce = code_for(alice, client_id, resource=None)
    assert redeem(client_id, code, pkce, resource=resource).status_code == 200
    assert AccessToken.objects.get(user=alice).resource == [RESOURCE]


def test_a_code_of_one_client_is_nothing_to_another(alice: Any) -> None:
    mine, theirs = registered()["client_id"], registered()["client_id"]
    code, pkce = code_for(alice, mine)
    assert_error(redeem(theirs, code, pkce), "invalid_grant")
    assert redeem(mine, code, pkce).status_code == 200


def test_an_expired_code_is_refused(alice: Any) -> None:
    client_id = registered()["client_id"]
    code, pkce = code_for(alice, client_id)
    grant = get_grant_model().objects.get()
    assert timedelta(seconds=590) < grant.expires - timezone.now() <= timedelta(seconds=600)
    grant.expires = timezone.now()
    grant.save()
    assert_error(redeem(client_id, code, pkce), "invalid_grant")


# Client authentication (RFC 6749 §2.3)


def basic(client_id: str, secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()}


@pytest.mark.parametrize("method", ["client_secret_post", "client_secret_basic"])
def test_a_confidential_client_authenticates_in_the_body_or_the_header(alice: Any, method: str) -> None:
    client = registered(token_endpoint_auth_method=method)
    client_id, secret = client["client_id"], client["client_secret"]
    code, pkce = code_for(alice, client_id)
    assert_error(redeem(client_id, code, pkce), "invalid_client", 401)
    assert_error(redeem(client_id, code, pkce, client_secret="wrong"), "invalid_client", 401)
    if method == "client_secret_post":
        assert redeem(client_id, code, pkce, client_secret=secret).status_code == 200
    else:
        # The Python SDK names the client in the body as well.
        assert redeem(client_id, code, pkce, headers=basic(client_id, secret)).status_code == 200


@pytest.mark.rfc("6749 5.2")
@pytest.mark.parametrize(
    "header",
    [
        "Basic !!!",
        "Basic " + "é" * 8,
        "Basic ",
        "Basic Og==",
        "Basic " + base64.b64encode(b"a%00b:c").decode(),
        "Basic /////w==",
        "Bearer x",
    ],
)
def test_credentials_that_cannot_be_read_are_answered_401_with_a_basic_challenge(alice: Any, header: str) -> None:
    client = registered(token_endpoint_auth_method="client_secret_basic")
    code, pkce = code_for(alice, client["client_id"])
    response = redeem(client["client_id"], code, pkce, headers={"authorization": header})
    assert_error(response, "invalid_client", 401)
    assert response["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.rfc("9110 11.1")
@pytest.mark.parametrize("scheme", ["basic", "BASIC", "Basic"])
def test_the_scheme_of_client_authentication_is_taken_in_any_case(alice: Any, scheme: str) -> None:
    client = registered(token_endpoint_auth_method="client_secret_basic")
    code, pkce = code_for(alice, client["client_id"])
    header = basic(client["client_id"], client["client_secret"])["authorization"].replace("Basic", scheme)
    assert redeem(client["client_id"], code, pkce, headers={"authorization": header}).status_code == 200


@pytest.mark.rfc("OAuth 2.1 4.1.3")
def test_a_redemption_may_leave_the_redirect_uri_to_pkce(alice: Any) -> None:
    client_id = registered(redirect_uris=["http://127.0.0.1:1/a", "http://127.0.0.1:1/b"])["client_id"]
    code, pkce = code_for(alice, client_id, redirect_uri="http://127.0.0.1:50000/b")
    assert redeem(client_id, code, pkce, redirect_uri=None).status_code == 200


def test_a_stolen_refresh_token_makes_no_more_pairs_than_parallel_processes_need(alice: Any) -> None:
    client, tokens = connected(alice)
    answers = [refresh(client["client_id"], tokens["refresh_token"]).status_code for _ in range(27)]
    assert answers == [200] * 25 + [400] * 2


def test_a_rotated_token_whose_successor_lost_its_access_is_refused(alice: Any) -> None:
    client, first = connected(alice)
    second = refresh(client["client_id"], first["refresh_token"]).json()
    assert refresh(client["client_id"], first["refresh_token"]).status_code == 200
    AccessToken.objects.filter(user=alice).delete()
    assert_error(refresh(client["client_id"], second["refresh_token"]), "invalid_grant")
    assert_error(refresh(client["client_id"], first["refresh_token"]), "invalid_grant")


def test_two_ways_to_authenticate_at_once_are_refused(alice: Any) -> None:
    client = registered(token_endpoint_auth_method="client_secret_basic")
    code, pkce = code_for(alice, client["client_id"])
    both = {"headers": basic(client["client_id"], client["client_secret"]), "client_secret": client["client_secret"]}
    assert_error(redeem(client["client_id"], code, pkce, **both), "invalid_request")


@pytest.mark.parametrize("client_id", ["vanished", "", None, "a\x00b", "https://app.example/client.json"])
def test_an_unknown_client_is_answered_401_invalid_client(client_id: Any) -> None:
    """Clients register anew at this answer, so it must not be a 400."""
    response = redeem(client_id, "code", PKCE())
    if client_id == "a\x00b":
        assert_error(response, "invalid_request")
    else:
        assert_error(response, "invalid_client", 401)


def test_a_disabled_client_gets_no_token(alice: Any) -> None:
    client_id = registered()["client_id"]
    code, pkce = code_for(alice, client_id)
    Application.objects.update(disabled_at=timezone.now())
    assert_error(redeem(client_id, code, pkce), "invalid_client", 401)


def test_a_disabled_user_gets_no_token(alice: Any) -> None:
    client, tokens = connected(alice)
    code, pkce = code_for(alice, client["client_id"])
    alice.is_active = False
    alice.save()
    assert_error(redeem(client["client_id"], code, pkce), "invalid_grant")
    assert_error(refresh(client["client_id"], tokens["refresh_token"]), "invalid_grant")
    assert async_to_sync(find_access_token)(tokens["access_token"]) is None


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"grant_type": "authorization_code"}', "application/json"),
        (b"", ""),
        (b"\xff\xfe", "application/x-www-form-urlencoded"),
        (b"grant_type=%ff&code=%zz", "application/x-www-form-urlencoded"),
        (b"x" * 3_000_000, "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % n for n in range(1500)), "application/x-www-form-urlencoded"),
        (b"--x\r\nbroken", "multipart/form-data; boundary=x"),
        (b"a", "multipart/form-data"),
    ],
    ids=["JSON", "nothing", "bytes", "bad escapes", "too large", "too many fields", "broken multipart", "no boundary"],
)
def test_a_body_that_is_no_form_gets_an_error_of_the_rfc(body: bytes, content_type: str) -> None:
    from tests.oauth import browser

    for path in ("/o/token/", "/o/revoke_token/", "/token"):
        response = browser().post(path, body, content_type=content_type)
        assert response.status_code in {400, 401}
        assert response.json()["error"] in {"invalid_request", "unsupported_grant_type", "invalid_client"}


def test_parameters_in_the_url_are_refused(alice: Any) -> None:
    client_id = registered()["client_id"]
    code, pkce = code_for(alice, client_id)
    form = {"grant_type": "authorization_code", "client_id": client_id, "code_verifier": pkce.verifier}
    assert_error(post_form(f"/o/token/?code={code}", form), "invalid_request")
    assert_error(post_form("/o/token/?%zz", form), "invalid_request")


def test_other_methods_are_405() -> None:
    from tests.oauth import browser

    for path in ("/o/token/", "/o/revoke_token/", "/o/register/"):
        for method in ("get", "put", "delete", "patch"):
            assert getattr(browser(), method)(path).status_code == 405


@pytest.mark.parametrize("path", ["/o/token", "/token", "/o/token/"])
def test_the_token_endpoint_answers_with_and_without_a_slash_and_at_the_root(alice: Any, path: str) -> None:
    client, tokens = connected(alice)
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "client_id": client["client_id"]}
    assert post_form(path, form).status_code == 200


# Refresh (RFC 6749 §6, RFC 9700 §4.14; docs/decisions/0005)


def test_a_refresh_yields_another_pair_with_the_same_scope_and_resource(alice: Any) -> None:
    client, first = connected(alice, scope="mcp:tools offline_access")
    second = refresh(client["client_id"], first["refresh_token"]).json()
    assert second["scope"] == first["scope"]
    assert {second["access_token"], second["refresh_token"]}.isdisjoint(first.values())
    found = async_to_sync(find_access_token)(second["access_token"])
    assert found is not None
    assert found.resource == (RESOURCE,)


def test_a_lost_answer_costs_nobody_their_login(alice: Any) -> None:
    client, first = connected(alice)
    lost = refresh(client["client_id"], first["refresh_token"])
    again = refresh(client["client_id"], first["refresh_token"])
    assert (lost.status_code, again.status_code) == (200, 200)
    for pair in (lost.json(), again.json()):
        assert pair["scope"] == "mcp:tools"
        assert async_to_sync(find_access_token)(pair["access_token"]) is not None
        assert refresh(client["client_id"], pair["refresh_token"]).status_code == 200
    assert RefreshToken.objects.values("token_family").distinct().count() == 1


@pytest.mark.rfc("9700 4.14.2")
def test_a_replay_after_a_successor_was_used_ends_the_family(alice: Any) -> None:
    client, first = connected(alice)
    second = refresh(client["client_id"], first["refresh_token"]).json()
    third = refresh(client["client_id"], second["refresh_token"]).json()
    assert async_to_sync(find_access_token)(third["access_token"]) is not None
    assert_error(refresh(client["client_id"], first["refresh_token"]), "invalid_grant")
    assert_error(refresh(client["client_id"], third["refresh_token"]), "invalid_grant")
    assert async_to_sync(find_access_token)(third["access_token"]) is None


@pytest.mark.rfc("9700 4.14.2")
def test_a_replay_after_the_overlap_ends_the_family(alice: Any) -> None:
    client, first = connected(alice)
    second = refresh(client["client_id"], first["refresh_token"]).json()
    RefreshToken.objects.filter(revoked__isnull=False).update(revoked=timezone.now() - timedelta(seconds=61))
    assert_error(refresh(client["client_id"], first["refresh_token"]), "invalid_grant")
    assert_error(refresh(client["client_id"], second["refresh_token"]), "invalid_grant")


def test_another_familys_replay_leaves_this_one_alone(alice: Any) -> None:
    client, mine = connected(alice)
    _, other = connected(alice, client)
    refresh(client["client_id"], other["refresh_token"])
    RefreshToken.objects.filter(revoked__isnull=False).update(revoked=timezone.now() - timedelta(seconds=61))
    assert_error(refresh(client["client_id"], other["refresh_token"]), "invalid_grant")
    assert refresh(client["client_id"], mine["refresh_token"]).status_code == 200


def test_a_refresh_token_of_one_client_is_nothing_to_another(alice: Any) -> None:
    client, tokens = connected(alice)
    assert_error(refresh(registered()["client_id"], tokens["refresh_token"]), "invalid_grant")
    assert refresh(client["client_id"], tokens["refresh_token"]).status_code == 200


def test_a_refresh_token_lives_thirty_days_after_its_last_use(alice: Any) -> None:
    client, tokens = connected(alice)
    just_inside = timezone.now() - timedelta(days=30) + timedelta(minutes=1)
    AccessToken.objects.filter(user=alice).update(expires=just_inside)
    tokens = refresh(client["client_id"], tokens["refresh_token"]).json()
    AccessToken.objects.filter(user=alice).update(expires=timezone.now() - timedelta(days=30, seconds=1))
    assert_error(refresh(client["client_id"], tokens["refresh_token"]), "invalid_grant")


@pytest.mark.rfc("6749 6")
def test_a_refresh_can_narrow_the_scope_and_never_widen_it(alice: Any) -> None:
    client, tokens = connected(alice, scope="mcp:tools mcp:write")
    assert_error(
        refresh(client["client_id"], tokens["refresh_token"], scope="mcp:tools offline_access"), "invalid_scope"
    )
    assert refresh(client["client_id"], tokens["refresh_token"], scope="mcp:tools").json()["scope"] == "mcp:tools"


def test_a_refresh_can_narrow_to_a_scope_that_a_granted_one_implies(alice: Any) -> None:
    client, tokens = connected(alice, scope="mcp:write")
    assert tokens["scope"] == "mcp:write"
    assert_error(refresh(client["client_id"], tokens["refresh_token"], scope="offline_access"), "invalid_scope")
    assert refresh(client["client_id"], tokens["refresh_token"], scope="mcp:tools").json()["scope"] == "mcp:tools"
    client, tokens = connected(alice, scope="mcp:tools")
    assert_error(refresh(client["client_id"], tokens["refresh_token"], scope="mcp:write"), "invalid_scope")


def test_a_refresh_that_asked_for_less_can_later_have_all_that_was_granted(alice: Any) -> None:
    client, tokens = connected(alice, scope="mcp:tools mcp:write")
    tokens = refresh(client["client_id"], tokens["refresh_token"], scope="mcp:tools").json()
    assert refresh(client["client_id"], tokens["refresh_token"]).json()["scope"] == "mcp:tools mcp:write"


def test_a_login_ends_at_its_greatest_age_however_often_it_was_refreshed(alice: Any, settings: Any) -> None:
    settings.AUTHAPP = {**settings.AUTHAPP, "FAMILY_MAXIMUM_SECONDS": 3600}
    client, tokens = connected(alice)
    TokenFamily.objects.update(created_at=timezone.now() - timedelta(seconds=3590))
    tokens = refresh(client["client_id"], tokens["refresh_token"]).json()
    TokenFamily.objects.update(created_at=timezone.now() - timedelta(seconds=3601))
    assert_error(refresh(client["client_id"], tokens["refresh_token"]), "invalid_grant")


@pytest.mark.parametrize("resource", ["https://evil.example/", "http://[::1"])
def test_a_refresh_cannot_change_the_resource(alice: Any, resource: str) -> None:
    client, tokens = connected(alice)
    assert_error(refresh(client["client_id"], tokens["refresh_token"], resource=resource), "invalid_target")
    assert refresh(client["client_id"], tokens["refresh_token"], resource=RESOURCE).status_code == 200


# Revocation (RFC 7009)


@pytest.mark.rfc("7009 2.1")
@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_revoking_either_token_ends_both(alice: Any, kind: str) -> None:
    client, tokens = connected(alice)
    response = post_form("/o/revoke_token/", {"client_id": client["client_id"], "token": tokens[kind]})
    assert response.status_code == 200
    assert async_to_sync(find_access_token)(tokens["access_token"]) is None
    assert_error(refresh(client["client_id"], tokens["refresh_token"]), "invalid_grant")


def test_revoking_one_token_ends_the_pairs_of_parallel_refreshes_too(alice: Any) -> None:
    client, first = connected(alice)
    pairs = [refresh(client["client_id"], first["refresh_token"]).json() for _ in range(3)]
    assert all(async_to_sync(find_access_token)(pair["access_token"]) for pair in pairs)
    post_form("/o/revoke_token/", {"client_id": client["client_id"], "token": pairs[1]["access_token"]})
    assert not any(async_to_sync(find_access_token)(pair["access_token"]) for pair in pairs)
    assert_error(refresh(client["client_id"], pairs[2]["refresh_token"]), "invalid_grant")


def test_another_client_revokes_nothing(alice: Any) -> None:
    _, tokens = connected(alice)
    other = registered()["client_id"]
    post_form("/o/revoke_token/", {"client_id": other, "token": tokens["access_token"]})
    assert async_to_sync(find_access_token)(tokens["access_token"]) is not None


def test_revocation_needs_a_token_and_a_client(alice: Any) -> None:
    assert_error(post_form("/o/revoke_token/", {"client_id": registered()["client_id"]}), "invalid_request")
    assert_error(post_form("/o/revoke_token/", {"token": "x"}), "invalid_client", 401)


# The lookup that the resource server uses


def test_the_lookup_tells_who_through_what_with_which_scopes(alice: Any) -> None:
    client, tokens = connected(alice, scope="mcp:tools offline_access")
    found = async_to_sync(find_access_token)(tokens["access_token"])
    assert found is not None
    assert (found.user, found.client_id, found.client_name) == (alice, client["client_id"], "Test client")
    assert found.scopes == {"mcp:tools", "offline_access"}
    assert found.resource == (RESOURCE,)
    assert 3590 < found.expires_at - timezone.now().timestamp() <= 3600


@pytest.mark.parametrize("ended", ["expired", "deleted", "client disabled", "user disabled", "client deleted"])
def test_the_lookup_finds_nothing_once_a_token_has_ended(alice: Any, ended: str) -> None:
    _, tokens = connected(alice)
    assert async_to_sync(find_access_token)(tokens["access_token"]) is not None
    if ended == "expired":
        AccessToken.objects.filter(user=alice).update(expires=timezone.now())
    elif ended == "deleted":
        AccessToken.objects.filter(user=alice).delete()
    elif ended == "client disabled":
        Application.objects.update(disabled_at=timezone.now())
    elif ended == "user disabled":
        alice.is_active = False
        alice.save()
    else:
        Application.objects.all().delete()
    assert async_to_sync(find_access_token)(tokens["access_token"]) is None


def test_a_refresh_token_a_registration_token_and_a_code_are_no_access_tokens(alice: Any) -> None:
    client, tokens = connected(alice)
    for other in (tokens["refresh_token"], client["registration_access_token"], "", "x" * 10_000):
        assert async_to_sync(find_access_token)(other) is None


@pytest.mark.parametrize(
    "name", ["grant", "refresh_token_instance", "token_family", "client", "user", "scopes", "code"]
)
def test_a_parameter_with_a_name_from_inside_changes_nothing(alice: Any, name: str) -> None:
    client_id = registered()["client_id"]
    pkce = PKCE()
    url = authorization_url(client_id, pkce, **{name: "x"})
    response = browser(alice).post(url, {"allow": "true"})
    code = answer(response)["code"]
    tokens = redeem(client_id, code, pkce, **({} if name == "code" else {name: "x"}))
    assert tokens.status_code == 200
    again = refresh(client_id, tokens.json()["refresh_token"], **{name: "x"})
    assert again.status_code == 200
    assert async_to_sync(find_access_token)(again.json()["access_token"]) is not None


def credentials(text: bytes) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text).decode()}


@pytest.mark.parametrize("path", ["/o/token/", "/o/introspect/", "/o/revoke_token/"])
@pytest.mark.parametrize("encoding", ["zlib", "nope", "utf-16-le", "utf-8"])
def test_a_parameter_does_not_choose_how_credentials_are_decoded(path: str, encoding: str) -> None:
    """DOT decodes the header by `request.encoding`, which oauthlib answers with a parameter of that name."""
    client = registered(token_endpoint_auth_method="client_secret_basic")
    form = {"grant_type": "refresh_token", "refresh_token": "x", "token": "x", "encoding": encoding}
    pair = f"{client['client_id']}:{client['client_secret']}"
    assert post_form(path, form, credentials(pair.encode("utf-16-le"))).status_code == 401
    assert post_form(path, form, credentials(b"\xff\xfe")).status_code == 401
    assert post_form(path, form, credentials(pair.encode())).status_code in {200, 400}, "the control is authenticated"


@pytest.mark.parametrize("path", ["/o/token/", "/o/introspect/", "/o/revoke_token/"])
@pytest.mark.parametrize("client_id", ["https%3A%2F%2Fa.example%2F%00", "a%00"])
def test_a_nul_in_credentials_is_nobody(path: str, client_id: str, settings: Any) -> None:
    settings.OAUTH2_PROVIDER = {**settings.OAUTH2_PROVIDER, "CIMD_ENABLED": True}
    form = {"grant_type": "refresh_token", "refresh_token": "x", "token": "x"}
    assert post_form(path, form, credentials(f"{client_id}:x".encode())).status_code == 401
