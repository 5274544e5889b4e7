"""Who may use what: lists hold what their reader may use, and a refusal says whether another consent would help."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import PermissionDenied
from django.db import OperationalError

from mcpapp import access
from mcpapp.access import BadDeclaration
from mcpapp.identity import Identity
from mcpapp.registry import Catalog, Duplicate, prompt, resource, tool
from tests.mcpapp.helpers import MODERN, call, listed, make_token, message, payload, send, serving
from tests.mcpapp.test_door import parameters

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]
ERAS = ["legacy", MODERN]


async def token_of(user: Any, scope: str = "mcp:tools") -> str:
    return await sync_to_async(make_token)(user, scope=scope)


async def allow(user: Any, permission: str) -> None:
    app, _, codename = permission.partition(".")
    found = await Permission.objects.aget(content_type__app_label=app, codename=codename)
    await user.user_permissions.aadd(found)


def declare_one_of_each(**rules: Any) -> None:
    """Declare a tool, a resource, a template and a prompt with the same rules."""

    @tool("thing", **rules)
    def thing() -> str:
        return "done"

    @resource("thing://one", name="thing", **rules)
    async def one() -> str:
        return "done"

    @resource("things://{number}", name="things", **rules)
    def many(number: int) -> str:
        return f"done {number}"

    @prompt("thing", **rules)
    async def ask() -> str:
        return "done"


USES = {
    "tool": ("tools/call", {"name": "thing", "arguments": {}}),
    "resource": ("resources/read", {"uri": "thing://one"}),
    "template": ("resources/read", {"uri": "things://5"}),
    "prompt": ("prompts/get", {"name": "thing"}),
}
LISTS = {"tool": "tools", "resource": "resources", "template": "templates", "prompt": "prompts"}
KINDS = list(USES)


async def use(endpoint: Any, token: str | None, kind: str, era: str = "legacy") -> Any:
    method, params = USES[kind]
    return await send(endpoint, token, method, params, era=era)


def was_done(response: Any) -> bool:
    return response.status_code == 200 and "error" not in payload(response) and "done" in response.text


def refusal(response: Any) -> str:
    """Return the text of a refusal that is an answer of the tool, or of the protocol, and no challenge."""
    assert "www-authenticate" not in response.headers
    answer = payload(response)
    if "error" in answer:
        return str(answer["error"]["message"])
    assert answer["result"]["isError"] is True
    return str(answer["result"]["content"][0]["text"])


# Permissions, groups and the author's own rule


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("kind", KINDS)
async def test_who_lacks_a_permission_is_not_shown_it_and_gets_a_plain_error(
    catalog: Catalog, alice: Any, bob: Any, kind: str, era: str
) -> None:
    declare_one_of_each(permissions=["auth.change_group"])
    await allow(alice, "auth.change_group")
    async with serving() as endpoint:
        alices, bobs = await token_of(alice), await token_of(bob)
        assert was_done(await use(endpoint, alices, kind, era))
        assert refusal(await use(endpoint, bobs, kind, era)) == "You may not use this."
        assert len(await listed(endpoint, alices, LISTS[kind], era=era)) == 1
        assert await listed(endpoint, bobs, LISTS[kind], era=era) == []


async def test_all_permissions_are_needed_and_a_superuser_has_them(catalog: Catalog, alice: Any, bob: Any) -> None:
    declare_one_of_each(permissions=["auth.change_group", "auth.delete_group"])
    await allow(alice, "auth.change_group")
    bob.is_superuser = True
    await bob.asave()
    async with serving() as endpoint:
        assert not was_done(await use(endpoint, await token_of(alice), "tool"))
        assert was_done(await use(endpoint, await token_of(bob), "tool"))


async def test_a_permission_that_is_taken_away_is_missed_by_the_next_call(catalog: Catalog, alice: Any) -> None:
    declare_one_of_each(permissions=["auth.change_group"])
    await allow(alice, "auth.change_group")
    token = await token_of(alice)
    async with serving() as endpoint:
        assert was_done(await use(endpoint, token, "tool"))
        await alice.user_permissions.aclear()
        assert not was_done(await use(endpoint, token, "tool"))


@pytest.mark.parametrize("kind", KINDS)
async def test_one_of_the_groups_is_enough(catalog: Catalog, alice: Any, bob: Any, kind: str) -> None:
    declare_one_of_each(groups=["Owners", "Editors"])
    editors = await Group.objects.acreate(name="Readers")
    await editors.user_set.aadd(bob)
    async with serving() as endpoint:
        assert was_done(await use(endpoint, await token_of(alice), kind))
        assert refusal(await use(endpoint, await token_of(bob), kind)) == "You may not use this."
        assert await listed(endpoint, await token_of(bob), LISTS[kind]) == []


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
async def test_a_rule_of_the_site_decides_about_the_caller(
    catalog: Catalog, alice: Any, bob: Any, is_async: bool
) -> None:
    asked: list[Any] = []

    def rule(identity: Identity) -> bool:
        asked.append((identity.client_id, threading.get_ident()))
        return bool(identity.user.groups.filter(name="Owners").exists())  # type: ignore[union-attr]

    async def async_rule(identity: Identity) -> bool:
        return await identity.user.groups.filter(name="Owners").aexists()  # type: ignore[union-attr]

    declare_one_of_each(allowed=async_rule if is_async else rule)
    async with serving() as endpoint:
        assert was_done(await use(endpoint, await token_of(alice), "tool"))
        assert refusal(await use(endpoint, await token_of(bob), "tool")) == "You may not use this."
        assert await listed(endpoint, await token_of(bob)) == []
        assert await listed(endpoint, await token_of(alice)) == ["thing"]
    if not is_async:
        assert asked[0][1] != threading.get_ident(), "a plain rule may use the database, so it has a thread"


@pytest.mark.parametrize(
    "error",
    [RuntimeError, PermissionDenied, SystemExit, GeneratorExit, StopIteration],
    ids=lambda error: error.__name__,
)
@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
async def test_a_rule_that_raises_has_allowed_nothing(
    catalog: Catalog, alice: Any, caplog: Any, error: type[BaseException], is_async: bool
) -> None:
    """Nor has it stopped the server, which some of these would."""

    def rule(_: Identity) -> bool:
        raise error("secret")

    async def async_rule(_: Identity) -> bool:
        raise error("secret")

    declare_one_of_each(allowed=async_rule if is_async else rule)
    token = await token_of(alice)
    async with serving() as endpoint:
        response = await use(endpoint, token, "tool")
        assert refusal(response) == "You may not use this."
        assert "secret" not in response.text
        assert await listed(endpoint, token) == []
    assert ("It could not be decided" in caplog.text) == (error is not PermissionDenied)


async def test_a_permission_backend_that_fails_has_allowed_nothing(
    catalog: Catalog, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> bool:
        raise RuntimeError("ldap://directory.internal is away")

    monkeypatch.setattr("django.contrib.auth.backends.ModelBackend.has_perm", fail)
    declare_one_of_each(permissions=["auth.change_group"])
    async with serving() as endpoint:
        for kind in KINDS:
            response = await use(endpoint, await token_of(alice), kind)
            assert refusal(response) == "You may not use this."
            assert "internal" not in response.text
        assert await listed(endpoint, await token_of(alice)) == []


@pytest.mark.parametrize("answer", [1, "yes", None, [True]], ids=repr)
async def test_a_rule_allows_by_true_and_nothing_like_it(catalog: Catalog, alice: Any, answer: Any) -> None:
    declare_one_of_each(allowed=lambda _: answer)
    async with serving() as endpoint:
        assert not was_done(await use(endpoint, await token_of(alice), "tool"))


async def test_the_arguments_of_what_somebody_may_not_use_are_not_told_to_them(catalog: Catalog, bob: Any) -> None:
    @tool("hidden", groups=["Owners"])
    def hidden(secret_argument: int) -> str:
        return ""

    async with serving() as endpoint:
        response = await send(endpoint, await token_of(bob), "tools/call", {"name": "hidden", "arguments": {}})
    assert refusal(response) == "You may not use this."
    assert "secret_argument" not in response.text


async def test_a_list_of_many_asks_the_database_for_a_person_once(
    catalog: Catalog, alice: Any, django_assert_max_num_queries: Any
) -> None:
    for number in range(20):
        tool(f"tool-{number}", permissions=["auth.change_group"], groups=["Owners"])(lambda: None)
    await allow(alice, "auth.change_group")
    who = Identity(
        user=alice, client_id="c", client_name="", scopes=frozenset({"mcp:tools"}), resource="r", expires_at=0
    )
    accesses = [one.access for one in catalog.tools.values()]

    def decide() -> list[access.Decision]:
        with django_assert_max_num_queries(3):  # the person's permissions, those of the groups, the groups
            return async_to_sync(access.decide_all)(accesses, who)

    decisions = await sync_to_async(decide)()
    assert set(decisions) == {access.Decision.ALLOWED}


@pytest.mark.parametrize("seen", [None, "thing://one"], ids=["nothing", "another"])
async def test_what_runs_is_what_was_decided_about_whatever_the_sdk_takes_a_uri_for(
    catalog: Catalog, bob: Any, monkeypatch: pytest.MonkeyPatch, seen: str | None
) -> None:
    resource("thing://one", name="one")(lambda: "done")
    resource("things://{number}", name="things", groups=["Owners"])(lambda number: "done")
    async with serving() as endpoint:
        monkeypatch.setattr(Catalog, "resource_at", lambda self, _: self.resources.get(seen))
        response = await use(endpoint, await token_of(bob), "template")
    assert refusal(response) == "You may not use this."


# Scopes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("era", ERAS)
async def test_what_one_more_consent_opens_is_shown_and_answered_with_a_challenge_for_all_of_it(
    catalog: Catalog, alice: Any, kind: str, era: str
) -> None:
    declare_one_of_each(scopes=["mcp:write"])
    async with serving() as endpoint:
        token = await token_of(alice, "mcp:tools")
        response = await use(endpoint, token, kind, era)
        assert response.status_code == 403
        assert parameters(response)["error"] == "insufficient_scope"
        assert parameters(response)["scope"] == "mcp:tools mcp:write"
        assert len(await listed(endpoint, token, LISTS[kind], era=era)) == 1
        assert was_done(await use(endpoint, await token_of(alice, "mcp:tools mcp:write"), kind, era))


@pytest.mark.parametrize("kind", KINDS)
async def test_who_may_not_use_it_even_with_the_scope_is_not_sent_to_consent(
    catalog: Catalog, alice: Any, bob: Any, kind: str
) -> None:
    declare_one_of_each(scopes=["mcp:write"], groups=["Owners"])
    async with serving() as endpoint:
        assert (await use(endpoint, await token_of(alice), kind)).status_code == 403, "consent would help Alice"
        assert refusal(await use(endpoint, await token_of(bob), kind)) == "You may not use this."
        assert await listed(endpoint, await token_of(bob), LISTS[kind]) == []


async def test_a_scope_that_nobody_can_consent_to_is_no_reason_to_ask(catalog: Catalog, alice: Any) -> None:
    declare_one_of_each(scopes=["of:another:server"])
    async with serving() as endpoint:
        assert refusal(await use(endpoint, await token_of(alice), "tool")) == "You may not use this."
        assert await listed(endpoint, await token_of(alice)) == []


async def test_without_scopes_of_its_own_a_tool_needs_the_default_and_an_empty_list_means_none(
    catalog: Catalog, alice: Any
) -> None:
    tool("default")(lambda: "")
    tool("none", scopes=[])(lambda: "")
    async with serving() as endpoint:
        token = await token_of(alice, "offline_access")
        assert (await send(endpoint, token, "tools/call", {"name": "default", "arguments": {}})).status_code == 403
        assert not (await call(endpoint, token, "none")).get("isError")


async def test_while_the_database_is_away_nobody_is_allowed_and_nothing_of_it_is_told(
    catalog: Catalog, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> Any:
        raise OperationalError("connection to db.internal failed: password")

    declare_one_of_each(scopes=["mcp:write"], groups=["Owners"])
    granted, lacking = await token_of(alice, "mcp:tools mcp:write"), await token_of(alice)
    async with serving() as endpoint:
        monkeypatch.setattr(access._Person, "may", away)
        response = await use(endpoint, granted, "tool")
        assert refusal(response) == "The database does not answer right now. Try again shortly."
        at_the_door = await use(endpoint, lacking, "tool")
        assert (at_the_door.status_code, at_the_door.headers["retry-after"]) == (503, "5")
        for answer in (response, at_the_door, await send(endpoint, granted, "tools/list")):
            assert "db.internal" not in answer.text


async def test_nobody_is_asked_about_a_batch_which_is_no_message_anyway(
    catalog: Catalog, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def rule(identity: Identity) -> bool:
        asked.append(identity)
        return True

    tool("thing", scopes=["mcp:write"], allowed=rule)(lambda: "done")
    request = message("tools/call")
    one = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "thing", "arguments": {}}}
    async with serving() as endpoint:
        headers = request["headers"] | {"Authorization": f"Bearer {await token_of(alice)}"}
        response = await endpoint.post("/star", content=json.dumps([one] * 1000), headers=headers)
    assert response.status_code == 400
    assert asked == []


# Lists


async def test_lists_say_for_how_long_they_may_be_kept_and_that_they_are_for_their_reader_alone(
    catalog: Catalog, alice: Any, settings: Any
) -> None:
    """MCP 2026-07-28, caching: `ttlMs` and `cacheScope`."""
    settings.MCPAPP = {**settings.MCPAPP, "LIST_TTL_SECONDS": 7}
    declare_one_of_each()
    async with serving() as endpoint:
        token = await token_of(alice)
        for method in ("tools/list", "resources/list", "resources/templates/list", "prompts/list"):
            result = payload(await send(endpoint, token, method, era=MODERN))["result"]
            assert (result["ttlMs"], result["cacheScope"]) == (7000, "private"), method


# Declarations


@pytest.mark.parametrize(
    "rules",
    [{"scopes": ["mcp:tools"]}, {"permissions": ["a.b"]}, {"groups": ["A"]}, {"allowed": lambda _: True}],
    ids=lambda rules: next(iter(rules)),
)
def test_what_is_public_has_no_rules(catalog: Catalog, rules: Any) -> None:
    with pytest.raises(BadDeclaration, match="public"):
        tool("thing", public=True, **rules)


@pytest.mark.parametrize("name", ["scopes", "permissions", "groups"])
def test_a_string_where_a_list_is_meant_is_refused(catalog: Catalog, name: str) -> None:
    rules: Any = {name: "mcp:tools"}
    with pytest.raises(BadDeclaration, match="list"):
        prompt("thing", **rules)


def test_two_resources_or_prompts_of_one_name_stop_the_start(catalog: Catalog) -> None:
    def declare(word: str) -> None:
        def function() -> str:
            return word

        function.__qualname__ = word
        resource("thing://one")(function)
        prompt("thing")(function)

    declare("one")
    declare("one")  # the same function, in a module that is loaded again
    with pytest.raises(Duplicate, match=r"one.*two"):
        declare("two")


async def test_a_type_that_has_no_schema_stops_the_start_with_the_place(catalog: Catalog) -> None:
    class Odd:
        """Nothing pydantic knows."""

    @tool("odd")
    def odd(argument: Odd) -> str:
        return ""

    with pytest.raises(BadDeclaration, match=r"'odd' \(tests\.mcpapp\.test_access\..*odd\) cannot be served"):
        async with serving():
            pass
