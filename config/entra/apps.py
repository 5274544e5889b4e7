"""App configuration."""

from __future__ import annotations

from django.apps import AppConfig


class EntraConfig(AppConfig):
    """Lets allauth find the provider, and registers the system checks."""

    name = "config.entra"
    label = "entra"

    def ready(self) -> None:
        """Import the checks, which register themselves."""
        from config.entra import checks  # noqa: F401  (needs loaded settings)
