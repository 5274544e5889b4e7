"""What the settings say of the organisation's Entra tenant, checked; nothing here reads the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from config import environment

PUBLIC_CLOUD = "https://login.microsoftonline.com"
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OF_EVERYBODY = {
    "common": "people of every organisation and everybody's personal accounts",
    "organizations": "people of every organisation",
    "consumers": "everybody's personal accounts",
    "9188040d-6c67-4c5b-b112-36a304b66dad": "everybody's personal accounts",
}


@dataclass(frozen=True, kw_only=True)
class EntraSettings:
    """One tenant, this site's registration in it, and what its people may do here."""

    tenant_id: str = ""
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    authority: str = PUBLIC_CLOUD
    sign_in: bool = False
    """Whether people sign in with it."""
    only: bool = False
    """Whether nobody but staff signs in with a password."""
    create_users: bool = False
    """Whether a person of the tenant whom nobody linked gets an account."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """Django groups by the object ID of a group, or the value of an app role, in the tenant."""
    check_seconds: int = 3600
    grace_seconds: int = 24 * 3600

    @property
    def issuer(self) -> str:
        """Whose ID tokens count, byte for byte; also the issuer under which people are linked."""
        return f"{self.authority}/{self.tenant_id}/v2.0"

    @property
    def authorization_endpoint(self) -> str:
        """Where people sign in. These addresses are Microsoft's and pinned: nothing is discovered."""
        return f"{self.authority}/{self.tenant_id}/oauth2/v2.0/authorize"

    @property
    def token_endpoint(self) -> str:
        """Where codes and refresh tokens are redeemed."""
        return f"{self.authority}/{self.tenant_id}/oauth2/v2.0/token"

    @property
    def end_session_endpoint(self) -> str:
        """Where people sign out of Microsoft."""
        return f"{self.authority}/{self.tenant_id}/oauth2/v2.0/logout"

    @property
    def jwks_uri(self) -> str:
        """Where the tenant's keys are."""
        return f"{self.authority}/{self.tenant_id}/discovery/v2.0/keys"


def read(*, sign_in: str, sign_up: bool, groups: Any, **values: Any) -> EntraSettings:
    """Return the settings of the variables `ENTRA_…`.

    Args:
        sign_in: true, false, or nothing for: if all that it needs is there.
        sign_up: whether visitors may make an account with a password.

    Raises:
        ImproperlyConfigured: what is wrong, in one sentence.
    """
    tenant_id, client_id = values["tenant_id"].strip().lower(), values["client_id"].strip().lower()
    if tenant_id in _OF_EVERYBODY:
        raise ImproperlyConfigured(
            f"ENTRA_TENANT_ID must be your own tenant: {values['tenant_id']} lets in {_OF_EVERYBODY[tenant_id]}."
        )
    for name, value in (("ENTRA_TENANT_ID", tenant_id), ("ENTRA_CLIENT_ID", client_id)):
        if value and not _GUID.fullmatch(value):
            raise ImproperlyConfigured(
                f"{name} must be an ID like 6f3c1f2e-0d0a-4c6b-9a57-1f0b7f1c9a11, not {value!r}."
            )
    has_all = bool(tenant_id and client_id and values["client_secret"])
    is_on = environment.boolean(sign_in, "ENTRA_SIGN_IN") if sign_in else has_all
    if is_on and not has_all:
        raise ImproperlyConfigured("ENTRA_SIGN_IN needs ENTRA_TENANT_ID, ENTRA_CLIENT_ID and ENTRA_CLIENT_SECRET.")
    if values["only"] and not is_on:
        raise ImproperlyConfigured("ENTRA_ONLY would leave no way to sign in: sign-in with Entra is not set up.")
    if values["only"] and sign_up:
        raise ImproperlyConfigured("ENTRA_ONLY and ALLOW_SIGNUP contradict each other: who signs up gets a password.")
    if not isinstance(groups, dict) or not all(isinstance(name, str) and key and name for key, name in groups.items()):
        raise ImproperlyConfigured('ENTRA_GROUPS must be JSON like {"object ID or role": "name of a group here"}.')
    if values["check_seconds"] < 1 or values["grace_seconds"] < 0:
        raise ImproperlyConfigured(
            "ENTRA_ACCOUNT_CHECK_SECONDS must be at least 1, and ENTRA_ACCOUNT_CHECK_GRACE_SECONDS not negative."
        )
    changed = {"tenant_id": tenant_id, "client_id": client_id, "authority": _authority(values["authority"])}
    return EntraSettings(**values | changed, sign_in=is_on, groups=groups)


def token_issuer(entra: EntraSettings, *, audiences: list[str], accept_roles: bool) -> dict[str, Any]:
    """Return the entry of `MCPAPP["TOKEN_ISSUERS"]` for the tenant's access tokens.

    Raises:
        ImproperlyConfigured: nobody said which tenant, or for what its tokens are.
    """
    if not entra.tenant_id or not (entra.client_id or audiences):
        raise ImproperlyConfigured("ENTRA_TOKENS needs ENTRA_TENANT_ID, and ENTRA_CLIENT_ID or ENTRA_AUDIENCES.")
    return {
        "profile": "entra",
        "name": "Microsoft Entra ID",
        "tenant": entra.tenant_id,
        "authority": entra.authority,
        "audiences": audiences or [entra.client_id, f"api://{entra.client_id}"],
        "create_users": entra.create_users,
        "accept_roles": accept_roles,
    }


def linked_issuers(entra: EntraSettings, token_issuers: Any) -> list[str]:
    """Return the issuers whose subjects are users here: the tenant, and others whose tokens are taken."""
    entries = token_issuers if isinstance(token_issuers, list) else []
    named = [entry["issuer"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("issuer"), str)]
    return [*([entra.issuer] if entra.tenant_id else []), *named]


def _authority(text: str) -> str:
    url = text.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        is_plain = parts.scheme == "https" and bool(parts.hostname) and url == f"https://{parts.netloc}"
    except ValueError:
        is_plain = False
    if not is_plain or "@" in url or url != url.lower() or not url.isascii():
        raise ImproperlyConfigured(f"ENTRA_AUTHORITY must look like {PUBLIC_CLOUD}, not {text!r}.")
    return url
