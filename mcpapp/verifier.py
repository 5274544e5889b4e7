"""Decide whether an access token may be used here (RFC 6750 §3.1, RFC 8707 §2, MCP authorization 2026-07-28).

The lookup says what a token is; this module says whether it is good for this resource, now.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Protocol

from django.contrib.auth.models import AbstractBaseUser

from mcpapp import conf
from mcpapp.identity import Identity


class AccessTokenInfo(Protocol):
    """What a `TOKEN_LOOKUP` returns; any object of this shape will do."""

    @property
    def user(self) -> AbstractBaseUser:
        """The person the token acts for."""

    @property
    def client_id(self) -> str:
        """The client it was issued to."""

    @property
    def client_name(self) -> str:
        """The client's name, may be empty."""

    @property
    def scopes(self) -> Collection[str]:
        """The granted scopes."""

    @property
    def resource(self) -> Collection[str]:
        """The resources it is bound to (RFC 8707)."""

    @property
    def expires_at(self) -> int:
        """Unix time in seconds."""


class InvalidToken(Exception):
    """The token is not accepted; the message is for the log, the client hears `invalid_token` and no more."""


async def verify(token: str, resource: str) -> Identity:
    """Return who is calling with an access token.

    Raises:
        InvalidToken: unknown, expired, of somebody who may not act, or issued for another resource.
    """
    found = await conf.token_lookup()(token)
    if found is None:
        raise InvalidToken("unknown, expired, revoked, or of a user or client that is not active")
    if found.expires_at <= time.time():
        raise InvalidToken("expired")
    if not found.user.is_active:
        raise InvalidToken("the user is not active")
    if resource not in found.resource:
        # Default deny: a token that names no resource is for no resource.
        raise InvalidToken(f"issued for {', '.join(sorted(found.resource)) or 'no resource'}, this is {resource}")
    return Identity(
        user=found.user,
        client_id=found.client_id,
        client_name=found.client_name,
        scopes=with_implied(found.scopes),
        resource=resource,
        expires_at=found.expires_at,
    )


def with_implied(scopes: Collection[str]) -> frozenset[str]:
    """Return the scopes and all they imply."""
    implied = conf.implied_scopes()
    closed: set[str] = set()
    pending = list(scopes)
    while pending:
        scope = pending.pop()
        if scope not in closed:
            closed.add(scope)
            pending.extend(implied.get(scope, ()))
    return frozenset(closed)
