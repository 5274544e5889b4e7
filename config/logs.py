"""What is logged, and where to."""

from typing import Any

from django.core.exceptions import ImproperlyConfigured


def settings(level: str) -> dict[str, Any]:
    """Return Django's LOGGING; `level` is that of our own apps.

    Raises:
        ImproperlyConfigured: there is no such level.
    """
    if level not in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:
        raise ImproperlyConfigured("LOG_LEVEL must be DEBUG, INFO, WARNING, ERROR or CRITICAL.")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
        "root": {"handlers": ["console"], "level": "WARNING"},
        "loggers": {
            "authapp": {"level": level},
            "mcpapp": {"level": level},
            "config": {"level": level},
            "mcp": {"level": "WARNING"},
            # Scanners send any Host; the 400 they get says it all.
            "django.security.DisallowedHost": {"level": "CRITICAL"},
            "django": {"handlers": ["console"], "level": "INFO", "propagate": False},
        },
    }
