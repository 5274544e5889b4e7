"""The authorization endpoint (RFC 6749 §3.1, RFC 7636, RFC 8707, RFC 9207)."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import IntegrityError
from oauth2_provider.models import get_grant_model

from authapp.models import Application, Connection
from tests.clients.person import Page
from tests.oauth import CALLBACK, ISSUER, PKCE, RESOURCE, answer, authorization_url, authorize, browser, registered

pytestmark = pytest.mark.django_db


@pytest.fixture
def client_id() -> str:
    return str(registered()["client_id"])


def get(user: Any, client_id: str, /, **parameters: Any):
    return browser(user).get(authorization_url(client_id, PKCE(), **parameters))


def test_a_sound_request_leads_an_anonymous_person_to_sign_in_and_back(client_id: str) -> None:
    url = authorization_url(client_id, PKCE())
    response = browser().get(url)
    assert response.status_code == 302
    location = urlsplit(response["Location"])
    assert location.path == "/accounts/login/"
    back = urlsplit(parse_qs(location.query)["next"][0])
    assert (back.path, parse_qs(back.query)) == ("/o/authorize/", parse_qs(urlsplit(url).query))


def test_the_consent_page_says_who_asks_for_what_as_whom_and_where_it_leads(alice: Any, client_id: str) -> None:
    response = get(alice, client_id, scope="mcp:tools offline_access")
    text = response.content.decode()
    assert response.status_code == 200
    for fact in ("Test client", "127.0.0.1", "alice", "Use the tools of this site as you", "Stay connected"):
        assert fact in text
    assert response["Cache-Control"] == "no-store"
    assert response["X-Frame-Options"] == "DENY"
    policy = response["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "script-src 'self';" in policy, "the site's own files, nothing inline"
    assert "default-src 'none'" in policy
    assert "form-action" not in policy, "it would block the redirect to the client"
    assert response["Referrer-Policy"] != "no-referrer", "browsers would post the form with Origin: null"


def test_the_consent_page_lists_what_a_scope_implies_too(alice: Any, client_id: str) -> None:
    text = get(alice, client_id, scope="mcp:write").content.decode()
    assert "Change your data with the tools of this site" in text
    assert "Use the tools of this site as you" in text
    assert "Change your data" not in get(alice, client_id, scope="mcp:tools").content.decode()


def test_a_hostile_client_name_is_text_and_nothing_else(alice: Any) -> None:
    name = '<script>alert(1)</script>"&'
    client_id = registered(client_name=name)["client_id"]
    text = get(alice, client_id).content.decode()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


@pytest.mark.rfc("9207 2")
def test_allow_answers_with_a_code_the_state_and_the_issuer(alice: Any, client_id: str) -> None:
    parameters = authorize(alice, client_id, PKCE())
    assert parameters.keys() == {"code", "state", "iss"}
    assert (parameters["state"], parameters["iss"]) == ("the-state", ISSUER)


@pytest.mark.rfc("9207 2")
def test_deny_answers_access_denied_with_the_state_and_the_issuer(alice: Any, client_id: str) -> None:
    parameters = authorize(alice, client_id, PKCE(), allow=False)
    assert (parameters["error"], parameters["state"], parameters["iss"]) == ("access_denied", "the-state", ISSUER)
    assert not get_grant_model().objects.exists()
    assert not Connection.objects.exists()


def test_the_form_on_the_page_is_all_a_browser_needs(alice: Any, client_id: str) -> None:
    import httpx2

    person = browser(alice)
    person.handler.enforce_csrf_checks = True
    url = authorization_url(client_id, PKCE())
    page = person.get(url)
    form = Page(httpx2.Response(200, html=page.content.decode(), request=httpx2.Request("GET", ISSUER + url)))
    consent = form.form_with_button("allow")
    assert consent is not None
    sent = dict(consent.filled(allow="true"))
    assert person.post(consent.action, {**sent, "csrfmiddlewaretoken": "wrong" * 8}).status_code == 403
    assert "code" in answer(person.post(consent.action, sent))


def test_what_is_posted_besides_the_answer_changes_nothing(alice: Any, client_id: str) -> None:
    url = authorization_url(client_id, PKCE())
    tampered = {
        "allow": "true",
        "client_id": "unknown",
        "redirect_uri": "https://evil.example/cb",
        "scope": "mcp:tools mcp:write",
        "resource": "https://evil.example/",
        "code_challenge_method": "plain",
    }
    response = browser(alice).post(url, tampered)
    assert response["Location"].startswith(CALLBACK + "?")
    grant = get_grant_model().objects.get()
    assert (grant.scope, grant.resource, grant.code_challenge_method) == ("mcp:tools", [RESOURCE], "S256")


@pytest.mark.rfc("6749 4.1.2.1")
@pytest.mark.parametrize(
    "parameters",
    [
        {"client_id": "unknown"},
        {"client_id": "\x00"},
        {"client_id": None},
        {"client_id": "https://127.0.0.1/client.json"},
        {"redirect_uri": "https://evil.example/cb"},
        {"redirect_uri": CALLBACK + "/more"},
        {"redirect_uri": CALLBACK + "\n"},
        {"redirect_uri": CALLBACK + "?x=1"},
        {"redirect_uri": CALLBACK + "#"},
        {"redirect_uri": "http://127.0.0.1:7777/CALLBACK"},
        {"redirect_uri": "http://localhost:7777/callback"},
        {"redirect_uri": "http://127.0.0.1:7777@evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1:*/callback"},
        {"redirect_uri": "http://[::1"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": [CALLBACK, CALLBACK]},
        {"client_id": ["a", "b"]},
        {"state": ["a", "b"]},
    ],
    ids=lambda value: ascii(value)[:70],
)
@pytest.mark.parametrize("signed_in", [False, True], ids=["anonymous", "signed in"])
def test_a_request_that_cannot_be_trusted_is_shown_and_never_redirected(
    alice: Any, client_id: str, parameters: dict[str, Any], signed_in: bool
) -> None:
    assert get(alice, client_id).status_code == 200, "the request is sound but for the parameter"
    response = get(alice if signed_in else None, client_id, **parameters)
    assert response.status_code == 400
    assert "Location" not in response
    assert "text/html" in response["Content-Type"]


@pytest.mark.parametrize("query", ["%zz", "client_id=%zz", "=", "&&&", "client_id=%ff%fe", "a" * 9000])
def test_a_query_that_cannot_be_parsed_is_a_page_with_400(query: str) -> None:
    response = browser().get(f"/o/authorize/?{query}")
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "id_token"}, "unsupported_response_type"),
        ({"response_type": "none"}, "unauthorized_client"),
        ({"response_type": None}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge": "é" * 43}, "invalid_request"),
        ({"code_challenge": "a" * 44}, "invalid_request"),
        ({"code_challenge": ["a" * 43, "b" * 43]}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": "s256"}, "invalid_request"),
        ({"scope": "unknown"}, "invalid_scope"),
        ({"resource": "https://evil.example/"}, "invalid_target"),
        ({"resource": f"{RESOURCE}/more"}, "invalid_target"),
        ({"resource": f"{RESOURCE}//"}, "invalid_target"),
        ({"resource": RESOURCE.upper()}, "invalid_target"),
        ({"resource": "http://[::1"}, "invalid_target"),
        ({"resource": ""}, "invalid_target"),
        ({"resource": [RESOURCE, "https://evil.example/"]}, "invalid_target"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"prompt": ["none", "login"]}, "invalid_request"),
        ({"prompt": "none login"}, "invalid_request"),
    ],
    ids=lambda value: ascii(value)[:70],
)
def test_any_other_fault_goes_to_the_client_before_anyone_signs_in(
    client_id: str, parameters: dict[str, Any], error: str
) -> None:
    """RFC 6749 §4.1.2.1, RFC 8707 §2 and RFC 7636 §4.4.1, with `state` and `iss` (RFC 9207 §2)."""
    response = get(None, client_id, **parameters)
    assert response["Location"].startswith(CALLBACK + "?")
    got = answer(response)
    assert (got["error"], got.get("state"), got["iss"]) == (error, "the-state", ISSUER)


@pytest.mark.rfc("8252 7.3")
@pytest.mark.parametrize(
    ("registered_uri", "requested"),
    [
        ("http://127.0.0.1/callback", "http://127.0.0.1:49152/callback"),
        ("http://127.0.0.1:33418/callback", "http://127.0.0.1:50000/callback"),
        ("http://localhost:8787/callback", "http://localhost:50000/callback"),
        ("http://[::1]:8787/callback", "http://[::1]:50000/callback"),
        ("cursor://anysphere.cursor-mcp/oauth/callback", "cursor://anysphere.cursor-mcp/oauth/callback"),
        ("https://app.example/cb?tenant=1", "https://app.example/cb?tenant=1"),
    ],
)
def test_a_loopback_redirect_takes_any_port_and_any_other_is_exact(
    alice: Any, registered_uri: str, requested: str
) -> None:
    client_id = registered(redirect_uris=[registered_uri])["client_id"]
    url = authorization_url(client_id, PKCE(), redirect_uri=requested)
    response = browser(alice).post(url, {"allow": "true"})
    assert response["Location"].startswith(requested)
    assert "code" in answer(response)


def test_a_private_use_redirect_gets_errors_too(client_id: str) -> None:
    uri = "cursor://anysphere.cursor-mcp/oauth/callback"
    client_id = registered(redirect_uris=[uri])["client_id"]
    assert answer(get(None, client_id, redirect_uri=uri, scope="unknown"))["error"] == "invalid_scope"


@pytest.mark.rfc("8707 2")
@pytest.mark.parametrize("resource", [None, RESOURCE, f"{RESOURCE}/", [RESOURCE, RESOURCE]])
def test_a_request_is_bound_to_our_resource_however_it_is_spelt(alice: Any, client_id: str, resource: Any) -> None:
    authorize(alice, client_id, PKCE(), resource=resource)
    assert get_grant_model().objects.get().resource == [RESOURCE]


@pytest.mark.rfc("6749 3.3")
def test_unknown_scopes_are_dropped_when_one_is_known(alice: Any, client_id: str) -> None:
    authorize(alice, client_id, PKCE(), scope="phone mcp:tools address")
    assert get_grant_model().objects.get().scope == "mcp:tools"


def test_without_a_scope_the_default_is_asked_for(alice: Any, client_id: str) -> None:
    authorize(alice, client_id, PKCE(), scope=None)
    assert get_grant_model().objects.get().scope == "mcp:tools"


@pytest.mark.parametrize("extra", [{"approval_prompt": "auto"}, {"prompt": "none"}, {"prompt": "consent"}, {}])
def test_a_client_cannot_skip_consent(alice: Any, client_id: str, extra: dict[str, str]) -> None:
    from tests.oauth import connected

    connected(alice, {"client_id": client_id})
    Application.objects.update(skip_authorization=True)  # not even with DOT's flag
    response = get(alice, client_id, **extra)
    if extra.get("prompt") == "none":
        assert answer(response)["error"] == "consent_required"
    else:
        assert response.status_code == 200
        assert "Test client" in response.content.decode()


@pytest.mark.rfc("OIDC Core 3.1.2.6")
def test_prompt_none_without_a_session_answers_login_required(client_id: str) -> None:
    got = answer(get(None, client_id, prompt="none"))
    assert (got["error"], got["state"], got["iss"]) == ("login_required", "the-state", ISSUER)


def test_prompt_login_asks_for_the_password_again(alice: Any, client_id: str) -> None:
    response = get(alice, client_id, prompt="login")
    location = urlsplit(response["Location"])
    assert location.path == "/accounts/reauthenticate/"
    assert "prompt" not in parse_qs(location.query)["next"][0]


@pytest.mark.parametrize("extra", [{"nonce": "n" * 300}, {"nonce": "n"}, {"claims": "{}"}, {"ui_locales": "en fr"}])
def test_what_only_openid_connect_knows_is_taken_and_not_kept(
    alice: Any, client_id: str, extra: dict[str, str]
) -> None:
    assert "code" in authorize(alice, client_id, PKCE(), **extra)
    grant = get_grant_model().objects.get()
    assert (grant.nonce, grant.claims) == ("", "{}")


@pytest.mark.parametrize("name", ["nonce", "state", "scope", "login_hint", "unknown"])
def test_a_nul_anywhere_in_the_request_is_shown_and_not_redirected(alice: Any, client_id: str, name: str) -> None:
    assert get(alice, client_id, **{name: "a\x00b"}).status_code == 400


def test_a_client_deleted_while_the_person_reads_is_a_page_with_400(
    alice: Any, client_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from authapp import consent

    def deleted(*_: Any) -> None:
        raise IntegrityError("insert or update violates foreign key constraint")

    monkeypatch.setattr(consent, "remember_consent", deleted)
    response = browser(alice).post(authorization_url(client_id, PKCE()), {"allow": "true"})
    assert response.status_code == 400
    assert "Location" not in response


def test_codes_are_stored_as_digests(alice: Any, client_id: str) -> None:
    code = authorize(alice, client_id, PKCE())["code"]
    stored = get_grant_model().objects.get().code
    assert code not in stored
    assert len(stored) == 64


def test_a_disabled_client_is_unknown(alice: Any, client_id: str) -> None:
    from django.utils import timezone

    Application.objects.update(disabled_at=timezone.now())
    assert get(alice, client_id).status_code == 400


# Whom a client belongs to (docs/decisions/0004)


def test_a_native_client_is_bound_to_whom_authorizes_it_first(alice: Any, bob: Any, client_id: str) -> None:
    get(alice, client_id)
    assert Application.objects.get().user is None, "opening the page binds nothing"
    authorize(alice, client_id, PKCE(), allow=False)
    assert Application.objects.get().user is None, "Deny binds nothing"
    authorize(alice, client_id, PKCE())
    assert Application.objects.get().user == alice
    assert "code" in authorize(bob, client_id, PKCE()), "and others can use it all the same"
    assert Application.objects.get().user == alice
    assert set(Connection.objects.values_list("user__username", flat=True)) == {"alice", "bob"}


def test_a_client_on_the_web_is_bound_to_nobody(alice: Any) -> None:
    uri = "https://claude.ai/api/mcp/auth_callback"
    client_id = registered(redirect_uris=[uri, CALLBACK])["client_id"]
    authorize(alice, client_id, PKCE(), redirect_uri=uri)
    assert Application.objects.get().user is None
    assert Connection.objects.get().user == alice


def test_a_client_made_by_hand_is_bound_to_nobody(alice: Any) -> None:
    application = Application.objects.create(
        name="By hand",
        redirect_uris=CALLBACK,
        client_type=Application.CLIENT_PUBLIC,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
    )
    authorize(alice, application.client_id, PKCE())
    application.refresh_from_db()
    assert application.user is None


def test_a_client_outlives_the_person_it_was_bound_to(alice: Any, client_id: str) -> None:
    authorize(alice, client_id, PKCE())
    alice.delete()
    assert Application.objects.get().user is None
