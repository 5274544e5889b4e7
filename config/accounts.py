"""How people get into an account here: what is open, and what is offered, follows the settings."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.forms import LoginForm as AllauthLoginForm
from django.conf import settings
from django.http import HttpRequest


class AccountAdapter(DefaultAccountAdapter):
    """django-allauth's adapter with sign-up closed by default."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Return whether a visitor may make an account."""
        return bool(settings.ALLOW_SIGNUP)


class LoginForm(AllauthLoginForm):
    """django-allauth's form; it offers to reset a password only where the site can send mail."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not settings.MAIL_IS_CONFIGURED:
            self.fields["password"].help_text = ""
