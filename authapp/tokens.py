"""Make access tokens, and look one up for the resource server.

`find_access_token` is what `MCPAPP["TOKEN_LOOKUP"]` points at: with `authapp.changes` all that joins the two apps.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import router
from django.db.models import OuterRef, Q, Subquery
from django.utils import timezone
from oauth2_provider.models import get_access_token_model
from oauth2_provider.settings import oauth2_settings

from authapp import direct, services, token_rows
from authapp.models import Connection
from authapp.token_rows import TokenRow

PREFIX = "star_"
"""Lets people and secret scanners see what a string is."""
_RANDOM_BYTES = 32
_MARK_LENGTH = 16  # 96 bits in base64url


@dataclass(frozen=True, slots=True)
class AccessTokenInfo:
    """What the authorization server knows of a live access token."""

    client_id: str
    client_name: str
    connection_id: int | None
    """The consent it was issued under; None for one made otherwise."""
    scopes: frozenset[str]
    resource: tuple[str, ...]
    """RFC 8707 resource indicators the token is bound to."""
    expires_at: int
    """Unix time in seconds."""
    depends_on: frozenset[str]
    """What a feed of changes calls the rows that this was read from (`authapp.changes`)."""
    make_user: Callable[[], AbstractBaseUser]
    is_app_only: bool = False
    """Whether no person takes part: `user` is the service user of the client then."""

    @property
    def user(self) -> AbstractBaseUser:
        """The person, or the service user; another instance each time."""
        return self.make_user()


def generate_access_token(request: Any = None) -> str:
    """Return a new access token (OAUTH2_PROVIDER["ACCESS_TOKEN_GENERATOR"]): 256 random bits, and a mark of ours.

    By the mark a made-up token is refused without a look into the database, however many somebody sends.
    """
    body = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    return body + _mark(body, settings.SECRET_KEY)


def is_marked(token: str) -> bool:
    """Return whether a token was made here, by a key that is not retired yet (SECRET_KEY_FALLBACKS)."""
    if not token.isascii() or not token.startswith(PREFIX):
        return False
    body, mark = token[:-_MARK_LENGTH], token[-_MARK_LENGTH:]
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return any(hmac.compare_digest(mark, _mark(body, key)) for key in keys)


def _mark(body: str, key: str | bytes) -> str:
    # Keyed BLAKE2 is a MAC by itself (RFC 7693), and costs a third of HMAC in a process that is busy with other things.
    return base64.urlsafe_b64encode(hashlib.blake2b(body.encode(), key=_salted(key), digest_size=12).digest()).decode()


@lru_cache(maxsize=16)
def _salted(key: str | bytes) -> bytes:
    return hashlib.sha256(b"authapp.tokens:" + (key.encode() if isinstance(key, str) else key)).digest()


def may_be_known(token: str) -> bool:
    """Return whether it is worth while to look for a token: not one that was made up, if our own have marks."""
    return oauth2_settings.ACCESS_TOKEN_GENERATOR is not generate_access_token or is_marked(token)


async def find_access_token(token: str) -> AccessTokenInfo | None:
    """Return what an access token stands for, or None if it stands for nothing (any more).

    Nothing means: unknown, expired, of a user who is not active, or of a client that is disabled; without a person,
    also of a client that is no service, has no service user, or none of the scopes any more (`authapp.services`).
    The lookup is by SHA-256, the only form in which tokens are stored; that column is unique, hence indexed.

    Raises:
        django.db.Error: the database does not answer.
    """
    checksum = hashlib.sha256(token.encode()).hexdigest()
    reader = direct.reader()
    if reader is not None and token_rows.is_readable():
        row = await token_rows.read(reader, checksum)
    else:
        row = await _read_with_orm(checksum)
    if row is None or row.disabled_at is not None or row.expires <= timezone.now() or not row.user_is_active:
        return None
    scopes = frozenset(row.scope.split())
    if row.service is not None:
        scopes = services.standing_scopes(row.service, scopes)
        if not scopes:
            return None
    depends_on = {f"token:{checksum}", f"user:{row.user_key}", f"client:{row.application_pk}"}
    if row.connection_pk is not None:
        depends_on.add(f"connection:{row.connection_pk}")
    return AccessTokenInfo(
        client_id=row.client_id,
        client_name=row.client_name,
        connection_id=row.connection_pk,
        scopes=scopes,
        resource=tuple(row.resource or ()),
        expires_at=int(row.expires.timestamp()),
        depends_on=frozenset(depends_on if row.user_key and token_rows.activity_is_stored() else ()),
        make_user=row.make_user,
        is_app_only=row.service is not None,
    )


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an access token is not found."""

    reason: str
    client_id: str
    user_key: str


def explain_access_token(token: str) -> Explanation | None:
    """Return why `find_access_token` finds nothing, for the owner of the site; None if it was never here, or is gone.

    Raises:
        django.db.Error: the database does not answer.
    """
    rows = get_access_token_model().objects.select_related("user", "application")
    row = rows.filter(token_checksum=hashlib.sha256(token.encode()).hexdigest(), application__isnull=False).first()
    if row is None:
        return None
    if row.application.disabled_at is not None:
        reason = "client_disabled"
    elif row.user is not None and not row.user.is_active:
        reason = "inactive"
    else:
        reason = "expired" if row.expires <= timezone.now() else "unknown"
    return Explanation(reason, row.application.client_id, str(row.user_id or ""))


find_access_token.explain = explain_access_token  # type: ignore[attr-defined]  # mcpapp.door_log asks it
find_access_token.may_be_known = may_be_known  # type: ignore[attr-defined]  # mcpapp.verifier asks it first


async def _read_with_orm(checksum: str) -> TokenRow | None:
    """Read the same where there is no reader: outside a server, or on another kind of database."""
    consent = Connection.objects.filter(user=OuterRef("user"), application=OuterRef("application"))
    token = (
        await get_access_token_model()
        .objects.using(router.db_for_write(get_access_token_model()))
        .select_related("user", "application", "application__service_user")
        .annotate(connection_pk=Subquery(consent.values("pk")[:1]))
        .filter(Q(user__isnull=False) | Q(application__service_user__isnull=False), application__isnull=False)
        .filter(token_checksum=checksum)
        .afirst()
    )
    if token is None:
        return None
    user = token.user or token.application.service_user
    return TokenRow(
        expires=token.expires,
        scope=token.scope,
        resource=token.resource,
        application_pk=token.application.pk,
        client_id=token.application.client_id,
        client_name=token.application.name,
        disabled_at=token.application.disabled_at,
        connection_pk=token.connection_pk,
        service=token.application if token.user is None else None,
        user_key=str(user.pk) if isinstance(user.pk, int | str | UUID) else None,
        user_is_active=user.is_active,
        make_user=lambda: copy.deepcopy(user),
    )
