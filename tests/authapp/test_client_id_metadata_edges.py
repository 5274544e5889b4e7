"""What of client ID metadata documents must not be lost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from authapp.client_id_metadata import MetadataFetcher
from authapp.models import Application
from tests.oauth import PKCE, redeem

URL = "https://vscode.dev/oauth/client-metadata.json"
DOCUMENT = {
    "client_id": URL,
    "client_name": "Visual Studio Code",
    "redirect_uris": ["http://127.0.0.1/"],
    "token_endpoint_auth_method": "none",
}


@pytest.mark.django_db(transaction=True)
def test_no_document_is_fetched_while_the_token_endpoint_holds_a_transaction(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """A slow server elsewhere would keep rows, on SQLite the whole database, locked."""
    in_transaction: list[bool] = []

    def fetch(self: Any, client_id: str) -> tuple[dict[str, Any], int]:
        in_transaction.append(connection.in_atomic_block)
        return dict(DOCUMENT), 300

    monkeypatch.setattr(MetadataFetcher, "fetch", fetch)
    settings.OAUTH2_PROVIDER = {**settings.OAUTH2_PROVIDER, "CIMD_ENABLED": True}
    assert redeem(URL, "code", PKCE()).json()["error"] == "invalid_grant"
    assert in_transaction == [False], "a client that is new"
    assert redeem(URL, "code", PKCE()).json()["error"] == "invalid_grant"
    assert in_transaction == [False], "a document that is fresh"
    Application.objects.update(cimd_expires_at=timezone.now() - timedelta(seconds=1))
    assert redeem(URL, "code", PKCE()).json()["error"] == "invalid_grant"
    assert in_transaction == [False, False], "a document that is stale"
