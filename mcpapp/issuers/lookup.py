"""The lookup of tokens that other issuers signed (`MCPAPP["TOKEN_LOOKUP"]` may list it behind the site's own)."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from asgiref.sync import sync_to_async
from django.contrib.auth.models import AbstractBaseUser

from mcpapp import conf
from mcpapp.issuers.keys import Keys
from mcpapp.issuers.reader import Unverified, looks_signed, read, require_signature
from mcpapp.issuers.refusal import Refusal, Refused
from mcpapp.issuers.rules import require
from mcpapp.issuers.settings import TokenIssuer, token_issuers


class Person(Protocol):
    """Whom a site takes a subject of an issuer for (`MCPAPP["ISSUER_USER"]`)."""

    @property
    def user(self) -> AbstractBaseUser:
        """The user; another instance each time, or one that calls get copies of."""

    @property
    def depends_on(self) -> Collection[str]:
        """Under which names `TOKEN_CHANGES` tells of a change to the user or to the link; empty: nothing is kept."""


FindPerson = Callable[[str, str, Mapping[str, Any], bool], Person | None]
"""Takes the issuer, the subject, the verified claims, and whether an account is made for a person who has none."""


KEPT_SECONDS = 300
"""For how long a token is kept: nothing tells of a key that its issuer withdraws, and a token may be good for years."""
MAXIMUM_SEARCHES = 8
"""For how many tokens at once a person is looked for: each takes a thread, and a connection to the database."""


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token of another issuer that is taken; the shape of `mcpapp.verifier.AccessTokenInfo`."""

    person: Person
    client_id: str
    client_name: str
    scopes: frozenset[str]
    resource: tuple[str, ...]
    expires_at: int
    depends_on: Collection[str]
    look_up_again_at: float
    """Unix time in seconds."""

    @property
    def user(self) -> AbstractBaseUser:
        """The person."""
        return self.person.user


_keys: dict[TokenIssuer, Keys] = {}
_searching: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = weakref.WeakKeyDictionary()


def forget_keys() -> None:
    """Forget every issuer's keys, as a new process has none."""
    _keys.clear()


async def find_issued_token(token: str) -> IssuedToken | None:
    """Return what a signed token of a known issuer stands for; None if it is nothing that this could know.

    Raises:
        Refused: it is not good here, and why.
        LacksScope: it is good and grants nothing here.
        Unavailable: nobody can say now.
    """
    if not may_be_issued(token):
        return None
    unverified = read(token)
    issuer = _issuer_of(unverified)
    if unverified.alg not in issuer.algorithms:
        raise Refused(Refusal.BAD_ALGORITHM, "not one that the settings allow", issuer.issuer)
    keys = _keys.get(issuer) or _keys.setdefault(issuer, Keys(issuer))
    key = await keys.find(unverified.kid)
    try:
        require_signature(unverified, key)
    except Refused as refused:
        refused.issuer = issuer.issuer
        raise
    accepted = require(issuer, unverified.claims)
    find_person = sync_to_async(conf.issuer_user())
    async with _searches():
        person = await find_person(issuer.issuer, accepted.subject, unverified.claims, issuer.create_users)
    if person is None:
        raise Refused(Refusal.UNKNOWN_USER, "nobody here is linked to the subject", issuer.issuer)
    if not person.user.is_active:
        raise Refused(Refusal.DISABLED_USER, "", issuer.issuer)
    return IssuedToken(
        person=person,
        client_id=accepted.client_id,
        client_name=accepted.client_name,
        scopes=accepted.scopes,
        resource=_resources_of(accepted.audiences),
        expires_at=accepted.expires_at,
        depends_on=person.depends_on,
        look_up_again_at=time.time() + KEPT_SECONDS,
    )


def _resources_of(audiences: Collection[str]) -> tuple[str, ...]:
    """Return for which resources a token is: those that `aud` names; all, if it says who we are in another way."""
    return tuple(resource for resource in conf.resources() if resource in audiences) or conf.resources()


def _searches() -> asyncio.Semaphore:
    loop = asyncio.get_running_loop()
    if loop not in _searching:
        _searching[loop] = asyncio.Semaphore(MAXIMUM_SEARCHES)
    return _searching[loop]


def may_be_issued(token: str) -> bool:
    """Return whether a token has the form of what the issuers sign; costs no network and no database."""
    return looks_signed(token) and bool(token_issuers())


find_issued_token.may_be_known = may_be_issued  # type: ignore[attr-defined]


def _issuer_of(unverified: Unverified) -> TokenIssuer:
    """Return whose token it says it is.

    Raises:
        Refused: nobody's that the settings know.
    """
    iss = unverified.iss
    for issuer in token_issuers():
        if iss in issuer.accepted:
            return issuer
    for issuer in token_issuers():
        if issuer.is_of_the_family(iss):
            raise Refused(Refusal.WRONG_TENANT, "iss is another tenant's", issuer.issuer)
    raise Refused(Refusal.WRONG_ISSUER, "iss is none of MCPAPP['TOKEN_ISSUERS']")
