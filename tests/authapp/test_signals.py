"""The site hears of what was committed, and of nothing that was rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction

from authapp import audit
from authapp.signals import happened, tokens_issued
from tests.oauth import PKCE, authorize, redeem, registered

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def heard() -> Iterator[list[Any]]:
    told: list[Any] = []

    def hear(signal: Any, sender: Any, **facts: Any) -> None:
        told.append(facts)

    for signal in (happened, tokens_issued):
        signal.connect(hear)
    yield told
    for signal in (happened, tokens_issued):
        signal.disconnect(hear)


def test_registrations_consents_and_tokens_are_told_of(alice: Any, heard: list[Any]) -> None:
    client_id, pkce = registered()["client_id"], PKCE()
    tokens = redeem(client_id, authorize(alice, client_id, pkce)["code"], pkce).json()
    assert heard == [
        {"action": "client_registered"},
        {"action": "consent_given"},
        {"action": "token_issued"},
        {"grant": "authorization_code"},
    ]
    assert tokens["access_token"] not in str(heard)


def test_what_is_rolled_back_is_not_told_and_a_receiver_that_fails_harms_nothing(heard: list[Any]) -> None:
    def undone() -> None:
        with transaction.atomic():
            audit.record(audit.Action.CLIENT_REGISTERED, {})
            raise RuntimeError

    def fail(**_: Any) -> None:
        raise ValueError

    with pytest.raises(RuntimeError):
        undone()
    assert heard == []
    happened.connect(fail)
    try:
        audit.record(audit.Action.CLIENT_REGISTERED, {})
    finally:
        happened.disconnect(fail)
    assert heard == [{"action": "client_registered"}]
