"""App configuration."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class MCPAppConfig(AppConfig):
    """Registers the system checks of the resource server."""

    name = "mcpapp"
    verbose_name = _("MCP server")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import the checks, which register themselves."""
        from mcpapp import checks  # noqa: F401  (needs loaded settings)
