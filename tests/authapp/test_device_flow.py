"""The device authorization grant (RFC 8628): the two endpoints that a device talks to."""

from __future__ import annotations

import base64
import re
import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.utils import timezone
from oauth2_provider.models import get_access_token_model, get_refresh_token_model

from authapp import user_codes
from authapp.models import Application, AuditEvent, Connection, DeviceAuthorization, TokenFamily
from authapp.oauthlib_core import code_digest
from authapp.tokens import find_access_token
from tests.devices import (
    DEVICE_CODE,
    ENDPOINT,
    ask,
    asked,
    decide,
    device_client,
    device_connected,
    poll,
)
from tests.oauth import (
    CALLBACK,
    ISSUER,
    PKCE,
    RESOURCE,
    authorization_url,
    authorize,
    browser,
    post_form,
    redeem,
    refresh,
    register,
    registered,
)

pytestmark = pytest.mark.django_db


class Clock:
    """Time that runs, and leaps when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = timedelta()
        now, seconds = timezone.now, time.time
        monkeypatch.setattr(timezone, "now", lambda: now() + self.ahead)
        monkeypatch.setattr(time, "time", lambda: seconds() + self.ahead.total_seconds())

    def leap(self, seconds: float) -> datetime:
        self.ahead += timedelta(seconds=seconds)
        return timezone.now()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that stands, for limits that refill while a slow machine is at work."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)


def assert_error(response: Any, error: str, status: int = 400) -> None:
    assert (response.status_code, response.json().get("error")) == (status, error)
    assert response["Cache-Control"] == "no-store"


def lives(tokens: dict[str, Any]) -> bool:
    return async_to_sync(find_access_token)(tokens["access_token"]) is not None


def configure(settings: Any, **values: Any) -> None:
    settings.AUTHAPP = django_settings.AUTHAPP | values


# --- The device authorization request -----------------------------------------------------------------------


@pytest.mark.rfc("8628 3.2")
@pytest.mark.parametrize("path", [ENDPOINT, ENDPOINT.rstrip("/")])
def test_a_device_is_given_its_codes_and_told_where_a_person_enters_them(path: str) -> None:
    client = device_client()
    response = post_form(path, {"client_id": client["client_id"], "scope": "mcp:tools"})
    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store"
    answer = response.json()
    user_code = answer.pop("user_code")
    assert re.fullmatch(r"[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", user_code)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", answer.pop("device_code"))
    assert answer == {
        "verification_uri": f"{ISSUER}/device/",
        "verification_uri_complete": f"{ISSUER}/device/?user_code={user_code}",
        "expires_in": 600,
        "interval": 5,
    }


@pytest.mark.rfc("8628 5.2")
def test_neither_code_is_stored_in_clear_nor_in_a_form_that_can_be_tried_out() -> None:
    answer = asked(device_client()["client_id"])
    stored = str(list(DeviceAuthorization.objects.values()))
    code = answer["user_code"].replace("-", "")
    assert code_digest(answer["device_code"]) in stored
    for text in (answer["device_code"], answer["user_code"], code, code_digest(code)):
        assert text not in stored


@pytest.mark.rfc("8628 3.1")
@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_confidential_client_authenticates_as_at_the_token_endpoint(alice: Any, method: str) -> None:
    client = device_client(token_endpoint_auth_method=method)
    name, secret = client["client_id"], client["client_secret"]
    basic = {"Authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}
    wrong = {"Authorization": "Basic " + base64.b64encode(f"{name}:wrong".encode()).decode()}
    if method == "client_secret_basic":
        response = ask(name, headers=basic, client_id=None)
        refused = ask(name, headers=wrong, client_id=None)
    else:
        response, refused = ask(name, client_secret=secret), ask(name, client_secret="wrong")
    assert response.status_code == 200, response.content
    assert_error(refused, "invalid_client", 401)
    assert refused["WWW-Authenticate"].startswith("Basic ")
    assert_error(ask(name), "invalid_client", 401)
    assert DeviceAuthorization.objects.count() == 1
    decide(alice, response.json()["user_code"])
    assert_error(poll(name, response.json()["device_code"]), "invalid_client", 401)
    assert poll(name, response.json()["device_code"], headers=basic).status_code == 200


@pytest.mark.parametrize(
    ("change", "error", "status"),
    [
        ({"client_id": "unknown"}, "invalid_client", 401),
        ({"client_id": None}, "invalid_client", 401),
        ({"client_id": ""}, "invalid_client", 401),
        ({"client_id": "\x00"}, "invalid_request", 400),
        ({"client_id": "x" * 9000}, "invalid_request", 400),
        ({"client_id": ["a", "b"]}, "invalid_request", 400),
        ({"scope": "admin"}, "invalid_scope", 400),
        ({"scope": "mcp:tools\x00"}, "invalid_request", 400),
        ({"resource": "https://evil.example/"}, "invalid_target", 400),
        ({"resource": "http://[::1"}, "invalid_target", 400),
        ({"resource": [RESOURCE, "https://evil.example/"]}, "invalid_target", 400),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_a_faulty_request_is_refused_and_nothing_is_stored(change: dict[str, Any], error: str, status: int) -> None:
    client_id = device_client()["client_id"]
    assert_error(ask(client_id, **change), error, status)
    assert not DeviceAuthorization.objects.exists()
    assert ask(client_id, resource=RESOURCE).status_code == 200, "the same request without the fault"


@pytest.mark.parametrize("name", ["scopes", "client", "user", "grant_type", "body", "resource_", "response_type"])
def test_a_parameter_that_is_called_like_something_inside_changes_nothing(name: str) -> None:
    asked(device_client()["client_id"], **{name: "mcp:write"})
    assert DeviceAuthorization.objects.get().scope == "mcp:tools"


def test_parameters_in_the_url_are_refused() -> None:
    client_id = device_client()["client_id"]
    assert_error(post_form(f"{ENDPOINT}?client_id={client_id}", {"client_id": client_id}), "invalid_request")
    assert post_form(ENDPOINT, {"client_id": client_id}).status_code == 200


def test_a_get_is_no_request_of_a_device() -> None:
    assert browser().get(ENDPOINT).status_code == 405
    assert ask(device_client()["client_id"]).status_code == 200


@pytest.mark.rfc("6749 3.3")
@pytest.mark.parametrize(
    ("scope", "granted"),
    [
        (None, "mcp:tools"),
        ("mcp:tools mcp:write offline_access", "mcp:tools mcp:write offline_access"),
        ("mcp:write admin", "mcp:write"),
    ],
)
def test_scopes_are_narrowed_and_defaulted_as_in_the_browser(alice: Any, scope: str | None, granted: str) -> None:
    _, tokens = device_connected(alice, scope=scope)
    assert tokens["scope"] == granted


@pytest.mark.rfc("8707 2.1")
def test_tokens_are_for_the_resource_that_was_asked_for_and_no_other(alice: Any) -> None:
    other = RESOURCE.replace("127.0.0.1", "localhost")
    client_id = device_client()["client_id"]
    answer = asked(client_id, resource=other + "/")
    decide(alice, answer["user_code"])
    assert_error(poll(client_id, answer["device_code"], resource=RESOURCE), "invalid_target")
    assert poll(client_id, answer["device_code"], resource=other).status_code == 200, "and nothing was lost"
    assert get_access_token_model().objects.get(user=alice).resource == [other]


def test_a_client_without_the_grant_gets_no_code_and_no_token() -> None:
    client_id = registered()["client_id"]
    assert_error(ask(client_id), "unauthorized_client")
    assert_error(poll(client_id, "x" * 43), "unauthorized_client")
    assert ask(registered(grant_types=["authorization_code", DEVICE_CODE])["client_id"]).status_code == 200


def test_a_disabled_client_gets_no_code_and_no_token(alice: Any) -> None:
    client_id = device_client()["client_id"]
    answer = asked(client_id)
    decide(alice, answer["user_code"])
    Application.objects.update(disabled_at=timezone.now())
    assert_error(ask(client_id), "invalid_client", 401)
    assert_error(poll(client_id, answer["device_code"]), "invalid_client", 401)
    Application.objects.update(disabled_at=None)
    assert poll(client_id, answer["device_code"]).status_code == 200


@pytest.mark.rfc("6585 4")
def test_an_address_that_asks_too_often_is_told_to_wait(settings: Any, still: None) -> None:
    configure(settings, DEVICE_AUTHORIZATION_BURST=2)
    client_id = device_client()["client_id"]
    assert [ask(client_id).status_code for _ in range(2)] == [200, 200]
    refused = ask(client_id)
    assert_error(refused, "temporarily_unavailable", 429)
    assert refused["Retry-After"] == "4"
    assert DeviceAuthorization.objects.count() == 2


def test_one_client_has_so_many_devices_waiting_and_another_is_not_kept_from_it(
    alice: Any, settings: Any, clock: Clock
) -> None:
    configure(settings, DEVICE_AUTHORIZATIONS_PER_CLIENT=2)
    client_id = device_client()["client_id"]
    first = asked(client_id)
    asked(client_id)
    assert_error(ask(client_id), "temporarily_unavailable", 429)
    assert ask(device_client()["client_id"]).status_code == 200
    decide(alice, first["user_code"])
    assert ask(client_id).status_code == 200, "one that is answered waits no more"
    assert_error(ask(client_id), "temporarily_unavailable", 429)
    clock.leap(601)
    assert ask(client_id).status_code == 200, "nor one that has expired"


def test_the_lifetimes_are_settings(settings: Any, clock: Clock) -> None:
    configure(settings, DEVICE_CODE_SECONDS=120, DEVICE_INTERVAL_SECONDS=9)
    client_id = device_client()["client_id"]
    answer = asked(client_id)
    assert (answer["expires_in"], answer["interval"]) == (120, 9)
    clock.leap(119)
    assert_error(poll(client_id, answer["device_code"]), "authorization_pending")
    clock.leap(2)
    assert_error(poll(client_id, answer["device_code"]), "expired_token")


# --- Polling ------------------------------------------------------------------------------------------------


@pytest.mark.rfc("8628 3.5")
def test_a_device_waits_until_the_person_has_answered_and_then_gets_tokens(alice: Any, clock: Clock) -> None:
    client_id = device_client()["client_id"]
    answer = asked(client_id)
    assert_error(poll(client_id, answer["device_code"]), "authorization_pending")
    clock.leap(5)
    assert_error(poll(client_id, answer["device_code"]), "authorization_pending")
    decide(alice, answer["user_code"])
    response = poll(client_id, answer["device_code"])
    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store"
    tokens = response.json()
    assert (tokens["token_type"], tokens["expires_in"], tokens["scope"]) == ("Bearer", 3600, "mcp:tools")
    found = async_to_sync(find_access_token)(tokens["access_token"])
    assert found is not None
    assert (found.user.username, found.client_id, list(found.resource)) == ("alice", client_id, [RESOURCE])
    assert refresh(client_id, tokens["refresh_token"]).status_code == 200


@pytest.mark.rfc("8628 3.5")
def test_who_polls_too_early_is_told_to_wait_five_seconds_longer_each_time(clock: Clock) -> None:
    client_id = device_client()["client_id"]
    code = asked(client_id)["device_code"]
    assert_error(poll(client_id, code), "authorization_pending")
    for _ in range(3):
        assert_error(poll(client_id, code), "slow_down")
    assert DeviceAuthorization.objects.get().interval == 20
    clock.leap(18)
    assert_error(poll(client_id, code), "slow_down")
    clock.leap(25)
    assert_error(poll(client_id, code), "authorization_pending")
    assert DeviceAuthorization.objects.get().interval == 25
    clock.leap(24.5)
    assert_error(poll(client_id, code), "authorization_pending")


def test_who_polled_too_early_gets_the_tokens_all_the_same_once_they_are_there(alice: Any) -> None:
    """Our choice: `slow_down` is a kind of `authorization_pending`, and this is not pending."""
    client_id = device_client()["client_id"]
    answer = asked(client_id)
    assert [poll(client_id, answer["device_code"]).json()["error"] for _ in range(2)][1] == "slow_down"
    decide(alice, answer["user_code"])
    assert poll(client_id, answer["device_code"]).status_code == 200


@pytest.mark.rfc("8628 3.5")
def test_after_a_no_the_device_is_told_so(alice: Any) -> None:
    client_id = device_client()["client_id"]
    answer = asked(client_id)
    decide(alice, answer["user_code"], allow=False)
    for _ in range(2):
        assert_error(poll(client_id, answer["device_code"]), "access_denied")
    assert not get_access_token_model().objects.filter(user=alice).exists()


@pytest.mark.rfc("8628 3.5")
@pytest.mark.parametrize("approved", [False, True])
def test_a_code_that_is_too_old_yields_nothing(alice: Any, clock: Clock, approved: bool) -> None:
    client_id = device_client()["client_id"]
    answer = asked(client_id)
    if approved:
        decide(alice, answer["user_code"])
    clock.leap(601)
    assert_error(poll(client_id, answer["device_code"]), "expired_token")
    assert not get_access_token_model().objects.filter(user=alice).exists()


def wrong_codes(code: str) -> list[Any]:
    return [
        None,
        "",
        " ",
        "unknown",
        "x" * 43,
        code[:-1],
        code + "x",
        code.swapcase(),
        code[::-1],
        f" {code}",
        f"{code}\n",
        f"{code}\x00",
        f"{code} {code}",
        [code, code],
        code_digest(code),
        "x" * 9000,
        "\u0430" * 43,
        "' OR 1=1 --",
        "%",
    ]


@pytest.mark.parametrize("at", range(19))
def test_a_device_code_that_is_not_quite_the_one_yields_nothing_and_ends_nothing(alice: Any, at: int) -> None:
    client_id = device_client()["client_id"]
    answer = asked(client_id)
    decide(alice, answer["user_code"])
    wrong = wrong_codes(answer["device_code"])[at]
    response = poll(client_id, "", device_code=wrong)
    assert response.status_code == 400
    assert response.json()["error"] in {"invalid_grant", "invalid_request"}
    assert not get_access_token_model().objects.filter(user=alice).exists()
    assert poll(client_id, answer["device_code"]).status_code == 200, "the right one"


def test_a_device_code_of_one_client_is_nothing_to_another(alice: Any) -> None:
    mine, theirs = device_client()["client_id"], device_client()["client_id"]
    answer = asked(mine)
    decide(alice, answer["user_code"])
    assert_error(poll(theirs, answer["device_code"]), "invalid_grant")
    tokens = poll(mine, answer["device_code"]).json()
    assert_error(poll(theirs, answer["device_code"]), "invalid_grant")
    assert lives(tokens)


def test_a_code_of_the_browser_and_one_of_a_device_do_not_take_each_others_place(alice: Any) -> None:
    client_id = registered(grant_types=["authorization_code", DEVICE_CODE])["client_id"]
    answer, pkce = asked(client_id), PKCE()
    decide(alice, answer["user_code"])
    code = authorize(alice, client_id, pkce)["code"]
    assert_error(poll(client_id, code), "invalid_grant")
    assert_error(redeem(client_id, answer["device_code"], pkce), "invalid_grant")
    assert poll(client_id, answer["device_code"]).status_code == 200
    assert redeem(client_id, code, pkce).status_code == 200


@pytest.mark.rfc("8628 3.4")
def test_a_user_code_is_no_device_code(alice: Any) -> None:
    client_id = device_client()["client_id"]
    answer = asked(client_id)
    decide(alice, answer["user_code"])
    for text in (answer["user_code"], answer["user_code"].replace("-", "")):
        assert_error(poll(client_id, text), "invalid_grant")
    assert poll(client_id, answer["device_code"]).status_code == 200


def test_a_device_code_works_once_and_a_replay_ends_what_came_from_it(alice: Any) -> None:
    client, tokens = device_connected(alice)
    answer = asked(client["client_id"])
    decide(alice, answer["user_code"])
    other = poll(client["client_id"], answer["device_code"]).json()
    newer = refresh(client["client_id"], other["refresh_token"]).json()
    assert lives(newer)
    assert_error(poll(client["client_id"], answer["device_code"]), "invalid_grant")
    assert not lives(newer)
    assert_error(refresh(client["client_id"], newer["refresh_token"]), "invalid_grant")
    assert lives(tokens), "another login of the same client"
    assert AuditEvent.objects.filter(action="code_replayed", user=alice).count() == 1


def test_a_poll_that_was_under_way_when_the_tokens_were_made_ends_nothing(
    alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client_id = device_client()["client_id"]
    answer = asked(client_id)
    decide(alice, answer["user_code"])
    before = timezone.now().timestamp()
    tokens = poll(client_id, answer["device_code"]).json()
    with monkeypatch.context() as patch:
        patch.setattr("authapp.oauthlib_core.time.time", lambda: before)
        assert_error(poll(client_id, answer["device_code"]), "invalid_grant")
    assert lives(tokens)


def test_a_faulty_poll_loses_nothing(alice: Any) -> None:
    client_id = device_client()["client_id"]
    answer = asked(client_id)
    decide(alice, answer["user_code"])
    assert_error(poll(client_id, answer["device_code"], resource="https://evil.example"), "invalid_target")
    assert poll(client_id, answer["device_code"]).status_code == 200


def test_a_poll_asks_for_no_scope_of_its_own(alice: Any) -> None:
    """*Spec*, RFC 8628 §3.4: it has none; what the person allowed counts."""
    client_id = device_client()["client_id"]
    answer = asked(client_id, scope="mcp:tools")
    decide(alice, answer["user_code"])
    assert poll(client_id, answer["device_code"], scope="mcp:write", scopes="mcp:write").json()["scope"] == "mcp:tools"


def test_a_person_who_was_deactivated_meanwhile_gets_nothing_connected(alice: Any) -> None:
    client_id = device_client()["client_id"]
    answer = asked(client_id)
    decide(alice, answer["user_code"])
    alice.is_active = False
    alice.save()
    assert_error(poll(client_id, answer["device_code"]), "invalid_grant")
    alice.is_active = True
    alice.save()
    assert poll(client_id, answer["device_code"]).status_code == 200


def test_who_disconnects_the_client_before_the_device_has_polled_has_ended_that_too(alice: Any) -> None:
    client_id = device_client()["client_id"]
    answer = asked(client_id)
    decide(alice, answer["user_code"])
    browser(alice).post(f"/connected-apps/{Connection.objects.get().pk}/disconnect/")
    assert_error(poll(client_id, answer["device_code"]), "invalid_grant")
    assert device_connected(alice, {"client_id": client_id})


def test_disconnecting_ends_what_a_device_has(alice: Any) -> None:
    client, tokens = device_connected(alice)
    assert lives(tokens)
    browser(alice).post(f"/connected-apps/{Connection.objects.get().pk}/disconnect/")
    assert not lives(tokens)
    assert_error(refresh(client["client_id"], tokens["refresh_token"]), "invalid_grant")


def test_what_is_stored_of_a_login_says_nothing_that_could_be_used(alice: Any) -> None:
    client_id = device_client()["client_id"]
    answer = asked(client_id)
    decide(alice, answer["user_code"])
    tokens = poll(client_id, answer["device_code"]).json()
    models = (DeviceAuthorization, get_access_token_model(), get_refresh_token_model(), TokenFamily, AuditEvent)
    stored = str([list(model.objects.values()) for model in models])
    for secret in (answer["device_code"], answer["user_code"], tokens["access_token"], tokens["refresh_token"]):
        assert secret not in stored
    assert client_id in stored


# --- Registration and switch --------------------------------------------------------------------------------


@pytest.mark.rfc("7591 2")
def test_a_client_for_devices_alone_registers_without_redirects() -> None:
    response = register(grant_types=[DEVICE_CODE], redirect_uris=None, response_types=None)
    assert response.status_code == 201
    information = response.json()
    assert (information["grant_types"], information["redirect_uris"], information["response_types"]) == (
        [DEVICE_CODE],
        [],
        [],
    )


def test_a_client_for_devices_alone_gets_no_code_in_the_browser(alice: Any) -> None:
    client_id = device_client(redirect_uris=[CALLBACK])["client_id"]
    response = browser(alice).get(authorization_url(client_id, PKCE()))
    assert "error=unauthorized_client" in response["Location"]
    both = device_client(grant_types=["authorization_code", DEVICE_CODE], redirect_uris=[CALLBACK])["client_id"]
    assert browser(alice).get(authorization_url(both, PKCE())).status_code == 200


def test_a_client_that_is_redirected_to_still_says_where() -> None:
    for uris in (None, []):
        response = register(grant_types=["authorization_code", DEVICE_CODE], redirect_uris=uris)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_redirect_uri")
    assert register(grant_types=["authorization_code", DEVICE_CODE]).status_code == 201


def test_a_redirect_that_no_client_may_have_a_device_may_not_have_either() -> None:
    response = register(grant_types=[DEVICE_CODE], redirect_uris=["http://evil.example/cb"], response_types=[])
    assert (response.status_code, response.json()["error"]) == (400, "invalid_redirect_uri")


def test_a_client_changes_its_grants_with_its_registration() -> None:
    client = registered()
    token = {"authorization": f"Bearer {client['registration_access_token']}"}
    assert_error(ask(client["client_id"]), "unauthorized_client")
    body = {"client_id": client["client_id"], "grant_types": [DEVICE_CODE], "token_endpoint_auth_method": "none"}
    path = f"/o/register/{client['client_id']}/"
    assert browser().put(path, body, content_type="application/json", headers=token).status_code == 200
    assert ask(client["client_id"]).status_code == 200


def test_switched_off_nothing_is_known_of_it(alice: Any, settings: Any) -> None:
    client, tokens = device_connected(alice)
    answer = asked(client["client_id"])
    configure(settings, DEVICE_FLOW=False)
    assert ask(client["client_id"]).status_code == 404
    assert browser(alice).get("/device/").status_code == 404
    assert browser(alice).post("/device/", {"user_code": answer["user_code"]}).status_code == 404
    assert_error(poll(client["client_id"], answer["device_code"]), "unsupported_grant_type")
    metadata = browser().get("/.well-known/oauth-authorization-server").json()
    assert "device_authorization_endpoint" not in metadata
    assert metadata["grant_types_supported"] == ["authorization_code", "refresh_token"]
    assert register(grant_types=[DEVICE_CODE]).status_code == 400
    assert registered(grant_types=["authorization_code", DEVICE_CODE])["grant_types"] == ["authorization_code"]
    assert refresh(client["client_id"], tokens["refresh_token"]).status_code == 200, "who is connected stays so"


def test_a_code_that_was_asked_for_under_the_key_before_still_works(alice: Any, settings: Any) -> None:
    client_id = device_client()["client_id"]
    answer = asked(client_id)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-key-" * 5
    assert decide(alice, answer["user_code"]).status_code == 200
    assert poll(client_id, answer["device_code"]).status_code == 200


def test_a_code_that_is_taken_is_not_given_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["BBBBBBBB", "BBBBBBBB", "CCCCCCCC"])
    monkeypatch.setattr(user_codes, "generate", lambda: next(drawn))
    client_id = device_client()["client_id"]
    assert [asked(client_id)["user_code"] for _ in range(2)] == ["BBBB-BBBB", "CCCC-CCCC"]
