"""An identity provider on loopback, and alice linked to a subject of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from authapp.models import LinkedIdentity
from mcpapp import bearer
from mcpapp.issuers import keys, lookup
from tests.issuer import OID, Issuer
from tests.mcpapp.threads import connections_closed

__all__ = ["connections_closed"]

LOOKUP = "mcpapp.issuers.lookup.find_issued_token"


@pytest.fixture(autouse=True)
def _every_refusal_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests refuse more in a second than the log would tell of."""
    monkeypatch.setattr(bearer, "_limit", bearer._LogLimit())


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    lookup.forget_keys()
    with Issuer() as served:
        yield served
    lookup.forget_keys()


@pytest.fixture
def trusted(issuer: Issuer, settings: Any) -> Issuer:
    """The provider, trusted as one tenant of Entra."""
    trust(settings, issuer.entra())
    return issuer


@pytest.fixture
def linked(trusted: Issuer, alice: Any) -> LinkedIdentity:
    """Alice is who the provider's tokens mean."""
    return LinkedIdentity.objects.create(issuer=trusted.v2, subject=OID, user=alice)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys may be asked for at any time."""
    monkeypatch.setattr(keys, "RETRY_SECONDS", 0)


def trust(settings: Any, *entries: dict[str, Any], **changes: Any) -> None:
    """Take tokens of issuers; plain http is for development."""
    settings.DEBUG = True
    settings.MCPAPP = {
        **settings.MCPAPP,
        "TOKEN_ISSUERS": list(entries),
        "TOKEN_LOOKUP": ["authapp.tokens.find_access_token", LOOKUP],
        **changes,
    }
