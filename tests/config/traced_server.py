"""The site with traces that go into a file: `uvicorn tests.config.traced_server:application`, with OTEL on."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from config import tracing


class IntoFile(SpanExporter):
    """Writes each span as a line of JSON."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with Path(os.environ["SPANS_FILE"]).open("a", encoding="utf-8") as file:
            for span in spans:
                file.write(json.dumps(json.loads(span.to_json())) + "\n")
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        pass


start = tracing.start


def start_into_file(exporter: Any = None) -> Any:
    return start(IntoFile())


tracing.start = start_into_file

from config.asgi import application  # noqa: E402, F401
