"""Signing out at a client's request (OIDC RP-Initiated Logout 1.0)."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from oauth2_provider.models import get_access_token_model

from authapp.models import Application
from authapp.openid import signing_keys
from tests.oauth import HOST, ISSUER, browser, register, registered
from tests.openid import signed_in

pytestmark = pytest.mark.django_db

BACK = "https://app.example/bye"
URL = "/o/logout/"


def is_signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def logout(client: Client, **parameters: Any) -> Any:
    given = {name: value for name, value in parameters.items() if value is not None}
    return client.get(f"{URL}?{urlencode(given, doseq=True)}")


def press(client: Client, form: dict[str, str], query: dict[str, str] | None = None) -> Any:
    """Post the page's form as a browser does."""
    address = f"{URL}?{urlencode(query)}" if query else URL
    return client.post(address, urlencode(form), content_type="application/x-www-form-urlencoded")


@pytest.fixture
def client(db: None) -> dict[str, Any]:
    return registered(post_logout_redirect_uris=[BACK, "http://127.0.0.1:7777/bye?x=1"])


@pytest.fixture
def hint(alice: Any, client: dict[str, Any]) -> str:
    return str(signed_in(alice, client)[1]["id_token"])


# --- With an ID token of the person --------------------------------------------------------------------------


@pytest.mark.rfc("RP-Initiated Logout 2")
def test_the_persons_own_id_token_signs_them_out_and_sends_them_back_with_the_state(alice: Any, hint: str) -> None:
    person = browser(alice)
    response = logout(person, id_token_hint=hint, post_logout_redirect_uri=BACK, state="a&b=ü")
    assert response.status_code == 302
    assert response["Location"] == f"{BACK}?state=a%26b%3D%C3%BC"
    assert response["Cache-Control"] == "no-store"
    assert not is_signed_in(person)
    assert get_access_token_model().objects.filter(user=alice).exists(), "clients stay connected"


def test_state_is_added_to_a_query_that_is_there(alice: Any, hint: str) -> None:
    asked = {"id_token_hint": hint, "post_logout_redirect_uri": "http://127.0.0.1:7777/bye?x=1"}
    assert logout(browser(alice), **asked, state="s")["Location"] == f"{asked['post_logout_redirect_uri']}&state=s"
    assert logout(browser(alice), **asked)["Location"] == asked["post_logout_redirect_uri"]


def test_without_an_address_the_person_is_told_that_they_are_signed_out(alice: Any, hint: str) -> None:
    person = browser(alice)
    response = logout(person, id_token_hint=hint)
    assert (response.status_code, is_signed_in(person)) == (200, False)
    assert "You are signed out" in response.content.decode()


@pytest.mark.parametrize("rotated", [False, True])
def test_an_expired_id_token_counts_even_of_a_key_that_was_retired(
    alice: Any, hint: str, client: dict[str, Any], rotated: bool
) -> None:
    signer = signing_keys.signer("RS256")
    claims = {"iss": ISSUER, "sub": str(alice.pk), "aud": client["client_id"], "iat": 1_000_000, "exp": 1_000_600}
    old = jwt.encode(claims, signer.private_key, algorithm="RS256", headers={"kid": signer.kid})
    if rotated:
        signing_keys.rotate("RS256", at_once=True, overlap=0)
        signing_keys.tidy()
    person = browser(alice)
    assert logout(person, id_token_hint=old, post_logout_redirect_uri=BACK)["Location"] == BACK
    assert not is_signed_in(person)


# --- Without one: the person is asked ------------------------------------------------------------------------


def test_a_person_is_asked_where_no_id_token_says_that_it_is_theirs(alice: Any, client: dict[str, Any]) -> None:
    person = browser(alice)
    asked = {"client_id": client["client_id"], "post_logout_redirect_uri": BACK, "state": "s"}
    page = logout(person, **asked)
    assert (page.status_code, is_signed_in(person)) == (200, True)
    text = page.content.decode()
    for words in ("Are you sure you want to sign out?", "Test client", "alice", "app.example", "Stay signed in"):
        assert words in text
    question = text.partition("<footer")[0]  # where a language can be chosen
    assert 'type="hidden"' not in question.replace('type="hidden" name="csrfmiddlewaretoken"', "")
    stayed = press(person, {"sign_out": ""}, asked)
    assert (stayed.status_code, is_signed_in(person)) == (200, True)
    gone = press(person, {"sign_out": "true"}, asked)
    assert (gone["Location"], is_signed_in(person)) == (f"{BACK}?state=s", False)


