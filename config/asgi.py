"""ASGI entry point: /star and the lifespan go to mcpapp, everything else to Django, but for what probes ask.

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
    from config.health import Health
    from config.readiness import SiteReadiness

    django_application = ThreadedHandler()
    # Only after Django is set up: the tools of the installed apps import models.
    from authapp.oauthlib_core import RECEIVED_AT
    from mcpapp.asgi import ResourceServer

    resource_server = ResourceServer()
    access_log.install()
except ImproperlyConfigured as error:
    sys.exit(f"Star cannot start: {error}")


async def site(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve one connection (ASGI 3)."""
    if scope["type"] == "lifespan" or (scope["type"] == "http" and resource_server.serves(scope)):
        await resource_server(scope, receive, send)
    elif scope["type"] == "http":
        scope[RECEIVED_AT] = time.time()
        await django_application(scope, receive, send)
    elif scope["type"] == "websocket":  # none are served here; closing before accepting answers 403
        await send({"type": "websocket.close", "code": 1000})


application = Health(site, SiteReadiness(resource_server.call_log))
