"""Plain calls are answered without the SDK's transport, and nobody can tell: the same requests are sent both ways."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mcpapp.registry import Catalog, tool
from tests.mcpapp.both_ways import (
    ERAS,
    META,
    OLDER,
    PLAIN_TOOLS,
    TOOLS,
    Sent,
    both_ways,
    request,
)
from tests.mcpapp.helpers import MODERN

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]


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
