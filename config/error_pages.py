"""Django's error pages, with the request left alone.

Django's own views check the CSRF token first, which reads the body; where that is what was bad, the error page would
fail in its turn and end as a 500. Nothing is posted to an error page, so nothing is checked.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views import csrf, defaults

from config import unavailable


def _kept_nowhere(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Keep an error page out of caches: it leads back to where it came from, whose address may have a code in it."""

    @functools.wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        response["Cache-Control"] = "no-store"
        return response

    return answer


bad_request = _kept_nowhere(inspect.unwrap(defaults.bad_request))
permission_denied = _kept_nowhere(inspect.unwrap(defaults.permission_denied))
page_not_found = _kept_nowhere(inspect.unwrap(defaults.page_not_found))


@_kept_nowhere
def server_error(request: HttpRequest) -> HttpResponse:
    """Say that the fault is here; or that the database is away, where that happened outside of any view."""
    if isinstance(sys.exc_info()[1], unavailable.DATABASE_AWAY):
        return unavailable.answer(request)
    return inspect.unwrap(defaults.server_error)(request)


csrf_failure = _kept_nowhere(csrf.csrf_failure)