def test_a_person_is_asked_where_nothing_comes_along(alice: Any) -> None:
    person = browser(alice)
    assert "Are you sure" in logout(person).content.decode()
    assert is_signed_in(person)
    assert "You are signed out" in press(person, {"sign_out": "true"}).content.decode()
    assert not is_signed_in(person)


def test_no_other_page_can_answer_for_the_person(alice: Any, client: dict[str, Any]) -> None:
    strict = Client(enforce_csrf_checks=True, headers={"host": HOST})
    strict.force_login(alice, backend="django.contrib.auth.backends.ModelBackend")
    assert press(strict, {"sign_out": "true"}).status_code == 403
    assert is_signed_in(strict)
    page = logout(strict)
    token = strict.cookies["csrftoken"].value
    assert page.status_code == 200
    press(strict, {"sign_out": "true", "csrfmiddlewaretoken": token})
    assert not is_signed_in(strict)


def test_somebody_elses_id_token_signs_nobody_out(bob: Any, hint: str) -> None:
    person = browser(bob)
    response = logout(person, id_token_hint=hint, post_logout_redirect_uri=BACK)
    assert (response.status_code, is_signed_in(person)) == (200, True)
    assert "Are you sure" in response.content.decode()


def test_who_answers_when_they_are_signed_out_already_is_shown_a_link_too(alice: Any, client: dict[str, Any]) -> None:
    query = {"client_id": client["client_id"], "post_logout_redirect_uri": BACK}
    response = press(browser(), {"sign_out": "true"}, query)
    assert response.status_code == 200
    assert f'href="{BACK}"' in response.content.decode()
    assert press(browser(alice), {"sign_out": "true"}, query)["Location"] == BACK


def test_who_is_not_signed_in_is_shown_a_link_and_never_sent_on(hint: str, client: dict[str, Any]) -> None:
    """Whoever registers a client could else send everybody anywhere by a link to this site."""
    for parameters in ({"id_token_hint": hint}, {"client_id": client["client_id"]}):
        response = logout(browser(), post_logout_redirect_uri=BACK, **parameters)
        assert response.status_code == 200
        assert f'href="{BACK}"' in response.content.decode()


# --- Tokens that are none ------------------------------------------------------------------------------------


def forged(alice: Any, client: dict[str, Any], **changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": str(alice.pk), "aud": client["client_id"], "iat": now, "exp": now + 600} | changes
    signer = signing_keys.signer("RS256")
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, signer.private_key, algorithm="RS256", headers={"kid": signer.kid})


def by_another_key(alice: Any, client: dict[str, Any]) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    claims = {"iss": ISSUER, "sub": str(alice.pk), "aud": client["client_id"], "iat": 1, "exp": 2}
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": signing_keys.signer("RS256").kid})


def unsigned(alice: Any, client: dict[str, Any]) -> str:
    claims = {"iss": ISSUER, "sub": str(alice.pk), "aud": client["client_id"], "iat": 1, "exp": 2}
    return jwt.encode(claims, None, algorithm="none", headers={"kid": signing_keys.signer("RS256").kid})


def with_the_public_key_as_secret(alice: Any, client: dict[str, Any]) -> str:
    signer = signing_keys.signer("RS256")
    claims = {"iss": ISSUER, "sub": str(alice.pk), "aud": client["client_id"], "iat": 1, "exp": 2}
    return jwt.encode(claims, signer.kid.encode(), algorithm="HS256", headers={"kid": signer.kid})


def without_kid(alice: Any, client: dict[str, Any]) -> str:
    claims = {"iss": ISSUER, "sub": str(alice.pk), "aud": client["client_id"], "iat": 1, "exp": 2}
    return jwt.encode(claims, signing_keys.signer("RS256").private_key, algorithm="RS256")


def with_a_nul_as_kid(alice: Any, client: dict[str, Any]) -> str:
    claims = {"iss": ISSUER, "sub": str(alice.pk), "aud": client["client_id"], "iat": 1, "exp": 2}
    key = signing_keys.signer("RS256").private_key
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": "a\x00b"})


