"""Calls in several rounds (MCP 2026-07-28): what a client carries between them is its own caller's, and sealed."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx2
import mcp_types as types
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from mcp.server.mcpserver import Context

from authapp.models import Application
from mcpapp.registry import Catalog, prompt, resource, tool
from tests.mcpapp.helpers import MODERN, make_token, message, payload, send, serving
from tests.oauth import CALLBACK

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]


def question() -> types.ElicitRequest:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message="Sure?", requested_schema=schema))


@pytest.fixture
def asking(catalog: Catalog) -> None:
    """A tool, a prompt and a template that ask once, and say then what they were brought back."""

    def ask(context: Context) -> Any:
        if context.request_state is None:
            return types.InputRequiredResult(input_requests={"sure": question()}, request_state="for alice: 42")
        return f"brought back {context.request_state}"

    @tool("ask", public=True)
    def ask_in_tool(context: Context, about: str = "") -> str | types.InputRequiredResult:
        return ask(context)

    @tool("other", public=True)
    async def ask_in_other(context: Context, about: str = "") -> str | types.InputRequiredResult:
        return ask(context)

    @prompt("ask", public=True)
    def ask_in_prompt(context: Context) -> Any:
        return ask(context)

    @resource("ask://{about}", public=True)
    def ask_in_resource(about: str, context: Context) -> Any:
        return ask(context)


async def use(
    endpoint: httpx2.AsyncClient,
    token: str | None,
    state: str | None = None,
    use: Any = None,
    host: str = "",
    accept: str = "",
) -> dict[str, Any]:
    """Use something, with what it gave before; return the JSON-RPC answer."""
    method, params = use or ("tools/call", {"name": "ask", "arguments": {}})
    if state is not None:
        answer = {"action": "accept", "content": {"ok": True}}
        params = {**params, "requestState": state, "inputResponses": {"sure": answer}}
    request = message(method, params, era=MODERN)
    body = json.loads(request["content"])
    body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = {"elicitation": {}}
    request["content"] = json.dumps(body)
    if accept:
        request["headers"]["Accept"] = accept
    if token is not None:
        request["headers"]["Authorization"] = f"Bearer {token}"
    return payload(await endpoint.post(f"{host}/star", **request))


async def ask_first(endpoint: httpx2.AsyncClient, token: str | None, what: Any = None, accept: str = "") -> str:
    result = (await use(endpoint, token, use=what, accept=accept))["result"]
    assert result["resultType"] == "input_required"
    assert result["inputRequests"]["sure"]["params"]["message"] == "Sure?"
    state: str = result["requestState"]
    assert "alice" not in state
    return state


def assert_accepted(answer: dict[str, Any]) -> None:
    assert "brought back for alice: 42" in json.dumps(answer.get("result"))


def assert_refused(answer: dict[str, Any]) -> None:
    assert (answer["error"]["code"], answer["error"]["message"]) == (-32602, "Invalid or expired requestState")


@pytest.mark.parametrize(
    "what",
    [
        ("tools/call", {"name": "ask", "arguments": {}}),
        ("tools/call", {"name": "other", "arguments": {"about": "x"}}),
        ("prompts/get", {"name": "ask"}),
        ("resources/read", {"uri": "ask://this"}),
    ],
    ids=["plain tool", "async tool", "prompt", "resource"],
)
async def test_what_is_asked_first_is_brought_back(asking: None, token: str, what: Any) -> None:
    async with serving() as endpoint:
        assert_accepted(await use(endpoint, token, await ask_first(endpoint, token, what), what))


@pytest.mark.parametrize("accept", ["application/json, text/event-stream", "*/*"], ids=["plainly", "the SDK's way"])
async def test_a_tool_that_takes_no_context_is_bound_as_well(
    catalog: Catalog, token: str, bob: Any, accept: str
) -> None:
    @tool("ask")
    def ask() -> types.InputRequiredResult:
        return types.InputRequiredResult(input_requests={"sure": question()}, request_state="for alice: 42")

    async with serving() as endpoint:
        state = await ask_first(endpoint, token, accept=accept)
        assert_refused(await use(endpoint, await sync_to_async(make_token)(bob), state))
        assert (await use(endpoint, token, state))["result"]["resultType"] == "input_required"


async def test_another_worker_opens_what_one_sealed(asking: None, token: str) -> None:
    async with serving() as one, serving() as another:
        assert_accepted(await use(another, token, await ask_first(one, token)))


async def test_what_was_sealed_before_the_secret_key_changed_is_opened_while_the_old_one_is_a_fallback(
    asking: None, token: str, settings: Any
) -> None:
    async with serving() as endpoint:
        state = await ask_first(endpoint, token)
    old = settings.SECRET_KEY
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another" * 10, [old, old]
    async with serving() as endpoint:
        # Access tokens go on as well, by their own fallbacks.
        assert_accepted(await use(endpoint, token, state))
    settings.SECRET_KEY_FALLBACKS = ["some other" * 7, "another" * 10]
    async with serving() as endpoint:
        fresh = await sync_to_async(lambda: make_token(get_user_model().objects.get(username="alice")))()
        assert_refused(await use(endpoint, fresh, state))


async def test_the_key_is_not_the_secret_key_itself(asking: None, token: str, settings: Any) -> None:
    from mcp.server.request_state import AESGCMRequestStateCodec, InvalidRequestState

    from mcpapp.request_state import request_state_security

    async with serving() as endpoint:
        state = await ask_first(endpoint, token)
    with pytest.raises(InvalidRequestState):
        AESGCMRequestStateCodec([settings.SECRET_KEY]).unseal(state)
    assert b"for alice" in request_state_security().codec.unseal(state)


async def test_another_person_client_resource_or_request_cannot_use_it(
    asking: None, token: str, alice: Any, bob: Any, settings: Any
) -> None:
    resources = settings.MCPAPP["RESOURCES"]
    localhost = next(resource for resource in resources if "localhost" in resource)

    def make() -> list[str]:
        client = Application.objects.create(
            name="Another", redirect_uris=CALLBACK, client_type="public", authorization_grant_type="authorization-code"
        )
        return [
            make_token(alice),
            make_token(bob),
            make_token(alice, application=client),
            make_token(alice, resource=list(resources)),
        ]

    settings.ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
    alices_other, bobs, of_another_client, for_both = await sync_to_async(make)()
    async with serving() as endpoint:
        state = await ask_first(endpoint, token)
        assert_accepted(await use(endpoint, alices_other, state))  # a refreshed token of the same person and client
        for foreign in (bobs, of_another_client):
            assert_refused(await use(endpoint, foreign, state))
        host = localhost.removesuffix("/star")
        assert_refused(await use(endpoint, for_both, state, host=host))
        assert_accepted(await use(endpoint, for_both, state))
        for what in (
            ("tools/call", {"name": "other", "arguments": {}}),
            ("tools/call", {"name": "ask", "arguments": {"about": "something else"}}),
            ("prompts/get", {"name": "ask"}),
        ):
            assert_refused(await use(endpoint, token, state, what))


async def test_callers_who_have_not_signed_in_are_one_and_nobody_else(asking: None, token: str, settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "ANONYMOUS_TOOLS": True}
    async with serving() as endpoint:
        state = await ask_first(endpoint, None)
        assert_accepted(await use(endpoint, None, state))
        assert_refused(await use(endpoint, token, state))
        assert_refused(await use(endpoint, None, await ask_first(endpoint, token)))


async def test_it_ends_and_cannot_be_changed(
    asking: None, token: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "REQUEST_STATE_SECONDS": 60}
    now = time.time()
    async with serving() as endpoint:
        state = await ask_first(endpoint, token)
        for spoilt in (
            state[:-1],
            state + "A",
            state[:20] + ("A" if state[20] != "A" else "B") + state[21:],
            "",
            "v1.",
        ):
            assert_refused(await use(endpoint, token, spoilt))
        for later, check in ((59, assert_accepted), (61, assert_refused)):
            monkeypatch.setattr("mcp.server.request_state.time.time", lambda later=later: now + later)
            check(await use(endpoint, token, state))


async def test_each_round_is_decided_anew(catalog: Catalog, alice: Any) -> None:
    """What one may do is asked again when the answer comes, not only when the question went out."""

    @tool("ask", groups=["Owners"])
    def ask(context: Context) -> str | types.InputRequiredResult:
        if context.request_state is None:
            return types.InputRequiredResult(input_requests={"sure": question()}, request_state="for alice: 42")
        return f"brought back {context.request_state}"

    token = await sync_to_async(make_token)(alice)
    async with serving() as endpoint:
        state = await ask_first(endpoint, token)
        assert_accepted(await use(endpoint, token, state))
        await sync_to_async(alice.groups.clear)()
        assert (await use(endpoint, token, state))["result"]["isError"]


@pytest.mark.parametrize("name", ["ask", "at-once"])
async def test_older_clients_which_have_no_rounds_are_told_so(
    asking: None, token: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    @tool("at-once", public=True)
    async def at_once() -> types.InputRequiredResult:
        return types.InputRequiredResult(input_requests={"sure": question()})

    async with serving() as endpoint:
        for method, params in (
            ("tools/call", {"name": name, "arguments": {}}),
            ("prompts/get", {"name": "ask"}),
            ("resources/read", {"uri": "ask://this"}),
        ):
            answer = payload(await send(endpoint, token, method, params))
            assert answer["error"]["message"].endswith("your client can do in protocol 2026-07-28 or newer.")
    assert "Traceback" not in caplog.text
