"""What the authorization endpoint must not lose."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from oauth2_provider.models import get_grant_model

from authapp.models import Application, Connection
from tests.oauth import CALLBACK, ISSUER, PKCE, RESOURCE, answer, authorization_url, authorize, browser, registered

pytestmark = pytest.mark.django_db

LOCALHOST = "http://localhost:8000"


@pytest.fixture
def client_id() -> str:
    return str(registered()["client_id"])


def get(user: Any, client_id: str, /, **parameters: Any):
    return browser(user).get(authorization_url(client_id, PKCE(), **parameters))


@pytest.mark.parametrize("method", ["put", "patch", "delete", "options"])
def test_no_other_method_looks_at_the_request(client_id: str, method: str) -> None:
    for query in (authorization_url(client_id, PKCE()), "/o/authorize/?client_id=unknown"):
        assert getattr(browser(), method)(query).status_code == 405


@pytest.mark.parametrize("posted", [{}, {"allow": "false"}, {"allow": "1"}, {"allow": "True"}], ids=str)
def test_anything_but_the_allow_button_is_a_no(alice: Any, client_id: str, posted: dict[str, str]) -> None:
    response = browser(alice).post(authorization_url(client_id, PKCE()), posted)
    assert answer(response)["error"] == "access_denied"
    assert not get_grant_model().objects.exists()
    assert not Connection.objects.exists()


def test_only_a_code_is_given_whatever_grant_a_client_made_by_hand_has(client_id: str) -> None:
    for grant_type in (Application.GRANT_IMPLICIT, Application.GRANT_OPENID_HYBRID):
        Application.objects.update(authorization_grant_type=grant_type)
        for response_type in ("token", "code token", "code id_token", "id_token token"):
            got = answer(get(None, client_id, response_type=response_type))
            assert got["error"] in {"unsupported_response_type", "unauthorized_client", "invalid_request"}
            assert got["iss"] == ISSUER


def test_a_query_that_is_too_long_is_refused_before_anyone_signs_in(client_id: str) -> None:
    assert answer(get(None, client_id, padding="x" * 8192))["error"] == "invalid_request"


@pytest.mark.rfc("8707 2.1")
def test_two_of_our_resources_at_once_are_refused(client_id: str) -> None:
    """A token is for one resource."""
    assert answer(get(None, client_id, resource=[RESOURCE, f"{LOCALHOST}/star"]))["error"] == "invalid_target"


def test_without_a_resource_the_one_at_the_issuer_the_person_is_at_is_meant(alice: Any, client_id: str) -> None:
    url = authorization_url(client_id, PKCE(), resource=None)
    response = browser(alice).post(url, {"allow": "true"}, headers={"host": "localhost:8000"})
    assert answer(response)["iss"] == LOCALHOST
    assert get_grant_model().objects.get().resource == [f"{LOCALHOST}/star"]


def test_the_page_names_the_resource_in_its_one_spelling(alice: Any, client_id: str) -> None:
    assert get(alice, client_id, resource=f"{RESOURCE}/").context["resource"] == RESOURCE


def test_errors_are_kept_out_of_caches_and_frames_too(client_id: str) -> None:
    for response in (get(None, "unknown"), get(None, client_id, scope="unknown"), get(None, client_id)):
        assert response["Cache-Control"] == "no-store"
        assert "frame-ancestors 'none'" in response["Content-Security-Policy"]


def test_allow_notes_when_a_client_was_last_authorized(alice: Any, client_id: str) -> None:
    authorize(alice, client_id, PKCE(), allow=False)
    assert Application.objects.get().last_authorized_at is None
    authorize(alice, client_id, PKCE())
    assert Application.objects.get().last_authorized_at is not None
    assert CALLBACK in Application.objects.get().redirect_uris


@pytest.mark.rfc("9207 2")
@pytest.mark.parametrize("parameters", [{}, {"scope": "unknown"}], ids=["a code", "an error"])
def test_an_answer_names_exactly_one_issuer_the_one_the_person_is_at(
    alice: Any, client_id: str, parameters: dict[str, str]
) -> None:
    for host, issuer in (("127.0.0.1:8000", ISSUER), ("localhost:8000", LOCALHOST)):
        url = authorization_url(client_id, PKCE(), **parameters)
        response = browser(alice).post(url, {"allow": "true"}, headers={"host": host})
        assert parse_qs(urlsplit(response["Location"]).query)["iss"] == [issuer]


def test_an_issuer_in_the_redirect_uri_does_not_stand_for_ours(alice: Any) -> None:
    uri = "https://app.example/cb?iss=https%3A%2F%2Fevil.example&empty="
    client_id = registered(redirect_uris=[uri])["client_id"]
    response = browser(alice).post(authorization_url(client_id, PKCE(), redirect_uri=uri), {"allow": "true"})
    query = parse_qs(urlsplit(response["Location"]).query, keep_blank_values=True)
    assert (query["iss"], query["empty"]) == ([ISSUER], [""])


@pytest.mark.rfc("8252 7.3")
@pytest.mark.parametrize(
    ("registered_uri", "requested"),
    [
        ("http://127.0.0.1/callback", "http://127.0.0.1:0/callback"),
        ("http://127.0.0.1/callback", "http://127.0.0.1:/callback"),
        ("http://127.0.0.1/callback", "http://127.0.0.1:000443/callback"),
        ("http://127.0.0.1/callback", "http://127.0.0.1:443/callback?x=1"),
        ("http://127.0.0.1/callback", "http://user@127.0.0.1:443/callback"),
        ("http://127.0.0.1/callback", "https://127.0.0.1:443/callback"),
        ("https://localhost/callback", "https://localhost:50000/callback"),
        ("https://app.example/callback", "https://app.example:8443/callback"),
        ("https://app.example/callback", "http://127.0.0.1:443/callback"),
    ],
)
def test_the_port_may_differ_on_loopback_alone_and_only_as_a_port(registered_uri: str, requested: str) -> None:
    client_id = registered(redirect_uris=[registered_uri])["client_id"]
    assert get(None, client_id, redirect_uri=registered_uri).status_code == 302
    assert get(None, client_id, redirect_uri=requested).status_code == 400
