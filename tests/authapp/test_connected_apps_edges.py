"""What disconnecting and the two metadata documents must not lose."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import Client
from oauth2_provider.models import get_access_token_model, get_grant_model, get_refresh_token_model

from authapp import families
from authapp.models import Connection
from authapp.tokens import find_access_token
from tests.oauth import HOST, PKCE, authorize, browser, connected, refresh

pytestmark = pytest.mark.django_db


def disconnect(user: Any) -> None:
    browser(user).post(f"/connected-apps/{Connection.objects.get(user=user).pk}/disconnect/")


RefreshToken = get_refresh_token_model()


@pytest.mark.rfc("9700 4.14.2")
def test_disconnecting_keeps_refresh_tokens_as_revoked_ones(alice: Any) -> None:
    client, first = connected(alice)
    refresh(client["client_id"], first["refresh_token"])
    disconnect(alice)
    assert RefreshToken.objects.count() == 2
    assert not RefreshToken.objects.filter(revoked__isnull=True).exists()


def test_disconnecting_ends_everything_or_nothing(alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client, tokens = connected(alice)
    authorize(alice, client["client_id"], PKCE())

    def fail(*_: Any) -> None:
        raise RuntimeError("the database is gone")

    with monkeypatch.context() as patch:
        patch.setattr(families, "end_all", fail)
        with pytest.raises(RuntimeError):
            disconnect(alice)
    assert get_grant_model().objects.filter(user=alice).exists()
    assert async_to_sync(find_access_token)(tokens["access_token"]) is not None
    assert refresh(client["client_id"], tokens["refresh_token"]).status_code == 200


def test_the_page_of_a_persons_clients_is_kept_out_of_caches(alice: Any) -> None:
    assert "no-store" in browser(alice).get("/connected-apps/")["Cache-Control"]


def test_an_access_token_without_a_client_is_for_nothing(alice: Any) -> None:
    _, tokens = connected(alice)
    get_access_token_model().objects.filter(user=alice).update(application=None)
    assert async_to_sync(find_access_token)(tokens["access_token"]) is None


@pytest.mark.parametrize("name", ["oauth-authorization-server", "openid-configuration", "oauth-protected-resource"])
def test_a_cache_keeps_the_metadata_of_each_host_apart(name: str) -> None:
    response = Client().get(f"/.well-known/{name}", headers={"host": HOST})
    assert "Host" in response["Vary"]
    assert response["Cache-Control"] == "public, max-age=300"


@pytest.mark.parametrize("name", ["oauth-authorization-server", "openid-configuration", "oauth-protected-resource"])
def test_metadata_is_only_read(name: str) -> None:
    assert Client().post(f"/.well-known/{name}", headers={"host": HOST}).status_code == 405
