"""ASGI entry point: /star and the lifespan go to mcpapp, everything else to Django.

Any ASGI server runs it, e.g. `uvicorn config.asgi:application --workers 4`; `manage.py runserver` does too.
"""

import os
import sys
import time
import warnings
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from config import access_log

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# WhiteNoise hands out files as plain iterators; Django reads them whole, which is right for files of this size.
warnings.filterwarnings("ignore", "StreamingHttpResponse must consume synchronous iterators")

try:
    import django

    django.setup(set_prefix=False)
    from config.handler import ThreadedHandler

    django_application = ThreadedHandler()
    # Only after Django is set up: the tools of the installed apps import models.
    from authapp.oauthlib_core import RECEIVED_AT
    from mcpapp import edge_mirror
    from mcpapp.asgi import ResourceServer

    resource_server = ResourceServer()
    access_log.install()
except ImproperlyConfigured as error:
    sys.exit(f"Star cannot start: {error}")


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve one connection (ASGI 3)."""
    if scope["type"] == "http" and (question := edge_mirror.question_in(scope)) is not None:
        # Whatever the path: where proxies lead a request is part of what the doctor asks about.
        await edge_mirror.answer(question, scope, receive, send)
    elif scope["type"] == "lifespan" or (scope["type"] == "http" and resource_server.serves(scope)):
        await resource_server(scope, receive, send)
    elif scope["type"] == "http":
        scope[RECEIVED_AT] = time.time()
        await django_application(scope, receive, send)
    elif scope["type"] == "websocket":  # none are served here; closing before accepting answers 403
        await send({"type": "websocket.close", "code": 1000})
