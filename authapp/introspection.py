"""Token introspection (RFC 7662): for the client a token belongs to, and for resource servers the settings name.

DOT answers any authenticated client about anybody's token, takes the token in the URL, and calls a token that manages a
registration active; so its view is not used.
"""

from __future__ import annotations

import hashlib
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from oauth2_provider.models import get_access_token_model
from oauth2_provider.views.mixins import OAuthLibMixin
from oauthlib.common import Request

from authapp import conf, services
from authapp.errors import error_response
from authapp.models import Application
from authapp.openid.subjects import subject
from authapp.token_endpoint import FormEndpoint


@method_decorator([csrf_exempt, login_not_required], name="dispatch")
class IntrospectionView(FormEndpoint, OAuthLibMixin, View):
    """POST /o/introspect/ with client authentication."""

    http_method_names = ["post", "options"]

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Say what a token is worth; anything but a live access token the asker may know about is `active: false`."""
        client = self._authenticated_client(request)
        if client is None:
            return error_response("invalid_client", "Introspection needs a client with a secret or a key.", status=401)
        token = request.POST.get("token", "")
        if not token:
            return error_response("invalid_request", "token is missing.")
        return JsonResponse(_describe(token, client, issuer=conf.issuer(request)))

    def _authenticated_client(self, request: HttpRequest) -> Application | None:
        core = self.get_oauthlib_core()
        uri, method, body, headers = core._extract_params(request)
        oauth_request = Request(uri, method, body, headers)
        validator = core.server.request_validator
        if not validator.authenticate_client(oauth_request):
            return None
        client: Application = oauth_request.client
        # A public client has nothing to prove who it is (RFC 7662 §2.1 asks for proof).
        return client if client.client_type == Application.CLIENT_CONFIDENTIAL else None


def _describe(token: str, asker: Application, *, issuer: str) -> dict[str, Any]:
    """Return the introspection response (RFC 7662 §2.2)."""
    row = (
        get_access_token_model()
        .objects.select_related("user", "application", "application__service_user")
        .filter(token_checksum=hashlib.sha256(token.encode()).hexdigest(), expires__gt=timezone.now())
        .first()
    )
    may_know = row is not None and (row.application == asker or asker.client_id in conf.introspecting_clients())
    if row is None or not may_know:
        return {"active": False}
    scope, user = row.scope, row.user
    if user is None:
        # A service's token, or one that manages a registration: that is no access token to anybody.
        standing = services.standing_scopes(row.application, scope.split())
        scope, user = " ".join(sorted(standing)), services.user_of(row.application) if standing else None
    if user is None or not user.is_active or not row.application.is_usable(None):
        return {"active": False}
    # A client that knows people by pairwise subjects would know them from another's by their names.
    may_know_name = asker.client_id in conf.introspecting_clients() or conf.subject_type() == "public"
    return {
        "active": True,
        "token_type": "Bearer",
        "scope": scope,
        "client_id": row.application.client_id,
        **({"username": user.get_username()} if may_know_name or "profile" in scope.split() else {}),
        "sub": subject(user, row.application),
        "aud": list(row.resource),
        "iss": issuer,
        "iat": int(row.created.timestamp()),
        "exp": int(row.expires.timestamp()),
    }
