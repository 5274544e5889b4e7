"""Who is calling: the person, their client and what they consented to. A tool reads it without another query."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

SCOPE_KEY = "mcpapp.identity"
"""Where the ASGI scope of a request carries the identity."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The caller of a tool."""

    user: AbstractBaseUser | AnonymousUser
    client_id: str
    client_name: str
    scopes: frozenset[str]
    """Granted scopes and every scope they imply."""
    resource: str
    expires_at: int
    """Unix time in seconds at which the access token ends."""
    connection_id: Any = None
    """The consent the token was issued under, by which the site knows it; None if there is none."""
    user_id: Any = None
    """The person's primary key, for those who do not need `user`: that is made when it is first used."""
    is_anonymous: bool = False
    """Nobody has signed in: `user` is Django's AnonymousUser. Only public tools are called so."""


class NotAuthenticated(RuntimeError):
    """There is no caller: the code does not run inside an MCP request."""


_current: ContextVar[Identity | None] = ContextVar("mcpapp_identity", default=None)


def current_identity() -> Identity:
    """Return who is calling.

    Raises:
        NotAuthenticated: outside an MCP request.
    """
    identity = _current.get()
    if identity is None:
        raise NotAuthenticated("current_identity() works inside a tool that was called over MCP.")
    return identity


def current_user() -> Any:
    """Return the Django user a tool runs as: an instance of AUTH_USER_MODEL of this call's own.

    In a public tool that was called without a token it is Django's AnonymousUser.

    Raises:
        NotAuthenticated: outside an MCP request.
    """
    return current_identity().user


@contextmanager
def acting_as(identity: Identity | None) -> Iterator[None]:
    """Make `identity` the caller for the code inside; the server does so for each message, tests may too."""
    token = _current.set(identity)
    try:
        yield
    finally:
        _current.reset(token)
