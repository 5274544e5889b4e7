"""One call over HTTP is one trace, from the request to the statement, and no span has a secret."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from config.masking import MASK
from config.tracing import WithoutSecrets
from mcpapp.verifier import LOOKUP_SPAN
from tests.clients.person import Person
from tests.conftest import ROOT, LiveServer
from tests.mcpapp.helpers import MODERN, message
from tests.over_http import log_in

pytestmark = pytest.mark.live

TRACE = "0af7651916cd43dd8448eb211c80319c"


def trace_of(spans: list[dict[str, Any]], trace_id: str) -> list[dict[str, Any]]:
    return [span for span in spans if span["context"]["trace_id"] == f"0x{trace_id}"]


@pytest.mark.parametrize("era", ["legacy", MODERN])
def test_one_call_is_one_trace_from_the_request_to_its_sql(new_server: Callable[[], LiveServer], era: str) -> None:
    server = new_server()
    file = server.folder / "spans"
    # Whatever the owner asks to have captured, secrets are not.
    captured = {f"OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_{way}": ".*" for way in ("REQUEST", "RESPONSE")}
    server.environment |= {"OTEL": "true", "SPANS_FILE": str(file)} | captured
    server.start("-m", "uvicorn", "tests.config.traced_server:application", "--port", str(server.port))
    with Person("demo", "demo") as demo:
        tokens = log_in(server.url, demo)
    call = message("tools/call", {"name": "list-connected-apps", "arguments": {}}, era=era)
    call["headers"] |= {
        "Authorization": f"Bearer {tokens.access_token}",
        "traceparent": f"00-{TRACE}-b7ad6b7169203331-01",
    }
    with httpx2.Client(base_url=server.url, trust_env=False) as http:
        answer = http.post("/star?code=s3cret-code", **call)
        odd = http.get("/nowhere?%ff=\xff", headers={"Host": "127.0.0.1", "User-Agent": b"\xff", "X-A": b"\xfe"})
    server.stop()

    assert (answer.status_code, odd.status_code) == (200, 404)
    text = file.read_text(encoding="utf-8")
    spans = [json.loads(line) for line in text.splitlines()]
    mine = {span["context"]["span_id"]: span for span in trace_of(spans, TRACE)}
    [request] = [span for span in mine.values() if span["parent_id"] == "0xb7ad6b7169203331"]
    [tool] = [span for span in mine.values() if span["name"] == "tools/call list-connected-apps"]
    statements = [span for span in mine.values() if "db.statement" in span["attributes"]]
    [lookup] = [span for span in mine.values() if span["name"] == LOOKUP_SPAN]
    assert lookup["parent_id"] == request["context"]["span_id"]
    assert request["kind"] == "SpanKind.SERVER"
    assert tool["parent_id"] == request["context"]["span_id"]
    assert any(span["parent_id"] == tool["context"]["span_id"] for span in statements)
    assert any(span["attributes"]["db.statement"].startswith("SELECT") for span in statements)
    assert request["resource"]["attributes"]["service.name"] == "star"
    assert "POST /o/token/" in {span["name"] for span in spans}, "pages are named by their routes"

    for secret in (tokens.access_token, tokens.refresh_token, "s3cret", "?code", "code_challenge="):
        assert secret not in text


def test_what_exceptions_quote_is_no_secret_by_the_time_it_is_exported() -> None:
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(WithoutSecrets(kept)))

    def fail() -> None:
        with provider.get_tracer("test").start_as_current_span("span", attributes={"url": "/x?code=hunter"}) as span:
            span.add_event("told", {"authorization": "Bearer hunter"})
            raise ValueError("password=hunter")

    with pytest.raises(ValueError, match="hunter"):
        fail()
    [exported] = kept.get_finished_spans()
    assert "hunter" not in exported.to_json()
    assert MASK in exported.attributes["url"]
    assert exported.status.status_code is StatusCode.ERROR
    assert [event.name for event in exported.events] == ["told", "exception"]


def test_where_traces_are_off_none_of_it_is_imported() -> None:
    code = "import sys, config.asgi; print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"DEBUG": "true", "ENV_FILE": "", "PATH": "", "DJANGO_SETTINGS_MODULE": "config.settings"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[]"
