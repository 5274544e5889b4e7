"""How a client proves at the token endpoint who it is (RFC 6749 §2.3)."""

from __future__ import annotations

from typing import Any

from oauth2_provider.oauth2_validators import OAuth2Validator
from oauthlib.common import Request

from authapp import client_assertions
from authapp.grants.issuing import kept
from authapp.models import Application
from authapp.models.client import PRIVATE_KEY_JWT


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

    def client_authentication_required(self, request: Request, *args: Any, **kwargs: Any) -> bool:
        """Authenticate whoever sends an assertion, and whoever registered to do so (DOT knows no assertions)."""
        if _parameter(request, "client_assertion") or _parameter(request, "client_assertion_type"):
            return True
        required = bool(super().client_authentication_required(request, *args, **kwargs))
        return required or getattr(request.client, "token_endpoint_auth_method", "") == PRIVATE_KEY_JWT

    def authenticate_client(self, request: Request, *args: Any, **kwargs: Any) -> bool:
        """Authenticate a client by an assertion or by its secret, whichever it registered for (RFC 7591 §2).

        Between the two ways to send a secret it may choose: real clients mix them up. DOT would take an empty secret
        of a client that has none.
        """
        if _parameter(request, "client_assertion") or _parameter(request, "client_assertion_type"):
            return self._authenticate_assertion(request)
        if not super().authenticate_client(request, *args, **kwargs):
            return False
        client: Application = request.client
        # A row that was saved without a secret has the empty one, or its hash.
        is_proof = client.client_type != Application.CLIENT_CONFIDENTIAL or not self._check_secret(
            "", client.client_secret
        )
        return is_proof and client.token_endpoint_auth_method != PRIVATE_KEY_JWT

    def _authenticate_assertion(self, request: Request) -> bool:
        """Return whether `client_assertion` proves a client, which `client_id`, if sent, names too (RFC 7521 §4.2)."""
        if kept(request, "client_assertion_verified"):
            return True  # asked again about the same request: the assertion was used by that, and not by another
        if _parameter(request, "client_assertion_type") != client_assertions.ASSERTION_TYPE:
            return False
        text = _parameter(request, "client_assertion")
        client_id = client_assertions.claimed_client_id(text)
        if not client_id or _parameter(request, "client_id") not in {"", client_id}:
            return False
        client = self._load_application(client_id, request)
        if client is None or client_assertions.verified(text, client, request.headers) is None:
            return False
        request.client_assertion_verified = True
        return True

    def validate_grant_type(
        self, client_id: str, grant_type: str, client: Application, request: Request, *args: Any, **kwargs: Any
    ) -> bool:
        """Return whether a client has a grant (DOT knows one grant for each client, and none beyond its own)."""
        return client.may_use(grant_type)


def _parameter(request: Request, name: str) -> str:
    """Return a parameter of the form, empty where it is not sent."""
    return str(dict(request.decoded_body or ()).get(name) or "")
