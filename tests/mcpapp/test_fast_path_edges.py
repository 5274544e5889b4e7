"""Plain calls that take a while, that something hooks into, or that ask."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CallToolRequestParams,
    InputRequiredResult,
)
from opentelemetry import trace

from mcpapp import attendance
from mcpapp.asgi import ResourceServer
from mcpapp.calls import is_given_up
from mcpapp.fast_path import FastPath, _names_both, fits
from mcpapp.registry import Catalog, discover, tool
from mcpapp.server import build_server
from mcpapp.verifier import LOOKUP_SPAN, Verifier
from tests.bench.site import http_scope
from tests.mcpapp.both_ways import (
    ERAS,
    META,
    OLDER,
    Sent,
    both_ways,
    request,
)
from tests.mcpapp.helpers import MODERN

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]


# --- What is kept ------------------------------------------------------------------------------------------------


async def test_headers_that_are_kept_are_short(tools: None, token: str, caplog: pytest.LogCaptureFixture) -> None:
    def accepting(accept: str) -> Sent:
        sent = request(token, MODERN)
        return Sent(sent.body, [(k, accept if k == "Accept" else v) for k, v in sent.headers], "accept")

    both_kinds = "application/json, text/event-stream"
    async with both_ways(caplog) as both:
        assert await both.same(accepting(f"{both_kinds}, image/kept"))
        kept = _names_both.cache_info().currsize
        assert kept
        for number in range(3):
            assert not await both.same(accepting(f"{both_kinds}, image/{number}{'x' * 5000}"))
        assert _names_both.cache_info().currsize == kept


# --- Calls that take a while -------------------------------------------------------------------------------------


async def drive(server: ResourceServer, sent: Sent, leaves_after: float | None = None, send: Any = None) -> list[Any]:
    """Send a request whose client leaves after a while; return what was sent to it, unless `send` takes it."""
    events: list[Any] = []
    pending = [{"type": "http.request", "body": sent.body, "more_body": False}]

    async def receive() -> Any:
        if pending:
            return pending.pop()
        await asyncio.sleep(60 if leaves_after is None else leaves_after)
        return {"type": "http.disconnect"}

    async def keep(event: Any) -> None:
        events.append(event)

    scope = http_scope({}) | {"headers": [(k.lower().encode(), v.encode()) for k, v in sent.headers]}
    async with asyncio.timeout(20):
        await server(scope, receive, send or keep)
    return events


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_ends_when_its_client_leaves_however_it_is_written(
    catalog: Catalog, token: str, era: str, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[str] = []
    given_up = asyncio.Event()
    loop = asyncio.get_running_loop()

    @tool("patient")
    async def patient() -> str:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("patient")
        return "never"

    @tool("stubborn")
    async def stubborn() -> str:
        for _ in range(3):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ended.append("told")
        await asyncio.sleep(60)
        return "never"

    @tool("threaded")
    def threaded() -> str:
        deadline = time.monotonic() + 10
        while not is_given_up() and time.monotonic() < deadline:
            time.sleep(0.01)
        if is_given_up():
            loop.call_soon_threadsafe(given_up.set)
        return "never"

    async with both_ways(caplog) as both:
        for name, expected in {"patient": ["patient"], "stubborn": ["told"] * 3, "threaded": []}.items():
            ended.clear()
            assert await drive(both.fast, request(token, era, name), leaves_after=0.1) == [], name
            assert ended == expected
        await asyncio.wait_for(given_up.wait(), 10)
        await asyncio.sleep(0.25)  # this task, which served them, is not cancelled any more
        assert both.taken == 3
        # And the next one is served.
        assert (await both.ask(request(token, era, "nobody"))).status == 200


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_in_silence_keeps_its_connection_open_and_answers_at_last(
    catalog: Catalog, token: str, era: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attendance, "PING_SECONDS", 0.05)
    monkeypatch.setattr(attendance, "UNATTENDED_SECONDS", 0.01)

    @tool("slow")
    async def slow() -> str:
        await asyncio.sleep(0.4)
        return "done"

    @tool("slow-failure")
    async def slow_failure() -> str:
        await asyncio.sleep(0.2)
        raise MCPError(code=-32602, message="odd")

    async with both_ways(caplog) as both:
        for name in ("slow", "slow-failure"):
            start, *bodies = await drive(both.fast, request(token, era, name))
            headers = dict(start["headers"])
            assert (start["status"], headers[b"content-type"]) == (200, b"text/event-stream")
            assert b"content-length" not in headers
            *pings, last = bodies
            assert len(pings) >= 2
            assert [(ping["body"], ping["more_body"]) for ping in pings] == [(b": ping\r\n\r\n", True)] * len(pings)
            assert not last["more_body"]
            event = json.loads(last["body"].removeprefix(b"event: message\r\ndata: "))
            assert (event["id"], "result" in event) == (1, name == "slow")
        assert both.taken == 2


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_that_ends_while_its_client_takes_nothing_is_answered_when_it_does(
    catalog: Catalog, token: str, era: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that has not read an earlier answer on its connection yet: what is sent waits, then goes out whole."""
    monkeypatch.setattr(attendance, "PING_SECONDS", 0.05)
    monkeypatch.setattr(attendance, "UNATTENDED_SECONDS", 0.01)
    is_sending, has_ended = asyncio.Event(), asyncio.Event()

    @tool("slow")
    async def slow() -> str:
        await is_sending.wait()
        has_ended.set()
        return "done"

    sent: list[Any] = []

    async def send(event: Any) -> None:
        is_sending.set()
        await has_ended.wait()
        for _ in range(10):  # what the end of the call sets off has its turn
            await asyncio.sleep(0)
        sent.append(event)

    async with both_ways(caplog) as both:
        await drive(both.fast, request(token, era, "slow"), send=send)
        assert both.taken == 1
    assert [event["type"].removeprefix("http.response.") for event in sent] == ["start", "body", "body"]
    assert [event.get("more_body") for event in sent] == [None, True, False]
    assert b"done" in sent[-1]["body"]


