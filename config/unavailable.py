"""Answer 503 while the database does not: what clients and people are to do is to come back, not to report a fault."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import loader

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5
DATABASE_AWAY = (OperationalError, InterfaceError)
"""Out of reach, out of disk, locked for too long. What no one can mend by coming back is another kind of error."""


def answer(request: HttpRequest) -> HttpResponse:
    """Return a page for people, and JSON for clients with the code that RFC 6749 §4.1.2.1 has for this."""
    if "text/html" in request.headers.get("Accept", ""):
        response = HttpResponse(loader.get_template("503.html").render(), status=503)
    else:
        description = "The database does not answer right now. Try again shortly."
        body = {"error": "temporarily_unavailable", "error_description": description}
        response = JsonResponse(body, status=503)
    response["Retry-After"] = str(RETRY_SECONDS)
    response["Cache-Control"] = "no-store"
    return response


class DatabaseAway:
    """Middleware: answers for views that the database left alone."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Let the request pass."""
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer; without it Django would say that the site is broken, and write a traceback for each request."""
        if not isinstance(exception, DATABASE_AWAY):
            return None
        logger.error("The database did not answer %s %s: %s", request.method, request.path, exception)
        return answer(request)
