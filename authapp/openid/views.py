"""The published keys (RFC 7517 §5) and the UserInfo endpoint (OIDC Core §5.3)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.utils import timezone
from django.utils.cache import get_conditional_response
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from oauth2_provider.models import get_access_token_model

from authapp import conf, tokens
from authapp.errors import no_store
from authapp.openid import signing_keys
from authapp.openid.claims import claims
from authapp.openid.subjects import subject


class OpenIDView(View):
    """What the endpoints share: they do not exist where OpenID Connect is switched off."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer 404 where it is off."""
        if not conf.openid():
            raise Http404("OpenID Connect is not offered here.")
        return super().dispatch(request, *args, **kwargs)


@method_decorator([csrf_exempt, login_not_required], name="dispatch")  # so that a POST is a 405, not a CSRF page
class JWKSView(OpenIDView):
    """GET /o/jwks/."""

    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Return the public keys; they are made if there are none."""
        signing_keys.ensure()
        body = json.dumps({"keys": signing_keys.published()}, sort_keys=True)
        etag = f'"{hashlib.sha256(body.encode()).hexdigest()[:32]}"'
        response: HttpResponseBase | None = get_conditional_response(request, etag=etag)
        response = response or HttpResponse(body, content_type="application/json")
        response["ETag"] = etag
        response["Cache-Control"] = f"public, max-age={conf.jwks_max_age_seconds()}"
        return response


@method_decorator([csrf_exempt, login_not_required], name="dispatch")
class UserInfoView(OpenIDView):
    """GET and POST /o/userinfo/ with an access token in the header, and nowhere else."""

    http_method_names = ["get", "post", "options"]

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Return the claims about the person of a token that was granted `openid`, whatever resource it is for.

        Raises nothing: whatever is wrong is a challenge (RFC 6750 §3).
        """
        scheme, _, credentials = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer":
            return _challenge(request, 401)
        token = find_live_token(credentials.strip())
        if token is None:
            return _challenge(request, 401, error="invalid_token", error_description="The token is not a live one.")
        scopes = token.scope.split()
        if "openid" not in scopes:
            return _challenge(request, 403, error="insufficient_scope", scope="openid")
        about = {"sub": subject(token.user, token.application)}
        return no_store(JsonResponse(claims(token.user, scopes) | about))

    post = get


def find_live_token(text: str) -> Any:
    """Return the row of an access token with its user and client, None unless both may use it now."""
    if not text or not tokens.may_be_known(text):
        return None
    row = (
        get_access_token_model()
        .objects.select_related("user", "application")
        .filter(token_checksum=hashlib.sha256(text.encode()).hexdigest(), expires__gt=timezone.now())
        .first()
    )
    # A token without a person manages a registration, or is a service's.
    if row is None or row.user is None or not row.user.is_active:
        return None
    return row if row.application is not None and row.application.is_usable(None) else None


def _challenge(request: HttpRequest, status: int, **attributes: str) -> HttpResponse:
    given = {"realm": conf.issuer(request), **attributes}
    body = {name: value for name, value in attributes.items() if name != "scope"}
    response = no_store(JsonResponse(body, status=status))
    response["WWW-Authenticate"] = "Bearer " + ", ".join(f'{name}="{value}"' for name, value in given.items())
    return response