NOT_OURS = {
    "no token": lambda alice, client: "nonsense",
    "three parts of nothing": lambda alice, client: "a.b.c",
    "endless": lambda alice, client: "a" * 9000,
    "another key": by_another_key,
    "alg none": unsigned,
    "HS256": with_the_public_key_as_secret,
    "no kid": without_kid,
    "NUL kid": with_a_nul_as_kid,
    "another issuer": lambda alice, client: forged(alice, client, iss="https://evil.example"),
    "another spelling of the issuer": lambda alice, client: forged(alice, client, iss=f"{ISSUER}/"),
    "no issuer": lambda alice, client: forged(alice, client, iss=None),
    "an unknown client": lambda alice, client: forged(alice, client, aud="unknown"),
    "no client": lambda alice, client: forged(alice, client, aud=None),
    "no subject": lambda alice, client: forged(alice, client, sub=None),
    "another subject": lambda alice, client: forged(alice, client, sub="999999"),
}


@pytest.mark.parametrize("make", NOT_OURS.values(), ids=NOT_OURS.keys())
def test_what_is_no_id_token_of_this_person_signs_nobody_out(alice: Any, client: dict[str, Any], make: Any) -> None:
    person = browser(alice)
    response = logout(person, id_token_hint=make(alice, client))
    assert (response.status_code, is_signed_in(person)) == (200, True)
    assert "Are you sure" in response.content.decode()
    assert logout(person, id_token_hint=forged(alice, client)).status_code == 200
    assert not is_signed_in(person), "the same, unchanged, does"


def test_an_id_token_of_a_disabled_client_counts_for_nothing(alice: Any, hint: str) -> None:
    Application.objects.update(disabled_at=timezone.now())
    person = browser(alice)
    assert "Are you sure" in logout(person, id_token_hint=hint).content.decode()
    assert logout(person, id_token_hint=hint, post_logout_redirect_uri=BACK).status_code == 400
    assert is_signed_in(person)


# --- Addresses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.example/",
        f"{BACK}/",
        f"{BACK}?x=1",
        f"{BACK}#x",
        BACK.upper(),
        BACK.replace("https", "http"),
        "//evil.example",
        "/",
        "javascript:alert(1)",
        "http://127.0.0.1:7778/bye?x=1",
        "http://127.0.0.1:7777/callback",
        f"{BACK}\r\nSet-Cookie: a=b",
        f"{BACK} https://evil.example/",
        " ",
    ],
)
def test_an_address_that_is_not_registered_byte_for_byte_is_a_page_and_changes_nothing(
    alice: Any, hint: str, uri: str
) -> None:
    person = browser(alice)
    response = logout(person, id_token_hint=hint, post_logout_redirect_uri=uri)
    assert (response.status_code, is_signed_in(person)) == (400, True)
    assert "Location" not in response
    assert logout(person, id_token_hint=hint, post_logout_redirect_uri=BACK)["Location"] == BACK


def test_the_address_of_another_client_is_not_this_ones(alice: Any, hint: str) -> None:
    other = registered(post_logout_redirect_uris=["https://other.example/bye"])
    person = browser(alice)
    taken = "https://other.example/bye"
    assert logout(person, id_token_hint=hint, post_logout_redirect_uri=taken).status_code == 400
    asked = {"id_token_hint": hint, "client_id": other["client_id"], "post_logout_redirect_uri": taken}
    assert logout(person, **asked).status_code == 400, "issued to another client"
    assert is_signed_in(person)


def test_an_address_without_a_client_is_refused(alice: Any) -> None:
    assert logout(browser(alice), post_logout_redirect_uri=BACK).status_code == 400
    assert logout(browser(alice), post_logout_redirect_uri=BACK, client_id="unknown").status_code == 400
    assert logout(browser(alice), post_logout_redirect_uri=BACK, id_token_hint="nonsense").status_code == 400


def test_a_forged_id_token_beside_a_client_leads_to_no_more_than_the_question(
    alice: Any, client: dict[str, Any]
) -> None:
    person = browser(alice)
    asked = {"id_token_hint": "a.b.c", "client_id": client["client_id"], "post_logout_redirect_uri": BACK}
    assert "Are you sure" in logout(person, **asked).content.decode()
    assert is_signed_in(person)


