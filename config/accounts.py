"""How people get an account here: sign-up is open only when ALLOW_SIGNUP says so."""

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.http import HttpRequest


class AccountAdapter(DefaultAccountAdapter):
    """django-allauth's adapter with sign-up closed by default."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Return whether a visitor may make an account."""
        return bool(settings.ALLOW_SIGNUP)
