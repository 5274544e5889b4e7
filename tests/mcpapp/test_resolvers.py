"""Resolvers: what a tool asks before it runs, in the SDK's way and as calls are run here."""

# No `from __future__ import annotations`: the SDK finds resolvers by evaluating annotations, and these are local.

import threading
from typing import Annotated, Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Elicit, Resolve
from pydantic import BaseModel

from mcpapp.access import BadDeclaration
from mcpapp.identity import current_user
from mcpapp.registry import Catalog, prompt, resource, tool
from tests.mcpapp.helpers import MODERN, make_token, message, payload, serving
from tests.mcpapp.test_rounds import use

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]


class Sure(BaseModel):
    ok: bool


async def test_a_resolver_runs_as_a_call_does_and_asks_before_its_tool_runs(catalog: Catalog, token: str) -> None:
    seen: list[tuple[str, bool, str]] = []

    def note(what: str) -> None:
        get_user_model().objects.count()
        seen.append((what, threading.current_thread().name.startswith("mcp-call"), str(current_user())))

    def who() -> str:
        note("who")
        return "alice"

    def sure(name: Annotated[str, Resolve(who)], about: str) -> Elicit[Sure]:
        note("sure")
        return Elicit(f"{name}, sure about {about}?", Sure)

    @tool("delete")
    def delete(
        about: str, answer: Annotated[Sure, Resolve(sure)], name: Annotated[str, Resolve(who)], context: Context
    ) -> str:
        note("delete")
        return f"{name} said {answer.ok} about {about}"

    what = ("tools/call", {"name": "delete", "arguments": {"about": "it"}})
    async with serving() as endpoint:
        listed = payload(await endpoint.post("/star", **with_token(message("tools/list", era=MODERN), token)))
        assert listed["result"]["tools"][0]["inputSchema"]["properties"].keys() == {"about"}
        first = (await use(endpoint, token, use=what))["result"]
        [(key, asked)] = first["inputRequests"].items()
        assert asked["params"]["message"] == "alice, sure about it?"
        assert [name for name, *_ in seen] == ["who", "sure"]
        answer = {key: {"action": "accept", "content": {"ok": True}}}
        params = {**what[1], "requestState": first["requestState"], "inputResponses": answer}
        done = (await use(endpoint, token, use=("tools/call", params)))["result"]
        assert done["structuredContent"] == {"result": "alice said True about it"}
        declined = {**params, "inputResponses": {key: {"action": "decline"}}}
        assert (await use(endpoint, token, use=("tools/call", declined)))["result"]["isError"]
    assert {(in_a_call_thread, user) for _, in_a_call_thread, user in seen} == {(True, "alice")}
    assert [name for name, *_ in seen] == ["who", "sure", "who", "sure", "delete", "who", "sure"]


async def test_a_resolver_that_raises_is_told_as_a_call_is(
    catalog: Catalog, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    def resolver(kind: str) -> str:
        raise PermissionDenied("Not on Sundays.") if kind == "denied" else RuntimeError("hunter2")

    @tool("t")
    async def t(kind: str, value: Annotated[str, Resolve(resolver)]) -> str:
        return value

    async with serving() as endpoint:
        for kind, told in (("denied", "Error executing tool t: Not on Sundays."), ("crash", "Error executing tool t")):
            what = ("tools/call", {"name": "t", "arguments": {"kind": kind}})
            result = (await use(endpoint, token, use=what))["result"]
            assert (result["isError"], result["content"][0]["text"]) == (True, told)
    assert "hunter2" in caplog.text


async def test_nothing_is_resolved_for_who_may_not_use_the_tool(catalog: Catalog, token: str, bob: Any) -> None:
    ran: list[str] = []

    def resolver() -> str:
        ran.append(str(current_user()))
        return "x"

    @tool("t", groups=["Owners"])
    def t(value: Annotated[str, Resolve(resolver)]) -> str:
        return value

    what = ("tools/call", {"name": "t", "arguments": {}})
    async with serving() as endpoint:
        assert (await use(endpoint, await sync_to_async(make_token)(bob), use=what))["result"]["isError"]
        assert not (await use(endpoint, token, use=what))["result"].get("isError")
    assert ran == ["alice"]


@pytest.mark.parametrize("kind", ["prompt", "template"])
async def test_only_tools_have_resolvers(catalog: Catalog, kind: str) -> None:
    def ask() -> str:
        return ""

    def function(word: str, value: Annotated[str, Resolve(ask)] = "") -> str:
        return value

    (prompt("p") if kind == "prompt" else resource("books://{word}"))(function)
    with pytest.raises(BadDeclaration, match=r"Resolve\(...\) is for tools"):
        async with serving():
            pass


async def test_a_resolver_is_a_function(catalog: Catalog) -> None:
    class Odd:
        def __call__(self) -> str:
            return ""

    odd = Odd()

    @tool("t")
    def t(value: Annotated[str, Resolve(odd)]) -> str:
        return value

    with pytest.raises(BadDeclaration, match="cannot be a resolver"):
        async with serving():
            pass


def with_token(request: dict[str, Any], token: str) -> dict[str, Any]:
    request["headers"]["Authorization"] = f"Bearer {token}"
    return request
