"""What every page knows of the site."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, Any]:
    """Return the site's name and whether visitors may make an account."""
    return {"site_name": settings.SITE_NAME, "signup_is_open": settings.ALLOW_SIGNUP}
