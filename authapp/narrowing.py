"""What a person leaves of the scopes that a client asks for (RFC 6749 §3.3: less may be granted than was asked).

The page has a box for each scope, for what it includes as well, so that of "change" one may leave "use". What a scope
includes cannot be had without: who unticks it gives up both.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from oauth2_provider.scopes import get_scopes_backend

from authapp import conf

ALWAYS = frozenset({"offline_access"})
"""Scopes without a choice: clients get refresh tokens whether they ask for this or not, so a box would promise what
is not so. Connections end at the person's wish, on their own page."""

FIELD = "scopes"
"""The field of the form: one value for each box that is ticked, and an empty one, by which it is known that the page
had boxes at all."""


class NothingLeft(Exception):
    """Every box was unticked: that is no consent, and no clear refusal either."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One scope on the page."""

    name: str
    description: str
    includes: tuple[str, ...]
    """Other choices of the page that cannot be unticked without this one."""
    is_open: bool
    """Whether it can be unticked."""
    is_ticked: bool
    was_granted: bool
    """Whether this client has it already."""


def choices(
    scopes: Sequence[str], ticked: Collection[str] | None = None, granted_before: Collection[str] = ()
) -> list[Choice]:
    """Return the scopes that a request comes to, in the site's order; all are ticked unless `ticked` says which."""
    wanted = conf.with_implied(scopes)
    before = conf.with_implied(granted_before) if granted_before else frozenset()
    known = get_scopes_backend().get_all_scopes()
    return [
        Choice(
            name=name,
            description=str(known[name]),
            includes=tuple(sorted((conf.with_implied([name]) - {name}) & set(wanted))),
            is_open=name not in ALWAYS,
            is_ticked=ticked is None or name in ticked or name in ALWAYS,
            was_granted=name in before,
        )
        for name in known
        if name in wanted
    ]


def narrowed(scopes: Sequence[str], values: Sequence[str]) -> list[str]:
    """Return what is granted of the scopes that were asked for: never more.

    Args:
        values: of the field `FIELD`; empty where the page had no boxes, a site's own without them.

    Raises:
        NothingLeft: nothing was ticked that can be.
    """
    if not values:
        return list(scopes)
    offered = choices(scopes, values)
    ticked = {choice.name for choice in offered if choice.is_ticked}
    kept = [choice for choice in offered if choice.is_ticked and set(choice.includes) <= ticked]
    if not any(choice.is_open for choice in kept):
        raise NothingLeft
    names = {choice.name for choice in kept}
    if names == {choice.name for choice in offered}:
        return list(scopes)  # as the client wrote it
    asked = [scope for scope in scopes if scope in names]
    covered = conf.with_implied(asked)
    return [*asked, *(choice.name for choice in kept if choice.name not in covered)]
