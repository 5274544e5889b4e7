"""DOT's request validator with our rules for clients, codes, refresh tokens and audience.

Each method that is overridden says what stock DOT 3.4.1 does otherwise. Methods with a leading underscore are
DOT's documented places to override (`_save_bearer_token`) or are held by tests/authapp/test_private_seams.py.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone
from oauth2_provider.models import (
    get_grant_model,
    get_refresh_token_model,
    refresh_token_expire_timedelta,
)
from oauth2_provider.oauth2_validators import OAuth2Validator
from oauth2_provider.scopes import get_scopes_backend
from oauthlib.common import Request
from oauthlib.oauth2.rfc6749 import errors

from authapp import audit, conf, families
from authapp.models import Application, Rotation, TokenFamily
from authapp.oauthlib_core import code_digest, received_at

logger = logging.getLogger(__name__)

# Parallel processes of one client are a handful; a refresh token that was stolen could make pairs all minute long.
MAXIMUM_SUCCESSORS = 25


class Validator(OAuth2Validator):
    """What the authorization server accepts."""

    # --- Clients ---------------------------------------------------------------------------------------

    def _load_application(self, client_id: str | None, request: Request) -> Application | None:
        """Find no client under an identifier with a NUL, which PostgreSQL refuses to look for."""
        if client_id and "\x00" in client_id:
            return None
        application: Application | None = super()._load_application(client_id, request)
        return application

    def _authenticate_basic_auth(self, request: Request) -> bool:
        """Answer a header that is not ASCII or not base64 with `invalid_client`, not with an exception.

        It is UTF-8: DOT would decode it by a parameter that is called `encoding`.
        """
        request.encoding = "utf-8"
        try:
            return bool(super()._authenticate_basic_auth(request))
        except ValueError:
            return False

    # --- Scopes ----------------------------------------------------------------------------------------

    def validate_scopes(
        self, client_id: str, scopes: list[str], client: Application, request: Request, *args: Any, **kwargs: Any
    ) -> bool:
        """Narrow a request to the scopes this server has; refuse it when none is left (RFC 6749 §3.3)."""
        available = set(get_scopes_backend().get_available_scopes(application=client, request=request))
        request.scopes = [scope for scope in dict.fromkeys(scopes) if scope in available]
        return bool(request.scopes)

    # --- Codes -----------------------------------------------------------------------------------------

    def _create_authorization_code(self, request: Request, code: dict[str, str], expires: Any = None) -> Any:
        """Store the digest of the code instead of the code (stock DOT keeps it in clear)."""
        request.nonce = request.claims = None  # OpenID Connect's, which is not offered: nothing of it is kept
        return super()._create_authorization_code(request, {**code, "code": code_digest(code["code"])}, expires)

    def validate_code(
        self, client_id: str, code: str, client: Application, request: Request, *args: Any, **kwargs: Any
    ) -> bool:
        """Lock the code, so that of parallel redemptions one succeeds; refuse a user who is no longer active.

        The token endpoint runs in a transaction (`authapp.token_endpoint`), which holds the lock until the code is
        deleted. The row is kept on the request: DOT reads it again for each thing it wants to know of it.
        """
        grants = get_grant_model().objects.select_related("user").select_for_update(of=("self",))
        grant = grants.filter(code=code, application=client).first()
        if grant is None:
            self._end_replayed_code(code, client, request)
            return False
        if grant.is_expired() or not grant.user.is_active:
            return False
        request.grant = grant
        request.user = grant.user
        request.scopes = grant.scope.split()
        return True

    def get_code_challenge(self, code: str, request: Request) -> str | None:
        """Return the challenge of the code that `validate_code` found."""
        return request.grant.code_challenge or None

    def get_code_challenge_method(self, code: str, request: Request) -> str | None:
        """Return its method."""
        return request.grant.code_challenge_method or None

    def _end_replayed_code(self, code: str, client: Application, request: Request) -> None:
        """Revoke what a code turned into when it comes a second time (RFC 6749 §4.1.2).

        A request that was under way when the tokens were stored is no replay but the same click sent twice; its sender
        gets `invalid_grant` and keeps the tokens of the other request.
        """
        found = TokenFamily.objects.filter(code_digest=code, application=client).first()
        if found is None or received_at(request.headers) <= found.created_at.timestamp():
            return
        family = families.lock(found.family)
        if family is not None and family.ended_at is None:
            logger.warning("An authorization code of client %s was replayed; its tokens are revoked.", client.client_id)
            families.end(family)
            audit.record(audit.Action.CODE_REPLAYED, request.headers, application=client, user=family.user)

    def get_default_redirect_uri(self, client_id: str, request: Request, *args: Any, **kwargs: Any) -> str | None:
        """Take the redirect URI of the authorization where a token request names none (OAuth 2.1 §4.1.3).

        PKCE does what the repetition was for.
        """
        if grant := _kept(request, "grant"):
            return str(grant.redirect_uri)
        default: str | None = super().get_default_redirect_uri(client_id, request, *args, **kwargs)
        return default

    def confirm_redirect_uri(
        self,
        client_id: str,
        code: str,
        redirect_uri: str,
        client: Application,
        request: Request,
        *args: Any,
        **kwargs: Any,
    ) -> bool:
        """Answer a redirect URI other than the one of the authorization with `invalid_grant` (RFC 6749 §5.2).

        oauthlib would say `invalid_request`.
        """
        if not request.grant.redirect_uri_allowed(redirect_uri):
            raise errors.InvalidGrantError(description="Mismatching redirect URI.", request=request)
        return True

    # --- Refresh tokens --------------------------------------------------------------------------------

    def validate_refresh_token(
        self, refresh_token: str, client: Application, request: Request, *args: Any, **kwargs: Any
    ) -> bool:
        """Accept a live refresh token, and for a short while the one that was just rotated away.

        Clients refresh in parallel and lose answers. So a rotated token yields another pair of its family until a
        successor of it has itself been used, and for `ROTATION_OVERLAP_SECONDS` at most; a later or older replay is
        treated as theft and ends the family (RFC 9700 §4.14.2). docs/decisions/0005 has the reasons.
        """
        token = _find_refresh_token(refresh_token, client)
        family = families.lock(token.token_family) if token else None
        if connection.features.has_select_for_update:
            # Another request may have held the lock. (Where there are no row locks, this transaction came first.)
            token = _find_refresh_token(refresh_token, client)
        if token is None or family is None or not families.is_alive(family) or not token.user.is_active:
            return False
        if token.revoked is None:
            if not _is_alive(token):
                return False
        elif not _may_be_used_again(token):
            logger.warning("A refresh token of client %s was replayed; its family is revoked.", client.client_id)
            families.end(family)
            audit.record(audit.Action.REFRESH_REPLAYED, request.headers, application=client, user=token.user)
            return False
        elif Rotation.objects.filter(source=token).count() >= MAXIMUM_SUCCESSORS:
            return False
        request.token_family = family
        request.user = token.user
        request.refresh_token = refresh_token
        request.refresh_token_instance = token
        return True

    def get_original_scopes(self, refresh_token: str, request: Request, *args: Any, **kwargs: Any) -> list[str]:
        """Return the scopes that the person granted, also after a refresh that asked for fewer (RFC 6749 §6)."""
        return list(request.token_family.scope.split())

    def is_within_original_scope(
        self, request_scopes: list[str], refresh_token: str, request: Request, *args: Any, **kwargs: Any
    ) -> bool:
        """Return whether every scope asked for is granted, or implied by one that is."""
        return conf.with_implied(request.token_family.scope.split()).issuperset(request_scopes)

    def save_bearer_token(self, token: dict[str, Any], request: Request, *args: Any, **kwargs: Any) -> None:
        """Save without DOT's transaction: the token endpoint runs in one already (`authapp.token_endpoint`)."""
        self._save_bearer_token(token, request, *args, **kwargs)

    def _save_bearer_token(self, token: dict[str, Any], request: Request, *args: Any, **kwargs: Any) -> None:
        """Issue a pair of tokens, in the place of DOT's method.

        DOT answers the repetition of a refresh with the pair it already made, which hashed storage cannot give back;
        and it knows neither of the family of a code nor of an audit trail.
        """
        self._check_and_set_request_resource(request)
        source = _kept(request, "refresh_token_instance")
        expires = timezone.now() + timedelta(seconds=int(token["expires_in"]))
        if source is not None and source.revoked is None:
            access_token = self._rotate_away(source, expires, request, token)
        else:
            access_token = self._create_access_token(expires, request, token)
        refresh_token = self._create_refresh_token(request, token["refresh_token"], access_token, source)
        if source is not None:
            Rotation.objects.create(source=source, successor=refresh_token)
        else:
            TokenFamily.objects.create(
                family=refresh_token.token_family,
                code_digest=request.code,
                user=request.user,
                application=request.client,
                scope=token["scope"],
            )
        action = audit.Action.TOKEN_ISSUED if source is None else audit.Action.TOKEN_REFRESHED
        audit.record(
            action,
            request.headers,
            application=request.client,
            user=request.user,
            scope=token["scope"],
            resource=list(request.resource),
        )

    def _rotate_away(self, source: Any, expires: Any, request: Request, token: dict[str, Any]) -> Any:
        """Revoke a live refresh token and make the access token of its pair the new one.

        The row of the old access token becomes the new one's, as DOT does where refresh tokens do not rotate: nothing
        is left that the old one would be found by, and one statement does for deleting, looking for rows that refer
        to what is deleted, and inserting.
        """
        access_token, now = source.access_token, timezone.now()
        type(source).objects.filter(pk=source.pk).update(revoked=now, updated=now, access_token=None)
        access_token.created, access_token.expires = now, expires
        access_token.scope, access_token.resource = token["scope"], request.resource
        self._set_token_value(access_token, token["access_token"])
        access_token.save()
        return access_token

    # --- Revocation ------------------------------------------------------------------------------------

    def revoke_token(self, token: str, token_type_hint: str, request: Request, *args: Any, **kwargs: Any) -> None:
        """Revoke the family of a token of this client, whichever of its tokens it is (RFC 7009 §2.1).

        DOT ends one pair; the pairs of parallel refreshes would live on.
        """
        checksum = hashlib.sha256(token.encode()).hexdigest()
        refresh_tokens = get_refresh_token_model().objects.filter(application=request.client)
        found = (
            refresh_tokens.filter(token_checksum=checksum).first()
            or refresh_tokens.filter(access_token__token_checksum=checksum).first()
        )
        family = families.lock(found.token_family) if found else None
        if family is None:
            return  # unknown, ended, or another client's: the answer is the same (RFC 7009 §2.2)
        families.end(family)
        audit.record(audit.Action.TOKEN_REVOKED, request.headers, application=request.client, user=family.user)

    # --- Audience --------------------------------------------------------------------------------------

    def _check_and_set_request_resource(self, request: Request) -> None:
        """Accept only our resources, each in its one spelling (RFC 8707 §2; stock DOT takes any absolute URI).

        Raises:
            oauthlib.oauth2.rfc6749.errors.CustomOAuth2Error: `invalid_target`.
        """
        asked = [value for name, value in (request.decoded_body or []) if name == "resource" and value]
        canonical = [conf.canonical_resource(value) for value in asked]
        if None in canonical or len(set(canonical)) > 1:
            raise errors.CustomOAuth2Error(
                error="invalid_target",
                description="This authorization server issues tokens for " + " and ".join(conf.resources()) + " only.",
                request=request,
            )
        request.resource = list(dict.fromkeys(canonical))
        source = _kept(request, "grant") or request.refresh_token_instance
        # Only a code or token from before resources were bound has none: it is for the default one.
        granted = source.resource or [conf.resources()[0]]
        if not set(request.resource) <= set(granted):
            raise errors.CustomOAuth2Error(
                error="invalid_target",
                description="The person granted access to " + " and ".join(granted) + " only.",
                request=request,
            )
        request.resource = request.resource or list(granted)


