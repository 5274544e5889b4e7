"""Django's error pages, with the request left alone.

Django's own views check the CSRF token first, which reads the body; where that is what was bad, the error page would
fail in its turn and end as a 500. Nothing is posted to an error page, so nothing is checked.
"""

from __future__ import annotations

import inspect

from django.views import defaults

bad_request = inspect.unwrap(defaults.bad_request)
permission_denied = inspect.unwrap(defaults.permission_denied)
page_not_found = inspect.unwrap(defaults.page_not_found)
server_error = inspect.unwrap(defaults.server_error)
