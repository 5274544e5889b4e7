"""What every page knows of the site."""

from functools import partial
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from authapp import waiting_client
from authapp.models import Application
from config.accounts import passkeys_work, passwords_are_offered

# The pages that their query makes what they are. Elsewhere it may hold the code of somebody's sign-in.
PAGES_WITH_A_QUERY = (
    "/o/authorize",
    "/o/logout",
    "/accounts/login",
    "/accounts/signup",
    "/accounts/reauthenticate",
    "/accounts/2fa/",
    "/device",
)


def site(request: HttpRequest) -> dict[str, Any]:
    """Return the site's name, whether visitors may make an account, and how people sign in."""
    return {
        "site_name": settings.SITE_NAME,
        "signup_is_open": settings.ALLOW_SIGNUP,
        "entra_is_on": settings.ENTRA.sign_in,
        "passwords_can_be_reset": settings.MAIL_IS_CONFIGURED,
        # Asked by the page that needs it alone: an error page must not read a body that is what was bad.
        "passwords_are_offered": partial(passwords_are_offered, request),
        "passkeys_work": partial(passkeys_work, request),
        "here": partial(here, request),
        "client_that_waits": partial(client_that_waits, request),
    }


def here(request: HttpRequest) -> str:
    """Return where to come back to after choosing a language, or to begin again after an error."""
    return request.get_full_path() if request.path_info.startswith(PAGES_WITH_A_QUERY) else request.path


def client_that_waits(request: HttpRequest) -> Application | None:
    """Return the client that a person who signs in comes from."""
    return waiting_client.find(request, request.POST.get("next") or request.GET.get("next") or "")
