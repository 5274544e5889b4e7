"""The authorization endpoint (RFC 6749 §3.1): who asks for what, and a person who says yes or no.

A request is checked in full before anyone is asked to sign in, and again when the answer is posted: the answer
carries nothing but yes or no, everything else is read from the same query string.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth.decorators import login_not_required
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.decorators import method_decorator
from oauth2_provider import cimd
from oauth2_provider.exceptions import FatalClientError, OAuthToolkitError
from oauth2_provider.settings import oauth2_settings
from oauth2_provider.views import AuthorizationView
from oauth2_provider.views.mixins import OAuthLibMixin
from oauthlib.oauth2.rfc6749 import errors

from authapp import account_checks, attempts, audit, client_hosts, conf, narrowing, notices, redirect_uris, sign_in
from authapp.models import Application, Connection
from authapp.oauthlib_core import with_issuer
from authapp.openid import authentication
from authapp.pages import private
from authapp.transactions import in_transaction

_S256_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # RFC 7636 §4.2: BASE64URL(SHA256(…)) without padding
MAXIMUM_QUERY_LENGTH = 8192


@method_decorator(login_not_required, name="dispatch")
class ConsentView(AuthorizationView):
    """GET shows what is asked, POST takes the answer."""

    template_name = "authapp/consent.html"
    error_template_name = "authapp/authorization_error.html"
    http_method_names = ["get", "head", "post"]
    application: Application | None = None
    _narrowed: list[str] | None = None
    """What the person left of the scopes; None for all of them."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Check the request first; only a sound one leads to the sign-in page."""
        if request.method not in {"GET", "HEAD", "POST"}:
            return self.http_method_not_allowed(request)  # type: ignore[no-any-return]
        try:
            self._authorization = self._check(request)
        except OAuthToolkitError as error:
            self._note_refusal(error)
            return private(self.error_response(error, self.application))
        if request.method == "GET":
            leads_to = redirect_uris.destination(self._authorization[1]["redirect_uri"])
            attempts.shown(request, self.application, leads_to=leads_to[:255])
        if account_checks.must_sign_in_anew(request):
            return private(self._sign_in_anew())
        response: HttpResponse = super().dispatch(request, *args, **kwargs)
        return private(response, script=True)

    # --- The request -----------------------------------------------------------------------------------

    @classmethod
    def client_of(cls, request: HttpRequest) -> Application | None:
        """Return the client of a sound request without answering it; None for any other request."""
        view = cls()
        view.setup(request)
        try:
            view._check(request)
        except OAuthToolkitError:
            return None
        return view.application

    @classmethod
    def page_for(cls, request: HttpRequest) -> str:
        """Return the page that the `user` of a sound request is shown, remembered or not; nothing is noted of it.

        Raises:
            OAuthToolkitError: the request is not sound.
        """
        view = cls()
        view.setup(request)
        view._authorization = view._check(request)
        return str(view.render_to_response(view.get_context_data(form=None)).render().content.decode())

    def validate_authorization_request(self, request: HttpRequest) -> tuple[list[str], dict[str, Any]]:
        """Return what `dispatch` has checked (DOT asks again in several places)."""
        return self._authorization

    def _check(self, request: HttpRequest) -> tuple[list[str], dict[str, Any]]:
        """Check every parameter.

        Raises:
            OAuthToolkitError: with the redirect URI when it can be trusted; FatalClientError, its subclass, when not.
        """
        self.application = None
        try:
            scopes, credentials = super().validate_authorization_request(request)
        except FatalClientError:
            raise
        except OAuthToolkitError:
            # The client and its redirect URI are in order; the error goes there, to schemes this client may use.
            self.application = Application.objects.filter(client_id=request.GET.get("client_id")).first()
            raise
        self.application = Application.objects.filter(client_id=credentials["client_id"]).first()
        if self.application is None:  # deleted a moment ago
            raise FatalClientError(error=errors.InvalidClientIdError())

        def refuse(error: str, description: str) -> OAuthToolkitError:
            return OAuthToolkitError(
                error=errors.CustomOAuth2Error(error=error, description=description, state=credentials.get("state")),
                redirect_uri=credentials["redirect_uri"],
            )

        parameters = request.GET
        repeated = [name for name, values in parameters.lists() if len(values) > 1 and name != "resource"]
        if repeated or len(request.META.get("QUERY_STRING", "")) > MAXIMUM_QUERY_LENGTH:
            raise refuse("invalid_request", "A parameter is repeated, or the request is too long.")
        if credentials["response_type"] != "code":
            raise refuse("unsupported_response_type", "Only response_type=code is supported.")
        if parameters.get("code_challenge_method") != "S256":
            raise refuse("invalid_request", "PKCE is required with code_challenge_method=S256.")
        if not _S256_CHALLENGE.fullmatch(parameters.get("code_challenge", "")):
            raise refuse("invalid_request", "code_challenge must be the 43 characters of an S256 challenge.")
        if parameters.get("response_mode", "query") != "query":
            raise refuse("invalid_request", "Only response_mode=query is supported.")
        resource = conf.requested_resource(request, parameters.getlist("resource"))
        if resource is None:
            raise refuse("invalid_target", f"The resource must be {' or '.join(conf.resources())}.")

        try:
            self._wishes = sign_in.read(parameters)
        except sign_in.InvalidPrompt as error:
            raise refuse("invalid_request", str(error)) from error

        try:
            credentials |= authentication.read(parameters, scopes)
        except authentication.NotSupported as error:
            raise refuse(error.code, str(error)) from error
        credentials["resource"] = [resource]
        return scopes, credentials

    # --- The person ------------------------------------------------------------------------------------

    def handle_no_permission(self) -> HttpResponse:
        """Send an anonymous person to sign in, or up; with `prompt=none` answer `login_required` (§3.1.2.6)."""
        if self._wishes.silent:
            return self._refuse("login_required", "The person is not signed in.")
        page = conf.sign_up_url() if "create" in self._wishes.prompt else self.get_login_url()
        return sign_in.redirect(self.request, page, self._wishes)

    def _sign_in_anew(self) -> HttpResponse:
        if self._wishes.silent:
            return self._refuse("login_required", "The person signed in too long ago.")
        return sign_in.redirect(self.request, conf.reauthenticate_url(), self._wishes)

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the consent page, unless this very consent is remembered.

        DOT's own view is not asked: it lets a client skip consent with `approval_prompt`, or by a flag on the client.
        """
        wishes, application = self._wishes, self.application
        assert application is not None  # noqa: S101  (_check sets it or raises)
        if wishes.sign_in_anew(request):
            return self._sign_in_anew()
        if wishes.silent and authentication.is_for_another(request):
            return self._refuse("login_required", "Another person is signed in.")
        remembered = sign_in.consent_is_remembered(request.user, application, *self._authorization)
        if remembered and not wishes.consent_anew:
            return self._allow(application, audit.Action.CONSENT_REMEMBERED)
        if wishes.silent:
            return self._refuse("consent_required", "The person has to be asked.")
        return self.render_to_response(self.get_context_data(form=None))  # type: ignore[no-any-return]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add what the page shows: where the answer goes, what is asked for, and how well the client is known."""
        scopes, credentials = self._authorization
        redirect_uri = credentials["redirect_uri"]
        before = Connection.objects.filter(user=self.request.user, application=self.application).first()
        offered = narrowing.choices(scopes, kwargs.pop("ticked", None), before.scopes if before else ())
        return super().get_context_data(  # type: ignore[no-any-return]
            **kwargs
            | {
                "application": self.application,
                "client_host": urlsplit(credentials["client_id"]).hostname,  # of a metadata document's URL, else None
                "client_is_verified": client_hosts.is_verified(self.application, redirect_uri),
                "action": self.request.get_full_path(),
                "redirect_uri": redirect_uri,
                "redirect_destination": redirect_uris.destination(redirect_uri),
                "redirect_is_loopback": redirect_uris.is_loopback(redirect_uri),
                "redirect_is_native": redirect_uris.is_native(redirect_uri),
                "scopes": offered,
                "is_known": before is not None,
                "can_be_narrowed": sum(choice.is_open for choice in offered) > 1,
                "tools": tools_by_effect(self.request.user, scopes, credentials["resource"][0]),
                "days": int(oauth2_settings.REFRESH_TOKEN_EXPIRE_SECONDS or 0) // 86400,
                "resource": credentials["resource"][0],
                "issuer": conf.issuer(self.request),
            }
        )

    # --- The answer ------------------------------------------------------------------------------------

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Redirect with a code after Allow, with `access_denied` after anything else."""
        application = self.application
        assert application is not None  # noqa: S101  (_check sets it or raises)
        if request.POST.get("allow") == "true":
            values = request.POST.getlist(narrowing.FIELD)
            try:
                self._narrowed = narrowing.narrowed(self._authorization[0], values)
            except narrowing.NothingLeft:
                context = self.get_context_data(form=None, ticked=values, nothing_left=True)
                return self.render_to_response(context, status=400)  # type: ignore[no-any-return]
            return self._allow(application, audit.Action.CONSENT_GIVEN)
        audit.record(audit.Action.CONSENT_REFUSED, request.META, application=application, user=request.user)
        return self._refuse("access_denied", "The person said no.")

    def _allow(self, application: Application, action: audit.Action) -> HttpResponse:
        try:
            uri = in_transaction(lambda: self._grant(application, action))
        except OAuthToolkitError as error:
            return self.error_response(error, application)
        except IntegrityError:  # the client was deleted while the person was reading
            return self.error_response(FatalClientError(error=errors.InvalidClientIdError()), None)
        return self.redirect(uri, application)  # type: ignore[no-any-return]

    def _grant(self, application: Application, action: audit.Action) -> str:
        """Make a code and record the consent; return where to redirect to."""
        asked, credentials = self._authorization
        scopes = asked if self._narrowed is None else self._narrowed
        credentials["authenticated_at"] = authentication.time_of(self.request)
        uri, _, _, _ = self.create_authorization_response(
            request=self.request, scopes=" ".join(scopes), credentials=credentials, allow=True
        )
        if action == audit.Action.CONSENT_GIVEN:  # a remembered one must not renew itself
            remember_consent(application, self.request, scopes, credentials)
        audit.record(
            action,
            self.request.META,
            application=application,
            user=self.request.user,
            scope=" ".join(scopes),
            resource=credentials["resource"][0],
            leads_to=redirect_uris.destination(credentials["redirect_uri"]),
        )
        return str(uri)

    def error_response(self, error: OAuthToolkitError, application: Application | None, **kwargs: Any) -> HttpResponse:
        """Redirect with the error, `state` and `iss`; show it instead when the redirect URI is not to be trusted."""
        redirect, context = OAuthLibMixin.error_response(self, error, **kwargs)
        if redirect and application is not None:
            return self.redirect(  # type: ignore[no-any-return]
                with_issuer(context["url"], conf.issuer(self.request)), application
            )
        return TemplateResponse(
            self.request,
            self.error_template_name,
            {
                "error": context["error"],
                "application": application,
                "mistake": mistake_in(context["error"]),
                "problem": client_hosts.problem_with(self.request.GET.get("client_id", "")),
            },
            status=400,
        )

    def _note_refusal(self, error: OAuthToolkitError) -> None:
        """Write down why a request is refused, for the owner of the site."""
        asked, mistake = self.request.GET, mistake_in(error.oauthlib_error)
        client_id = asked.get("client_id", "")
        if mistake == "client":
            problem = "client_document" if cimd.is_cimd_client_id(client_id) else "unknown_client"
            description = client_hosts.problem_with(client_id) or ""
        else:
            problem = "redirect_uri" if mistake == "redirect_uri" else f"authorize_{error.oauthlib_error.error}"
            description = error.oauthlib_error.description or ""
        attempts.stopped(
            self.request,
            problem,
            client_id=client_id,
            description=str(description),
            redirect_uri=asked.get("redirect_uri", ""),
            scope=asked.get("scope", ""),
            resource=asked.getlist("resource"),
        )

    def _refuse(self, error: str, description: str) -> HttpResponse:
        _, credentials = self._authorization
        oauth_error = errors.CustomOAuth2Error(error=error, description=description, state=credentials.get("state"))
        return self.error_response(
            OAuthToolkitError(error=oauth_error, redirect_uri=credentials["redirect_uri"]), self.application
        )


def mistake_in(error: errors.OAuth2Error) -> str:
    """Return what the page of a refusal is about: the `client`, its `redirect_uri`, or else the `request`."""
    if isinstance(error, errors.InvalidClientIdError):
        return "client"
    if isinstance(error, errors.InvalidRedirectURIError | errors.MismatchingRedirectURIError):
        return "redirect_uri"
    return "request"


def tools_by_effect(user: Any, scopes: list[str], resource: str) -> list[dict[str, Any]]:
    """Return the tools that a consent would open, in groups, as the site's catalog has them; none without a catalog."""
    catalog = conf.tool_catalog()
    groups: dict[str, list[Any]] = {}
    for tool in catalog(user, conf.with_implied(scopes), resource) if catalog else ():
        groups.setdefault(tool.effect, []).append(tool)
    return [{"effect": effect, "tools": tools} for effect, tools in groups.items()]


def remember_consent(
    application: Application, request: HttpRequest, scopes: list[str], credentials: dict[str, Any]
) -> None:
    """Record who connected what, and bind a native client to the first person where that is safe.

    Safe means: registered by the client itself and native, so that its answers only ever reach this person's own
    machine. A client on the web serves many people, and one made by hand belongs to whoever the administrator says.
    The binding gives no right (docs/decisions/0004).
    """
    user: Any = request.user
    now = timezone.now()
    connection, is_new = Connection.objects.update_or_create(
        user=user,
        application=application,
        defaults={
            "scope": " ".join(scopes),
            "resource": credentials["resource"][0],
            "redirect_destination": redirect_uris.destination(credentials["redirect_uri"])[:255],
        },
    )
    Application.objects.filter(pk=application.pk).update(last_authorized_at=now)
    if application.registration_source == Application.RegistrationSource.DCR and application.is_native:
        # In one statement: of two people who authorize at the same moment the first wins.
        Application.objects.filter(pk=application.pk, user__isnull=True).update(user=user)
    if is_new:
        notices.tell_of_new_connection(connection, request)
