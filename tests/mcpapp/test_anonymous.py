"""MCPAPP["ANONYMOUS_TOOLS"]: public tools without a token, and a challenge for everything else. Off by default."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from mcpapp.bearer import nobody
from mcpapp.callers import with_caller
from mcpapp.checks import check_anonymous_callers
from mcpapp.identity import SCOPE_KEY, current_identity, current_user
from mcpapp.registry import Catalog, prompt, resource, tool
from tests.mcpapp.helpers import MODERN, call, listed, make_token, message, payload, send, serving
from tests.mcpapp.test_door import parameters

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]
ERAS = ["legacy", MODERN]


@pytest.fixture
def anonymous(settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "ANONYMOUS_TOOLS": True}


@pytest.fixture
def things(catalog: Catalog) -> None:
    """One public and one protected of each kind."""
    for name, rules in (
        ("public", {"public": True}),
        ("protected", {"scopes": ["mcp:write"]}),
        ("open", {"scopes": []}),
    ):

        def thing() -> str:
            return f"for {current_user() or 'nobody'}"

        options: Any = rules
        tool(name, **options)(thing)
        resource(f"thing://{name}", name=name, **options)(thing)
        resource(f"{name}://{{number}}", name=name, **options)(lambda number: f"number {number}")
        prompt(name, **options)(thing)


def uses(name: str) -> dict[str, tuple[str, dict[str, Any]]]:
    return {
        "tool": ("tools/call", {"name": name, "arguments": {}}),
        "resource": ("resources/read", {"uri": f"thing://{name}"}),
        "template": ("resources/read", {"uri": f"{name}://5"}),
        "prompt": ("prompts/get", {"name": name}),
    }


KINDS = ["tool", "resource", "template", "prompt"]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", KINDS)
async def test_without_a_token_what_is_public_is_listed_and_served(
    things: None, anonymous: None, kind: str, era: str
) -> None:
    async with serving() as endpoint:
        what = {"tool": "tools", "resource": "resources", "template": "templates", "prompt": "prompts"}[kind]
        assert await listed(endpoint, None, what, era=era) == ["public"]
        response = await send(endpoint, None, *uses("public")[kind], era=era)
        assert response.status_code == 200
        assert "error" not in payload(response)
        assert ("number 5" if kind == "template" else "for AnonymousUser") in response.text


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["protected", "open", "unknown"])
async def test_anything_else_is_answered_with_a_challenge_by_which_clients_sign_in(
    things: None, anonymous: None, name: str, kind: str, era: str
) -> None:
    """RFC 6750 §3.1: no error code, for no token was sent. What does not exist looks the same as what is protected."""
    async with serving() as endpoint:
        response = await send(endpoint, None, *uses(name)[kind], era=era)
    assert response.status_code == 401
    challenge = parameters(response)
    assert "error" not in challenge
    assert challenge["resource_metadata"].endswith("/.well-known/oauth-protected-resource/star")
    assert challenge["scope"] == ("mcp:tools mcp:write" if name == "protected" else "mcp:tools")


@pytest.mark.parametrize("era", ERAS)
async def test_with_a_token_everything_is_as_without_this_setting(
    things: None, anonymous: None, alice: Any, era: str
) -> None:
    token = await sync_to_async(make_token)(alice)
    async with serving() as endpoint:
        assert sorted(await listed(endpoint, token, era=era)) == ["open", "protected", "public"]
        assert (await call(endpoint, token, "public", era))["structuredContent"] == {"result": "for alice"}
        assert (await send(endpoint, token, *uses("protected")["tool"], era=era)).status_code == 403
        wrong = await send(endpoint, "wrong", *uses("public")["tool"], era=era)
        assert wrong.status_code == 401, "a bad token is not the same as none"
        assert parameters(wrong)["error"] == "invalid_token"


async def test_what_signing_in_opens_is_shown_if_the_site_says_so(things: None, anonymous: None, settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "ANONYMOUS_SEES_PROTECTED": True}
    async with serving() as endpoint:
        assert sorted(await listed(endpoint, None)) == ["open", "protected", "public"]
        assert (await send(endpoint, None, *uses("protected")["tool"])).status_code == 401


async def test_off_by_default_so_that_clients_sign_in_at_first_contact(things: None) -> None:
    async with serving() as endpoint:
        for method in ("initialize", "tools/list", "ping"):
            assert (await send(endpoint, None, method)).status_code == 401
        assert (await send(endpoint, None, *uses("public")["tool"])).status_code == 401


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "method", ["subscriptions/listen", "logging/setLevel", "completion/complete", "resources/subscribe", "made/up", ""]
)
async def test_no_other_method_is_open(things: None, anonymous: None, method: str, era: str) -> None:
    async with serving() as endpoint:
        assert (await send(endpoint, None, method, era=era)).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"5",
        b"[]",
        b'"tools/call"',
        b"null",
        b'{"method": "tools/call", "method": "tools/list"}',
        b'{"jsonrpc": "2.0", "id": 1, "method": ["tools/call"], "params": {"name": "protected"}}',
        b'[{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "protected", "arguments": {}}}]',
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "public", "name": "protected"}}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": {"a": 1}}}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call"}',
        b"\xff\xfe{\x00}\x00",
    ],
    ids=repr,
)
@pytest.mark.parametrize("era", ERAS)
async def test_odd_bodies_open_nothing_and_break_nothing(things: None, anonymous: None, body: bytes, era: str) -> None:
    request = message("tools/call", {"name": "protected", "arguments": {}}, era=era)
    async with serving() as endpoint:
        response = await endpoint.post("/star", content=body, headers=request["headers"])
    assert 400 <= response.status_code < 500 or "error" in payload(response)
    assert "for AnonymousUser" not in response.text


async def test_a_public_tool_sees_that_nobody_signed_in(catalog: Catalog, anonymous: None) -> None:
    @tool("who", public=True)
    async def who() -> dict[str, Any]:
        identity = current_identity()
        return {
            "anonymous": identity.is_anonymous,
            "authenticated": identity.user.is_authenticated,
            "client": identity.client_id,
            "scopes": sorted(identity.scopes),
        }

    async with serving() as endpoint:
        result = payload(await send(endpoint, None, "tools/call", {"name": "who", "arguments": {}}))["result"]
    assert json.loads(result["content"][0]["text"]) == {
        "anonymous": True,
        "authenticated": False,
        "client": "",
        "scopes": [],
    }


async def test_an_older_client_initializes_and_notifies_without_a_token(things: None, anonymous: None) -> None:
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    async with serving() as endpoint:
        assert payload(await send(endpoint, None, "initialize", hello))["result"]["serverInfo"]["name"] == "star"
        initialized = message("notifications/initialized")
        body = json.loads(initialized["content"])
        del body["id"]
        initialized["content"] = json.dumps(body)
        assert (await endpoint.post("/star", **initialized)).status_code == 202
        stream = await endpoint.get("/star", headers={"Accept": "text/event-stream"})
        assert stream.status_code == 405, "a 401 would make clients sign in for a stream that there is not"


async def test_a_body_that_is_too_large_is_refused_as_ever(things: None, anonymous: None, settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "MAXIMUM_BODY_BYTES": 1000}
    async with serving() as endpoint:
        request = message("tools/list")
        response = await endpoint.post("/star", content=b" " * 1001, headers=request["headers"])
    assert response.status_code == 413


def test_sessions_and_anonymous_callers_do_not_go_together(settings: Any, anonymous: None) -> None:
    assert check_anonymous_callers() == []
    settings.MCPAPP = {**settings.MCPAPP, "SESSIONS": True}
    assert [problem.id for problem in check_anonymous_callers()] == ["mcpapp.E008"]


async def test_other_origins_and_hosts_are_kept_out_as_ever(things: None, anonymous: None) -> None:
    async with serving() as endpoint:
        request = message("tools/list")
        for header in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
            response = await endpoint.post("/star", content=request["content"], headers=request["headers"] | header)
            assert response.status_code in {403, 421}


async def test_where_no_scope_is_ever_needed_signing_in_still_is(catalog: Catalog, anonymous: None) -> None:
    tool("open", scopes=[])(lambda: "for anyone who is connected")
    async with serving() as endpoint:
        assert (await send(endpoint, None, "tools/call", {"name": "open", "arguments": {}})).status_code == 401


@pytest.mark.parametrize(
    ("method", "is_open"), [("tools/list", True), ("completion/complete", True), ("logging/setLevel", False)]
)
async def test_a_message_that_got_past_the_door_is_refused_behind_it(method: str, is_open: bool) -> None:
    """The door reads bodies by itself; should the SDK ever read one differently, nothing is gained."""
    request = SimpleNamespace(scope={SCOPE_KEY: nobody("r")}, headers={})
    nothing: Any = SimpleNamespace()
    context = ServerRequestContext(
        session=nothing, lifespan_context=None, protocol_version="", method=method, request=request
    )
    served: list[Any] = []

    async def serve(ctx: Any) -> None:
        served.append(ctx)

    if is_open:
        await with_caller(context, serve)
    else:
        with pytest.raises(MCPError, match="Sign in"):
            await with_caller(context, serve)
    assert bool(served) == is_open


async def test_of_a_caller_without_a_token_little_is_read(things: None, anonymous: None, alice: Any) -> None:
    """Decoding megabytes takes seconds of everybody's time."""
    request = message("tools/list")
    large = request["content"][:-1] + ', "x": [' + ",".join(["[]"] * 40_000) + "]}"
    async with serving() as endpoint:
        response = await endpoint.post("/star", content=large, headers=request["headers"])
        assert response.status_code == 413
        token = await sync_to_async(make_token)(alice)
        headers = request["headers"] | {"Authorization": f"Bearer {token}"}
        assert (await endpoint.post("/star", content=large, headers=headers)).status_code == 200
