"""Spans of OpenTelemetry, whose API the MCP SDK brings; without a provider nothing is spent on them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from opentelemetry import trace


def is_tracing() -> bool:
    """Return whether somebody set OpenTelemetry up."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def span(name: str) -> AbstractContextManager[Any]:
    """Return a span for the code inside; it records no exception, which may quote anything."""
    if not is_tracing():
        return nullcontext()
    return trace.get_tracer(__name__).start_as_current_span(name, record_exception=False)
