"""Figures for Prometheus, where `METRICS_TOKEN` is set: `/metrics` tells who sends it as a bearer token, nobody else.

The apps know nothing of Prometheus: they keep figures of their own (`mcpapp.figures`) or send signals, and this module
collects. All workers write into one folder, so whichever answers tells of all (prometheus-client's multi-process mode).
No label is a client's or a stranger's to choose.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import stat
import tempfile
from bisect import bisect_left
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from authapp.signals import happened, tokens_issued
from mcpapp.asgi import ResourceServer

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]

PATH = "/metrics"
POLL_SECONDS = 2.0
"""How old figures are at most that nobody tells of."""
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
UNKNOWN = "(unknown)"
"""Stands for what is no tool of this server, or no grant that is known."""
GRANTS = {
    "authorization_code": "authorization_code",
    "refresh_token": "refresh_token",
    "client_credentials": "client_credentials",
    "urn:ietf:params:oauth:grant-type:device_code": "device_code",
    "urn:ietf:params:oauth:grant-type:jwt-bearer": "jwt_bearer",
}


def prepare(folder: str) -> Path:
    """Make the folder that the workers share, and say where it is: before prometheus-client is imported.

    Without a name it is one of the server that started them, in the folder for temporary files.

    Raises:
        ImproperlyConfigured: it cannot be made, or somebody else can write into it.
    """
    path = Path(folder or f"{tempfile.gettempdir()}/star-metrics-{os.getuid()}-{os.getppid()}")
    try:
        path.mkdir(mode=0o700, parents=bool(folder), exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise ImproperlyConfigured(f"METRICS_FOLDER {path} cannot be made: {error.strerror}.") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise ImproperlyConfigured(f"METRICS_FOLDER {path} must be a folder that nobody else can write into.")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(path)
    return path


class Metrics:
    """What one worker knows; one for a process."""

    def __init__(self, server: ResourceServer, folder: Path) -> None:
        import prometheus_client  # not before `prepare`: it looks at the environment once
        from prometheus_client import Counter, Gauge, Histogram, multiprocess

        self._server, self._folder = server, folder
        for pid in {name.stem.rpartition("_")[2] for name in folder.glob("gauge_live*.db")}:
            if pid.isdigit() and not Path(f"/proc/{pid}").exists():
                multiprocess.mark_process_dead(int(pid), str(folder))
        self._library = prometheus_client
        self._registry = prometheus_client.CollectorRegistry(auto_describe=False)

        def counter(name: str, text: str, *labels: str) -> Any:
            return Counter(name, text, labels, registry=self._registry)

        def gauge(name: str, text: str) -> Any:
            return Gauge(name, text, registry=self._registry, multiprocess_mode="livesum")

        self._calls = counter("star_tool_calls_total", "Calls of tools, by how they ended.", "tool", "outcome")
        self._seconds = Histogram(
            "star_tool_call_seconds", "How long calls took.", ["tool"], buckets=BUCKETS, registry=self._registry
        )
        self._waiting: dict[tuple[Any, str], int] = {}
        self._took: dict[Any, list[float]] = {}
        self._tokens = counter("star_tokens_issued_total", "Access tokens issued.", "grant")
        self._events = counter("star_events_total", "What happened to clients, consents and tokens.", "event")
        self._registrations = counter("star_registrations_total", "Clients that were registered.")
        self._refusals = counter("star_refusals_total", "Requests turned away at the MCP endpoint.", "reason")
        self._lookups = counter("star_token_cache_total", "Access tokens, kept or looked up.", "result")
        self._limited = counter("star_limited_total", "Calls beyond a limit.", "limit")
        self._dropped = counter("star_call_log_dropped_total", "Records of calls that were dropped.")
        self._queue = gauge("star_call_log_queue", "Records of calls that wait to be written.")
        self._streams = gauge("star_streams_open", "Streams of changes that are open.")
        self._in_flight = gauge("star_calls_in_flight", "Calls of tools under way.")
        self._told: dict[tuple[str, str], float] = {}

    def connect(self) -> None:
        """Hear of what the apps tell."""
        self._server.figures.hear_calls(self.called)
        tokens_issued.connect(self._on_tokens, dispatch_uid="config.metrics")
        happened.connect(self._on_event, dispatch_uid="config.metrics")

    def called(self, tool: Any, outcome: str, seconds: float) -> None:
        """Count a call of a tool: in memory alone, for prometheus-client's files would cost a tenth of a short call."""
        if type(tool) is not str or tool not in self._server.catalog.tools:
            tool = UNKNOWN
        key = (tool, outcome)
        self._waiting[key] = self._waiting.get(key, 0) + 1
        took = self._took.get(tool)
        if took is None:
            took = self._took[tool] = [0.0] * (len(BUCKETS) + 2)
        took[bisect_left(BUCKETS, seconds)] += 1
        took[-1] += seconds

    def _on_tokens(self, grant: str, **_: Any) -> None:
        self._tokens.labels(GRANTS.get(grant, UNKNOWN)).inc()

    def _on_event(self, action: str, **_: Any) -> None:
        self._events.labels(action).inc()
        if action == "client_registered":
            self._registrations.inc()

    def poll(self) -> None:
        """Take over the figures that nobody tells of."""
        waiting, self._waiting = self._waiting, {}
        for (tool, outcome), count in waiting.items():
            self._calls.labels(tool, outcome).inc(count)
        took, self._took = self._took, {}
        for tool, (*counts, seconds) in took.items():
            _observe_all(self._seconds.labels(tool), counts, seconds)
        figures = self._server.figures
        for reason, count in figures.refusals().items():
            self._add(self._refusals, reason, count)
        for result, count in figures.token_cache().items():
            self._add(self._lookups, result, count)
        for limit, count in figures.limited().items():
            self._add(self._limited, limit, count)
        queued, dropped = figures.call_log()
        self._add(self._dropped, "", dropped)
        self._queue.set(queued)
        self._streams.set(figures.streams())
        self._in_flight.set(figures.in_flight())

    def _add(self, counter: Any, label: str, count: float) -> None:
        """Let a counter follow a figure that only rises."""
        key = (counter._name, label)
        if more := count - self._told.get(key, 0):
            (counter.labels(label) if label else counter).inc(more)
            self._told[key] = count

    async def poll_for_ever(self) -> None:
        """Take them over every few seconds."""
        while True:
            self.poll()
            await asyncio.sleep(POLL_SECONDS)

    def text(self) -> bytes:
        """Return the figures of all workers as Prometheus reads them."""
        from prometheus_client import multiprocess

        registry = self._library.CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, str(self._folder))
        return self._library.generate_latest(registry)

    def end(self) -> None:
        """Leave no figures of the moment behind; what was counted stays."""
        from prometheus_client import multiprocess

        self.poll()
        multiprocess.mark_process_dead(os.getpid(), str(self._folder))


