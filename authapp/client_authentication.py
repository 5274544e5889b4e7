"""How a client proves at the token endpoint who it is (RFC 6749 §2.3)."""

from __future__ import annotations

from typing import Any

from oauth2_provider.oauth2_validators import OAuth2Validator
from oauthlib.common import Request

from authapp.models import Application


class ClientAuthentication(OAuth2Validator):
    """The client's part of the validator."""

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

    def validate_grant_type(
        self, client_id: str, grant_type: str, client: Application, request: Request, *args: Any, **kwargs: Any
    ) -> bool:
        """Return whether a client has a grant (DOT knows one grant for each client, and none beyond its own)."""
        return client.may_use(grant_type)
