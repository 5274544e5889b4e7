"""Dynamic client registration (RFC 7591) and its management (RFC 7592): DOT's views with our metadata.

Anyone on the internet may register; nobody gets anything by it but an identifier that a person must still consent
to. A cookie never plays a part: a client belongs to nobody until somebody authorizes it.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import RequestDataTooBig
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from oauth2_provider.generators import generate_client_secret
from oauth2_provider.scopes import get_scopes_backend
from oauth2_provider.settings import oauth2_settings
from oauth2_provider.views import DynamicClientRegistrationManagementView, DynamicClientRegistrationView

# Private in DOT: it makes the access token that manages a registration. tests/authapp/test_private_seams.py holds it.
from oauth2_provider.views.dynamic_client_registration import _issue_registration_token as issue_registration_token

from authapp import attempts, audit, client_metadata, conf, families, throttling
from authapp.client_metadata import ClientMetadata, RegistrationError
from authapp.errors import error_response, no_store
from authapp.models import Application, TokenFamily
from authapp.models.client import dot_grant_type
from authapp.openid.subjects import sector
from authapp.redirect_uris import destination
from authapp.transactions import in_transaction


class RegistrationView(DynamicClientRegistrationView):
    """POST /o/register/ makes a client (RFC 7591 §3)."""

    http_method_names = ["post", "options"]

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Register a client; its secret and registration access token are shown this once."""
        try:
            metadata = _read(request)
        except RegistrationError as error:
            attempts.stopped(request, "registration_refused", error=error.code, description=error.description)
            return error_response(error.code, error.description)
        if refusal := throttling.refuse_registration(request):
            return refusal
        secret = generate_client_secret() if metadata.has_secret else ""
        application = Application(
            registration_source=Application.RegistrationSource.DCR,
            client_type=Application.CLIENT_PUBLIC if metadata.is_public else Application.CLIENT_CONFIDENTIAL,
            client_secret=secret,
            hash_client_secret=bool(secret),
        )
        _apply(application, metadata)
        with transaction.atomic():
            application.save()
            token = issue_registration_token(application, None)
            _audit(audit.Action.CLIENT_REGISTERED, request, application)
        return no_store(JsonResponse(_information(application, request, token, secret=secret), status=201))


