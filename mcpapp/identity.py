"""Who is calling: the person, their client and what they consented to. A tool reads it without another query."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

SCOPE_KEY = "mcpapp.identity"
"""Where the ASGI scope of a request carries the identity."""

User = AbstractBaseUser | AnonymousUser
T = TypeVar("T")


class Identity:
    """The caller of a tool, never changed. Calls with one access token may share it; each has a `user` of its own."""

    __slots__ = (
        "_made",
        "_make_user",
        "client_id",
        "client_name",
        "connection_id",
        "expires_at",
        "is_anonymous",
        "is_app_only",
        "resource",
        "scopes",
        "user_id",
    )
    _made: dict[Any, Any]
    _make_user: Callable[[], User]
    client_id: str
    client_name: str
    connection_id: Any
    expires_at: int
    is_anonymous: bool
    is_app_only: bool
    resource: str
    scopes: frozenset[str]
    user_id: Any

    def __init__(
        self,
        *,
        client_id: str,
        client_name: str,
        scopes: frozenset[str],
        resource: str,
        expires_at: int,
        user: User | None = None,
        make_user: Callable[[], User] | None = None,
        user_id: Any = None,
        connection_id: Any = None,
        is_anonymous: bool = False,
        is_app_only: bool = False,
    ) -> None:
        """Make an identity.

        Args:
            client_id, client_name: the client; the name may be empty.
            scopes: granted scopes and every scope they imply.
            resource: the resource that was called (RFC 8707).
            expires_at: Unix time in seconds at which the access token ends.
            user: the person; or `make_user`, which gives another instance each time.
            user_id: the person's primary key, for those who do not need an instance.
            connection_id: the consent the token was issued under, by which the site knows it; None if there is none.
            is_anonymous: nobody has signed in, `user` is Django's AnonymousUser. Only public tools are called so.
            is_app_only: no person takes part: a service calls, and `user` is the account that its owner gave it.
        """
        values = {
            "_make_user": make_user if make_user is not None else lambda: user,
            "_made": {},
            "client_id": client_id,
            "client_name": client_name,
            "scopes": scopes,
            "resource": resource,
            "expires_at": expires_at,
            "user_id": user_id,
            "connection_id": connection_id,
            "is_anonymous": is_anonymous,
            "is_app_only": is_app_only,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse: what one call changed, the next one with the same token would be.

        Raises:
            AttributeError: always.
        """
        raise AttributeError(f"An Identity is not changed ({name}).")

    def once(self, make: Callable[[Identity], T]) -> T:
        """Return what a function makes of this identity, made once."""
        if make not in self._made:
            self._made[make] = make(self)
        made: T = self._made[make]
        return made

    @property
    def user(self) -> Any:
        """The person, an instance of AUTH_USER_MODEL: in a call the one of this call, elsewhere another each time."""
        caller = _current.get()
        return caller.user() if caller is not None and caller.identity is self else self._make_user()


class NotAuthenticated(RuntimeError):
    """There is no caller: the code does not run inside an MCP request."""


class _Caller:
    """The identity of one call, and its person once somebody has asked."""

    __slots__ = ("_user", "identity")

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self._user: User | None = None

    def user(self) -> User:
        if self._user is None:
            self._user = self.identity._make_user()
        return self._user


_current: ContextVar[_Caller | None] = ContextVar("mcpapp_caller", default=None)


def current_identity() -> Identity:
    """Return who is calling.

    Raises:
        NotAuthenticated: outside an MCP request.
    """
    caller = _current.get()
    if caller is None:
        raise NotAuthenticated("current_identity() works inside a tool that was called over MCP.")
    return caller.identity


def current_user() -> Any:
    """Return the Django user a tool runs as: an instance of AUTH_USER_MODEL of this call's own.

    In a public tool that was called without a token it is Django's AnonymousUser.

    Raises:
        NotAuthenticated: outside an MCP request.
    """
    return current_identity().user


class acting_as:
    """Make `identity` the caller for the code inside; the server does so for each message, tests may too."""

    __slots__ = ("_caller", "_token")

    def __init__(self, identity: Identity | None) -> None:
        self._caller = None if identity is None else _Caller(identity)

    def __enter__(self) -> None:
        """Begin."""
        self._token = _current.set(self._caller)

    def __exit__(self, *exc_info: object) -> None:
        """End."""
        _current.reset(self._token)
