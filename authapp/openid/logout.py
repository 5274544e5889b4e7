"""Sign out at a client's request (OIDC RP-Initiated Logout 1.0).

DOT's view is not used: it deletes all of a person's tokens, follows any client's address without a hint, and carries
the ID token in a form. Signing out ends the session in this browser; clients stay connected until a person disconnects
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth import logout
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import BadRequest, RequestDataTooBig, TooManyFieldsSent
from django.http import HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError
from django.template.response import TemplateResponse
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from authapp import redirect_uris
from authapp.models import Application
from authapp.openid import id_tokens
from authapp.openid.id_tokens import Hint
from authapp.openid.views import OpenIDView
from authapp.pages import private

MAXIMUM_QUERY_LENGTH = 16 * 1024
CONFIRMED = "sign_out"
"""What the page's own form posts; a client's form does not have it, and no client's form passes the CSRF check."""


class InvalidLogout(ValueError):
    """The request cannot be served; the message is for the client's developer."""


@dataclass(frozen=True, slots=True)
class LogoutRequest:
    """What a client asks, checked."""

    hint: Hint | None
    """The client's ID token, if there is one and it is ours."""
    application: Application | None
    return_to: str
    """Where to send the person afterwards, `state` included: an address that the client registered, or empty."""


@method_decorator([csrf_exempt, login_not_required], name="dispatch")
class LogoutView(OpenIDView):
    """GET and POST /o/logout/.

    A person who is signed in and whose own ID token comes along is signed out and sent back. Anybody else is asked, or
    shown a page with a link: whoever registers a client could otherwise send everybody anywhere by a link to this site.
    """

    http_method_names = ["get", "post"]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Keep every answer out of caches and frames; what cannot be read is a page."""
        try:
            response = super().dispatch(request, *args, **kwargs)
        except InvalidLogout as error:
            response = _page(request, 400, problem=str(error))
        return private(response)  # no other site sees the address, which may have an ID token

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Sign out, or ask first."""
        asked = read(request.GET, request.META.get("QUERY_STRING", ""))
        if not request.user.is_authenticated:
            return _signed_out(request, asked)
        if asked.hint is not None and asked.hint.is_about(request.user):
            logout(request)
            return _redirect(asked.return_to) if asked.return_to else _signed_out(request, asked)
        return _page(
            request,
            200,
            ask=True,
            action=request.get_full_path(),
            application=asked.application,
            host=redirect_uris.destination(asked.return_to) if asked.return_to else "",
        )

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Take the person's answer; a client's form, which comes without the session, begins again as a GET."""
        form = _form(request)
        if CONFIRMED in form:
            answer: HttpResponseBase = csrf_protect(_confirmed)(request)
            return answer
        query = form.urlencode()
        read(form, query)
        return _redirect(f"{request.path}?{query}" if query else request.path, status=303)


def read(parameters: QueryDict, text: str) -> LogoutRequest:
    """Read a request (RP-Initiated Logout §2, §3).

    An ID token that is not ours counts as none, and nothing it says is used.

    Raises:
        InvalidLogout: the client is unknown or another than the token's, or the address is not one of its own.
    """
    if len(text) > MAXIMUM_QUERY_LENGTH or any(
        len(values) > 1 or "\x00" in name or "\x00" in values[0] for name, values in parameters.lists() if values
    ):
        raise InvalidLogout("A parameter is repeated or has a NUL character, or the request is too long.")
    hint = id_tokens.read_hint(parameters.get("id_token_hint", ""))
    application = hint.application if hint else None
    if client_id := parameters.get("client_id", ""):
        named = Application.objects.filter(client_id=client_id).first()
        if named is None or not named.is_usable(None):
            raise InvalidLogout("client_id names no client of this server.")
        if application is not None and named != application:
            raise InvalidLogout("id_token_hint was issued to another client than client_id.")
        application = named
    return_to = parameters.get("post_logout_redirect_uri", "")
    if return_to:
        if application is None:
            raise InvalidLogout("post_logout_redirect_uri needs a client_id, or an id_token_hint of this server.")
        if return_to not in application.registered_post_logout_redirect_uris:
            raise InvalidLogout("post_logout_redirect_uri is not one that the client has registered.")
        if (state := parameters.get("state")) is not None:
            return_to = _with_state(return_to, str(state))
    return LogoutRequest(hint, application, return_to)


def _confirmed(request: HttpRequest) -> HttpResponse:
    """Do what the person answered; where to go from there is read from the query string again."""
    asked = read(request.GET, request.META.get("QUERY_STRING", ""))
    if request.POST.get(CONFIRMED) != "true":
        return _page(request, 200, stayed=True)
    if not request.user.is_authenticated:  # any more
        return _signed_out(request, asked)
    logout(request)
    return _redirect(asked.return_to) if asked.return_to else _signed_out(request, asked)


def _signed_out(request: HttpRequest, asked: LogoutRequest) -> HttpResponse:
    host = redirect_uris.destination(asked.return_to) if asked.return_to else ""
    return _page(request, 200, return_to=asked.return_to, host=host)


def _page(request: HttpRequest, status: int, **context: Any) -> HttpResponse:
    return TemplateResponse(request, "authapp/logout.html", context, status=status)


def _redirect(target: str, status: int = 302) -> HttpResponse:
    """Redirect to a checked address, whose scheme may be a private-use one."""
    response = HttpResponse(status=status)
    response["Location"] = target
    return response


def _with_state(uri: str, state: str) -> str:
    # A registered address has no fragment, and what the client wrote of it stays as it is.
    return f"{uri}{'&' if '?' in uri else '?'}{urlencode({'state': state})}"


def _form(request: HttpRequest) -> QueryDict:
    if request.META.get("CONTENT_TYPE") and request.content_type != "application/x-www-form-urlencoded":
        raise InvalidLogout("Send the parameters as application/x-www-form-urlencoded.")
    try:
        return request.POST
    except (
        BadRequest,
        MultiPartParserError,
        RequestDataTooBig,
        TooManyFieldsSent,
        UnreadablePostError,
        UnicodeError,
        ValueError,
    ) as error:
        raise InvalidLogout("The request body cannot be parsed.") from error
