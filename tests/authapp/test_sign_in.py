"""What a client may ask about the sign-in, and when a consent given before still counts (OIDC Core §3.1.2.1)."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.utils import timezone

from authapp.models import Application, AuditEvent, Connection
from tests.oauth import ISSUER, PKCE, answer, authorization_url, authorize, browser, redeem, registered

pytestmark = pytest.mark.django_db

DOCUMENT = "https://app.example/client.json"
CALLBACK = "https://app.example/callback"


def client(source: str = "cimd", redirect_uri: str = CALLBACK, client_id: str = DOCUMENT) -> Application:
    """A client that came here with a document, or by hand."""
    application: Application = Application.objects.create(
        client_id=client_id,
        name="App",
        redirect_uris=redirect_uri,
        client_type=Application.CLIENT_PUBLIC,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        registration_source=source,
        hash_client_secret=False,
        client_secret="",
    )
    return application


def open_page(user: Any, application: Application, **parameters: Any) -> Any:
    uri = parameters.pop("redirect_uri", application.redirect_uris)
    return browser(user).get(authorization_url(application.client_id, PKCE(), redirect_uri=uri, **parameters))


def allow(user: Any, application: Application, **parameters: Any) -> None:
    uri = parameters.pop("redirect_uri", application.redirect_uris)
    assert "code" in authorize(user, application.client_id, PKCE(), redirect_uri=uri, **parameters)


# Remembered consent


@pytest.mark.parametrize("source", ["cimd", "manual"])
def test_a_client_that_is_proven_to_be_the_same_is_not_asked_about_twice(alice: Any, bob: Any, source: str) -> None:
    application = client(source)
    assert open_page(alice, application).status_code == 200, "the first time"
    allow(alice, application)
    got = answer(open_page(alice, application))
    assert got.keys() == {"code", "state", "iss"}
    assert "code" in answer(open_page(alice, application, prompt="none"))
    assert open_page(bob, application).status_code == 200, "another person is asked"
    assert AuditEvent.objects.filter(action="consent_remembered").count() == 2


def test_a_remembered_consent_covers_the_scopes_that_it_implies(alice: Any) -> None:
    application = client()
    allow(alice, application, scope="mcp:write")
    assert "code" in answer(open_page(alice, application, scope="mcp:tools"))
    allow(alice, application, scope="mcp:tools")
    assert open_page(alice, application, scope="mcp:write").status_code == 200


def test_a_remembered_consent_yields_a_code_that_works(alice: Any) -> None:
    application = client()
    allow(alice, application)
    pkce = PKCE()
    code = answer(browser(alice).get(authorization_url(DOCUMENT, pkce, redirect_uri=CALLBACK)))["code"]
    assert redeem(DOCUMENT, code, pkce, redirect_uri=CALLBACK).status_code == 200


@pytest.mark.parametrize(
    ("source", "redirect_uri"),
    [
        ("dcr", CALLBACK),
        ("dcr", "http://127.0.0.1:7777/callback"),
        ("cimd", "http://127.0.0.1:7777/callback"),
        ("cimd", "https://elsewhere.example/callback"),
        ("manual", "http://127.0.0.1:7777/callback"),
        ("manual", "cursor://anysphere.cursor-mcp/oauth/callback"),
    ],
)
def test_a_client_that_could_be_anybody_is_always_asked_about(alice: Any, source: str, redirect_uri: str) -> None:
    application = client(source, redirect_uri)
    allow(alice, application)
    assert open_page(alice, application).status_code == 200
    assert answer(open_page(alice, application, prompt="none"))["error"] == "consent_required"


@pytest.mark.parametrize("change", ["scope", "resource", "redirect", "expired", "disconnected", "prompt", "disabled"])
def test_anything_that_was_not_allowed_before_is_asked_about(alice: Any, change: str, settings: Any) -> None:
    other = "https://other.app.example/callback"
    application = client(redirect_uri=f"{CALLBACK} {other}")
    allow(alice, application, redirect_uri=CALLBACK)
    same = {"redirect_uri": CALLBACK}
    assert "code" in answer(open_page(alice, application, **same))
    if change == "scope":
        same["scope"] = "mcp:tools mcp:write"
    elif change == "resource":
        settings.AUTHAPP = {**settings.AUTHAPP, "RESOURCES": [*settings.AUTHAPP["RESOURCES"], f"{ISSUER}/other"]}
        same["resource"] = f"{ISSUER}/other"
    elif change == "redirect":
        same["redirect_uri"] = other
    elif change == "expired":
        Connection.objects.update(authorized_at=timezone.now() - timedelta(days=30, seconds=1))
    elif change == "disconnected":
        browser(alice).post(f"/connected-apps/{Connection.objects.get().pk}/disconnect/")
    elif change == "prompt":
        same["prompt"] = "consent"
    else:
        settings.AUTHAPP = {**settings.AUTHAPP, "CONSENT_REMEMBERED_SECONDS": 0}
    assert open_page(alice, application, **same).status_code == 200


def test_a_remembered_consent_does_not_renew_itself(alice: Any) -> None:
    application = client()
    allow(alice, application)
    before = timezone.now() - timedelta(days=29)
    Connection.objects.update(authorized_at=before)
    assert "code" in answer(open_page(alice, application))
    assert Connection.objects.get().authorized_at == before


# prompt, max_age, login_hint


def location(response: Any) -> tuple[str, dict[str, list[str]], dict[str, list[str]]]:
    """Return where a redirect to a page leads: its path, its query, and the query it comes back with."""
    parts = urlsplit(response["Location"])
    query = parse_qs(parts.query)
    return parts.path, query, parse_qs(urlsplit(query["next"][0]).query)


def signed_in(user: Any) -> Any:
    person = browser()
    assert (
        person.post("/accounts/login/", {"login": user.username, "password": f"{user.username}-password"}).status_code
        == 302
    )
    return person


@pytest.mark.parametrize(("age", "asked"), [(10, False), (100, True)])
def test_max_age_asks_for_the_password_again_when_the_sign_in_is_older(
    alice: Any, monkeypatch: pytest.MonkeyPatch, age: int, asked: bool
) -> None:
    application = client()
    person = signed_in(alice)
    now = time.time()
    monkeypatch.setattr("authapp.sign_in.time.time", lambda: now + age)
    url = authorization_url(DOCUMENT, PKCE(), redirect_uri=CALLBACK, max_age="60")
    response = person.get(url)
    if not asked:
        assert response.status_code == 200
        return
    path, _, back = location(response)
    assert path == "/accounts/reauthenticate/"
    assert "max_age" not in back
    assert answer(person.get(f"{url}&prompt=none"))["error"] == "login_required"
    assert application.connections.count() == 0


def test_max_age_zero_asks_once_and_does_not_go_round_in_circles(alice: Any) -> None:
    client()
    person = signed_in(alice)
    response = person.get(authorization_url(DOCUMENT, PKCE(), redirect_uri=CALLBACK, max_age="0"))
    _, query, _ = location(response)
    again = person.post(response["Location"], {"password": "alice-password", "next": query["next"][0]})
    assert again["Location"] == query["next"][0]
    assert person.get(again["Location"]).status_code == 200


@pytest.mark.parametrize(
    "wishes",
    [{"prompt": "none login"}, {"prompt": "whatever"}, {"max_age": "-1"}, {"max_age": "soon"}, {"max_age": "1" * 50}],
    ids=str,
)
def test_wishes_that_mean_nothing_are_answered_invalid_request(alice: Any, wishes: dict[str, str]) -> None:
    assert answer(open_page(alice, client(), **wishes))["error"] == "invalid_request"


def test_login_hint_fills_in_the_name(alice: Any) -> None:
    response = open_page(None, client(), login_hint='alice"><script>')
    path, query, back = location(response)
    assert (path, query["login_hint"]) == ("/accounts/login/", ['alice"><script>'])
    assert "login_hint" not in back
    text = browser().get(response["Location"]).content.decode()
    assert 'value="alice&quot;&gt;&lt;script&gt;"' in text


@pytest.mark.rfc("Prompt Create 1.0 4.1")
def test_prompt_create_leads_to_sign_up_where_it_is_open(alice: Any, settings: Any) -> None:
    application = client()
    assert answer(open_page(None, application, prompt="create"))["error"] == "invalid_request"
    settings.AUTHAPP = {**settings.AUTHAPP, "SIGN_UP_URL": "account_signup"}
    path, _, back = location(open_page(None, application, prompt="create"))
    assert path == "/accounts/signup/"
    assert "prompt" not in back
    assert open_page(alice, application, prompt="create").status_code == 200, "who has an account just goes on"


def test_prompt_consent_is_asked_for_after_the_sign_in_too(alice: Any) -> None:
    _, _, back = location(open_page(None, client(), prompt="login consent"))
    assert back["prompt"] == ["consent"]


def test_a_client_that_registered_itself_never_gets_around_the_page(alice: Any) -> None:
    client_id = registered(redirect_uris=[CALLBACK])["client_id"]
    authorize(alice, client_id, PKCE(), redirect_uri=CALLBACK)
    for wishes in ({}, {"prompt": "none"}, {"approval_prompt": "auto"}, {"max_age": "99999"}):
        response = browser(alice).get(authorization_url(client_id, PKCE(), redirect_uri=CALLBACK, **wishes))
        assert "code=" not in response.get("Location", "")
