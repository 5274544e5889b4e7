"""App configuration."""

from __future__ import annotations

from django.apps import AppConfig


class EntraConfig(AppConfig):
    """Lets allauth find the provider."""

    name = "config.entra"
    label = "entra"
