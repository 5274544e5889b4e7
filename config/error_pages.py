"""Django's error pages, with the database connection given back and the request left alone.

Under ASGI Django makes these pages in a thread of their own, outside the request's. A page that asks who is signed in
opens a connection there, and nobody ever closes it: a burst of bad requests would take the whole pool.

Django's own views also check the CSRF token first, which reads the body; where that is what was bad, the error page
would fail in its turn and end as a 500. Nothing is posted to an error page, so nothing is checked.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from django.db import connections
from django.http import HttpRequest, HttpResponseBase
from django.views import defaults

View = Callable[..., HttpResponseBase]


def closing_connections(view: View) -> View:
    """Close what the page opened; a connection with a transaction under way belongs to somebody else."""

    @functools.wraps(view)
    def handler(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        finally:
            for connection in connections.all(initialized_only=True):
                if not connection.in_atomic_block:
                    connection.close()

    return handler


bad_request = closing_connections(inspect.unwrap(defaults.bad_request))
permission_denied = closing_connections(inspect.unwrap(defaults.permission_denied))
page_not_found = closing_connections(inspect.unwrap(defaults.page_not_found))
server_error = closing_connections(inspect.unwrap(defaults.server_error))
