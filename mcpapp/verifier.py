"""Decide whether an access token may be used here (RFC 6750 §3.1, RFC 8707 §2, MCP authorization 2026-07-28).

The lookup says what a token is; this module says whether it is good for this resource, now.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from django.contrib.auth.models import AbstractBaseUser

from mcpapp import conf
from mcpapp.database import own_connections
from mcpapp.identity import Identity
from mcpapp.models import Refusal
from mcpapp.spans import span
from mcpapp.token_cache import TokenCache

LOOKUP_SPAN = "look up access token"


class AccessTokenInfo(Protocol):
    """What a `TOKEN_LOOKUP` returns; any object of this shape will do.

    Four attributes may be missing: `is_app_only`, whether no person takes part and `user` is what a service runs as
    (False if it is missing), `connection_id`, by which the site knows the consent that the token was issued under,
    `depends_on`, a collection of the names under which `TOKEN_CHANGES` tells of a change, and `look_up_again_at`, the
    Unix time from when it is looked up again all the same. Without names nothing is kept. Each call gets an instance
    of `user` of its own: another one if `user` gives another each time, else a copy.
    """

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


TokenLookup = Callable[[str], Awaitable[AccessTokenInfo | None]]
"""It may have an attribute `may_be_known`, a function of the token that says no to what it certainly does not know.
Asked before a token is looked up, that is what bears a flood of made-up ones."""


class InvalidToken(Exception):
    """The token is not accepted; the message is for the log, the client hears `invalid_token` and no more."""

    def __init__(self, message: str, kind: Refusal.Reason = Refusal.Reason.FOREIGN) -> None:
        """Say why; `kind` is what it is counted as, that of a lookup of another issuer's tokens by default."""
        super().__init__(message)
        self.kind = kind
        self.client_id = ""
        self.user_key = ""
        self.token = ""
        """Where no lookup knows it: what is to be explained. Never told."""


class InsufficientScope(Exception):
    """The token is good and grants nothing here: its client is told which scopes to ask for. A lookup may raise it."""


class TokensUncheckable(Exception):
    """A lookup cannot say now whether the token is good: what it needs for that does not answer."""


@dataclass(frozen=True, slots=True)
class _Verified:
    """A token that is good, at least until it expires, for the resources it names."""

    info: AccessTokenInfo
    first_user: AbstractBaseUser
    """Never given to a call: if `info.user` is this one again, a call gets a copy."""
    user_id: Any
    user_is_active: bool
    scopes: frozenset[str]
    depends_on: Collection[str]
    look_up_again_at: float
    identities: dict[str, Identity] = field(default_factory=dict)
    """Who is calling with it, by resource; made once."""

    def _make_user(self) -> AbstractBaseUser:
        """Return an instance of a call's own; Django keeps permissions in it, and what one call does stays there."""
        user = self.info.user
        return copy.deepcopy(user) if user is self.first_user else user

    def identity_for(self, resource: str) -> Identity:
        """Return who is calling.

        Raises:
            InvalidToken: expired, of somebody who may not act, of a service where none may, or for another resource.
        """
        info = self.info
        if info.expires_at > time.time() and (identity := self.identities.get(resource)) is not None:
            return identity
        try:
            return self._make_identity(resource)
        except InvalidToken as error:
            error.client_id, error.user_key = info.client_id, str(self.user_id)
            raise

    def _make_identity(self, resource: str) -> Identity:
        info = self.info
        if info.expires_at <= time.time():
            raise InvalidToken("expired", Refusal.Reason.EXPIRED)
        if not self.user_is_active:
            raise InvalidToken("the user is not active", Refusal.Reason.INACTIVE)
        is_app_only = bool(getattr(info, "is_app_only", False))
        if is_app_only and not conf.app_only_tokens():
            problem = "app-only, and MCPAPP['APP_ONLY_TOKENS'] is off: only people may call"
            raise InvalidToken(problem, Refusal.Reason.APP_ONLY)
        if resource not in info.resource:
            # Default deny: a token that names no resource is for no resource.
            issued_for = ", ".join(sorted(info.resource)) or "no resource"
            raise InvalidToken(f"issued for {issued_for}, this is {resource}", Refusal.Reason.OTHER_RESOURCE)
        identity = self.identities[resource] = Identity(
            make_user=self._make_user,
            client_id=info.client_id,
            client_name=info.client_name,
            scopes=self.scopes,
            resource=resource,
            expires_at=info.expires_at,
            connection_id=getattr(info, "connection_id", None),
            user_id=self.user_id,
            is_app_only=is_app_only,
        )
        return identity


