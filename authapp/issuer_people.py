"""Which user a subject of another issuer is whose tokens the resource server takes (`MCPAPP["ISSUER_USER"]`).

The link is by issuer and subject alone, as `authapp.identities` has it; nobody is found by an e-mail address or a name,
both of which somebody can be given who is not this person.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db import IntegrityError, transaction
from django.utils.crypto import get_random_string

from authapp import audit, token_rows
from authapp.accounts import is_powerful
from authapp.models import LinkedIdentity

BY_FIRST_TOKEN = "first token"  # noqa: S105  (no secret)
BY_SIGN_IN = "sign-in"
_NAME_CLAIMS = ("preferred_username", "upn", "unique_name", "email")
_FOREIGN = re.compile(r"[^\w.@+-]", re.ASCII)
_MAXIMUM_NAME = 100


@dataclass(frozen=True, slots=True)
class IssuerPerson:
    """The user behind a subject, and under which names a feed of changes tells of them (`authapp.changes`)."""

    first_user: AbstractBaseUser
    depends_on: Collection[str]

    @property
    def user(self) -> AbstractBaseUser:
        """The user, another instance each time."""
        return copy.deepcopy(self.first_user)


def find_person(issuer: str, subject: str, claims: Mapping[str, Any], create: bool) -> IssuerPerson | None:
    """Return who a subject is; None if nobody is linked to it, the link is disabled, or an address has led to staff.

    Args:
        claims: verified; a new account's name is made of them.
        create: whether somebody who is linked to nobody gets an account (without a password, without any right).
    """
    identity = LinkedIdentity.objects.select_related("user").filter(issuer=issuer, subject=subject).first()
    if identity is None and create:
        identity = create_person(issuer, subject, claims, {}, by=BY_FIRST_TOKEN)
    if identity is None or identity.disabled_at is not None:
        return None
    if identity.linked_by == "email" and is_powerful(identity.user):  # as `authapp.identities` has it
        return None
    # Where activity is not a column, a change to it is told of by nobody, so nothing may be kept.
    names = {f"identity:{identity.pk}", f"user:{identity.user.pk}"} if token_rows.activity_is_stored() else set()
    return IssuerPerson(identity.user, frozenset(names))


def create_person(
    issuer: str, subject: str, claims: Mapping[str, Any], meta: Mapping[str, Any], *, by: str
) -> LinkedIdentity:
    """Make an account for a subject that has none, and return the link; of two at once one does, and both see it."""
    model = get_user_model()
    name_field = str(model.USERNAME_FIELD)
    for _ in range(10):
        try:
            with transaction.atomic():
                user = model(**{name_field: _free_name(claims), **_described(claims)})
                user.set_unusable_password()
                user.save()
                identity = LinkedIdentity.objects.create(issuer=issuer, subject=subject, user=user, linked_by=by)
                audit.record(
                    audit.Action.IDENTITY_LINKED, meta, user=user, issuer=issuer, subject=subject, by=by, is_new=1
                )
                return identity
        except IntegrityError:  # the name was taken a moment ago, or the subject was linked
            found = LinkedIdentity.objects.select_related("user").filter(issuer=issuer, subject=subject).first()
            if found is not None:
                return found
    raise RuntimeError("No free user name was found in ten tries.")


def _free_name(claims: Mapping[str, Any]) -> str:
    """Return a user name that nobody has, like the one that the issuer knows the person by."""
    known = next((str(claims[name]) for name in _NAME_CLAIMS if isinstance(claims.get(name), str)), "")
    wanted = _FOREIGN.sub("", known)[:_MAXIMUM_NAME] or "person"
    model = get_user_model()
    field = str(model.USERNAME_FIELD)
    if not model._default_manager.filter(**{f"{field}__iexact": wanted}).exists():
        return wanted
    return f"{wanted}-{get_random_string(8, 'abcdefghjkmnpqrstuvwxyz23456789')}"


def _described(claims: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of a person where the user model has fields for them; PostgreSQL takes no NUL."""
    fields = {field.name for field in get_user_model()._meta.get_fields()}
    pairs = {"first_name": "given_name", "last_name": "family_name"}
    return {
        field: "".join(character for character in claims[claim] if character.isprintable()).strip()[:150]
        for field, claim in pairs.items()
        if field in fields and isinstance(claims.get(claim), str)
    }
