"""One site served twice, with the fast path and without, and requests that go both ways."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404
from mcp.server.mcpserver import Context, Image
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import (
    Annotations,
    CallToolResult,
    ElicitRequest,
    ElicitRequestFormParams,
    InputRequiredResult,
    ResourceLink,
    TextContent,
)
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from mcpapp.asgi import ResourceServer
from mcpapp.identity import current_user
from mcpapp.registry import tool
from tests.bench.site import http_scope
from tests.mcpapp.helpers import MODERN, message

OLDER = "2025-11-25"
ERAS = (MODERN, OLDER)
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


# --- One request, both ways ------------------------------------------------------------------------------------------


@dataclass
class Sent:
    """A request as it goes over the wire."""

    body: bytes
    headers: list[tuple[str, str]]
    label: str = ""

    def with_header(self, name: str, *values: str) -> Sent:
        """Return it with a header in place of what it had: one line for each value."""
        kept = [(key, value) for key, value in self.headers if key.lower() != name.lower()]
        return Sent(self.body, [*kept, *((name, value) for value in values)], f"{self.label} {name}={values}"[:200])


@dataclass
class Answer:
    """What came back."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    log: list[tuple[str, str, str]] = field(default_factory=list)

    def told(self) -> Any:
        """Return all that a client can tell from it."""
        headers = {name: value for name, value in self.headers.items() if name != b"content-length"}
        if length := self.headers.get(b"content-length"):
            assert int(length) == len(self.body)
        kind = headers.get(b"content-type", b"")
        if kind.startswith(b"text/event-stream"):
            assert re.fullmatch(rb"event: message\r\ndata: [^\r\n]+\r\n\r\n", self.body), self.body
            return self.status, headers, [read(line[6:]) for line in self.body.split(b"\r\n") if line[:6] == b"data: "]
        return self.status, headers, read(self.body) if self.body and kind == b"application/json" else self.body


def read(text: bytes) -> Any:
    """Decode JSON, order included; the SDK writes NaN, which is no JSON, where we write null."""
    return json.loads(text, parse_constant=lambda _: None, object_pairs_hook=lambda pairs: ["object", *pairs])


