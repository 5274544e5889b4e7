"""The device authorization endpoint (RFC 8628 §3.1): a device asks for a code, and a person answers elsewhere."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import View
from oauth2_provider.views.mixins import OAuthLibMixin
from oauthlib.oauth2 import OAuth2Error

from authapp import audit, conf, throttling, user_codes
from authapp.errors import error_response
from authapp.models import Application, DeviceAuthorization
from authapp.oauthlib_core import code_digest
from authapp.token_endpoint import FormEndpoint

_TRIES = 8


@method_decorator([csrf_exempt, login_not_required], name="dispatch")
class DeviceAuthorizationView(FormEndpoint, OAuthLibMixin, View):
    """POST /o/device_authorization/."""

    http_method_names = ["post", "options"]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Be nowhere while the flow is off; count the address before anything is looked up."""
        if not conf.device_flow():
            raise Http404("The device flow is off.")
        if request.method == "POST" and (refusal := throttling.refuse_device_authorization(request)):
            return refusal
        return super().dispatch(request, *args, **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Authenticate the client as the token endpoint does, and give out a pair of codes (RFC 8628 §3.2)."""
        try:
            asked = self.get_oauthlib_core().validate_device_authorization_request(request)
        except OAuth2Error as error:
            return HttpResponse(error.json, status=error.status_code, headers=error.headers)
        resource = conf.requested_resource(request, request.POST.getlist("resource"))
        if resource is None:
            return error_response("invalid_target", f"The resource must be {' or '.join(conf.resources())}.")
        most = conf.device_authorizations_per_client()
        if most and _waiting(asked.client) >= most:
            return throttling.too_many("Too many devices wait for this client.", conf.device_code_seconds())
        device_code = secrets.token_urlsafe(32)
        user_code = _new_user_code()
        now = timezone.now()
        DeviceAuthorization.objects.create(
            device_code_digest=code_digest(device_code),
            user_code_digest=user_codes.digest(user_code),
            application=asked.client,
            scope=" ".join(asked.scopes),
            resource=[resource],
            requested_at=now,
            expires_at=now + timedelta(seconds=conf.device_code_seconds()),
            interval=conf.device_interval_seconds(),
            **audit.sender(request.META),
        )
        verification_uri = conf.absolute_url(request, "device")
        return JsonResponse(
            {
                "device_code": device_code,
                "user_code": user_codes.shown(user_code),
                "verification_uri": verification_uri,
                "verification_uri_complete": complete_uri(verification_uri, user_code),
                "expires_in": conf.device_code_seconds(),
                "interval": conf.device_interval_seconds(),
            }
        )


def complete_uri(verification_uri: str, user_code: str) -> str:
    """Return the URI with the code in it, which is for QR codes and links (RFC 8628 §3.3.1)."""
    return f"{verification_uri}?{urlencode({'user_code': user_codes.shown(user_code)})}"


def _waiting(application: Application) -> int:
    """Return for how many devices a client waits."""
    pending = DeviceAuthorization.Status.PENDING
    waiting = application.device_authorizations.filter(status=pending, expires_at__gt=timezone.now())
    return int(waiting.count())


def _new_user_code() -> str:
    """Return a code that no row has. Where two processes draw the same one, the transaction starts over."""
    for _ in range(_TRIES):
        code = user_codes.generate()
        if not DeviceAuthorization.objects.filter(user_code_digest__in=user_codes.digests(code)).exists():
            return code
    raise AssertionError("unreachable: 20^8 codes are never all taken")
