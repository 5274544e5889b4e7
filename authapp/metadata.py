"""Authorization server metadata (RFC 8414, and the same facts at OpenID Connect's path): DOT's view, pinned.

DOT derives the issuer from the request; ours comes from the settings, and a path that is not an issuer's is a 404.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, JsonResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from oauth2_provider.views import OAuthServerMetadataView

from authapp import attempts, conf, json_web_keys, trusted_issuers
from authapp.openid import metadata as openid


@method_decorator([csrf_exempt, login_not_required], name="dispatch")  # so that a POST is a 405, not a CSRF page
class AuthorizationServerMetadataView(OAuthServerMetadataView):
    """GET /.well-known/oauth-authorization-server and /.well-known/openid-configuration."""

    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest, *args: Any, issuer_path: str = "", **kwargs: Any) -> JsonResponse:
        """Return the metadata of the issuer the request is at.

        `issuer_path` is what follows the well-known name; it must be the issuer's own path (RFC 8414 §3.1), because a
        document that named another issuer than the one it was asked for would be refused by clients anyway.
        """
        issuer = conf.issuer(request)
        if issuer_path and issuer_path != urlsplit(issuer).path:
            raise Http404("No such issuer.")
        metadata: dict[str, Any] = json.loads(super().get(request, *args, **kwargs).content)
        metadata["issuer"] = issuer
        metadata["grant_types_supported"] = list(conf.grant_types())
        metadata["prompt_values_supported"] = sorted(conf.prompts_supported())
        if further := trusted_issuers.grant_types():
            metadata["grant_types_supported"] = [*metadata["grant_types_supported"], *further]
            metadata["authorization_grant_profiles_supported"] = [trusted_issuers.PROFILE]
        # A public client can revoke its tokens, but has nothing to prove who it is when it asks about one.
        methods = [name for name in conf.SUPPORTED_AUTH_METHODS if name != "none"]
        metadata["introspection_endpoint_auth_methods_supported"] = methods
        for endpoint in ("token", "revocation", "introspection"):  # RFC 8414 §2: required beside private_key_jwt
            metadata[f"{endpoint}_endpoint_auth_signing_alg_values_supported"] = list(json_web_keys.ALGORITHMS)
        if conf.device_flow():
            metadata["device_authorization_endpoint"] = self._get_endpoint_url(request, "device-authorization")
        attempts.discovered(request)
        response = JsonResponse(metadata | openid.facts(request))
        response["Cache-Control"] = "public, max-age=300"
        response["Vary"] = "Host"
        return response

    def _get_endpoint_url(self, request: HttpRequest, view_name: str, required: bool = False) -> str | None:
        """Build an endpoint's URL at our issuer; None where no such endpoint is mounted."""
        if super()._get_endpoint_url(request, view_name, required) is None:
            return None
        parts = urlsplit(conf.issuer(request))
        return f"{parts.scheme}://{parts.netloc}{reverse(f'oauth2_provider:{view_name}')}"
