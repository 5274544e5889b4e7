"""What Django's own middleware does not know about signing in for somebody else's page."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

# All that a person passes between a client's button and the client's callback.
SIGN_IN_PATHS = ("/o/authorize", "/accounts/")


def allow_sign_in_in_a_popup(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
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
