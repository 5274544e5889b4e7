"""ASGI entry point: /star and the lifespan go to mcpapp, everything else to Django, but for what probes ask.

Any ASGI server runs it, e.g. `uvicorn config.asgi:application --workers 4`; `manage.py runserver` does too.
"""

import os
import sys
import time
import warnings
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from config import access_log

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# WhiteNoise hands out files as plain iterators; Django reads them whole, which is right for files of this size.
warnings.filterwarnings("ignore", "StreamingHttpResponse must consume synchronous iterators")

try:
    import django

    django.setup(set_prefix=False)
    from django.conf import settings

    from config import logs, request_ids
    from config.handler import ThreadedHandler
    from config.health import Health
    from config.readiness import SiteReadiness

    django_application = ThreadedHandler()
    # Only after Django is set up: the tools of the installed apps import models.
    from authapp.oauthlib_core import RECEIVED_AT
    from mcpapp import edge_mirror
    from mcpapp.asgi import ResourceServer

    resource_server = ResourceServer()
    if settings.METRICS_TOKEN:
        from config import metrics  # whose library looks for the folder when it is imported

        collected = metrics.Metrics(resource_server, metrics.prepare(settings.METRICS_FOLDER))
        collected.connect()
    access_log.install()
    logs.use_for_server()
    if settings.OTEL:
        from config import tracing  # whose packages are an extra

        tracing.start()
    _REQUEST_ID_HEADER = settings.REQUEST_ID_HEADER.encode()
except ImproperlyConfigured as error:
    sys.exit(f"Star cannot start: {error}")


async def site(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    """Serve one connection (ASGI 3)."""
    if scope["type"] == "http" and (question := edge_mirror.question_in(scope)) is not None:
        # Whatever the path: where proxies lead a request is part of what the doctor asks about.
        await edge_mirror.answer(question, scope, receive, send)
    elif scope["type"] == "http":
        request_id = request_ids.id_of(scope, _REQUEST_ID_HEADER)
        token = request_ids.current.set(request_id)
        try:
            await _serve(scope, receive, request_ids.telling(send, request_id))
        finally:
            request_ids.current.reset(token)
    elif scope["type"] == "lifespan":
        await resource_server(scope, receive, send)
    elif scope["type"] == "websocket":  # none are served here; closing before accepting answers 403
        await send({"type": "websocket.close", "code": 1000})


async def _serve(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    """Serve one request."""
    if resource_server.serves(scope):
        await resource_server(scope, receive, send)
    else:
        await django_application({**scope, RECEIVED_AT: time.time()}, receive, send)


application: Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]] = site
if settings.METRICS_TOKEN:
    application = metrics.served(application, collected, settings.METRICS_TOKEN)
if settings.OTEL:
    application = tracing.traced(application)
application = Health(application, SiteReadiness(resource_server.call_log))  # outermost: probes leave no trace
