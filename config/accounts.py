"""How people get into an account here: what is open, and what is offered, follows the settings."""

from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.authentication import get_authentication_records
from allauth.account.forms import LoginForm as AllauthLoginForm
from django.conf import settings
from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme


class AccountAdapter(DefaultAccountAdapter):
    """django-allauth's adapter with sign-up closed by default."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Return whether a visitor may make an account."""
        return bool(settings.ALLOW_SIGNUP)

    def is_safe_url(self, url: str | None) -> bool:
        """Return whether sign-in may lead to a URL: on this site alone, not on every name in ALLOWED_HOSTS."""
        own = {urlsplit(public_url).netloc for public_url in settings.PUBLIC_URLS}
        return url_has_allowed_host_and_scheme(url, allowed_hosts=own, require_https=settings.IS_HTTPS)


class LoginForm(AllauthLoginForm):
    """django-allauth's form; it offers to reset a password only where the site can send mail."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not settings.MAIL_IS_CONFIGURED:
            self.fields["password"].help_text = ""
        if self.request is not None and (hint := self.request.GET.get("login_hint")):
            self.fields["login"].initial = hint[:150]


def authenticated_at(request: HttpRequest) -> float | None:
    """Return when the person last proved who they are in this session, in Unix seconds."""
    records = get_authentication_records(request, request.user)
    return max((float(record["at"]) for record in records), default=None)
