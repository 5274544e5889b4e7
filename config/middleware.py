"""What Django's own middleware leaves open: one public address, odd encodings, sign-in for another page, the log."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from config.log_context import current_request

Handler = Callable[[HttpRequest], HttpResponse]

PUBLIC_SCHEME = "STAR_PUBLIC_SCHEME"
"""The key of `request.META` that says the scheme of PUBLIC_URL; no header of a client can have this name."""

# What a person passes between a client's button and the client's callback.
SIGN_IN_PATHS = (
    "/o/authorize",
    "/accounts/login",
    "/accounts/signup",
    "/accounts/reauthenticate",
    "/accounts/2fa/authenticate",
    "/accounts/2fa/reauthenticate",
    "/accounts/2fa/webauthn/login",
    "/accounts/2fa/webauthn/reauthenticate",
    "/accounts/oidc/entra/",
)
_SESSION_KEY = re.compile(r"[a-z0-9]{1,64}")


def told_of_in_logs(get_response: Handler) -> Handler:
    """Let what is logged while a page is made say whose request that was."""

    def middleware(request: HttpRequest) -> HttpResponse:
        token = current_request.set(request)
        try:
            return get_response(request)
        finally:
            current_request.reset(token)

    return middleware


def one_public_address(get_response: Handler) -> Handler:
    """Let every request look as if it came to PUBLIC_URL, or in development to its other spelling.

    Links in mails, the keys of rate limits, and what libraries build from the Host header then follow the settings and
    not what a stranger sends. A host that ALLOWED_HOSTS does not name is refused first, as ever.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        request.get_host()  # raises DisallowedHost, which is a 400
        addresses = [urlsplit(url) for url in settings.PUBLIC_URLS]
        sent = request.META.get("HTTP_HOST", "")
        address = next((known for known in addresses if known.netloc == sent), addresses[0])
        request.META["HTTP_HOST"] = address.netloc
        request.META[PUBLIC_SCHEME] = address.scheme
        return get_response(request)

    return middleware


def plain_input(get_response: Handler) -> Handler:
    """Read every form as UTF-8 and take no session key that cannot be one.

    Browsers and OAuth clients send UTF-8. Python knows encodings such as `rot13` and `zlib`, which a form that claims
    one would be decoded with; and PostgreSQL refuses to look for a session whose key has a NUL.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        request.encoding = "utf-8"
        if not _SESSION_KEY.fullmatch(request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")):
            request.COOKIES.pop(settings.SESSION_COOKIE_NAME, None)
        return get_response(request)

    return middleware


def allow_sign_in_in_a_popup(get_response: Handler) -> Handler:
    """Keep `window.opener` for clients that open the sign-in in a popup.

    With Django's default, `Cross-Origin-Opener-Policy: same-origin`, the browser cuts the tie between the popup and the
    client's page for good, and the callback cannot tell the client that it is done.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if request.path_info.startswith(SIGN_IN_PATHS):
            response["Cross-Origin-Opener-Policy"] = "unsafe-none"
        return response

    return middleware
