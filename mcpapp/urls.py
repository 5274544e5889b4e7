"""The resource server's URLs under Django; include them at the root. The endpoint itself is `mcpapp.asgi`."""

from django.urls import path, re_path

from mcpapp.connect import connect_page, connection_status
from mcpapp.metadata import protected_resource_metadata

app_name = "mcpapp"

urlpatterns = [
    path("", connect_page, name="connect"),
    path("connection-status/", connection_status, name="connection-status"),
    re_path(
        r"^\.well-known/oauth-protected-resource(?P<resource_path>/.+)?$",
        protected_resource_metadata,
        name="resource-metadata",
    ),
]
