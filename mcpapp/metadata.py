"""Protected resource metadata (RFC 9728): which resource this is and who issues tokens for it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from mcpapp import conf


@csrf_exempt  # so that a POST is a 405, not a CSRF page
@require_safe
def protected_resource_metadata(request: HttpRequest, resource_path: str = "") -> JsonResponse:
    """Serve the metadata at the path of the resource, and at the root for clients that look there.

    Another path is a 404: a document for a resource that does not exist would only mislead.
    """
    resource = conf.resource_for(request.META.get("HTTP_HOST", ""))
    if resource_path and resource_path != urlsplit(resource).path:
        raise Http404("No such resource.")
    metadata: dict[str, Any] = {
        "resource": resource,
        "authorization_servers": list(conf.authorization_servers_for(resource)),
        "scopes_supported": list(conf.scopes_supported()),
        "bearer_methods_supported": ["header"],
        "resource_name": conf.server_title(),
    }
    response = JsonResponse(metadata)
    response["Cache-Control"] = "public, max-age=300"
    response["Vary"] = "Host"
    return response
