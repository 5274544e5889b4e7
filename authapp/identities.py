"""Which user a subject of a trusted issuer is: linked before, or found once by the issuer's rule and linked then.

A user is never made. The link is by `iss` and `sub` alone, which no provider gives to somebody else (OIDC Core §5.7);
so an e-mail address that changes hands later moves nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist
from django.utils.module_loading import import_string

from authapp import audit
from authapp.accounts import is_powerful
from authapp.models import Application, LinkedIdentity
from authapp.trusted_issuers import Issuer

MAXIMUM_SUBJECT = 255  # OIDC Core §2: and ASCII

Rule = Callable[[Issuer, Mapping[str, Any], Application], Any]
"""A site's own rule: takes the issuer, the verified claims and the client; returns a user, or None."""


class UnknownPerson(Exception):
    """No user is meant; the message is for the log and the audit trail, never for the client."""


def identify(issuer: Issuer, claims: Mapping[str, Any], client: Application, meta: Mapping[str, Any]) -> LinkedIdentity:
    """Return the linked identity of a verified assertion, its row locked and its user active.

    Args:
        meta: the headers of the request, for the audit trail.

    Raises:
        UnknownPerson: there is none.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAXIMUM_SUBJECT or not _is_plain(subject):
        raise UnknownPerson("sub is not a text of at most 255 printable ASCII characters")
    identity = _find(issuer, subject)
    if identity is None:
        user = _by_rule(issuer, claims, client)
        if user is None or user.pk is None:
            raise UnknownPerson("nobody is linked to the subject, and the rule finds nobody")
        _link(issuer, subject, user, client, meta)
        identity = _find(issuer, subject)
    if identity is None or identity.disabled_at is not None:
        raise UnknownPerson("the link of the subject is disabled")
    if not identity.user.is_active:
        raise UnknownPerson("the user is not active")
    if identity.linked_by == "email" and is_powerful(identity.user):
        raise UnknownPerson("the user is staff, whom the rule email never finds")
    return identity


def email_field() -> str | None:
    """Return the name of the field in which the site's user model keeps an e-mail address, None if it has none."""
    model = get_user_model()
    name = getattr(model, "get_email_field_name", lambda: "email")()
    try:
        model._meta.get_field(name)
    except FieldDoesNotExist:
        return None
    return str(name)


def _find(issuer: Issuer, subject: str) -> LinkedIdentity | None:
    rows = LinkedIdentity.objects.select_for_update(of=("self",)).select_related("user")
    return rows.filter(issuer=issuer.issuer, subject=subject).first()


def _link(issuer: Issuer, subject: str, user: Any, client: Application, meta: Mapping[str, Any]) -> None:
    """Link a subject at first use; of two requests at once one does, and both see the one link."""
    rule = issuer.rule if issuer.rule == "email" else "rule"
    identity, is_new = LinkedIdentity.objects.get_or_create(
        issuer=issuer.issuer, subject=subject, defaults={"user": user, "linked_by": rule}
    )
    if is_new:
        audit.record(
            audit.Action.IDENTITY_LINKED,
            meta,
            application=client,
            user=identity.user,
            issuer=issuer.issuer,
            subject=subject,
            by=rule,
        )


def _by_rule(issuer: Issuer, claims: Mapping[str, Any], client: Application) -> Any:
    if issuer.rule == "linked":
        return None
    if issuer.rule == "email":
        return _by_email(issuer, claims)
    rule: Rule = import_string(issuer.rule)
    return rule(issuer, claims, client)


def _by_email(issuer: Issuer, claims: Mapping[str, Any]) -> Any:
    """Return the one active user with an address that the issuer has verified and may speak for.

    Raises:
        UnknownPerson: why there is none.
    """
    email = claims.get("email")
    # `is True`: a provider that says "true" or 1 says something else.
    if not isinstance(email, str) or claims.get("email_verified") is not True:
        raise UnknownPerson("there is no email that the provider says is verified")
    local, _, domain = email.rpartition("@")
    if not local or "@" in local or not _is_plain(email) or " " in email or domain.lower() not in issuer.email_domains:
        raise UnknownPerson("the domain of the email is not one of the issuer's")
    field = email_field()
    if field is None:
        raise UnknownPerson("the users of this site have no e-mail address")
    candidates = get_user_model()._default_manager.filter(**{f"{field}__iexact": email})[:10]
    # Databases and Python fold letters of other alphabets into ASCII ones: those are not the same person's.
    found = [
        user
        for user in candidates
        if user.is_active and (known := getattr(user, field)).isascii() and known.lower() == email.lower()
    ]
    if len(found) != 1:
        raise UnknownPerson(f"{'several users have' if found else 'no active user has'} the email")
    [user] = found
    if is_powerful(user):
        raise UnknownPerson("the user is staff, whom the rule email never finds")
    # Of two subjects with the address at the same moment one is linked, and the other sees it. The link may be its own:
    # of two first uses at once, the other one made it.
    list(get_user_model()._default_manager.select_for_update().filter(pk=user.pk))
    others = LinkedIdentity.objects.filter(user=user, issuer=issuer.issuer).exclude(subject=claims["sub"])
    if others.exists():
        # The address was given to another person of the organisation: an administrator decides.
        raise UnknownPerson("the user with the email is linked to another subject of the issuer")
    return user


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()
