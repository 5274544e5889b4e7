"""A list of the admin whose URL asks for what no column can be: its reader is told so, as Django does for most of it.

Django answers 500 to a NUL, a year beyond the calendar and a number beyond the column, which it finds out by asking.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.db import DataError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

logger = logging.getLogger(__name__)

_ODD = (ValueError, OverflowError, DataError)
_TOLD = "e"
"""`django.contrib.admin.views.main.ERROR_FLAG`, by which the admin says that a filter is of no use."""


class OddLookups:
    """Middleware: leads from such a list to the list without its query."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Let the request pass."""
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer; without a query in it the error is no reader's, and stays one."""
        match = request.resolver_match
        is_list = match is not None and match.app_name == "admin" and str(match.url_name).endswith("_changelist")
        if not (is_list and isinstance(exception, _ODD) and request.GET and _TOLD not in request.GET):
            return None
        logger.warning("A list cannot be looked through like this: %s: %s", request.path, type(exception).__name__)
        return HttpResponseRedirect(f"{request.path}?{_TOLD}=1")