@pytest.mark.parametrize(
    "query", ["state=a&state=b", "state=%00", "client_id=a%00", "x=" + "a" * 17000, "id_token_hint=a&id_token_hint=b"]
)
def test_requests_that_cannot_be_read_are_a_page(alice: Any, query: str) -> None:
    person = browser(alice)
    assert person.get(f"{URL}?{query}").status_code == 400
    assert is_signed_in(person)


# --- By POST -------------------------------------------------------------------------------------------------


def test_a_client_may_post_its_request(alice: Any, hint: str) -> None:
    """Without the session, which browsers do not send along with another site's form: so it begins again as a GET."""
    asked = {"id_token_hint": hint, "post_logout_redirect_uri": BACK, "state": "s"}
    first = Client(enforce_csrf_checks=True, headers={"host": HOST}).post(URL, asked_form(asked), **FORM)
    assert first.status_code == 303
    assert first["Location"].startswith(f"{URL}?")
    person = browser(alice)
    assert person.get(first["Location"])["Location"] == f"{BACK}?state=s"
    assert not is_signed_in(person)


FORM = {"content_type": "application/x-www-form-urlencoded"}


def asked_form(parameters: dict[str, str]) -> str:
    return urlencode(parameters)


def test_a_post_that_would_be_refused_is_refused_at_once(hint: str) -> None:
    anybody = Client(enforce_csrf_checks=True, headers={"host": HOST})
    asked = {"id_token_hint": hint, "post_logout_redirect_uri": "https://evil.example/"}
    assert anybody.post(URL, asked_form(asked), **FORM).status_code == 400
    assert anybody.post(URL, b"{}", content_type="application/json").status_code == 400
    assert anybody.post(URL, b"a=1&a=2", **FORM).status_code == 400


# --- Registration --------------------------------------------------------------------------------------------


@pytest.mark.rfc("RP-Initiated Logout 3.1")
def test_addresses_are_registered_and_told_again(client: dict[str, Any]) -> None:
    assert client["post_logout_redirect_uris"] == [BACK, "http://127.0.0.1:7777/bye?x=1"]
    assert "post_logout_redirect_uris" not in registered()
    path = client["registration_client_uri"].removeprefix(ISSUER)
    headers = {"authorization": f"Bearer {client['registration_access_token']}"}
    read = browser().get(path, headers=headers).json()
    assert read["post_logout_redirect_uris"] == client["post_logout_redirect_uris"]
    body = {"redirect_uris": ["https://app.example/cb"], "token_endpoint_auth_method": "none"}
    changed = browser().put(path, body, content_type="application/json", headers=headers).json()
    assert "post_logout_redirect_uris" not in changed
    assert Application.objects.get(client_id=client["client_id"]).post_logout_redirect_uris == ""


@pytest.mark.parametrize(
    "uris",
    [
        ["http://evil.example/"],
        ["javascript:alert(1)"],
        [f"{BACK}#x"],
        [f"{ISSUER}/o/logout/"],
        ["https://a.example/ https://b.example/"],
        [7],
        "https://app.example/",
        [BACK] * 21,
        {"a": "b"},
        ["https://app.example/\x00"],
    ],
)
def test_addresses_that_no_redirect_uri_could_have_are_refused(uris: Any) -> None:
    response = register(post_logout_redirect_uris=uris)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_client_metadata")
    assert register(post_logout_redirect_uris=[BACK]).status_code == 201


def test_a_client_made_by_hand_has_addresses_as_safe_as_a_registered_one() -> None:
    def made(uris: str) -> Application:
        return Application(
            redirect_uris="https://app.example/cb",
            post_logout_redirect_uris=uris,
            client_type=Application.CLIENT_PUBLIC,
            authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        )

    made(f"{BACK} https://app.example/other").full_clean()
    with pytest.raises(ValidationError, match="http:// is for"):
        made(f"{BACK} http://evil.example/").full_clean()


def test_the_page_is_in_chinese_too(alice: Any) -> None:
    page = browser(alice).get(URL, headers={"accept-language": "zh-hans"}).content.decode()
    assert "保持登录" in page
    assert "Stay signed in" not in page


def test_time_does_not_matter_to_a_hint(alice: Any, client: dict[str, Any], hint: str) -> None:
    future = int((timezone.now() + timedelta(days=1)).timestamp())
    person = browser(alice)
    assert "Are you sure" in logout(person, id_token_hint=forged(alice, client, iat=future)).content.decode()
    assert is_signed_in(person), "but one from the future is none"
