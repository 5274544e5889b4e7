"""The authorization code grant (RFC 6749 §4.1): codes are stored as digests, used once, and a replay is punished."""

from __future__ import annotations

from typing import Any

from oauth2_provider.models import get_grant_model
from oauth2_provider.oauth2_validators import OAuth2Validator
from oauthlib.common import Request
from oauthlib.oauth2.rfc6749 import errors

from authapp import account_checks, attempts
from authapp.grants.issuing import end_replayed, kept
from authapp.models import Application
from authapp.oauthlib_core import code_digest
from authapp.openid import id_tokens


class CodeGrant(OAuth2Validator):
    """The code's part of the validator."""

    def _create_authorization_code(self, request: Request, code: dict[str, str], expires: Any = None) -> Any:
        """Store the digest of the code instead of the code (stock DOT keeps it in clear)."""
        request.nonce, request.claims = id_tokens.to_remember(request)
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
            attempts.tell(request.headers, "code_unknown")
            end_replayed(code, client, request)
            return False
        attempts.tell(request.headers, "code_expired" if grant.is_expired() else "code_refused", grant.user)
        if grant.is_expired() or not grant.user.is_active or account_checks.ended_since(grant.user, grant.created):
            return False
        request.grant = grant
        request.user = grant.user
        request.scopes = grant.scope.split()
        request.granted_resource, request.family_code = grant.resource, code
        id_tokens.recall(request, grant)
        return True

    def get_code_challenge(self, code: str, request: Request) -> str | None:
        """Return the challenge of the code that `validate_code` found."""
        return request.grant.code_challenge or None

    def get_code_challenge_method(self, code: str, request: Request) -> str | None:
        """Return its method."""
        return request.grant.code_challenge_method or None

    def get_default_redirect_uri(self, client_id: str, request: Request, *args: Any, **kwargs: Any) -> str | None:
        """Take the redirect URI of the authorization where a token request names none (OAuth 2.1 §4.1.3).

        PKCE does what the repetition was for.
        """
        if grant := kept(request, "grant"):
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
            attempts.tell(request.headers, "token_redirect_uri", request.grant.user, again=True)
            raise errors.InvalidGrantError(description="Mismatching redirect URI.", request=request)
        return True
