"""The token and revocation endpoints (RFC 6749 §3.2, RFC 7009): DOT's views in one transaction, with RFC errors."""

from __future__ import annotations

import re
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import BadRequest, RequestDataTooBig, TooManyFieldsSent
from django.http import HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from oauth2_provider import cimd
from oauth2_provider.settings import oauth2_settings
from oauth2_provider.signals import app_authorized
from oauth2_provider.views import RevokeTokenView as DOTRevokeTokenView
from oauth2_provider.views import TokenView as DOTTokenView

from authapp import account_checks, attempts, client_assertions, conf, trusted_issuers
from authapp.errors import error_response, no_store
from authapp.models import Application
from authapp.oauthlib_core import basic_client_id
from authapp.transactions import in_transaction

MAXIMUM_PARAMETER_LENGTH = 8192
_VERIFIER = re.compile(r"[A-Za-z0-9\-._~]{43,128}")  # RFC 7636 §4.1
_MAY_REPEAT = frozenset({"resource"})  # RFC 8707 §2


class FormEndpoint:
    """What the two endpoints share: form parameters checked before DOT sees them, answers never cached."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Check the form, answer in one transaction, and never with anything cacheable."""
        if request.method != "POST":
            refused: HttpResponse = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
            return no_store(refused)
        if problem := _problem_with_form(request):
            return error_response("invalid_request", problem)
        _refresh_metadata_document(request)
        if request.POST.get("grant_type") == conf.JWT_BEARER:
            trusted_issuers.refresh_keys(request.POST.get("assertion", ""))
        client_assertions.refresh_keys(request)
        if request.POST.get("grant_type") == "refresh_token" and (
            seconds := account_checks.before_refresh(request.POST.get("refresh_token", ""), request.META)
        ):
            # RFC 6749 §5.2 has no code for it. With `invalid_grant` clients would throw away a refresh token that may
            # be good again in a minute; this code is its §4.1.2.1's, and HTTP's own says when to come back.
            refused = error_response("temporarily_unavailable", "Whether the account is still good is not known now.")
            refused.status_code, refused["Retry-After"] = 503, str(seconds)
            return refused
        # A code or refresh token is locked, used and replaced in one transaction: of parallel requests with the same
        # one, each sees what the other did. An error answer commits too: it may have revoked a family.
        told = attempts.listen(request)
        response: HttpResponse = in_transaction(
            lambda: super(FormEndpoint, self).dispatch(request, *args, **kwargs)  # type: ignore[misc]
        )
        if response.status_code in {400, 401} and isinstance(self, TokenView):
            attempts.tokens_refused(request, response, told)
        if response.status_code >= 400 and response.content:
            response["Content-Type"] = "application/json"  # DOT sets none on errors raised while saving
        if response.status_code == 401:
            # RFC 6749 §5.2: the challenge of the scheme the client used; oauthlib says Bearer.
            response["WWW-Authenticate"] = f'Basic realm="{conf.issuer(request)}"'
        return no_store(response)


@method_decorator([csrf_exempt, login_not_required], name="dispatch")
class TokenView(FormEndpoint, DOTTokenView):
    """POST /o/token/."""

    http_method_names = ["post", "options"]

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Issue tokens for what the settings' grants trade for them; no other grant exists here."""
        grant_type = request.POST.get("grant_type", "")
        if not grant_type:
            return error_response("invalid_request", "grant_type is missing.")
        if grant_type not in conf.grant_types() and grant_type not in trusted_issuers.grant_types():
            supported = " and ".join((*conf.grant_types(), *trusted_issuers.grant_types()))
            return error_response("unsupported_grant_type", f"This server has the grants {supported}.")
        if app_authorized.has_listeners(type(self)):
            # DOT looks the new token up again to send its signal.
            response: HttpResponse = self.authorization_flow_token_response(request)
            return response
        _, headers, body, status = self.create_token_response(request)
        return HttpResponse(body, status=status, headers=headers)


@method_decorator([csrf_exempt, login_not_required], name="dispatch")
class RevokeTokenView(FormEndpoint, DOTRevokeTokenView):
    """POST /o/revoke_token/."""

    http_method_names = ["post", "options"]


def _problem_with_form(request: HttpRequest) -> str:
    """Return what is wrong with the form, or nothing."""
    if request.META.get("QUERY_STRING"):
        return "URL query parameters are not allowed."  # RFC 6749 §3.2: they would end in logs
    if request.META.get("CONTENT_TYPE") and request.content_type != "application/x-www-form-urlencoded":
        return "Send the parameters as application/x-www-form-urlencoded."  # RFC 6749 §3.2 and Appendix B
    try:
        lists = dict(request.POST.lists())
    except (RequestDataTooBig, TooManyFieldsSent):
        return "The request body is too large."
    except (BadRequest, MultiPartParserError, UnreadablePostError, UnicodeError, ValueError):
        return "The request body cannot be parsed."
    for name, values in lists.items():
        if len(values) > 1 and name not in _MAY_REPEAT:
            # RFC 6749 §3.2: parameters must not be included more than once.
            return f"The parameter {name[:40]} is repeated."
        if len(name) > 100 or any(len(value) > MAXIMUM_PARAMETER_LENGTH or "\x00" in value for value in values):
            return f"The parameter {name[:40]} is too long or has a NUL character."
    if not all(_VERIFIER.fullmatch(verifier) for verifier in lists.get("code_verifier", ())):
        return "code_verifier must be 43 to 128 unreserved characters."
    if ("client_assertion" in lists) != ("client_assertion_type" in lists):
        return "client_assertion and client_assertion_type stand together."  # RFC 7521 §4.2
    is_basic = request.META.get("HTTP_AUTHORIZATION", "").lower().startswith("basic ")
    if "client_assertion" in lists and ("client_secret" in lists or is_basic):
        return "Authenticate the client once: with client_assertion or with a secret, not both."
    if "client_secret" in lists and is_basic:
        return "Authenticate the client once: with the Authorization header or with client_secret, not both."
    return ""


def _refresh_metadata_document(request: HttpRequest) -> None:
    """Fetch the client's metadata document if that is due: never while the transaction holds its locks."""
    if not oauth2_settings.CIMD_ENABLED:
        return
    claimed = client_assertions.claimed_client_id(request.POST.get("client_assertion", ""))
    for client_id in dict.fromkeys((request.POST.get("client_id", ""), basic_client_id(request), claimed)):
        if not cimd.is_cimd_client_id(client_id):
            continue
        application = Application.objects.filter(client_id=client_id).first()
        if application is None:
            cimd.resolve_cimd_application(client_id, request)
        else:
            cimd.refresh_if_stale(application, request)
