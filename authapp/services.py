"""Services: clients that the site's owner made and that act without a person (RFC 6749 §4.4).

Their access tokens have no person: `user` is NULL, which is the mark of an app-only token. At each use such a token is
mapped to the service user and the scopes that its client has then, so what the owner changes counts at once
(docs/decisions/0017). The token that manages a registration (RFC 7592) has no person either, and is none of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from oauth2_provider.generators import generate_client_secret
from oauth2_provider.scopes import get_scopes_backend
from oauth2_provider.settings import oauth2_settings

from authapp import audit, client_keys, conf
from authapp.client_keys import InvalidKeys
from authapp.models import Application
from authapp.models.client import PRIVATE_KEY_JWT


def scopes_to_give() -> dict[str, str]:
    """Return the scopes that an owner can give a service, with what they mean."""
    return {scope: str(text) for scope, text in get_scopes_backend().get_all_scopes().items() if scope not in _never()}


def make(
    name: str,
    user: AbstractBaseUser,
    scopes: Iterable[str],
    meta: Mapping[str, Any],
    *,
    keys: Mapping[str, Any] | None = None,
    by: str = "",
) -> tuple[Application, str]:
    """Make a service, in the caller's transaction.

    Args:
        user: what its tools run as; an account that nobody can sign in to.
        keys: `jwks` or `jwks_uri` (RFC 7591 §2) of a service that proves by a key who it is; None for a secret.
        meta: `request.META` of whoever does it, for the audit trail; empty without a request.
        by: their name.

    Returns:
        The client and its secret, which nobody can be told again; empty where it has keys.

    Raises:
        django.core.exceptions.ValidationError: what is wrong, for whoever does it.
    """
    secret = generate_client_secret() if keys is None else ""
    client = Application(
        name=name,
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_CLIENT_CREDENTIALS,
        client_secret=secret,
        hash_client_secret=bool(secret),
        scope=" ".join(dict.fromkeys(scopes)),
        service_user=user,
    )
    if keys is not None:
        use_keys(client, keys)
    require_complete(client)
    client.full_clean()
    client.save()
    record_made(client, meta, by=by)
    return client, secret


def use_keys(client: Application, keys: Mapping[str, Any]) -> None:
    """Let a service prove by a key who it is (RFC 7523 §2.2), and by nothing else.

    Args:
        keys: `jwks`, a JWK Set (RFC 7517 §5), or `jwks_uri`, where it is published.

    Raises:
        django.core.exceptions.ValidationError: they cannot be used.
    """
    try:
        checked = client_keys.from_dict(dict(keys), is_strangers=False)
    except InvalidKeys as error:
        raise ValidationError({"jwks_uri" if "jwks_uri" in keys else "jwks": str(error)}) from error
    client.jwks, client.jwks_uri = checked["jwks"], checked["jwks_uri"]
    client.token_endpoint_auth_method = PRIVATE_KEY_JWT


def require_complete(client: Application) -> None:
    """Require what only a service needs.

    Raises:
        django.core.exceptions.ValidationError: what is missing, by field.
    """
    problems: dict[str, str] = {}
    if not client.name.strip() or not client.name.isprintable():
        problems["name"] = _("Give the service a name, by which you will know it in the audit trail.")
    unknown = set(client.scope.split()) - set(scopes_to_give())
    if unknown:
        problems["scope"] = _("No service can have this: %s") % ", ".join(sorted(unknown))[:200]
    elif not client.scope.split():
        problems["scope"] = _("Give it at least one scope; without one it may do nothing.")
    if client.service_user is None:
        problems["service_user"] = _("Choose the account that its tools run as.")
    elif not client.service_user.is_active:
        problems["service_user"] = _("This account is not active.")
    if problems:
        raise ValidationError(problems)


def record_made(client: Application, meta: Mapping[str, Any], *, by: str) -> None:
    """Write down that a service was made, and by whom."""
    detail = {"scope": client.scope, "by": by}
    audit.record(
        audit.Action.CLIENT_REGISTERED,
        meta,
        application=client,
        user=client.service_user,
        **{name: text for name, text in detail.items() if text},
    )


def make_user(name: str) -> AbstractBaseUser:
    """Make a service user: an account that nobody can sign in to, without any permission.

    Raises:
        django.core.exceptions.ValidationError: there is one of that name, or it is no name.
    """
    model = get_user_model()
    user = model(**{model.USERNAME_FIELD: name})
    user.set_unusable_password()
    user.full_clean()
    user.save()
    return user


def own_scopes(client: Application) -> list[str]:
    """Return the scopes that the owner gave a service, in their order; none recorded is none."""
    available = set(get_scopes_backend().get_available_scopes(application=client))
    return [scope for scope in dict.fromkeys(client.scope.split()) if scope in available - _never()]


def within_own_scopes(client: Application, scopes: Iterable[str]) -> bool:
    """Return whether a service may have scopes: its own, and what these imply."""
    return (conf.with_implied(own_scopes(client)) - _never()).issuperset(scopes)


def standing_scopes(client: Application, scopes: Iterable[str]) -> frozenset[str]:
    """Return what an app-only token with scopes is good for now, by what its client is now; empty if for nothing.

    Whether the client is enabled, and its service user active, is for the caller to see.
    """
    asked = frozenset(scopes)
    if not conf.client_credentials() or not client.is_service or oauth2_settings.DCR_REGISTRATION_SCOPE in asked:
        return frozenset()
    return asked & conf.with_implied(own_scopes(client)) - _never()


def user_of(client: Application) -> Any:
    """Return the user that the tools run as which a service calls; None if it may call none."""
    user = client.service_user if conf.client_credentials() and client.is_service else None
    return user if user is not None and user.is_active else None


def _never() -> frozenset[str]:
    return conf.SCOPES_OF_PEOPLE | {oauth2_settings.DCR_REGISTRATION_SCOPE}
