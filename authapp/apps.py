"""App configuration."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AuthAppConfig(AppConfig):
    """Registers the system checks of the authorization server."""

    name = "authapp"
    verbose_name = _("Connected clients")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import the checks, which register themselves."""
        from authapp import checks  # noqa: F401  (needs loaded settings)
