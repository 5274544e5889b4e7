"""Who a person of the tenant is here: linked by tenant and object ID alone, never by an e-mail address or a name.

`authapp.LinkedIdentity` is the one truth of who is linked; what else a sign-in brings (groups, and the refresh token
that tells later whether the account still counts) follows it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group

from authapp import account_checks, asserted_access, issuer_people
from authapp.models import IdentityCredential, LinkedIdentity
from authapp.openid import sealing
from authapp.transactions import in_transaction

logger = logging.getLogger(__name__)

Claims = Mapping[str, Any]


class Stranger(Exception):
    """Nobody is linked to the account, and none is to be made."""


class NotLinked(Exception):
    """The account cannot be linked to this user; `why` is `other_user`, `other_account` or `disabled`."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def identify(claims: Claims, meta: Mapping[str, Any]) -> LinkedIdentity:
    """Return the link of the person whom the checked claims mean; make them an account if the settings say so.

    Raises:
        Stranger: there is no link, or a disabled one.
    """
    return in_transaction(lambda: _identify(claims, meta))


def link(user: Any, claims: Claims, meta: Mapping[str, Any]) -> LinkedIdentity:
    """Link the account to a user who is signed in and has just proved it.

    Raises:
        NotLinked: it is somebody else's, or the user has another one of this tenant.
    """
    return in_transaction(lambda: _link(user, claims, meta))


def welcome(identity: LinkedIdentity, claims: Claims, refresh_token: str) -> None:
    """Bring a person's groups up to date, and keep what their account is asked about with."""

    def work() -> None:
        _sync_groups(identity.user, claims)
        if refresh_token:
            IdentityCredential.objects.update_or_create(
                identity=identity, defaults={"sealed": sealing.seal(refresh_token.encode())}
            )
        account_checks.confirm(identity.user)

    in_transaction(work)


def of(user: Any) -> LinkedIdentity | None:
    """Return the link of a user to an account of the tenant."""
    return LinkedIdentity.objects.filter(user=user, issuer=settings.ENTRA.issuer, disabled_at=None).first()


def _find(claims: Claims) -> LinkedIdentity | None:
    rows = LinkedIdentity.objects.select_for_update(of=("self",)).select_related("user")
    return rows.filter(issuer=settings.ENTRA.issuer, subject=claims["oid"]).first()


def _identify(claims: Claims, meta: Mapping[str, Any]) -> LinkedIdentity:
    identity = _find(claims)
    if identity is None and settings.ENTRA.create_users:
        identity = issuer_people.create_person(
            settings.ENTRA.issuer, claims["oid"], _named(claims), meta, by=issuer_people.BY_SIGN_IN
        )
    if identity is None or identity.disabled_at is not None:
        raise Stranger
    return identity


def _named(claims: Claims) -> dict[str, Any]:
    """Return claims with the two names that Entra only sends where its token configuration says so."""
    name = claims.get("name")
    first, _, last = name.partition(" ") if isinstance(name, str) else ("", "", "")
    return {"given_name": first, "family_name": last} | dict(claims)


def _link(user: Any, claims: Claims, meta: Mapping[str, Any]) -> LinkedIdentity:
    # Of two accounts linked at the same moment one is, and the other sees it.
    locked = get_user_model()._default_manager.select_for_update().get(pk=user.pk)
    identity = _find(claims)
    if identity is not None:
        if identity.user_id != locked.pk:
            raise NotLinked("other_user")
        if identity.disabled_at is not None:
            raise NotLinked("disabled")
        return identity
    if LinkedIdentity.objects.filter(user=locked, issuer=settings.ENTRA.issuer).exists():
        raise NotLinked("other_account")
    identity = LinkedIdentity.objects.create(
        user=locked, issuer=settings.ENTRA.issuer, subject=claims["oid"], linked_by=locked.get_username()[:254]
    )
    asserted_access.record_link(identity, meta, by=locked.get_username())
    return identity


def _sync_groups(user: Any, claims: Claims) -> None:
    """Add a person to the mapped groups that their token has, and take them out of the mapped ones that it has not.

    A token of somebody in very many groups only says that there are more (the overage claim): then nobody is taken out.
    Other groups of this site, `is_staff` and `is_superuser` are never touched.
    """
    mapped = settings.ENTRA.groups
    if not mapped:
        return
    has = {value for name in ("groups", "roles") for value in _texts(claims.get(name))}
    wanted = {group for key, group in mapped.items() if key in has}
    known = {group.name: group for group in Group.objects.filter(name__in=set(mapped.values()))}
    for name in wanted - known.keys():
        known[name], _ = Group.objects.get_or_create(name=name)
    user.groups.add(*(known[name] for name in wanted))
    if is_incomplete(claims):
        logger.warning("The groups of user %s did not fit into their ID token; none is taken away.", user.pk)
        return
    user.groups.remove(*(group for name, group in known.items() if name not in wanted))


def is_incomplete(claims: Claims) -> bool:
    """Return whether a token says that the person has more groups than it names."""
    elsewhere = claims.get("_claim_names")
    return (isinstance(elsewhere, dict) and "groups" in elsewhere) or claims.get("hasgroups") in (True, "true")


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
