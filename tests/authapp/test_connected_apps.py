"""The page of a person's connected clients."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from oauth2_provider.models import get_grant_model

from authapp.models import Connection
from authapp.tokens import find_access_token
from tests.oauth import PKCE, authorize, browser, connected, refresh, registered

pytestmark = pytest.mark.django_db


def test_a_person_sees_their_own_clients_and_nobody_elses(alice: Any, bob: Any) -> None:
    connected(alice, registered(client_name="Alices client"))
    connected(bob, registered(client_name="Bobs client"))
    text = browser(alice).get("/connected-apps/").content.decode()
    assert "Alices client" in text
    assert "Bobs client" not in text


def test_someone_who_connected_nothing_is_told_how_to(charlie: Any) -> None:
    assert "No client is connected yet" in browser(charlie).get("/connected-apps/").content.decode()


def test_a_visitor_is_asked_to_sign_in() -> None:
    assert browser().get("/connected-apps/")["Location"] == "/accounts/login/?next=/connected-apps/"


def test_disconnecting_ends_every_token_and_code_of_that_client_and_no_other(alice: Any, bob: Any) -> None:
    client, first = connected(alice)
    second = refresh(client["client_id"], first["refresh_token"]).json()
    _, another_login = connected(alice, client)
    authorize(alice, client["client_id"], PKCE())
    other_client, others = connected(alice)
    _, bobs = connected(bob, client)

    connection = Connection.objects.get(user=alice, application__client_id=client["client_id"])
    response = browser(alice).post(f"/connected-apps/{connection.pk}/disconnect/", follow=True)
    assert "is disconnected" in response.content.decode()

    for tokens in (second, another_login):
        assert async_to_sync(find_access_token)(tokens["access_token"]) is None
        assert refresh(client["client_id"], tokens["refresh_token"]).status_code == 400
    assert not get_grant_model().objects.exists()
    assert not Connection.objects.filter(pk=connection.pk).exists()
    for client_id, tokens in ((other_client["client_id"], others), (client["client_id"], bobs)):
        assert async_to_sync(find_access_token)(tokens["access_token"]) is not None
        assert refresh(client_id, tokens["refresh_token"]).status_code == 200


def test_nobody_disconnects_for_another(alice: Any, bob: Any) -> None:
    _, tokens = connected(alice)
    url = f"/connected-apps/{Connection.objects.get().pk}/disconnect/"
    assert browser(bob).post(url).status_code == 404
    assert browser().post(url).status_code == 302
    assert browser(alice).get(url)["Location"] == "/connected-apps/", "who had to sign in first comes back by a link"
    person = browser(alice)
    person.handler.enforce_csrf_checks = True
    assert person.post(url).status_code == 403
    assert async_to_sync(find_access_token)(tokens["access_token"]) is not None
