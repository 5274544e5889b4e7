"""What is logged, where to, and how: lines for people in development, JSON for programs elsewhere.

The apps use Python's own `logging`; structlog only makes the lines. Every one passes `config.masking` at the very end,
with its exception, so that no logger, ours or a library's, tells a secret that found its way into a message.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any

import structlog
from django.core.exceptions import ImproperlyConfigured

from config import log_context
from config.masking import masked_value

Event = MutableMapping[str, Any]

FORMATS = ("json", "text")
_CERTAIN = frozenset({"timestamp", "level", "logger", "request_id", "trace_id", "span_id", "user", "client"})
"""What is made here, or was looked at where it was added (`config.log_context`)."""
_OWN = frozenset({"timestamp", "level", "logger", "event", "exception", "stack"})
_IN_ACCESS_LINES = frozenset({"address", "method", "path", "status"})
"""What a line for people of the access log says in its sentence."""


def settings(level: str, form: str) -> dict[str, Any]:
    """Return Django's LOGGING; `level` is that of our own apps, `form` one of `FORMATS`.

    Raises:
        ImproperlyConfigured: there is no such level.
    """
    if level not in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:
        raise ImproperlyConfigured("LOG_LEVEL must be DEBUG, INFO, WARNING, ERROR or CRITICAL.")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"star": {"()": "config.logs.formatter", "form": form}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "star"}},
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


def formatter(form: str) -> logging.Formatter:
    """Return what makes lines of records."""
    render = structlog.processors.JSONRenderer(ensure_ascii=False) if form == "json" else _as_text
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, _time, log_context.add],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            mask,
            render,
        ],
        pass_foreign_args=True,  # whole until `log_context.add` takes them away,
    )


def use_for_server(names: tuple[str, ...] = ("uvicorn", "uvicorn.access")) -> None:
    """Have the loggers of the ASGI server, which it set up for itself, write lines of the same form."""
    made = next((handler.formatter for handler in logging.getLogger("django").handlers), None)
    if isinstance(made, structlog.stdlib.ProcessorFormatter):
        for name in names:
            for handler in logging.getLogger(name).handlers:
                handler.setFormatter(made)


def mask(_: Any, __: str, event: Event) -> Event:
    """Take secrets out of all that a line says but what is certainly none."""
    return {key: value if key in _CERTAIN else masked_value(value) for key, value in event.items()}


def _time(_: Any, __: str, event: Event) -> Event:
    """Add when the record was made, which is not when it is written."""
    at = datetime.fromtimestamp(event["_record"].created, UTC)
    event["timestamp"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def _as_text(_: Any, __: str, event: Event) -> str:
    """Return a line for people: what is known of the request at its end, then the exception."""
    said = _OWN | _IN_ACCESS_LINES if event["logger"] == "uvicorn.access" else _OWN
    told = " ".join(f"{key}={value}" for key, value in event.items() if key not in said)
    first = f"{event['timestamp']} {str(event['level']).upper()} {event['logger']}: {event['event']}"
    lines = [f"{first} [{told}]" if told else first, event.get("stack"), event.get("exception")]
    return "\n".join(str(line) for line in lines if line)