# --- Hooks -----------------------------------------------------------------------------------------------------------


class Recorder(trace.TracerProvider, trace.Tracer):
    """OpenTelemetry that keeps what it is told; its SDK is none of our dependencies."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []

    def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
        """Return the tracer (OpenTelemetry)."""
        return self

    def start_span(self, name: str, context: Any = None, **kwargs: Any) -> trace.Span:
        """Return a span that writes down what it is told (OpenTelemetry)."""
        parent = trace.get_current_span(context).get_span_context()
        told: dict[str, Any] = {"name": name, "parent": f"{parent.trace_id:x}", "said": []}
        told["attributes"] = dict(kwargs.get("attributes") or {})
        self.spans.append(told)

        class Span(trace.NonRecordingSpan):
            def set_attributes(self, attributes: Any) -> None:
                told["attributes"].update(attributes)

            def set_attribute(self, key: str, value: Any) -> None:
                told["attributes"][key] = value

            def set_status(self, status: Any, description: str | None = None) -> None:
                told["said"].append((str(status), description))

            def end(self, end_time: int | None = None) -> None:
                told["said"].append("ended")

        return Span(trace.SpanContext(1, 2, is_remote=False))

    @contextmanager
    def start_as_current_span(self, name: str, context: Any = None, **kwargs: Any) -> Iterator[trace.Span]:  # type: ignore[override]
        """Make a span the current one (OpenTelemetry)."""
        span = self.start_span(name, context, attributes=kwargs.get("attributes"))
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            yield span


@pytest.mark.parametrize("era", ERAS)
async def test_spans_are_the_same_both_ways(
    tools: None, token: str, era: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", recorder)
    monkeypatch.setattr("mcp.shared._otel._tracer", recorder)
    async with both_ways(caplog) as both:
        for name in ("echo", "tool-error", "value-error", "protocol-error", "own-result", "numbers"):
            for trace_keys in ({}, {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}):
                params = {"name": name, "arguments": {}, "_meta": (META if era == MODERN else {}) | trace_keys}
                recorder.spans.clear()
                assert await both.same(request(token, era, name, params=params)), (name, trace_keys)
                fast, plain = [one for one in recorder.spans if one["name"] != LOOKUP_SPAN]
                assert fast == plain
                assert fast["name"] == f"tools/call {name}"
                assert fast["said"][-1] == "ended"
                assert (fast["parent"] == "af7651916cd43dd8448eb211c80319c") is bool(trace_keys)


@pytest.mark.parametrize("era", ERAS)
async def test_a_trace_that_a_client_began_reaches_the_tool_also_where_nobody_records_it(
    catalog: Catalog, token: str, era: str, caplog: pytest.LogCaptureFixture
) -> None:
    @tool("span")
    async def span() -> str:
        return f"{trace.get_current_span().get_span_context().trace_id:x}"

    async with both_ways(caplog) as both:
        meta = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        params = {"name": "span", "arguments": {}, "_meta": (META if era == MODERN else {}) | meta}
        sent = request(token, era, "span", params=params)
        assert not await both.same(sent)
        assert b"af7651916cd43dd8448eb211c80319c" in (await both.ask(sent)).body


async def test_what_a_round_leaves_with_the_client_is_sealed(
    catalog: Catalog, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    @tool("asks")
    async def asks() -> InputRequiredResult:
        return InputRequiredResult(request_state="plaintext-of-ours")

    async with both_ways(caplog) as both:
        answers = [await both.ask(request(token, MODERN, "asks"), server) for server in (both.fast, both.plain)]
        for answer in answers:
            result = json.loads(answer.body)["result"]
            assert result["resultType"] == "input_required"
            assert b"plaintext-of-ours" not in answer.body
            assert result["requestState"]
        assert both.taken == 1
        assert (await both.ask(request(token, OLDER, "asks"))).told() == (
            await both.ask(request(token, OLDER, "asks"), both.plain)
        ).told()


async def test_nothing_is_taken_for_plain_when_something_unknown_hooks_in(
    tools: None, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    async def watch(ctx: Any, call_next: Any) -> Any:
        seen.append(ctx.params["name"])
        return await call_next(ctx)

    async with both_ways(caplog) as both:
        assert await both.same(request(token, MODERN))
        assert seen == []
    server = build_server(discover(), Verifier())
    assert fits(server)
    assert FastPath(server)._tools
    assert not fits(SimpleNamespace(middleware=[]))  # type: ignore[arg-type]  # an SDK with other names
    server.middleware.append(watch)
    assert not fits(server)
    assert not FastPath(server)._tools
    assert "not as known" in caplog.text, "whoever runs the site would not know why it became slower"
    server.middleware.pop()
    server._lowlevel_server.add_request_handler("tools/call", CallToolRequestParams, watch)  # as an extension does
    assert not fits(server)


@pytest.mark.parametrize("era", ERAS)
async def test_what_is_too_large_is_refused_both_ways(
    tools: None, token: str, era: str, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "MAXIMUM_BODY_BYTES": 1000}
    async with both_ways(caplog) as both:
        assert await both.same(request(token, era, "echo", {"text": "x" * 300}))
        large = request(token, era, "echo", {"text": "x" * 1000})
        assert not await both.same(large)
        assert (await both.ask(large)).status == 413


async def test_with_sessions_on_older_calls_go_through_their_session(
    tools: None, token: str, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "SESSIONS": True}
    async with both_ways(caplog) as both:
        assert (await both.ask(request(token, OLDER))).status == 400  # there is no session yet
        assert both.taken == 0
        assert await both.same(request(token, MODERN))


async def test_what_was_found_good_of_a_client_is_forgotten_in_time(
    tools: None, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with both_ways(caplog) as both:
        fast_path = both.fast._fast_path
        assert fast_path is not None
        for number in range(600):
            meta = {**META, "io.modelcontextprotocol/clientInfo": {"name": f"{number}", "version": "1"}}
            sent = request(token, MODERN, params={"name": "echo", "arguments": {}, "_meta": meta})
            assert (await both.ask(sent)).status == 200
        assert 0 < len(fast_path._good_metas) <= 256
        before = len(fast_path._good_metas)
        for odd in (
            {**META, "progressToken": 5},
            {**META, "io.modelcontextprotocol/clientInfo": {"name": "x" * 3000, "version": "1"}},
        ):
            assert await both.same(request(token, MODERN, params={"name": "echo", "arguments": {}, "_meta": odd}))
        assert len(fast_path._good_metas) == before
