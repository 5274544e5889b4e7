"""Plain calls are answered without the SDK's transport, and nobody can tell: the same requests are sent both ways."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import logging
import math
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied
from django.http import Http404
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from mcp.server.mcpserver import Context, Image
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import (
    Annotations,
    CallToolRequestParams,
    CallToolResult,
    ElicitRequest,
    ElicitRequestFormParams,
    InputRequiredResult,
    ResourceLink,
    TextContent,
)
from opentelemetry import trace
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from mcpapp import attendance
from mcpapp.asgi import ResourceServer
from mcpapp.calls import is_given_up
from mcpapp.fast_path import FastPath, fits
from mcpapp.identity import current_user
from mcpapp.registry import Catalog, discover, tool
from mcpapp.server import build_server
from mcpapp.verifier import Verifier
from tests.bench.site import http_scope
from tests.mcpapp.helpers import MODERN, make_token, message

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]

OLDER = "2025-11-25"
ERAS = (MODERN, OLDER)


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


@pytest.fixture
def tools(catalog: Catalog) -> None:
    declare_tools()


@pytest.fixture
async def token(alice: Any) -> str:
    return await sync_to_async(make_token)(alice)


# --- Calls -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("era", [*ERAS, "2025-06-18", "2024-11-05"])
async def test_every_kind_of_tool_answers_the_same_both_ways(
    tools: None, token: str, era: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with both_ways(caplog) as both:
        for name in TOOLS:
            is_taken = await both.same(request(token, era, name))
            refused = name == "write"  # at the door: the scope is missing
            assert is_taken == (name in PLAIN_TOOLS and not refused), name


ARGUMENTS: list[Any] = [
    {},
    {"text": "a"},
    {"text": ""},
    {"text": "x" * 5000},
    {"text": "\ud83d\ude00 \u0000 \u2029"},
    {"text": 5},
    {"text": None},
    {"text": ["a"]},
    {"number": "12"},
    {"number": " 12 "},
    {"number": 1.0},
    {"number": 1.5},
    {"number": True},
    {"number": 10**30},
    {"number": "9" * 5000},
    {"many": [1, 2, 3]},
    {"many": "[1, 2, 3]"},
    {"many": "[1, 2"},
    {"many": ["1", "x"]},
    {"many": "null"},
    {"shape": {"corners": []}},
    {"shape": '{"corners": [{"x": 1, "label": "a"}], "fillColour": "red"}'},
    {"shape": {"corners": [{"x": "no"}]}},
    {"shape": {"corners": [], "colour": "by name"}},
    {"unknown": 1},
    {"text": "a", "unknown": {"deep": [None]}},
    {"": 1},
    {"__class__": "x", "self": 1, "ctx": 2},
]


@pytest.mark.parametrize("era", ERAS)
async def test_arguments_of_every_form_are_judged_the_same(
    tools: None, token: str, era: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with both_ways(caplog) as both:
        for arguments in ARGUMENTS:
            assert await both.same(request(token, era, "echo", arguments)), arguments
        for arguments in ({}, {"needed": 3}, {"needed": 0}, {"needed": 11, "ratio": "x"}, {"needed": "3", "ratio": 2}):
            assert await both.same(request(token, era, "strict", arguments)), arguments
        for odd in ([], "text", 5, True, [1], [{}]):
            assert not await both.same(request(token, era, "echo", odd)), odd


META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
ODD_META: list[Any] = [
    None,
    [],
    "x",
    {},
    {"progressToken": 1},
    {"progressToken": "a"},
    {"progressToken": True},
    {"progressToken": 1.5},
    {"progressToken": None},
    {"progressToken": [1]},
    {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    {"anything": {"else": 1}},
    {"io.modelcontextprotocol/logLevel": "debug"},
    {"io.modelcontextprotocol/logLevel": "loud"},
    {"io.modelcontextprotocol/clientInfo": None},
    {"io.modelcontextprotocol/clientInfo": {"name": "x"}},
    {"io.modelcontextprotocol/clientInfo": {"name": 1, "version": "1"}},
    {"io.modelcontextprotocol/clientInfo": {"name": "x" * 5000, "version": "1"}},
    {"io.modelcontextprotocol/clientCapabilities": None},
    {"io.modelcontextprotocol/clientCapabilities": []},
    {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}, "extensions": {"a/b": {}}}},
    {"io.modelcontextprotocol/clientCapabilities": {"elicitation": 5}},
    {"io.modelcontextprotocol/protocolVersion": OLDER},
    {"io.modelcontextprotocol/protocolVersion": None},
    {"io.modelcontextprotocol/protocolVersion": 20260728},
]


@pytest.mark.parametrize("era", ERAS)
async def test_what_a_client_says_of_itself_is_judged_the_same(
    tools: None, token: str, era: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with both_ways(caplog) as both:
        taken = 0
        for odd in ODD_META:
            for whole in (odd, {**META, **odd} if isinstance(odd, dict) else odd):
                params = {"name": "echo", "arguments": {}, "_meta": whole}
                for _ in range(2):  # the second time it may be known
                    taken += await both.same(request(token, era, params=params))
        without = [{**META}, {**META}, {**META}]
        for meta, key in zip(without, META, strict=True):
            del meta[key]
            taken += await both.same(request(token, era, params={"name": "echo", "arguments": {}, "_meta": meta}))
        assert taken > 10, "too little was taken for plain to compare"


@pytest.mark.parametrize("era", ERAS)
async def test_messages_of_every_form_are_answered_the_same(
    tools: None, token: str, era: str, caplog: pytest.LogCaptureFixture
) -> None:
    good = json.loads(request(token, era).body)
    params = good["params"]
    changed: list[Any] = [
        *(
            {**good, "id": odd}
            for odd in (0, -1, "", "a", "1", "x" * 2000, 2**70, 1.0, 1.5, True, None, [], {}, "\u0000")
        ),
        *({**good, "jsonrpc": odd} for odd in ("1.0", 2.0, None, [])),
        *(
            {**good, "method": odd}
            for odd in ("tools/list", "TOOLS/CALL", "tools/call ", "", None, 5, "ping", "initialize")
        ),
        *({**good, "params": odd} for odd in (None, [], "x", 5, {}, [params])),
        *({key: value for key, value in good.items() if key != missing} for missing in good),
        {**good, "extra": 1},
        {**good, "result": {}},
        {**good, "params": {**params, "task": {"ttl": 1000}}},
        {**good, "params": {**params, "requestState": "forged"}},
        {**good, "params": {**params, "inputResponses": {}}},
        {**good, "params": {**params, "cursor": "x"}},
        *(
            {**good, "params": {**params, "name": odd}}
            for odd in (None, 5, [], "", "nobody", "Echo", "echo\u0000", "é")
        ),
        {**good, "params": {key: value for key, value in params.items() if key != "name"}},
        {**good, "params": {key: value for key, value in params.items() if key != "arguments"}},
        {**good, "params": {**params, "arguments": None}},
        [good],
        [good, good],
        [],
        {},
        "text",
        5,
        None,
        True,
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}},
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "x"}},
    ]
    base = request(token, era)
    async with both_ways(caplog) as both:
        taken = [await both.same(Sent(json.dumps(one).encode(), base.headers, f"{era} {one}")) for one in changed]
        assert 8 <= sum(taken) < len(changed) / 2
        for odd in ("echo", "nobody", "=?base64?ZWNobw==?=", "é", ""):
            named = request(token, era, odd)
            for header in (odd, "echo", "=?base64?ZWNobw==?=", "=?base64?ZWNobw?=", "other", " echo "):
                await both.same(named.with_header("Mcp-Name", header))


@pytest.mark.parametrize("era", ERAS)
async def test_bytes_of_every_kind_are_read_the_same(
    tools: None, token: str, era: str, caplog: pytest.LogCaptureFixture
) -> None:
    base = request(token, era, arguments={"text": "ARG"})
    text = base.body.decode()
    changed = [
        b"",
        b" ",
        b"{",
        base.body + b" \n\t ",
        b" \r\n" + base.body,
        base.body + b"x",
        base.body + base.body,
        base.body[:-1],
        b"\xef\xbb\xbf" + base.body,
        text.encode("utf-16"),
        text.encode("utf-32"),
        base.body.replace(b"ARG", b"\xff"),
        base.body.replace(b"ARG", b"\xed\xa0\x80"),
        base.body.replace(b"ARG", b"\\ud800"),
        base.body.replace(b"ARG", b"\\ud83d\\ude00"),
        base.body.replace(b"ARG", "日本".encode()),
        base.body.replace(b"ARG", b"a\nb"),
        base.body.replace(b"ARG", b"\\u0000"),
        base.body.replace(b'"ARG"', b"NaN"),
        base.body.replace(b'"ARG"', b"-Infinity"),
        base.body.replace(b'"ARG"', b"1e999"),
        base.body.replace(b'"ARG"', b"-0"),
        base.body.replace(b'"ARG"', b"01"),
        base.body.replace(b'"ARG"', b"9" * 5000),
        base.body.replace(b'"ARG"', b"[" * 150 + b"]" * 150),
        base.body.replace(b'"ARG"', b"[" * 3000 + b"]" * 3000),
        base.body.replace(b'"id": 1', b'"id": 1, "id": 2'),
        base.body.replace(b'"name": "echo"', b'"name": "write", "name": "echo"'),
        base.body.replace(b'"name": "echo"', b'"name": "echo", "name": "write"'),
        base.body.replace(b'"method"', b'"\\u006dethod"'),
        base.body.replace(b"echo", b"\\u0065cho"),
        base.body.replace(b"{", b"{ /* x */", 1),
        base.body.replace(b'"', b"'"),
    ]
    async with both_ways(caplog) as both:
        taken = [await both.same(Sent(one, base.headers, f"{era} {one[:300]!r}")) for one in changed]
        assert sum(taken) >= 8
        # A lone surrogate has no UTF-8: it comes back as it came, in the spelling that JSON has for it.
        assert b"\\ud800" in (await both.ask(Sent(changed[13], base.headers))).body or era != MODERN


HEADERS: dict[str, list[tuple[str, ...]]] = {
    "Accept": [
        (),
        ("*/*",),
        ("application/json",),
        ("text/event-stream",),
        ("text/event-stream, application/json",),
        ("application/json;q=0.9, text/event-stream;q=0.1",),
        ("APPLICATION/JSON, Text/Event-Stream",),
        ("application/*, text/*",),
        ("application/json", "text/event-stream"),
        ("text/html",),
        ("",),
        (", ,application/json,text/event-stream",),
    ],
    "Content-Type": [
        (),
        ("application/json; charset=utf-8",),
        ("APPLICATION/JSON",),
        ("application/json-patch+json",),
        ("application/jsonp",),
        ("text/plain",),
        ("application/json, text/plain",),
        ("text/plain, application/json",),
        ("application/json", "text/plain"),
    ],
    "MCP-Protocol-Version": [
        (),
        ("2025-03-26",),
        ("2024-11-05",),
        ("2026-07-28",),
        ("2099-01-01",),
        ("",),
        ("x" * 500,),
        ("2026-07-28", "2025-11-25"),
        ("2025-11-25", "2026-07-28"),
        (" 2026-07-28",),
    ],
    "Mcp-Method": [
        (),
        ("tools/list",),
        ("TOOLS/CALL",),
        ("tools/call", "tools/call"),
        ("tools/call", "tools/list"),
        ("",),
    ],
    "Mcp-Name": [(), ("other",), ("ECHO",), ("echo", "echo"), ("echo", "other"), ("=?base64?ZWNobw==?=",), ("\xff",)],
    "Mcp-Session-Id": [("made-up",), ("",), ("x" * 5000,)],
    "Mcp-Param-Region": [("eu",), ("us", "eu")],
    "Accept-Language": [("zh-CN",), ("de",), ("",), ("x" * 5000,), ("zh-CN", "en")],
    "Origin": [("http://127.0.0.1:6274",), ("https://evil.example",), ("null",)],
    "Host": [("localhost:8000",), ("evil.example",), ()],
    "Content-Length": [
        ("3",),
        ("x",),
    ],
    "Authorization": [(), ("Bearer wrong",), ("Basic abc",)],
    "Last-Event-Id": [("1",)],
    "Cookie": [("a=b",)],
    "Transfer-Encoding": [("chunked",)],
}


@pytest.mark.parametrize("era", ERAS)
async def test_headers_of_every_kind_are_judged_the_same(
    tools: None, token: str, era: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with both_ways(caplog) as both:
        base = request(token, era)
        taken = 0
        for name, values in HEADERS.items():
            for value in values:
                for tool_name in ("echo", "with-header", "denied"):
                    if tool_name == "echo" or name in ("Mcp-Param-Region", "Accept-Language"):
                        sent = request(token, era, tool_name) if tool_name != "echo" else base
                        taken += await both.same(sent.with_header(name, *value))
        assert taken > 10
        for first, second in itertools.combinations([n for n in HEADERS if n not in ("Host", "Authorization")], 2):
            await both.same(base.with_header(first, *HEADERS[first][-1]).with_header(second, *HEADERS[second][0]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("era", ERAS)
async def test_made_up_messages_are_answered_the_same(
    tools: None, token: str, era: str, caplog: pytest.LogCaptureFixture
) -> None:
    cases: list[tuple[Any, Any, Any]] = []

    @hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(
        st.sampled_from(["echo", "strict", "numbers", "structured"]) | st.text(max_size=5),
        st.dictionaries(st.sampled_from(["text", "number", "many", "shape", "needed", "ratio"]) | st.text(), JSON),
        st.integers() | st.text(max_size=20),
    )
    def collect(name: str, arguments: Any, request_id: Any) -> None:
        cases.append((name, arguments, request_id))

    collect()
    async with both_ways(caplog) as both:
        taken = 0
        for name, arguments, request_id in cases:
            sent = request(token, era, name, arguments, id=request_id)
            if era == MODERN:
                try:
                    name.encode("latin-1")
                except UnicodeEncodeError:
                    sent = sent.with_header("Mcp-Name", f"=?base64?{base64.b64encode(name.encode()).decode()}?=")
            taken += await both.same(sent)
        assert taken > 50


async def test_half_of_a_surrogate_pair_in_a_result_is_told_like_any_other_text(
    catalog: Catalog, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    @tool("half")
    async def half() -> str:
        return "\ud800"

    async with both_ways(caplog) as both:
        assert await both.same(request(token, MODERN, "half"))
        assert (await both.ask(request(token, OLDER, "half"), both.plain)).body == b""  # the SDK breaks off
        answer = await both.ask(request(token, OLDER, "half"))
        assert "\\ud800" in answer.body.decode()


# --- Calls that take a while -------------------------------------------------------------------------------------


async def drive(server: ResourceServer, sent: Sent, leaves_after: float | None = None) -> list[Any]:
    """Send a request whose client leaves after a while; return what was sent to it."""
    events: list[Any] = []
    pending = [{"type": "http.request", "body": sent.body, "more_body": False}]

    async def receive() -> Any:
        if pending:
            return pending.pop()
        await asyncio.sleep(60 if leaves_after is None else leaves_after)
        return {"type": "http.disconnect"}

    async def send(event: Any) -> None:
        events.append(event)

    scope = http_scope({}) | {"headers": [(k.lower().encode(), v.encode()) for k, v in sent.headers]}
    await asyncio.wait_for(asyncio.create_task(server(scope, receive, send)), 20)
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
                fast, plain = recorder.spans
                assert fast == plain
                assert fast["name"] == f"tools/call {name}"
                assert fast["said"][-1] == "ended"
                assert (fast["parent"] == "af7651916cd43dd8448eb211c80319c") is bool(trace_keys)


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
    server.middleware.append(watch)
    assert not fits(server)
    assert not FastPath(server)._tools
    server.middleware.pop()
    server._lowlevel_server.add_request_handler("tools/call", CallToolRequestParams, watch)  # as an extension does
    assert not fits(server)


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
