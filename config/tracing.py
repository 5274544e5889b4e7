"""Traces with OpenTelemetry, where `OTEL` is on: the request, the message in it (a span of the MCP SDK's), its SQL.

OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`, …) say where spans go and how many.
The packages are the extra `otel`; nothing here is imported where it is off.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse

try:
    from opentelemetry import trace
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
except ImportError as error:
    raise ImproperlyConfigured("OTEL is on, and its packages are not there: install the extra `otel`.") from error

from config.masking import masked_value

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]

MAXIMUM_LENGTH = 2000
"""Of an attribute: clients choose some of them."""
FLUSH_MILLISECONDS = 5000
_ORIGINAL = "star.untraced_scope"
_TOLD_HEADERS = frozenset({b"host", b"traceparent", b"tracestate"})
"""What of a request is shown to the instrumentation; the rest it cannot tell, whatever its own variables say."""
_KEY_IN_PATH = re.compile(r"(/key/)[^/]+")
_LITERAL = re.compile(r"'(?:[^']|'')*'")


def start(exporter: SpanExporter | None = None) -> TracerProvider:
    """Set OpenTelemetry up for this process; spans go to `exporter`, or by OTLP over HTTP."""
    if exporter is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # needed by no test

        exporter = OTLPSpanExporter()
    resource = Resource.create()  # what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say
    if str(resource.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "star"}))
    provider = TracerProvider(resource=resource, span_limits=SpanLimits(max_attribute_length=MAXIMUM_LENGTH))
    provider.add_span_processor(BatchSpanProcessor(WithoutSecrets(exporter)))
    trace.set_tracer_provider(provider)
    connection_created.connect(_watch, dispatch_uid="config.tracing")
    for connection in connections.all(initialized_only=True):
        _watch(None, connection)
    return provider


def traced(application: Application) -> Application:
    """Return an ASGI application whose requests have spans."""

    async def original(scope: Scope, receive: Any, send: Any) -> None:
        await application(scope[_ORIGINAL], receive, send)

    middleware = OpenTelemetryMiddleware(
        original, exclude_spans=["receive", "send"], default_span_details=lambda scope: (_method(scope), {})
    )

    async def serve(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await application(scope, receive, _flushing(send) if scope["type"] == "lifespan" else send)
            return
        shown = {
            **scope,
            "query_string": b"",
            "path": _KEY_IN_PATH.sub(r"\1…", scope["path"])[:MAXIMUM_LENGTH],
            "headers": [(name, value) for name, value in scope["headers"] if name in _TOLD_HEADERS and value.isascii()],
            _ORIGINAL: scope,
        }
        await middleware(shown, receive, send)

    return serve


def _flushing(send: Any) -> Any:
    """Return a `send` that hands on what spans wait before it says that the process may end: a signal ends it then."""

    async def tell(message: Any) -> None:
        provider = trace.get_tracer_provider()
        if message["type"] == "lifespan.shutdown.complete" and isinstance(provider, TracerProvider):
            await asyncio.to_thread(provider.force_flush, FLUSH_MILLISECONDS)
        await send(message)

    return tell


def named_by_route(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Name the span of a page by its route, which are few, and not by its path."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if request.resolver_match is not None:
            span, route = trace.get_current_span(), f"/{request.resolver_match.route}"
            span.update_name(f"{_method({'method': request.method})} {route}")
            span.set_attribute("http.route", route)
        return response

    return middleware


def _method(scope: Any) -> str:
    known = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
    return scope["method"] if scope.get("method") in known else "HTTP"


def _watch(sender: Any, connection: Any, **_: Any) -> None:
    """Have a connection to the database make a span of each statement."""
    if _statement not in connection.execute_wrappers:
        connection.execute_wrappers.append(_statement)


def _statement(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
    """Run a statement in a span: its text, with `%s` where its parameters are, and never those."""
    if not trace.get_current_span().is_recording():  # of no request that is traced
        return execute(sql, params, many, context)
    connection = context["connection"]
    text = _LITERAL.sub("'…'", str(sql)[:MAXIMUM_LENGTH])
    operation = text.lstrip("( \n").partition(" ")[0][:20].upper()
    attributes = {"db.system": connection.vendor, "db.statement": text, "db.operation": operation}
    with trace.get_tracer("star.sql").start_as_current_span(
        operation or "SQL", kind=trace.SpanKind.CLIENT, attributes=attributes, record_exception=False
    ):
        return execute(sql, params, many, context)


class WithoutSecrets(SpanExporter):
    """Hands spans on without what looks like a secret: exceptions, whose texts the SDK records, may quote anything."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export."""
        return self._exporter.export([_cleaned(span) for span in spans])

    def shutdown(self) -> None:
        """Shut down."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush."""
        return self._exporter.force_flush(timeout_millis)


def _cleaned(span: ReadableSpan) -> ReadableSpan:
    status = span.status
    if status.description:
        status = trace.Status(status.status_code, masked_value(status.description))
    return ReadableSpan(
        name=masked_value(span.name)[:MAXIMUM_LENGTH],
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes=masked_value(span.attributes or {}),
        events=[Event(event.name, masked_value(event.attributes or {}), event.timestamp) for event in span.events],
        links=span.links,
        kind=span.kind,
        status=status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
