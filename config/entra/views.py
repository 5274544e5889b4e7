"""The pages of the sign-in with Entra. They all answer 404 where it is not set up.

A sign-in is begun by a form of this site alone: nobody can be signed in by following a link (RFC 6749 §10.12).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from allauth.account.adapter import get_adapter as get_account_adapter
from allauth.account.decorators import reauthentication_required
from allauth.account.utils import get_next_redirect_url
from allauth.core import ratelimit
from allauth.socialaccount.adapter import get_adapter
from django.conf import settings
from django.contrib.auth.decorators import login_not_required, login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_POST
from django.views.generic import View

from authapp import conf
from authapp.pages import private
from config.entra import people
from config.entra.provider import PROVIDER_ID, EntraProvider, callback_view


def _provider(request: HttpRequest) -> EntraProvider:
    if not settings.ENTRA.sign_in:
        raise Http404
    found: EntraProvider = get_adapter().get_provider(request, PROVIDER_ID)
    return found


@login_not_required
@require_POST
def sign_in(request: HttpRequest) -> HttpResponse:
    """Begin a sign-in."""
    provider = _provider(request)
    # Each one leaves a state in a session, which for a stranger is a row.
    if refused := ratelimit.consume_or_429(request, action="login"):
        return refused
    # Who is asked to prove it again is not let through by a session that a browser has at Entra.
    anew = request.user.is_authenticated
    return private(provider.begin(request, process="login", next_url=get_next_redirect_url(request), anew=anew))


@login_not_required
def callback(request: HttpRequest) -> HttpResponse:
    """End it: this is the redirect URI."""
    _provider(request)
    response: HttpResponse = callback_view(request)
    return private(response)


@login_required
def reauthenticate(request: HttpRequest) -> HttpResponse:
    """Ask a person to prove who they are with Entra."""
    _provider(request)
    context = {"next": get_next_redirect_url(request) or ""}
    return private(TemplateResponse(request, "entra/reauthenticate.html", context))


@method_decorator([login_required], name="dispatch")
class LinkView(View):
    """GET shows which account is linked, POST links one, after the person has proved who they are."""

    http_method_names = ["get", "head", "post"]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Be nowhere while it is not set up."""
        _provider(request)
        response: HttpResponse = super().dispatch(request, *args, **kwargs)  # type: ignore[assignment]
        return private(response)

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show it."""
        return TemplateResponse(request, "entra/link.html", {"identity": people.of(request.user)})

    @method_decorator(reauthentication_required(app="config.entra"))
    def post(self, request: HttpRequest) -> HttpResponse:
        """Begin to link."""
        next_url = reverse("entra_link")
        return _provider(request).begin(request, process="connect", next_url=next_url, choose=True)


@login_not_required
@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """Sign out here and at Microsoft (OpenID Connect RP-Initiated Logout §2), which then comes back."""
    _provider(request)
    get_account_adapter(request).logout(request)
    query = urlencode({"post_logout_redirect_uri": conf.absolute_url(request, "account_login")})
    return private(HttpResponseRedirect(f"{settings.ENTRA.end_session_endpoint}?{query}"))
