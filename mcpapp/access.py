"""Who may use a tool, a resource or a prompt: what its author declares, and the decision about one caller.

Two kinds of rules. Scopes say what the person let this client do; a missing one can be had by another consent, so the
answer is a step-up challenge. Permissions, groups and the author's own rule say what the person may do on the site; no
consent changes that, so the answer is an error.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import PermissionDenied
from django.db import Error as DatabaseError

from mcpapp import conf
from mcpapp.database import own_connections, thread_slot
from mcpapp.identity import Identity

logger = logging.getLogger(__name__)

Rule = Callable[[Identity], bool | Awaitable[bool]]


class BadDeclaration(ValueError):
    """A declaration contradicts itself."""


class Decision(Enum):
    """What is to be said to a caller."""

    ALLOWED = auto()
    NEEDS_SIGN_IN = auto()
    NEEDS_SCOPES = auto()
    DENIED = auto()


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use something: everybody if `public`, else who meets all of the rest."""

    scopes: frozenset[str] = frozenset()
    """All of them must be granted."""
    permissions: tuple[str, ...] = ()
    """Django permissions like `library.change_loan`; the person must have all of them."""
    groups: frozenset[str] = frozenset()
    """Names of Django groups; the person must be in one of them."""
    rule: Rule | None = None
    """Called with the caller; plain ones may use the database."""
    public: bool = False

    @classmethod
    def declared(
        cls,
        scopes: Collection[str] | None,
        permissions: Collection[str],
        groups: Collection[str],
        allowed: Rule | None,
        public: bool,
    ) -> Access:
        """Return what the arguments of a decorator mean: without `scopes`, the ones clients get at first.

        Raises:
            BadDeclaration: public, and yet not for everybody; a string where a list is meant.
        """
        for name, value in (("scopes", scopes), ("permissions", permissions), ("groups", groups)):
            if isinstance(value, str):
                raise BadDeclaration(f"{name} is a list: [{value!r}], not {value!r}.")
        if public:
            if scopes or permissions or groups or allowed:
                raise BadDeclaration("What is public has no scopes, permissions, groups or rule of its own.")
            return cls(public=True)
        return cls(
            frozenset(conf.default_scopes() if scopes is None else scopes),
            tuple(permissions),
            frozenset(groups),
            allowed,
        )

    @property
    def asks_about_the_person(self) -> bool:
        """Whether more than the scopes has to be looked at."""
        return bool(self.permissions or self.groups or self.rule)


async def decide(access: Access, identity: Identity) -> Decision:
    """Decide about one caller.

    Raises:
        django.db.Error: the database does not answer.
    """
    if not access.asks_about_the_person:
        return _by_scopes(access, identity)
    return (await decide_all([access], identity))[0]


async def decide_all(accesses: Sequence[Access], identity: Identity) -> list[Decision]:
    """Decide about one caller and many things; whatever needs a thread is asked in one.

    Raises:
        django.db.Error: the database does not answer.
    """
    decisions = [_by_scopes(access, identity) for access in accesses]
    open_ones = [
        index
        for index, access in enumerate(accesses)
        if access.asks_about_the_person and decisions[index] in {Decision.ALLOWED, Decision.NEEDS_SCOPES}
    ]
    if open_ones:
        person = _Person(identity)
        # A thread of the decision's own: a call that waits for its turn after it holds no connection meanwhile.
        async with thread_slot(), own_connections():
            answers = await sync_to_async(lambda: [person.may(accesses[index]) for index in open_ones])()
            for index, answer in zip(open_ones, answers, strict=True):
                if not (await _finished(accesses[index], answer) if inspect.isawaitable(answer) else answer):
                    decisions[index] = Decision.DENIED
    return decisions


def allowed_here(access: Access, identity: Identity) -> bool:
    """Return whether a caller may use something, asked in synchronous code: a page's, in its thread and transaction.

    Raises:
        django.db.Error: the database does not answer.
    """
    if _by_scopes(access, identity) is not Decision.ALLOWED:
        return False
    answer = _Person(identity).may(access)
    return bool(async_to_sync(_finished)(access, answer) if inspect.isawaitable(answer) else answer)


def _by_scopes(access: Access, identity: Identity) -> Decision:
    if access.public:
        return Decision.ALLOWED
    if identity.is_anonymous:
        return Decision.NEEDS_SIGN_IN
    missing = access.scopes - identity.scopes
    if not missing:
        return Decision.ALLOWED
    # A scope that nobody can consent to would make a client ask again and again.
    return Decision.NEEDS_SCOPES if missing <= set(conf.scopes_supported()) else Decision.DENIED


class _Person:
    """One caller, whose groups are read at most once (Django keeps the permissions itself)."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.user = identity.user

    @cached_property
    def groups(self) -> frozenset[str]:
        manager = getattr(self.user, "groups", None)
        return frozenset(manager.values_list("name", flat=True)) if manager is not None else frozenset()

    def may(self, access: Access) -> Any:
        """Return whether the person meets what is asked beyond scopes, or an awaitable of it."""
        try:
            if access.permissions:
                # What Django asks of every user model is has_perm; has_perms comes with PermissionsMixin.
                has_perm: Any = getattr(self.user, "has_perm", None)
                if has_perm is None or not all(has_perm(permission) for permission in access.permissions):
                    return False
            if access.groups and not access.groups & self.groups:
                return False
            answer = True if access.rule is None else access.rule(self.identity)
        except DatabaseError:
            raise
        except (Exception, SystemExit, GeneratorExit) as error:
            return _refused(access, error)
        return answer if inspect.isawaitable(answer) else answer is True


async def _finished(access: Access, answer: Awaitable[bool]) -> bool:
    try:
        return await answer is True
    except DatabaseError:
        raise
    except (Exception, SystemExit, GeneratorExit) as error:
        return _refused(access, error)


def _refused(access: Access, error: BaseException) -> bool:
    """Default deny: a rule, or a permission backend, that fails has not allowed anything."""
    if not isinstance(error, PermissionDenied):
        logger.error("It could not be decided about %r; the caller was refused.", access, exc_info=error)
    return False
