"""What is seen as somebody is what somebody gets, byte for byte, and nothing happens by looking."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, Permission
from django.db.backends.utils import CursorWrapper
from django.test import override_settings
from django.utils import translation

from mcpapp import see_as as see_as_module
from mcpapp.identity import Identity
from mcpapp.registry import Catalog, tool
from mcpapp.see_as import Answer, Seen, SeenTool, see_as
from mcpapp.signals import token_refused
from tests.mcpapp.helpers import MODERN, make_token, send, serving

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.anyio]

ran: list[str] = []


def declare(catalog: Catalog) -> None:
    """Declare a tool of each kind that this module speaks of; each says when it runs."""
    ran.clear()

    def runs(name: str, **rules: Any) -> None:
        def run() -> str:
            ran.append(name)
            return name

        tool(name, **rules)(run)

    runs("open", public=True)
    runs("usual", scopes=["mcp:tools"], read_only=True)
    runs("writes", scopes=["mcp:write"])
    runs("for-changers", scopes=["mcp:tools"], permissions=["auth.view_group", "auth.change_group"])
    runs("for-owners", scopes=["mcp:tools"], groups=["Keepers", "Heirs"])
    runs("by-rule", scopes=["mcp:tools"], allowed=lambda identity: identity.user.username == "nobody")
    runs("nobody-can-consent", scopes=["mcp:unknown"])


@pytest.fixture
def declared(catalog: Catalog) -> Catalog:
    declare(catalog)
    return catalog


async def seen_as(user: Any, *scopes: str) -> Seen:
    return await sync_to_async(see_as)(user, "a-client", "A client", scopes or ["mcp:tools"])


def by_name(seen: Seen) -> dict[str, SeenTool]:
    return {one.name: one for one in seen.tools}


def answer(response: Any) -> Answer:
    return Answer(response.status_code, response.headers.get("www-authenticate", ""), response.text)


@pytest.mark.parametrize("scope", ["mcp:tools", "mcp:write"])
async def test_the_list_and_each_refusal_are_what_a_client_gets(declared: Catalog, alice: Any, scope: str) -> None:
    token = await sync_to_async(make_token)(alice, scope=scope)
    seen = await seen_as(alice, scope)
    async with serving() as endpoint:
        assert answer(await send(endpoint, token, "tools/list", era=MODERN)) == seen.tools_list
        refused = [one for one in seen.tools if not one.may_be_called]
        assert {"for-changers", "for-owners", "by-rule", "nobody-can-consent"} <= {one.name for one in refused}
        for one in refused:
            call = {"name": one.name, "arguments": {}}
            assert answer(await send(endpoint, token, "tools/call", call, era=MODERN)) == one.answer, one.name
        assert ran == []
        for name in ("open", "usual"):  # the control: what may be called runs, and has no answer here
            await send(endpoint, token, "tools/call", {"name": name, "arguments": {}}, era=MODERN)
            assert by_name(seen)[name].answer is None
    assert ran == ["open", "usual"]


async def test_no_tool_runs_by_looking_and_nothing_is_written(
    declared: Catalog, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[str] = []
    execute = CursorWrapper.execute

    def noted(self: Any, sql: Any, params: Any = None) -> Any:  # in every thread
        statements.append(str(sql))
        return execute(self, sql, params)

    monkeypatch.setattr(CursorWrapper, "execute", noted)
    await seen_as(alice, "mcp:tools", "mcp:write")
    assert any("auth_permission" in sql for sql in statements)
    assert [sql for sql in statements if not sql.startswith(("SELECT", "PRAGMA"))] == []
    assert ran == []


async def test_a_tool_that_may_be_called_does_not_run_even_if_it_is_asked_for(declared: Catalog, alice: Any) -> None:
    """Between the question whether it may be called and the call for its refusal, a permission may be given."""
    info = see_as_module._Token(alice, "a-client", "", ["mcp:tools"], ("http://127.0.0.1:8000/star",))
    door = see_as_module._Door(see_as_module.OneToken(info))
    async with door.running():
        call = {"name": "usual", "arguments": {}}
        got = await see_as_module._ask(door, "http://127.0.0.1:8000/star", "tools/call", call)
    assert (got.status, "It would run." in got.body) == (200, True)
    assert ran == []


async def test_it_is_said_what_is_wanting(declared: Catalog, alice: Any) -> None:
    await alice.user_permissions.aadd(await Permission.objects.aget(codename="view_group"))
    tools = by_name(await seen_as(alice))
    assert tools["writes"].missing_scopes == ["mcp:write"]
    assert tools["writes"].is_listed
    assert tools["writes"].answer is not None
    assert tools["writes"].answer.status == 403
    assert 'error="insufficient_scope"' in tools["writes"].answer.challenge
    assert tools["for-changers"].missing_permissions == ["auth.change_group"]
    assert tools["for-owners"].groups == ["Heirs", "Keepers"]
    assert tools["by-rule"].is_refused_by_rule
    assert tools["nobody-can-consent"].missing_scopes == ["mcp:unknown"]
    assert not any(tools[name].is_listed for name in ("for-changers", "for-owners", "by-rule", "nobody-can-consent"))
    usual = tools["usual"]
    assert (usual.is_listed, usual.may_be_called, usual.effect, usual.missing_scopes) == (True, True, "read", [])


async def test_what_a_person_gets_is_seen_at_once(declared: Catalog, alice: Any) -> None:
    group = await Group.objects.acreate(name="Keepers")
    await alice.groups.aadd(group)
    fresh = await type(alice).objects.aget(pk=alice.pk)
    tool = by_name(await seen_as(fresh))["for-owners"]
    assert (tool.may_be_called, tool.groups, tool.answer) == (True, [], None)


async def test_a_person_who_is_not_active_is_refused_the_list_too_and_nobody_hears_of_it(
    declared: Catalog, alice: Any, caplog: pytest.LogCaptureFixture
) -> None:
    alice.is_active = False
    await alice.asave()
    heard: list[str] = []

    def hear(sender: Any, reason: str, **_: Any) -> None:
        heard.append(reason)

    token_refused.connect(hear)
    with caplog.at_level("INFO", logger="mcpapp"):
        seen = await seen_as(alice)
    assert (heard, caplog.messages) == ([], []), "nobody called"
    token = await sync_to_async(make_token)(alice)
    async with serving() as client:
        assert (await send(client, token, "tools/list", era=MODERN)).status_code == 401
    assert len(heard) == 1
    assert seen.tools_list.status == 401
    assert "invalid_token" in seen.tools_list.challenge
    assert not any(one.is_listed or one.may_be_called for one in seen.tools)


async def test_a_rule_that_crashes_refuses_and_says_nothing_of_itself(catalog: Catalog, alice: Any) -> None:
    def crash(identity: Identity) -> bool:
        raise ValueError("secret detail")

    tool("crashes", scopes=["mcp:tools"], allowed=crash)(lambda: None)
    seen = by_name(await seen_as(alice))["crashes"]
    assert seen.is_refused_by_rule
    assert "secret detail" not in repr(seen)


async def test_it_is_seen_in_the_language_of_clients_that_name_none(declared: Catalog, alice: Any) -> None:
    plain = by_name(await seen_as(alice))["for-owners"].answer
    with translation.override("zh-hans"):
        assert by_name(await seen_as(alice))["for-owners"].answer == plain


@override_settings(ALLOWED_HOSTS=["elsewhere.example"])
async def test_a_host_that_is_not_served_is_seen_as_such(declared: Catalog, alice: Any) -> None:
    assert (await seen_as(alice)).tools_list.status == 421
