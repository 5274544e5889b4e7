"""What django-allauth asks of the site when somebody comes back from Entra (SOCIALACCOUNT_ADAPTER)."""

from __future__ import annotations

import logging
from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from authapp.pages import private
from config.entra import id_tokens, people
from config.entra.id_tokens import WrongToken
from config.entra.provider import PROVIDER_ID
from config.entra.requests_to_entra import EntraError, code_in

logger = logging.getLogger(__name__)


class SocialAccountAdapter(DefaultSocialAccountAdapter):
    """One provider, from the settings; links are ours."""

    def list_apps(self, request: HttpRequest, provider: Any = None, client_id: Any = None) -> list[Any]:
        """Return the one registration: none of the database, where its secret would be in clear."""
        from allauth.socialaccount.models import SocialApp  # needs loaded apps

        entra = settings.ENTRA
        if not entra.sign_in or provider not in (None, PROVIDER_ID) or client_id not in (None, entra.client_id):
            return []
        return [SocialApp(provider=PROVIDER_ID, name="Microsoft", client_id=entra.client_id, secret="")]

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """Say which user it is, before allauth signs them in; everything else than a sign-in ends here.

        Raises:
            ImmediateHttpResponse: a page, or where to go.
        """
        claims, state = sociallogin.account.extra_data, sociallogin.state
        try:
            id_tokens.require_nonce(claims, state.get("nonce"))
        except WrongToken as error:
            raise ImmediateHttpResponse(problem(request, error)) from None
        if state.get("process") == "connect":
            raise ImmediateHttpResponse(self._connect(request, sociallogin))
        try:
            identity = people.identify(claims, request.META)
        except people.Stranger:
            logger.warning("An account of the tenant that nobody is linked to was turned away.")
            raise ImmediateHttpResponse(page(request, "stranger", status=403)) from None
        if identity.user.is_active:
            people.welcome(identity, claims, sociallogin.token.token_secret)
        sociallogin.user = identity.user

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        """Return False: allauth's own way to an account knows nothing of our links."""
        return False

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, error: Any = None, exception: Any = None, extra_context: Any = None
    ) -> None:
        """Show our page.

        Raises:
            ImmediateHttpResponse: it.
        """
        raise ImmediateHttpResponse(problem(request, exception))

    def _connect(self, request: HttpRequest, sociallogin: Any) -> HttpResponse:
        claims, state = sociallogin.account.extra_data, sociallogin.state
        if not request.user.is_authenticated or str(request.user.pk) != state.get("user"):
            return page(request, "problem", status=400)  # somebody else has signed in meanwhile
        try:
            identity = people.link(request.user, claims, request.META)
        except people.NotLinked as error:
            return page(request, error.why, status=409)
        people.welcome(identity, claims, sociallogin.token.token_secret)
        messages.success(request, _("Your Microsoft account is linked. From now on you can sign in with it."))
        return HttpResponseRedirect(state.get("next") or reverse("entra_link"))


def problem(request: HttpRequest, exception: Any) -> HttpResponse:
    """Return the page that says that a sign-in failed, with Entra's own code for it and nothing else of hers."""
    refused = request.GET.get("error", "")
    code = code_in(request.GET.get("error_description", "")) or getattr(exception, "code", "")
    if exception is not None:
        text = exception if isinstance(exception, EntraError) else type(exception).__name__
        logger.warning("A sign-in with Entra failed: %s", text)
    elif code:
        logger.warning("A sign-in with Entra failed: %s", code)
    reason = "cancelled" if refused == "access_denied" and code in {"", "AADSTS65004"} else "problem"
    return page(request, reason, status=400 if reason == "problem" else 200, code=code)


def page(request: HttpRequest, reason: str, *, status: int, code: str = "") -> HttpResponse:
    """Return the page that says why somebody is not signed in, or not linked."""
    context = {"reason": reason, "code": code}
    response = TemplateResponse(request, "entra/problem.html", context, status=status)
    return private(response.render())