class Both:
    """The same site twice: as it is, and with the SDK answering everything."""

    def __init__(self, fast: ResourceServer, plain: ResourceServer, log: pytest.LogCaptureFixture) -> None:
        self.fast, self.plain, self._log = fast, plain, log
        self.taken = 0
        understood = fast._fast_path.understood if fast._fast_path else None
        assert understood is not None

        def counted(*args: Any) -> Any:
            call = understood(*args)
            self.taken += call is not None
            return call

        fast._fast_path.understood = counted  # type: ignore[method-assign, union-attr]
        plain._fast_path = None

    async def ask(self, sent: Sent, server: ResourceServer | None = None) -> Answer:
        """Send a request to one of them."""
        server = server or self.fast
        answer = Answer()
        pending = [{"type": "http.request", "body": sent.body, "more_body": False}]
        done = asyncio.Event()

        async def receive() -> Any:
            if pending:
                return pending.pop()
            await done.wait()
            return {"type": "http.disconnect"}

        async def send(event: Any) -> None:
            if event["type"] == "http.response.start":
                answer.status, answer.headers = event["status"], dict(event["headers"])
                assert len(answer.headers) == len(list(event["headers"]))
            else:
                answer.body += event.get("body", b"")
                if not event.get("more_body"):
                    done.set()

        scope = http_scope({}) | {"headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in sent.headers]}
        self._log.clear()
        await asyncio.create_task(server(scope, receive, send))
        answer.log = [(r.name, r.levelname, r.getMessage()) for r in self._log.records if r.levelno >= logging.INFO]
        return answer

    async def same(self, sent: Sent) -> bool:
        """Check that both answer a request alike, the log included; return whether it was taken for a plain call."""
        before = self.taken
        fast = await self.ask(sent)
        plain = await self.ask(sent, self.plain)
        assert not re.search(rb"[:,\[]-?(NaN|Infinity)", fast.body), "that is no JSON"
        assert fast.told() == plain.told(), sent.label or sent.body
        assert [line for line in fast.log if "session" not in line[2]] == [
            line for line in plain.log if "session" not in line[2]
        ], sent.label
        return self.taken > before


@asynccontextmanager
async def both_ways(log: pytest.LogCaptureFixture) -> AsyncIterator[Both]:
    """Serve what is declared right now, twice."""
    log.set_level(logging.INFO)
    fast, plain = ResourceServer(), ResourceServer()
    async with fast.running(), plain.running():
        yield Both(fast, plain, log)


def request(token: str | None, era: str, name: Any = "echo", arguments: Any = None, **changes: Any) -> Sent:
    """Return a good call; `changes` are of the JSON-RPC message."""
    made = message(
        "tools/call",
        {"name": name, "arguments": {} if arguments is None else arguments},
        era=MODERN if era == MODERN else "legacy",
    )
    body = json.loads(made["content"]) | changes
    headers = [("Host", "127.0.0.1:8000"), *made["headers"].items()]
    if era != MODERN:
        headers = [(k, era if k == "MCP-Protocol-Version" else v) for k, v in headers]
    if token is not None:
        headers.append(("Authorization", f"Bearer {token}"))
    return Sent(json.dumps(body).encode(), headers, f"{era} {name} {arguments} {changes}"[:300])


# --- A site with tools of every kind ---------------------------------------------------------------------------------


class Point(TypedDict):
    x: int
    label: str


class Shape(BaseModel):
    """A model with an alias and a field that may be missing."""

    corners: list[Point]
    colour: str | None = Field(default=None, alias="fillColour")


def raising(error: BaseException) -> Any:
    """Return a function that raises."""

    async def function(text: Annotated[str, Field(max_length=5)] = "") -> str:
        raise error

    return function


TOOLS: list[str] = []
PLAIN_TOOLS: list[str] = []


def declare_tools() -> None:
    """Declare tools that return, raise and take all sorts of things."""
    TOOLS.clear()
    PLAIN_TOOLS.clear()

    def kind(name: str, *, plain: bool = True, **options: Any) -> Callable[[Any], Any]:
        TOOLS.append(name)
        if plain:
            PLAIN_TOOLS.append(name)
        return tool(name, **options)

    @kind("echo")
    async def echo(
        text: str = "nothing", number: int = 0, many: list[int] | None = None, shape: Shape | None = None
    ) -> str:
        """Say what was said."""
        return f"{text} {number} {many} {shape}"

    @kind("strict")
    async def strict(needed: Annotated[int, Field(ge=1, le=10)], ratio: float = 0.5) -> float:
        return needed * ratio

    @kind("who")
    async def who() -> str:
        return str(current_user())

    @kind("plain-function")
    def plain_function(x: int = 1) -> int:
        return x + 1

    @kind("nothing")
    async def nothing() -> None: ...

    @kind("text")
    async def text() -> str:
        return '日本語 \u2028 \x00 \\ " </script>'

    @kind("untyped")
    async def untyped():  # type: ignore[no-untyped-def]
        return {"any": ["thing", 1.5, None, True]}

    @kind("structured")
    async def structured() -> Point:
        return Point(x=1, label="π")

    @kind("model")
    async def model() -> Shape:
        return Shape(corners=[Point(x=1, label="a")], fillColour="red")

    @kind("listed")
    async def listed() -> list[Point]:
        return [Point(x=1, label="a"), Point(x=2, label="b")]

    @kind("numbers")
    async def numbers() -> dict[str, float]:
        return {"nan": math.nan, "inf": math.inf, "tiny": 5e-324, "big": 1e308, "zero": -0.0}

    @kind("integers")
    async def integers() -> list[int]:
        return [2**53 + 1, -(2**70), 0]

    @kind("wrong-result")
    async def wrong_result() -> Point:
        return {"x": "not a number"}  # type: ignore[typeddict-item, return-value]

    @kind("image")
    async def image() -> Image:
        return Image(data=b"\x89PNG", format="png")

    @kind("contents")
    async def contents() -> list[Any]:
        link = ResourceLink(type="resource_link", name="a", uri="https://example.com/")
        return [TextContent(type="text", text="one"), link, Image(data=b"x", format="gif"), {"two": 2}]

    @kind("annotated-text")
    async def annotated_text() -> list[TextContent]:
        return [TextContent(type="text", text="one", annotations=Annotations(audience=["user"]))]

    @kind("own-result")
    async def own_result() -> CallToolResult:
        return CallToolResult(
            content=[TextContent(type="text", text="x")], structured_content={"a": [1]}, is_error=True
        )

    @kind("own-result-with-meta")
    async def own_result_with_meta() -> CallToolResult:
        return CallToolResult(content=[], _meta={"mine": {"deep": None}})

    @kind("own-result-of-objects")
    async def own_result_of_objects() -> CallToolResult:
        odd = {
            "when": datetime(2026, 1, 1, tzinfo=UTC),
            "bytes": b"x",
            "set": {1},
            "model": Shape(corners=[]),
            "key": {1: 2},
        }
        return CallToolResult(content=[], structured_content=odd)

    @kind("own-result-that-cannot-be-sent")
    async def own_result_that_cannot_be_sent() -> CallToolResult:
        return CallToolResult(content=[], structured_content={"object": object()})

    @kind("own-kind-of-result")
    async def own_kind_of_result() -> CallToolResult:
        return CallToolResult(content=[], result_type="x/own")

    @kind("asks-unannounced")
    async def asks_unannounced() -> Any:
        return InputRequiredResult(
            input_requests={
                "name": ElicitRequest(
                    params=ElicitRequestFormParams(
                        message="Who?", requested_schema={"type": "object", "properties": {"name": {"type": "string"}}}
                    )
                )
            }
        )

    @kind("with-context", plain=False)
    async def with_context(ctx: Context) -> str:
        await ctx.report_progress(1, 2)
        return ctx.request_id

    @kind("with-header", plain=False)
    async def with_header(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "eu") -> str:
        return region

    for name, error in {
        "tool-error": ToolError("told"),
        "value-error": ValueError("secret"),
        "denied": PermissionDenied("not you"),
        "missing": Http404(),
        "protocol-error": MCPError(code=-32602, message="odd", data={"why": ["x"]}),
        "unknown-code": MCPError(code=-31999, message="other"),
        "not-found-code": MCPError(code=-32601, message="no method"),
        "exits": SystemExit(3),
    }.items():
        kind(name)(raising(error))

    @kind("write", scopes=["mcp:write"])
    async def write() -> str:
        return "written"

    @kind("staff", permissions=["auth.change_user"])
    async def staff() -> str:
        return "staff"

    @kind("public", public=True)
    async def public() -> str:
        return "public"
