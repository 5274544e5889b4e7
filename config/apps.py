"""App configuration."""

from __future__ import annotations

from django.apps import AppConfig


class SiteConfig(AppConfig):
    """Registers the system checks of the site, and lets Django find its command."""

    name = "config"
    label = "site_config"

    def ready(self) -> None:
        """Import the checks, which register themselves."""
        from config import checks  # noqa: F401  (needs loaded settings)