class Verifier:
    """Verifies access tokens and keeps what it found while it is open."""

    is_only_looking = False
    """Whether nobody is to hear of what is refused, for nobody called."""

    def __init__(self) -> None:
        self._cache: TokenCache[_Verified] = TokenCache(_look_up, _may_be_known)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hear of changes, and so keep what is found; outside of this every token is looked up."""
        open_feed = conf.token_changes()
        if open_feed is None:
            yield
            return
        async with open_feed(self._cache.forget) as feed:
            self._cache.feed = feed
            try:
                yield
            finally:
                self._cache.close()

    def counts(self) -> dict[str, int]:
        """Return how many tokens were known (`hit`) and how many were looked up (`miss`)."""
        return {"hit": self._cache.hits, "miss": self._cache.misses}

    async def verify(self, token: str, resource: str) -> Identity:
        """Return who is calling with an access token.

        Raises:
            InvalidToken: unknown, expired, of somebody who may not act, or issued for another resource.
            InsufficientScope: it grants nothing here.
            TokensUncheckable, TooManyLookups: try again later.
        """
        found = await self._cache.find(token)
        if found is None:
            problem = "unknown, expired, revoked, or of a user or client that is not active"
            error = InvalidToken(problem, Refusal.Reason.UNKNOWN)
            error.token = token if _may_be_known(token) else ""
            raise error
        return found.identity_for(resource)

    def kept(self, token: str, resource: str) -> Identity | None:
        """Return who is calling if that is known already, without waiting; None says nothing about the token.

        Raises:
            InvalidToken: it is known, and not good here.
        """
        found = self._cache.kept(token)
        return None if found is None else found.identity_for(resource)


def _may_be_known(token: str) -> bool:
    """Return whether some lookup has to be asked: one may tell a made-up token by its looks (`may_be_known`)."""
    return any(_has_to_be_asked(lookup, token) for lookup in conf.token_lookups())


def _has_to_be_asked(lookup: TokenLookup, token: str) -> bool:
    may_be_known: Callable[[str], bool] | None = getattr(lookup, "may_be_known", None)
    return may_be_known is None or may_be_known(token)


async def _look_up(token: str) -> _Verified | None:
    # The statement of it is in no span of the database's: on PostgreSQL it goes past Django's cursors.
    with span(LOOKUP_SPAN):
        async with own_connections():
            info = await first_of(conf.token_lookups())(token)
    return None if info is None else _checked(info)


def _checked(info: AccessTokenInfo) -> _Verified:
    user = info.user
    depends_on = getattr(info, "depends_on", ())
    for name, value in (("scopes", info.scopes), ("resource", info.resource), ("depends_on", depends_on)):
        if isinstance(value, str):  # its characters, or a part of it, would be taken for an answer
            raise TypeError(f"MCPAPP['TOKEN_LOOKUP']: {name} is a list: [{value!r}], not {value!r}.")
    again_at = getattr(info, "look_up_again_at", math.inf)
    return _Verified(info, user, user.pk, user.is_active, with_implied(info.scopes), depends_on, again_at)


class OneToken(Verifier):
    """Takes any token for one that is told: for looking at what its owner would be answered, never at the door."""

    is_only_looking = True

    def __init__(self, info: AccessTokenInfo) -> None:
        super().__init__()
        self._found = _checked(info)

    def kept(self, token: str, resource: str) -> Identity | None:
        """Return who is calling.

        Raises:
            InvalidToken: they may not.
        """
        return self._found.identity_for(resource)


def first_of(lookups: Sequence[TokenLookup]) -> TokenLookup:
    """Return a lookup that asks others in turn; the first that knows a token answers for it."""

    async def find(token: str) -> AccessTokenInfo | None:
        for lookup in lookups:
            if _has_to_be_asked(lookup, token) and (info := await lookup(token)) is not None:
                return info
        return None

    return lookups[0] if len(lookups) == 1 else find


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
