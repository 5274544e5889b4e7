"""Completion of the arguments of prompts and templates: run like a call, and only for who may use what it is of."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied

from mcpapp.access import BadDeclaration
from mcpapp.identity import current_user
from mcpapp.registry import Catalog, prompt, resource, tool
from tests.mcpapp.helpers import MODERN, make_token, payload, send, serving
from tests.mcpapp.test_door import parameters

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]
ERAS = ["legacy", MODERN]


def words(value: str, given: dict[str, str]) -> list[str]:
    return [word for word in ("park", "party", "test") if word.startswith(value)]


def of_prompt(name: str = "p", argument: str = "word", value: str = "", **given: str) -> dict[str, Any]:
    return asking({"type": "ref/prompt", "name": name}, argument, value, given)


def of_template(uri: str, argument: str, value: str = "") -> dict[str, Any]:
    return asking({"type": "ref/resource", "uri": uri}, argument, value, {})


def asking(ref: dict[str, Any], argument: str, value: str, given: dict[str, str]) -> dict[str, Any]:
    params: dict[str, Any] = {"ref": ref, "argument": {"name": argument, "value": value}}
    return {**params, "context": {"arguments": given}} if given else params


async def complete(endpoint: Any, token: str | None, params: Any, era: str = MODERN) -> dict[str, Any]:
    response = await send(endpoint, token, "completion/complete", params, era=era)
    answer = payload(response)
    assert "result" in answer, answer
    completion: dict[str, Any] = answer["result"]["completion"]
    return completion


async def error_of(endpoint: Any, token: str, params: Any, method: str = "completion/complete") -> dict[str, Any]:
    error: dict[str, Any] = payload(await send(endpoint, token, method, params, era=MODERN))["error"]
    return error


@pytest.mark.parametrize("era", ERAS)
async def test_plain_and_async_functions_complete_what_was_typed_with_what_is_known(
    catalog: Catalog, token: str, era: str
) -> None:
    seen: list[Any] = []

    def groups(value: str, given: dict[str, str]) -> Any:
        seen.append((threading.current_thread() is threading.main_thread(), str(current_user()), given))
        return Group.objects.filter(name__startswith=value).values_list("name", flat=True)

    async def numbers(value: str, given: dict[str, str]) -> list[int]:
        return [12, 13]

    @prompt("p", completions={"group": groups})
    def text(group: str, other: str = "") -> str:
        return group

    @resource("books://{number}", completions={"number": numbers})
    def book(number: int) -> str:
        return str(number)

    async with serving() as endpoint:
        found = await complete(endpoint, token, of_prompt("p", "group", "Own", other="x"), era)
        assert found == {"values": ["Owners"], "hasMore": False}
        assert seen == [(False, "alice", {"other": "x"})]
        assert (await complete(endpoint, token, of_template("books://{number}", "number"), era))["values"] == [
            "12",
            "13",
        ]
        assert (await complete(endpoint, token, of_prompt("p", "other"), era))["values"] == [], "it declares none"


async def test_an_answer_has_a_hundred_values_at_most_and_says_that_there_are_more(
    catalog: Catalog, token: str
) -> None:
    def numbers(value: str, given: dict[str, str]) -> list[int]:
        return list(range(int(value)))

    @prompt("p", completions={"word": numbers})
    def text(word: str) -> str:
        return word

    async with serving() as endpoint:
        for count, told, more in ((100, 100, False), (101, 100, True), (5000, 100, True)):
            found = await complete(endpoint, token, of_prompt(value=str(count)))
            assert (len(found["values"]), found["hasMore"]) == (told, more)


@pytest.mark.parametrize("era", ERAS)
async def test_the_capability_is_there_only_if_something_completes(catalog: Catalog, token: str, era: str) -> None:
    @prompt("p")
    def text(word: str) -> str:
        return word

    hello: Any = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    method, params = ("initialize", hello) if era == "legacy" else ("server/discover", {})

    async def capabilities() -> dict[str, Any]:
        async with serving() as endpoint:
            told = payload(await send(endpoint, token, method, params, era=era))["result"]["capabilities"]
            return dict(told)

    assert "completions" not in await capabilities()
    prompt("q", completions={"word": words})(text)
    assert "completions" in await capabilities()


async def test_nobody_completes_for_what_they_may_not_use(catalog: Catalog, token: str, bob: Any) -> None:
    """The function would tell about things that the person must not see; it does not run."""
    asked: list[str] = []

    def secrets(value: str, given: dict[str, str]) -> list[str]:
        asked.append(str(current_user()))
        return ["secret"]

    @prompt("p", groups=["Owners"], completions={"word": secrets})
    def text(word: str) -> str:
        return word

    @resource("books://{word}", groups=["Owners"], completions={"word": secrets})
    def book(word: str) -> str:
        return word

    bobs = await sync_to_async(make_token)(bob)
    async with serving() as endpoint:
        for params, use in (
            (of_prompt(), ("prompts/get", {"name": "p", "arguments": {"word": "x"}})),
            (of_template("books://{word}", "word"), ("resources/read", {"uri": "books://x"})),
        ):
            refused = await error_of(endpoint, bobs, params)
            assert refused == await error_of(endpoint, bobs, use[1], use[0]), "the same as for using it"
            assert refused["message"] == "You may not use this."
            assert (await complete(endpoint, token, params))["values"] == ["secret"], "alice may"
        assert asked == ["alice", "alice"]
        for params in (of_prompt("nothing"), of_template("books://1", "word")):
            assert (await error_of(endpoint, bobs, params))["code"] == -32602


@pytest.mark.parametrize("era", ERAS)
async def test_a_missing_scope_is_asked_for(catalog: Catalog, token: str, era: str) -> None:
    @prompt("p", scopes=["mcp:write"], completions={"word": words})
    def text(word: str) -> str:
        return word

    @resource("books://{word}", scopes=["mcp:write"], completions={"word": words})
    def book(word: str) -> str:
        return word

    async with serving() as endpoint:
        for params in (of_prompt(), of_template("books://{word}", "word")):
            response = await send(endpoint, token, "completion/complete", params, era=era)
            assert response.status_code == 403
            challenge = parameters(response)
            assert (challenge["error"], challenge["scope"]) == ("insufficient_scope", "mcp:tools mcp:write")


async def test_who_has_not_signed_in_completes_what_is_public_and_nothing_else(
    catalog: Catalog, settings: Any, token: str
) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "ANONYMOUS_TOOLS": True}

    @prompt("open", public=True, completions={"word": words})
    def text(word: str) -> str:
        return word

    @prompt("closed", completions={"word": words})
    def other(word: str) -> str:
        return word

    async with serving() as endpoint:
        assert (await complete(endpoint, None, of_prompt("open", value="p")))["values"] == ["park", "party"]
        for params in (
            *(of_prompt("closed"), of_prompt("nothing"), of_template("books://{word}", "word")),
            *({"ref": None}, {"ref": ["ref/prompt"]}, {"ref": {"type": ["ref/prompt"]}}, {}),
        ):
            response = await send(endpoint, None, "completion/complete", params, era=MODERN)
            assert response.status_code == 401, params
        assert (await complete(endpoint, token, of_prompt("closed", value="t")))["values"] == ["test"], "signed in"


async def test_what_goes_wrong_is_told_as_for_a_call(
    catalog: Catalog, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    def completer(value: str, given: dict[str, str]) -> Any:
        match value:
            case "denied":
                raise PermissionDenied("Not on Sundays.")
            case "text":
                return "a text"
        raise RuntimeError("the password is hunter2")

    async def slow(value: str, given: dict[str, str]) -> list[str]:
        await asyncio.sleep(60)
        return []

    @prompt("p", completions={"word": completer, "late": slow})
    def text(word: str, late: str = "") -> str:
        return word

    async with serving() as endpoint:
        assert (await error_of(endpoint, token, of_prompt(value="denied")))["message"] == "Not on Sundays."
        for value in ("text", "crash"):
            error = await error_of(endpoint, token, of_prompt(value=value))
            assert (error["code"], error["message"]) == (-32603, "Internal server error")
    assert "hunter2" in caplog.text
    assert "A completion returns a list" in caplog.text


async def test_a_completion_that_takes_too_long_is_given_up(catalog: Catalog, token: str, settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "CALL_TIMEOUT_SECONDS": 0.05}

    async def slow(value: str, given: dict[str, str]) -> list[str]:
        await asyncio.sleep(60 if value else 0)
        return ["done"]

    @prompt("p", completions={"word": slow})
    def text(word: str) -> str:
        return word

    async with serving() as endpoint:
        assert "given up" in (await error_of(endpoint, token, of_prompt(value="x")))["message"]
        assert (await complete(endpoint, token, of_prompt()))["values"] == ["done"]


def test_a_completion_for_an_argument_that_there_is_not_is_a_bad_declaration(catalog: Catalog) -> None:
    def text(word: str) -> str:
        return word

    for declare in (
        lambda: prompt("p", completions={"wrod": words})(text),
        lambda: resource("books://{word}", completions={"wrod": words})(text),
        lambda: resource("books://all", completions={"word": words})(lambda: ""),
    ):
        with pytest.raises(BadDeclaration, match="no argument"):
            declare()
    not_one: Any = ["park"]
    with pytest.raises(BadDeclaration, match="is a function"):
        prompt("p", completions={"word": not_one})(text)
    with pytest.raises(BadDeclaration, match="a dict of the other arguments"):
        prompt("p", completions={"word": lambda value: []})(text)  # type: ignore[misc, arg-type]
    with pytest.raises(TypeError):
        tool("t", completions={})  # type: ignore[call-arg]  # MCP completes no arguments of tools
    prompt("p", completions={"word": words})(text)
