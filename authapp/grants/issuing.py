"""Issue tokens, whatever they were traded for: bound to a resource, in a family where there is a refresh token.

A grant that accepted a request has put on it `granted_resource`, the resources (RFC 8707) that its tokens may be for;
`default_resource`, those of them that are meant where the request names none, if not all; `family_code`, the digest
of a code that must not work again, if a new login comes of it; and `audit_detail`, what else the audit trail shall say.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from django.utils import timezone
from oauth2_provider.oauth2_validators import OAuth2Validator
from oauthlib.common import Request
from oauthlib.oauth2.rfc6749 import errors

from authapp import audit, conf, families, signals
from authapp.models import Application, Rotation, TokenFamily
from authapp.oauthlib_core import received_at

logger = logging.getLogger(__name__)


class Issuing(OAuth2Validator):
    """The part of the validator that makes tokens."""

    def save_bearer_token(self, token: dict[str, Any], request: Request, *args: Any, **kwargs: Any) -> None:
        """Save without DOT's transaction: the token endpoint runs in one already (`authapp.token_endpoint`)."""
        self._save_bearer_token(token, request, *args, **kwargs)

    def _save_bearer_token(self, token: dict[str, Any], request: Request, *args: Any, **kwargs: Any) -> None:
        """Issue an access token, and a refresh token where the grant gives one, in the place of DOT's method.

        DOT answers the repetition of a refresh with the pair it already made, which hashed storage cannot give back;
        and it knows neither of the family of a code nor of an audit trail.
        """
        self._check_and_set_request_resource(request)
        source = kept(request, "refresh_token_instance")
        expires = timezone.now() + timedelta(seconds=int(token["expires_in"]))
        if source is not None and source.revoked is None:
            access_token = self._rotate_away(source, expires, request, token)
        else:
            access_token = self._create_access_token(expires, request, token)
        if "refresh_token" in token:
            self._save_refresh_token(token, request, access_token, source)
        action = audit.Action.TOKEN_ISSUED if source is None else audit.Action.TOKEN_REFRESHED
        audit.record(
            action,
            request.headers,
            application=request.client,
            user=request.user or kept(request, "service_user"),
            scope=token["scope"],
            resource=list(request.resource),
            **(kept(request, "audit_detail") or {}),
        )
        signals.send_when_committed(signals.tokens_issued, type(access_token), grant=request.grant_type)

    def _save_refresh_token(self, token: dict[str, Any], request: Request, access_token: Any, source: Any) -> None:
        """Save a refresh token: the next of its family, or the first of a new one."""
        refresh_token = self._create_refresh_token(request, token["refresh_token"], access_token, source)
        if source is not None:
            Rotation.objects.create(source=source, successor=refresh_token)
        else:
            TokenFamily.objects.create(
                family=refresh_token.token_family,
                code_digest=kept(request, "family_code"),
                user=request.user,
                application=request.client,
                scope=token["scope"],
                authenticated_at=kept(request, "authenticated_at"),
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
        # Only a code or token from before resources were bound has none: it is for the default one.
        granted = kept(request, "granted_resource") or [conf.resources()[0]]
        if not set(request.resource) <= set(granted):
            raise errors.CustomOAuth2Error(
                error="invalid_target",
                description="Access was granted to " + " and ".join(granted) + " only.",
                request=request,
            )
        request.resource = request.resource or list(kept(request, "default_resource") or granted)


def end_replayed(code: str, client: Application, request: Request) -> None:
    """Revoke what a code turned into when it comes a second time (RFC 6749 §4.1.2); `code` is its digest.

    A request that was under way when the tokens were stored is no replay but the same click sent twice; its sender
    gets `invalid_grant` and keeps the tokens of the other request.
    """
    found = TokenFamily.objects.filter(code_digest=code, application=client).first()
    if found is None or received_at(request.headers) <= found.created_at.timestamp():
        return
    family = families.lock(found.family)
    if family is not None and family.ended_at is None:
        logger.warning("A code of client %s was replayed; its tokens are revoked.", client.client_id)
        families.end(family)
        audit.record(audit.Action.CODE_REPLAYED, request.headers, application=client, user=family.user)


def kept(request: Request, name: str) -> Any:
    """Return what this validator put on a request, or None: oauthlib's request also answers with a parameter's text."""
    return vars(request).get(name)
