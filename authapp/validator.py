"""DOT's request validator with our rules for clients, grants and audience; each grant has a module of its own.

Each method that is overridden says what stock DOT 3.4.1 does otherwise. Methods with a leading underscore are
DOT's documented places to override (`_save_bearer_token`) or are held by tests/authapp/test_private_seams.py.
"""

from __future__ import annotations

import hashlib
from typing import Any

from oauth2_provider.models import get_access_token_model, get_refresh_token_model
from oauth2_provider.scopes import get_scopes_backend
from oauth2_provider.settings import oauth2_settings
from oauthlib.common import Request

from authapp import audit, families
from authapp.client_authentication import ClientAuthentication
from authapp.client_secrets import ClientSecrets
from authapp.grants.client_credentials import ClientCredentialsGrant
from authapp.grants.code import CodeGrant
from authapp.grants.device import DeviceGrant
from authapp.grants.identity_assertion import IdentityAssertion
from authapp.grants.issuing import Issuing, kept
from authapp.grants.refresh import RefreshGrant
from authapp.models import Application
from authapp.openid.id_tokens import IDTokens


class Validator(
    ClientCredentialsGrant,
    ClientAuthentication,
    ClientSecrets,
    CodeGrant,
    DeviceGrant,
    RefreshGrant,
    IDTokens,
    IdentityAssertion,
    Issuing,
):
    """What the authorization server accepts."""

    def validate_scopes(
        self, client_id: str, scopes: list[str], client: Application, request: Request, *args: Any, **kwargs: Any
    ) -> bool:
        """Narrow a request to the scopes this server has; refuse it when none is left (RFC 6749 §3.3)."""
        if kept(request, "service_user") is not None:
            return self.validate_own_scopes(scopes, client, request)
        available = set(get_scopes_backend().get_available_scopes(application=client, request=request))
        request.scopes = [scope for scope in dict.fromkeys(scopes) if scope in available]
        return bool(request.scopes)

    def revoke_token(self, token: str, token_type_hint: str, request: Request, *args: Any, **kwargs: Any) -> None:
        """Revoke the family of a token of this client, whichever of its tokens it is (RFC 7009 §2.1).

        DOT ends one pair; the pairs of parallel refreshes would live on. A token that no refresh token belongs to, as a
        service has it, ends by itself. The one that manages a registration (RFC 7592) is none of this endpoint's.
        """
        checksum = hashlib.sha256(token.encode()).hexdigest()
        refresh_tokens = get_refresh_token_model().objects.filter(application=request.client)
        found = (
            refresh_tokens.filter(token_checksum=checksum).first()
            or refresh_tokens.filter(access_token__token_checksum=checksum).first()
        )
        family = families.lock(found.token_family) if found else None
        if family is not None:
            families.end(family)
            user = family.user
        else:
            access_tokens = get_access_token_model().objects.filter(application=request.client, token_checksum=checksum)
            access_tokens = access_tokens.exclude(scope=oauth2_settings.DCR_REGISTRATION_SCOPE)
            alone = access_tokens.select_related("user").first()
            if alone is None or not alone.delete()[0]:
                return  # unknown, ended, or another client's: the answer is the same (RFC 7009 §2.2)
            user = alone.user or request.client.service_user
        audit.record(audit.Action.TOKEN_REVOKED, request.headers, application=request.client, user=user)
