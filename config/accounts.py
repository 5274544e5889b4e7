"""How people get into an account here: what is open, and what is offered, follows the settings."""

from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.authentication import get_authentication_records
from allauth.account.forms import LoginForm as AllauthLoginForm
from allauth.account.forms import ResetPasswordForm as AllauthResetPasswordForm
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _

from authapp.accounts import is_powerful
from config import known_devices
from config.entra import people


class AccountAdapter(DefaultAccountAdapter):
    """django-allauth's adapter with sign-up closed by default."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Return whether a visitor may make an account."""
        return bool(settings.ALLOW_SIGNUP)

    def is_safe_url(self, url: str | None) -> bool:
        """Return whether sign-in may lead to a URL: on this site alone, not on every name in ALLOWED_HOSTS."""
        own = {urlsplit(public_url).netloc for public_url in settings.PUBLIC_URLS}
        return url_has_allowed_host_and_scheme(url, allowed_hosts=own, require_https=settings.IS_HTTPS)

    def authenticate(self, request: HttpRequest, **credentials: Any) -> Any:
        """Return the user of a name and a password, none but staff where people sign in with Entra alone.

        Who it is not for hears what a wrong password hears: nobody learns whether it was right.
        """
        user = super().authenticate(request, **credentials)
        return user if user is None or not settings.ENTRA.only or is_powerful(user) else None

    def post_login(self, request: HttpRequest, user: Any, **options: Any) -> Any:
        """Know the browser from now on."""
        response = super().post_login(request, user, **options)
        known_devices.remember(request, response, user.get_username())
        return response

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        """Return which count a failed sign-in goes to.

        Private to django-allauth, which has no other way to say it; tests/config/test_known_devices.py fails loudly
        where it is not asked any more.
        """
        login = str(credentials.get("email", credentials.get("username", ""))).lower()
        return known_devices.count_for(request, login)

    def get_reauthentication_methods(self, user: Any) -> list[dict[str, Any]]:
        """Add Entra for who is linked to an account of the tenant, and leave out a password that does not count."""
        methods: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        if settings.ENTRA.only and not is_powerful(user):
            methods = [method for method in methods if method["id"] != "reauthenticate"]
        if settings.ENTRA.sign_in and user.is_authenticated and people.of(user):
            url = reverse("entra_reauthenticate")
            methods.append({"id": "entra", "description": _("Sign in with Microsoft"), "url": url})
        return methods


class ResetPasswordForm(AllauthResetPasswordForm):
    """django-allauth's form; who has no password gets none by mail: they sign in in another way, which may end."""

    def clean_email(self) -> str:
        """Look for people with a password alone."""
        email = str(super().clean_email())
        self.users: list[Any] = [user for user in self.users if user.has_usable_password()]
        return email


class LoginForm(AllauthLoginForm):
    """django-allauth's form, with the name that a client has for the person (OIDC Core §3.1.2.1, `login_hint`)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.request is not None and (hint := self.request.GET.get("login_hint")):
            self.fields["login"].initial = hint[:150]


def passwords_are_offered(request: HttpRequest) -> bool:
    """Return whether the sign-in page has a form for a password: with ENTRA_ONLY on the way to the admin alone."""
    if not settings.ENTRA.only:
        return True
    next_url = request.POST.get("next") or request.GET.get("next") or ""
    return next_url.startswith(reverse("admin:index"))


def authenticated_at(request: HttpRequest) -> float | None:
    """Return when the person last proved who they are in this session, in Unix seconds."""
    records = get_authentication_records(request, request.user)
    return max((float(record["at"]) for record in records), default=None)


def passkeys_work(request: HttpRequest) -> bool:
    """Return whether a browser takes passkeys here: not under an IP address, which is no domain."""
    if "allauth.mfa" not in settings.INSTALLED_APPS:
        return False
    host = request.get_host()
    try:
        ip_address(host.rpartition(":")[0].strip("[]") or host)
    except ValueError:
        return True
    return False