def _observe_all(histogram: Any, counts: list[float], seconds: float) -> None:
    """Let a histogram observe many at once, for which it has no public method: how many by bucket, and their sum."""
    for bucket, count in zip(histogram._buckets, counts, strict=True):
        if count:
            bucket.inc(count)
    histogram._sum.inc(seconds)


def served(application: Application, metrics: Metrics, token: str) -> Application:
    """Return an ASGI application that tells figures under `/metrics`, too, to whoever knows the token."""
    expected = f"Bearer {token}".encode()

    async def serve(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == PATH:
            await _answer(scope, send)
        elif scope["type"] == "lifespan":
            polling = asyncio.create_task(metrics.poll_for_ever())
            try:
                await application(scope, receive, send)
            finally:
                polling.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await polling
                metrics.end()
        else:
            await application(scope, receive, send)

    async def _answer(scope: Scope, send: Any) -> None:
        sent = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(sent) != 1 or not hmac.compare_digest(sent[0], expected):
            await _send(send, 401, b"", [(b"www-authenticate", b"Bearer")])
        elif scope["method"] not in {"GET", "HEAD"}:
            await _send(send, 405, b"", [(b"allow", b"GET, HEAD")])
        else:
            metrics.poll()
            text = await asyncio.to_thread(metrics.text)
            kind = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
            await _send(send, 200, b"" if scope["method"] == "HEAD" else text, [kind])

    return serve


async def _send(send: Any, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    always = [(b"cache-control", b"no-store"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *always]})
    await send({"type": "http.response.body", "body": body})