@method_decorator([csrf_exempt, login_not_required], name="dispatch")
class ClientConfigurationView(DynamicClientRegistrationManagementView):
    """GET, PUT and DELETE /o/register/{client_id}/ with the registration access token (RFC 7592 §2)."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Keep every answer out of caches: it holds a token."""
        response: HttpResponse = super().dispatch(request, *args, **kwargs)
        return no_store(response)

    def _authenticate_registration_request(self, request: HttpRequest, client_id: str) -> Any:
        """Look again where the client was deleted between DOT's two reads: its token went with it, which is a 401."""
        try:
            return super()._authenticate_registration_request(request, client_id)
        except Application.DoesNotExist:
            return super()._authenticate_registration_request(request, client_id)

    def get(self, request: HttpRequest, client_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """Read the registration (RFC 7592 §2.1)."""
        registration = self._authenticate_registration_request(request, client_id)
        if isinstance(registration, HttpResponse):
            return registration
        return JsonResponse(_information(registration.application, request, registration.presented_token))

    def put(self, request: HttpRequest, client_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """Replace the registration (RFC 7592 §2.2); what POST refuses, PUT refuses."""
        try:
            metadata = _read(request)
        except RegistrationError as error:
            problem = error_response(error.code, error.description)
        else:
            return in_transaction(lambda: self._replace(request, client_id, metadata))
        registration = self._authenticate_registration_request(request, client_id)
        return registration if isinstance(registration, HttpResponse) else problem

    def delete(self, request: HttpRequest, client_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """Forget the client and everything it was given (RFC 7592 §2.3)."""
        return in_transaction(lambda: self._delete(request, client_id))

    def _locked(self, request: HttpRequest, client_id: str) -> Any:
        """Authenticate, lock the client, and look again: of parallel changes each sees what the one before it left."""
        registration = self._authenticate_registration_request(request, client_id)
        if isinstance(registration, HttpResponse):
            return registration
        Application.objects.select_for_update(of=("self",)).filter(pk=registration.application.pk).first()
        return self._authenticate_registration_request(request, client_id)

    def _replace(self, request: HttpRequest, client_id: str, metadata: ClientMetadata) -> HttpResponse:
        registration = self._locked(request, client_id)
        if isinstance(registration, HttpResponse):
            return registration
        application = registration.application
        is_public = application.client_type == Application.CLIENT_PUBLIC
        if metadata.is_public != is_public or metadata.has_secret != bool(application.client_secret):
            return error_response(
                "invalid_client_metadata",
                "A client cannot change whether it is public, has a secret or has a key; register anew.",
            )
        known_as = sector(application)
        changed = _apply(application, metadata)
        if conf.subject_type() == "pairwise" and sector(application) != known_as:
            # Its refresh tokens would tell it who its people are to somebody else (OIDC Core §8.1).
            return error_response(
                "invalid_client_metadata", "A client cannot change the host that its people know it by; register anew."
            )
        application.save(update_fields=[*changed, "updated"])
        token = registration.presented_token
        if oauth2_settings.DCR_ROTATE_REGISTRATION_TOKEN_ON_UPDATE:
            registration.registration_token.delete()
            token = issue_registration_token(application, None)
        _audit(audit.Action.CLIENT_CHANGED, request, application)
        return JsonResponse(_information(application, request, token))

    def _delete(self, request: HttpRequest, client_id: str) -> HttpResponse:
        registration = self._authenticate_registration_request(request, client_id)
        if isinstance(registration, HttpResponse):
            return registration
        # Families before the client, in the order of a refresh: the other way round the two would wait for each other.
        families.end_all(TokenFamily.objects.filter(application=registration.application))
        registration = self._locked(request, client_id)
        if isinstance(registration, HttpResponse):
            return registration
        _audit(audit.Action.CLIENT_DELETED, request, registration.application)
        registration.application.delete()
        return HttpResponse(status=204)


def _audit(action: audit.Action, request: HttpRequest, application: Application) -> None:
    # Hosts, not whole URIs: twenty of 2,000 characters each would make the trail a place to dump things in.
    leads_to = list(dict.fromkeys(destination(uri)[:100] for uri in application.registered_redirect_uris))
    audit.record(action, request.META, application=application, leads_to=leads_to)


def _read(request: HttpRequest) -> ClientMetadata:
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdigit() or int(length) > client_metadata.MAXIMUM_BODY_BYTES:
        raise RegistrationError(
            "invalid_client_metadata", f"The metadata is larger than {client_metadata.MAXIMUM_BODY_BYTES} bytes."
        )
    try:
        body = request.body
    except (RequestDataTooBig, UnreadablePostError) as error:  # without a Content-Length
        raise RegistrationError("invalid_client_metadata", "The metadata is too large.") from error
    return client_metadata.parse(
        body,
        content_type=request.META.get("CONTENT_TYPE", ""),
        known_scopes=frozenset(get_scopes_backend().get_all_scopes()),
    )


def _apply(application: Application, metadata: ClientMetadata) -> tuple[str, ...]:
    """Copy metadata to the client; return the names of the fields."""
    application.name = metadata.client_name
    application.redirect_uris = " ".join(metadata.redirect_uris)
    application.post_logout_redirect_uris = " ".join(metadata.post_logout_redirect_uris)
    for name in Application.AS_REGISTERED:
        setattr(application, name, getattr(metadata, name))
    application.authorization_grant_type = dot_grant_type(metadata.grant_types)
    own = ("name", "redirect_uris", "post_logout_redirect_uris", "authorization_grant_type")
    return (*own, *Application.AS_REGISTERED)


def _information(application: Application, request: HttpRequest, token: str, *, secret: str = "") -> dict[str, Any]:
    """Return the client information response (RFC 7591 §3.2.1, RFC 7592 §3)."""
    information: dict[str, Any] = {
        "client_id": application.client_id,
        "client_id_issued_at": int(application.created.timestamp()),
        "redirect_uris": application.registered_redirect_uris,
        "grant_types": application.grant_types,
        "response_types": application.response_types,
        "token_endpoint_auth_method": application.token_endpoint_auth_method,
        "registration_access_token": token,
        "registration_client_uri": conf.absolute_url(
            request, "oauth2_provider:dcr-register-management", client_id=application.client_id
        ),
    }
    if secret:
        information["client_secret"] = secret
    if application.client_secret:
        information["client_secret_expires_at"] = 0  # RFC 7591 §3.2.1: required beside a secret; 0 is "never"
    optional = {
        "client_name": application.name,
        "scope": application.scope,
        "application_type": application.application_type,
        "token_endpoint_auth_signing_alg": application.token_endpoint_auth_signing_alg,
        "jwks": application.jwks,
        "jwks_uri": application.jwks_uri,
        "client_uri": application.client_uri,
        "logo_uri": application.logo_uri,
        "tos_uri": application.tos_uri,
        "policy_uri": application.policy_uri,
        "contacts": application.contacts,
        "software_id": application.software_id,
        "software_version": application.software_version,
        "id_token_signed_response_alg": application.id_token_signed_response_alg,
        "post_logout_redirect_uris": application.registered_post_logout_redirect_uris,
    }
    return information | {name: value for name, value in optional.items() if value}
