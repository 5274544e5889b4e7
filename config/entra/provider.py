"""The provider as django-allauth finds it: state, PKCE and the callback are its own, what Entra needs is added."""

from __future__ import annotations

import secrets
from typing import Any

from allauth.socialaccount.providers.base import ProviderAccount
from allauth.socialaccount.providers.oauth2.provider import OAuth2Provider
from allauth.socialaccount.providers.oauth2.views import OAuth2Adapter, OAuth2CallbackView
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from config.entra import id_tokens, requests_to_entra

PROVIDER_ID = "entra"


class EntraAdapter(OAuth2Adapter):
    """Redeem the code and check the ID token. No discovery, no UserInfo, no Microsoft Graph."""

    provider_id = PROVIDER_ID

    @property
    def access_token_url(self) -> str:
        """Return the token endpoint."""
        return str(settings.ENTRA.token_endpoint)

    @property
    def authorize_url(self) -> str:
        """Return the authorization endpoint."""
        return str(settings.ENTRA.authorization_endpoint)

    def get_access_token_data(
        self, request: HttpRequest, app: Any, client: Any, pkce_code_verifier: str | None = None
    ) -> dict[str, Any]:
        """Redeem the code."""
        return requests_to_entra.tokens(
            grant_type="authorization_code",
            code=request.GET.get("code", ""),
            redirect_uri=client.callback_url,
            code_verifier=pkce_code_verifier or "",
        )

    def parse_token(self, data: dict[str, Any]) -> Any:
        """Keep nothing of the access token, which is for Microsoft Graph and not used."""
        from allauth.socialaccount.models import SocialToken  # needs loaded apps

        refresh_token = data.get("refresh_token")
        return SocialToken(token="", token_secret=refresh_token if isinstance(refresh_token, str) else "")

    def complete_login(self, request: HttpRequest, app: Any, token: Any, **kwargs: Any) -> Any:
        """Return who signed in, by the checked claims of the ID token."""
        claims = id_tokens.verify(kwargs["response"].get("id_token"))
        return self.get_provider().sociallogin_from_response(request, claims)


class EntraProvider(OAuth2Provider):
    """Microsoft Entra ID. Its accounts are linked in `authapp.LinkedIdentity`, never in allauth's own tables."""

    id = PROVIDER_ID
    name = "Microsoft"
    account_class = ProviderAccount
    oauth2_adapter_class = EntraAdapter
    pkce_enabled_default = True

    def get_default_scope(self) -> list[str]:
        """Return what is asked for: who it is, and a refresh token to learn later whether they still are."""
        return list(requests_to_entra.SCOPES)

    def begin(
        self, request: HttpRequest, *, process: str, next_url: str | None, anew: bool = False, choose: bool = False
    ) -> HttpResponse:
        """Redirect to Entra with state, PKCE and nonce, all kept in the session.

        Args:
            process: `login`, or `connect` for a person who links their account.
            anew: whether a session at Entra is not enough.
            choose: whether they shall say which account they mean.
        """
        nonce = secrets.token_urlsafe(24)
        parameters = {"nonce": nonce, "response_mode": "query"}
        if anew or choose:
            parameters["prompt"] = "login" if anew else "select_account"
        if (hint := request.GET.get("login_hint", "")) and process == "login":
            parameters["login_hint"] = hint[:150]
        response: HttpResponse = self.redirect(
            request,
            process=process,
            next_url=next_url,
            auth_params=parameters,
            nonce=nonce,
            user=str(request.user.pk) if request.user.is_authenticated else "",
        )
        return response

    def extract_uid(self, data: dict[str, Any]) -> str:
        """Return the object ID: the same for all of a tenant's applications, and never given to somebody else."""
        return str(data["oid"])

    def extract_common_fields(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return nothing: `config.entra.people` makes users, and only of checked text."""
        return {}


callback_view = OAuth2CallbackView.adapter_view(EntraAdapter)
provider_classes = [EntraProvider]