def _kept(request: Request, name: str) -> Any:
    """Return what this validator put on a request, or None: oauthlib's request also answers with a parameter's text."""
    return vars(request).get(name)


def _find_refresh_token(refresh_token: str, client: Application) -> Any:
    """Return the row of a refresh token of this client, or None; of several the one that lives.

    DOT's unique key is (checksum, revoked), so that nothing but chance keeps a second row away.
    """
    found = list(
        get_refresh_token_model()
        .objects.filter(token_checksum=hashlib.sha256(refresh_token.encode()).hexdigest(), application=client)
        .select_related("user", "access_token")[:10]
    )
    return next((token for token in found if token.revoked is None), found[0] if found else None)


def _is_alive(token: Any) -> bool:
    """Return whether a refresh token that was never used is within its time, which slides with each refresh."""
    if token.access_token is None:
        return False
    lifetime = refresh_token_expire_timedelta()
    return lifetime is None or token.access_token.expires + lifetime > timezone.now()


def _may_be_used_again(token: Any) -> bool:
    """Return whether a rotated refresh token is inside the overlap: recent, and no successor used or ended."""
    overlap = timedelta(seconds=conf.rotation_overlap_seconds())
    if token.revoked + overlap <= timezone.now():
        return False
    successors = [rotation.successor for rotation in Rotation.objects.filter(source=token).select_related("successor")]
    return bool(successors) and all(
        successor.revoked is None and successor.access_token_id is not None for successor in successors
    )
