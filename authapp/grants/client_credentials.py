"""The client credentials grant (RFC 6749 §4.4): a service gets tokens of its own, without a person.

It is for clients that the site's owner made, that can prove who they are, and that have an active service user
(`authapp.services`). The tokens have no person and no refresh token.
"""

from __future__ import annotations

from typing import Any

from oauth2_provider.oauth2_validators import OAuth2Validator
from oauthlib.common import Request
from oauthlib.oauth2 import BearerToken
from oauthlib.oauth2 import ClientCredentialsGrant as OAuthlibGrant
from oauthlib.oauth2.rfc6749 import errors

from authapp import conf, services
from authapp.grants.issuing import kept
from authapp.models import Application


class AppTokenGrant(OAuthlibGrant):
    """oauthlib's grant with a lifetime of its own for the tokens."""

    def __init__(self, request_validator: Any, token_generator: Any) -> None:
        super().__init__(request_validator)
        self._bearer = BearerToken(request_validator, token_generator, lambda request: conf.app_token_seconds())

    def create_token_response(self, request: Request, token_handler: Any) -> tuple[dict[str, str], str, int]:
        """Return headers, body and status, with a token of ours whatever `token_handler` the server has."""
        response: tuple[dict[str, str], str, int] = super().create_token_response(request, self._bearer)
        return response

    def validate_client_confidential(self, request: Request) -> None:
        """Authenticate the client; a `client_id` beside other credentials must be the same (RFC 6749 §2.3.1).

        oauthlib would say `server_error`.

        Raises:
            oauthlib.oauth2.rfc6749.errors.OAuth2Error: `invalid_client`, or `invalid_request`.
        """
        try:
            super().validate_client_confidential(request)
        except errors.ServerError:
            raise errors.InvalidRequestError(description="client_id is another client's.", request=request) from None


class ClientCredentialsGrant(OAuth2Validator):
    """The service's part of the validator."""

    def validate_grant_type(
        self, client_id: str, grant_type: str, client: Application, request: Request, *args: Any, **kwargs: Any
    ) -> bool:
        """Return whether a client has a grant; note whom a service acts as, or that it may not (`unauthorized_client`).

        DOT lets every client with the grant in, and puts a person on the token whom a parameter `user` names.
        """
        may_use = bool(super().validate_grant_type(client_id, grant_type, client, request, *args, **kwargs))
        if not may_use or grant_type != "client_credentials":
            return may_use
        request.service_user = services.user_of(client)
        if request.service_user is None:
            return False
        request.user = None
        request.granted_resource = conf.resources()
        request.default_resource = [conf.default_resource(request.headers)]
        return True

    def get_default_scopes(self, client_id: str, request: Request, *args: Any, **kwargs: Any) -> list[str]:
        """Return all that the owner gave a service, where it asks for nothing in particular (RFC 6749 §3.3)."""
        if kept(request, "service_user") is not None:
            return services.own_scopes(request.client)
        return list(super().get_default_scopes(client_id, request, *args, **kwargs))

    def validate_own_scopes(self, scopes: list[str], client: Application, request: Request) -> bool:
        """Let a service ask for nothing beyond what the owner gave it; more is refused, not left out.

        Raises:
            oauthlib.oauth2.rfc6749.errors.InvalidScopeError: it does; told is what it may have.
        """
        request.scopes = list(dict.fromkeys(scopes))
        if not request.scopes or not services.within_own_scopes(client, request.scopes):
            may_have = " ".join(services.own_scopes(client)) or "no scope"
            raise errors.InvalidScopeError(description=f"This service may have {may_have}.", request=request)
        return True
