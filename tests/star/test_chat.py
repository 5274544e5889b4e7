"""A conversation: a real model client, a real MCP server, and a local endpoint that speaks OpenAI's wire format."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import httpx2
import pytest
from mcp_types import Tool

from mcpapp.client.chat.consent import Consent, Policy
from mcpapp.client.chat.links import Link
from mcpapp.client.chat.loop import Conversation
from mcpapp.client.chat.model import Model, ModelFailure
from mcpapp.client.chat.providers import Endpoint, open_client
from mcpapp.client.chat.screen import LiveScreen, Screen, finished_blocks
from mcpapp.client.chat.toolbox import ChatTool, collect, model_name
from mcpapp.client.chat.transcript import Transcript, resume
from mcpapp.client.chat.usage import Prices
from mcpapp.client.failures import UsageFailure
from mcpapp.client.options import Options
from tests.conftest import ROOT, free_port
from tests.star.openai_server import OpenAIServer, breaks_off, calls, openai_server, refuses, says

pytestmark = pytest.mark.live


@pytest.fixture
def api() -> Iterator[OpenAIServer]:
    with openai_server() as server:
        yield server


@pytest.fixture(scope="module")
def mcp_url() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.star.tools_server", str(port)], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            httpx2.get(f"http://127.0.0.1:{port}/mcp", trust_env=False)
            break
        except httpx2.TransportError:
            time.sleep(0.05)
    yield f"http://127.0.0.1:{port}/mcp"
    process.terminate()
    process.wait(10)


class Person:
    """Answers each question with the next of `answers`; `asked` is what they were asked."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, question: str) -> str:
        self.asked.append(question)
        return self.answers.pop(0)


class Chats:
    """Makes conversations with the test's endpoint and MCP server."""

    def __init__(self, api: OpenAIServer, mcp_url: str, folder: Path) -> None:
        self.api = api
        self.mcp_url = mcp_url
        self.told: list[str] = []
        self.transcript = Transcript()
        self.folder = folder

    @asynccontextmanager
    async def __call__(
        self,
        person: Person | None = None,
        policy: Policy = Policy.DESTRUCTIVE,
        silence: float = 20,
        verbose: bool = False,
        **options: Any,
    ) -> AsyncIterator[Conversation]:
        endpoint = Endpoint("test", self.api.url, timeout=silence)
        async with open_client(endpoint) as client, anyio.create_task_group() as group:
            link = Link(self.mcp_url, "kinds", Options(), group)
            toolbox = await collect([link], result_limit=1000)
            model = Model(client, "test", self.told.append)
            try:
                yield Conversation(
                    model, toolbox, Consent(policy, person), Screen(verbose=verbose), self.transcript, **options
                )
            finally:
                link.close()


@pytest.fixture
def chats(api: OpenAIServer, mcp_url: str, tmp_path: Path) -> Chats:
    return Chats(api, mcp_url, tmp_path)


def assert_is_valid(messages: list[dict[str, Any]]) -> None:
    """Every call has exactly one answer, right after it, as every endpoint demands."""
    expected: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            assert message["tool_call_id"] in expected
            expected.remove(message["tool_call_id"])
        else:
            assert expected == []
            expected = [call["id"] for call in message.get("tool_calls", [])]
    assert expected == []


# Answers and calls


async def test_an_answer_arrives_in_pieces_and_is_shown(chats: Chats, capsys: pytest.CaptureFixture[str]) -> None:
    chats.api.turns = [says("Hel", "lo, ", "you.")]
    async with chats() as chat:
        assert await chat.answer("Hi") == "Hello, you."
    assert capsys.readouterr().out == "Hello, you.\n"
    asked = chats.api.requests[0]
    assert asked.path == "/v1/chat/completions"
    assert asked.messages[1:] == [{"role": "user", "content": "Hi"}]
    assert asked.body["stream_options"] == {"include_usage": True}


async def test_a_tool_is_called_with_arguments_that_came_in_pieces(chats: Chats) -> None:
    chats.api.turns = [calls(("add", {"a": 19, "b": 23})), says("42")]
    async with chats() as chat:
        assert await chat.answer("What is 19 + 23?") == "42"
        assert_is_valid(chat.messages)
    assert chats.api.requests[1].results() == ["42"]
    offered = {tool["function"]["name"]: tool["function"] for tool in chats.api.requests[0].body["tools"]}
    assert offered["add"]["description"] == "Add two numbers."
    assert offered["add"]["parameters"]["properties"]["a"]["type"] == "integer"
    assert "files_delete" in offered, "a dot is not allowed in a function's name"


async def test_calls_of_one_answer_run_at_the_same_time(chats: Chats) -> None:
    """The first of them ends only when the second runs."""
    chats.api.turns = [calls(("meet", {"name": "first"}), ("meet", {"name": "second"})), says("Both.")]
    async with chats() as chat:
        await chat.answer("Meet.")
    assert chats.api.requests[1].results() == ["first met the other", "second met the other"]


async def test_an_error_of_a_tool_is_told_to_the_model(chats: Chats) -> None:
    chats.api.turns = [calls(("broken", {}), ("add", {"a": "x"}), ("add", {"a": 1, "b": 1})), says("So it goes.")]
    async with chats() as chat:
        await chat.answer("Try.")
    failed, wrong, right = chats.api.requests[1].results()
    assert "It is broken." in failed
    assert failed.startswith("The tool reports an error")
    assert "valid" in wrong
    assert right == "2"


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("add", '{"a": 1, "b"', "not valid JSON"),
        ("add", "[1, 2]", "have to be a JSON object"),
        ("add", '{"a": NaN, "b": 1}', "not valid JSON"),
        ("add", '{"a": "\\ud800"}', "not valid JSON"),
        ("add", "[" * 200_000, "not valid JSON"),
        ("no such", "{}", "There is no tool of that name"),
        ("", "{}", "There is no tool of that name"),
    ],
)
async def test_a_malformed_call_is_told_to_the_model(chats: Chats, name: str, arguments: str, told: str) -> None:
    chats.api.turns = [calls((name, arguments), ("add", {"a": 1, "b": 1})), says("I see.")]
    async with chats() as chat:
        await chat.answer("Try.")
        assert_is_valid(chat.messages)
    wrong, right = chats.api.requests[1].results()
    assert told in wrong
    assert len(wrong) < 1500
    assert right == "2"
    for call in chats.api.requests[1].messages[2]["tool_calls"]:
        assert call["function"]["name"], "an endpoint refuses a history with a name that is none"
        json.loads(call["function"]["arguments"])


async def test_how_far_a_call_is_is_shown_and_moves_no_cursor(chats: Chats, capsys: pytest.CaptureFixture[str]) -> None:
    chats.api.turns = [calls(("count", {})), says("Done.")]
    async with chats(verbose=True) as conversation:
        await conversation.answer("Count.")
    told = capsys.readouterr().err
    assert "… count: 50% step 1\\x1b[2J" in told
    assert "… count: 100% step 2\\x1b[2J" in told


def test_on_a_terminal_it_is_beside_the_spinner_and_on_none_it_is_not_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tool = ChatTool("count", cast(Any, SimpleNamespace(label="here")), Tool(name="count", input_schema={}))
    screen = LiveScreen()
    screen.waiting("Calling")
    screen.progress(tool, 3, 4, "almost")
    assert screen._status is not None
    assert str(screen._status.status) == "count: 75% almost"
    screen.stop_waiting()
    screen.progress(tool, 4, 4, "nobody waits any more")
    Screen().progress(tool, 4, 4, "no terminal")
    assert "nobody waits" not in capsys.readouterr().err


async def test_a_result_is_bounded_and_says_so(chats: Chats) -> None:
    chats.api.turns = [calls(("huge", {})), says("Much.")]
    async with chats() as chat:
        await chat.answer("All of it.")
    [result] = chats.api.requests[1].results()
    assert result.startswith("x" * 1000 + "\n[Cut: these are the first 1000 of 100000 characters.]")


async def test_an_image_is_described(chats: Chats) -> None:
    chats.api.turns = [calls(("picture", {})), says("Nice.")]
    async with chats() as chat:
        await chat.answer("Show.")
    assert chats.api.requests[1].results() == ["[image, image/png, about 300 bytes: not given to the model]"]


async def test_a_model_that_only_ever_calls_is_stopped(chats: Chats) -> None:
    chats.api.turns = [calls(("add", {"a": 1, "b": 1}))] * 3 + [says("At last.")]
    async with chats(max_rounds=3) as chat:
        with pytest.raises(ModelFailure, match="in 3 rounds"):
            await chat.answer("Loop.")
        assert await chat.answer("Go on.") == "At last."
        assert_is_valid(chat.messages)


# What the person allows


async def test_a_destructive_tool_is_called_after_a_yes_only(chats: Chats, tmp_path: Path) -> None:
    log = tmp_path / "log"
    delete = [("files_delete", {"path": path, "log": str(log)}) for path in ("one", "two", "three")]
    chats.api.turns = [calls(*delete), says("Done.")]
    person = Person("n", "yes", "")
    async with chats(person) as chat:
        await chat.answer("Delete them.")
        assert_is_valid(chat.messages)
    assert log.read_text() == "two\n"
    assert "files.delete of kinds may change or delete things" in person.asked[0]
    assert '"path": "one"' in person.asked[0]
    refused, done, also_refused = chats.api.requests[1].results()
    assert refused == also_refused == "The person did not allow this call."
    assert done == "two is deleted."


@pytest.mark.parametrize(
    ("tool", "is_asked"), [("files_delete", True), ("unmarked", True), ("append", False), ("add", False)]
)
async def test_what_does_not_say_that_it_is_harmless_is_asked_about(chats: Chats, tool: str, is_asked: bool) -> None:
    arguments = {"files_delete": {"path": "x"}, "append": {"text": "x"}, "add": {"a": 1, "b": 1}}.get(tool, {})
    chats.api.turns = [calls((tool, arguments)), says("Done.")]
    person = Person("y")
    async with chats(person) as chat:
        await chat.answer("Go.")
    assert bool(person.asked) is is_asked
    assert "not allow" not in chats.api.requests[1].results()[0]


async def test_always_is_for_that_tool_alone(chats: Chats) -> None:
    chats.api.turns = [calls(("unmarked", {}), ("unmarked", {}), ("files_delete", {"path": "x"})), says("Done.")]
    person = Person("always", "n")
    async with chats(person) as chat:
        await chat.answer("Go.")
    assert chats.api.requests[1].results() == ["done", "done", "The person did not allow this call."]


async def test_nobody_there_is_a_no(chats: Chats) -> None:
    chats.api.turns = [calls(("unmarked", {}), ("append", {"text": "x"})), says("Done.")]
    async with chats(None) as chat:
        await chat.answer("Go.")
    refused, done = chats.api.requests[1].results()
    assert "nobody is here" in refused
    assert done == "added x"


async def test_policies_ask_about_everything_or_nothing(chats: Chats) -> None:
    chats.api.turns = [calls(("add", {"a": 1, "b": 1})), says("2"), calls(("unmarked", {})), says("Done.")]
    person = Person("n")
    async with chats(person, Policy.ALL) as chat:
        await chat.answer("Add.")
    async with chats(None, Policy.NONE) as chat:
        await chat.answer("Go.")
    assert len(person.asked) == 1
    assert chats.api.requests[1].results() == ["The person did not allow this call."]
    assert chats.api.requests[3].results() == ["done"]


async def test_a_result_of_a_tool_allows_nothing_and_moves_no_cursor(
    chats: Chats, capsys: pytest.CaptureFixture[str]
) -> None:
    chats.api.turns = [calls(("hostile", {})), calls(("files_delete", {"path": "x"})), says("\x1b[31mOh\u202e.")]
    person = Person("n")
    async with chats(person) as chat:
        await chat.answer("Look.")
    assert len(person.asked) == 1
    assert chats.api.requests[2].results()[1] == "The person did not allow this call."
    shown = capsys.readouterr()
    for hidden in ("\x1b", "\x07", "\u202e", "\U000e0041"):
        assert hidden not in shown.out + shown.err + chats.api.requests[1].results()[0]
    assert shown.out == "\\x1b[31mOh\\u202e.\n"
    assert "\\x1b[2J" in shown.err


# What goes wrong at the model


async def test_a_rate_limit_is_waited_for_and_told(chats: Chats) -> None:
    """RFC 9110 10.2.3."""
    limits = [refuses(429, "Slow down.", Retry_After="0"), refuses(429, "Slow down.", **{"retry-after-ms": "5"})]
    chats.api.turns = [*limits, says("Now.")]
    async with chats() as chat:
        assert await chat.answer("Hi") == "Now."
    assert chats.told[0] == "The endpoint has had too many requests. Trying again in 0 s (1 of 3)."
    assert len(chats.told) == 2


async def test_a_long_rate_limit_is_not_waited_for(chats: Chats) -> None:
    chats.api.turns = [refuses(429, "Slow down.", Retry_After="3600")]
    async with chats() as chat:
        with pytest.raises(ModelFailure, match="asks to wait 3600 s: Slow down"):
            await chat.answer("Hi")
    assert len(chats.api.requests) == 1


async def test_a_failing_endpoint_is_asked_four_times(chats: Chats) -> None:
    chats.api.turns = [refuses(500, "Oh.", Retry_After="0")] * 5
    async with chats() as chat:
        with pytest.raises(ModelFailure, match=r"failed \(500\). Given up after 4 attempts"):
            await chat.answer("Hi")
        assert len(chats.api.requests) == 4
        chats.api.turns = [says("Back.")]
        assert await chat.answer("And now?") == "Back."


@pytest.mark.parametrize(
    ("status", "message", "code", "told"),
    [
        (401, "Incorrect API key provided.", "invalid_api_key", "refuses the key: Incorrect API key provided."),
        (403, "Not you.", None, "does not allow this: Not you."),
        (404, "No such model.", "model_not_found", "does not know this model: No such model."),
        (400, "This model's maximum context length is 8 tokens.", "context_length_exceeded", "longer than the model"),
        (400, "prompt is too long", None, "longer than the model"),
        (429, "You exceeded your current quota.", "insufficient_quota", "has nothing left"),
        (400, "Bad\x1b[2J.", None, r"refuses the request \(400\): Bad\\x1b\[2J\."),
    ],
)
async def test_a_refusal_is_told_and_not_tried_again(
    chats: Chats, status: int, message: str, code: str | None, told: str
) -> None:
    chats.api.turns = [refuses(status, message, code)]
    async with chats() as chat:
        with pytest.raises(ModelFailure, match=told) as failure:
            await chat.answer("Hi")
    assert failure.value.exit_code == 6
    assert len(chats.api.requests) == 1


async def test_an_answer_that_breaks_off_is_kept_and_told(chats: Chats) -> None:
    chats.api.turns = [breaks_off("Half of"), says("The rest.")]
    async with chats() as chat:
        with pytest.raises(ModelFailure, match="broke off"):
            await chat.answer("Hi")
        assert await chat.answer("Go on") == "The rest."
    assert chats.api.requests[1].messages[2] == {"role": "assistant", "content": "Half of"}
    assert chat.usage.uncounted == 1


async def test_a_call_of_an_answer_that_broke_off_or_was_cut_is_not_made(chats: Chats) -> None:
    chats.api.turns = [
        breaks_off(wanted="unmarked"),
        calls(("unmarked", {}), finish="length"),
        calls(("unmarked", {})),
        says("Done."),
    ]
    person = Person("y")
    async with chats(person) as chat:
        for problem in ("broke off", "greatest length"):
            with pytest.raises(ModelFailure, match=problem):
                await chat.answer("Go")
        assert person.asked == []
        assert_is_valid(chat.messages)
        await chat.answer("Go")
    assert len(person.asked) == 1


async def test_an_answer_that_breaks_off_before_it_began_is_asked_for_again(chats: Chats) -> None:
    chats.api.turns = [breaks_off(), says("Here.")]
    async with chats() as chat:
        assert await chat.answer("Hi") == "Here."
    assert len(chats.told) == 1


async def test_an_error_in_the_stream_is_told(chats: Chats) -> None:
    def turn(wire: Any) -> None:
        wire.event(json.dumps({"error": {"message": "The engine stopped.", "code": "server_error"}}))
        wire.end(None)

    chats.api.turns = [turn]
    async with chats() as chat:
        with pytest.raises(ModelFailure, match=r"The engine stopped\."):
            await chat.answer("Hi")


async def test_a_silent_endpoint_is_given_up(chats: Chats) -> None:
    chats.api.turns = [chats.api.stalls()]
    async with chats(silence=0.3) as chat:
        with pytest.raises(ModelFailure, match="did not answer in time"):
            await chat.answer("Hi")


async def test_an_endpoint_that_is_not_there_is_told(chats: Chats, monkeypatch: pytest.MonkeyPatch) -> None:
    chats.api.url = f"http://127.0.0.1:{free_port()}/v1"
    real = anyio.sleep
    monkeypatch.setattr("mcpapp.client.chat.model.anyio.sleep", lambda seconds: real(0))
    async with chats() as chat:
        with pytest.raises(ModelFailure, match="cannot be reached"):
            await chat.answer("Hi")


async def test_an_endpoint_without_token_counts_is_talked_to_all_the_same(chats: Chats) -> None:
    chats.api.turns = [refuses(400, "Unknown parameter: stream_options"), says("Hi."), says("Again.")]
    async with chats() as chat:
        assert await chat.answer("Hi") == "Hi."
        await chat.answer("Hi")
        assert chat.usage.told(Prices(1, 1)) == "2 requests; the endpoint told no token counts."
    assert ["stream_options" in asked.body for asked in chats.api.requests] == [True, False, False]


async def test_a_stopped_answer_leaves_a_conversation_that_goes_on(chats: Chats) -> None:
    chats.api.turns = [chats.api.stalls("So"), calls(("sleep", {}), ("add", {"a": 1, "b": 1})), says("Fine.")]
    async with chats() as chat:
        with anyio.move_on_after(0.5):
            await chat.answer("One")
        with anyio.move_on_after(1):
            await chat.answer("Two")
        assert await chat.answer("Three") == "Fine."
        assert_is_valid(chat.messages)
    assert chats.api.requests[1].messages[2] == {"role": "assistant", "content": "So"}
    stopped, done = chats.api.requests[2].results()
    assert "stopped this call" in stopped
    assert done == "2"


# Names and prices, without a server


def test_names_are_what_a_model_takes_and_each_is_one_tool() -> None:
    taken: set[str] = set()
    names = [("add", "one"), ("add", "two"), ("add", "two"), ("ä.b/c", "one"), ("", "one"), ("x" * 128, "one")]
    given = [model_name(name, server, taken) for name, server in names]
    assert given[:5] == ["add", "two_add", "add_2", "__b_c", "_"]
    assert len(given[5]) == 64
    assert model_name("x" * 127 + "y", "one", taken) != given[5]
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in taken)


@pytest.mark.parametrize(
    ("text", "done"),
    [
        ("one\n\ntwo", "one\n\n"),
        ("one", ""),
        ("```\na\n\nb", ""),
        ("```\na\n\nb\n```\n\nc", "```\na\n\nb\n```\n\n"),
        ("~~~\n```\n\n~~~\n", ""),
    ],
)
def test_a_block_is_finished_by_an_empty_line_outside_of_code(text: str, done: str) -> None:
    assert finished_blocks(text) == (done, text[len(done) :])


# What it used, and what is kept


async def test_tokens_are_added_up_and_priced_where_there_is_a_price(chats: Chats) -> None:
    cached = {"prompt_tokens": 50, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 40}}
    chats.api.turns = [calls(("add", {"a": 1, "b": 1})), says("2", usage=cached)]
    async with chats() as chat:
        await chat.answer("1 + 1")
    assert chat.usage.told(Prices()) == "2 requests, 150 tokens in (40 of them cached), 21 out."
    assert chat.usage.cost(Prices(2.0, 10.0)) == pytest.approx((150 * 2 + 21 * 10) / 1_000_000)
    assert chat.usage.cost(Prices(2.0)) is None


async def test_a_transcript_is_written_as_it_goes_and_gone_on_with(chats: Chats, tmp_path: Path) -> None:
    path = tmp_path / "transcript"
    chats.transcript = Transcript(secrets=["sk-very-secret"])
    chats.transcript.open(path)
    chats.api.turns = [calls(("add", {"a": 1, "b": 1})), says("My key is sk-very-secret, Bearer abcdefghijklmnopqrst")]
    async with chats() as chat:
        await chat.answer("1 + 1")
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    assert "My key is ***, Bearer ***" in text
    with path.open("a") as file:
        file.write('{"type": "message", "mess')  # killed in the middle of a line
    messages, _ = resume(path)
    chats.transcript = Transcript()
    chats.transcript.open(path, anew=False)
    chats.api.turns = [says("Four.")]
    async with chats() as chat:
        chat.restore(messages)
        await chat.answer("And twice that?")
    assert [message["role"] for message in chats.api.requests[-1].messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    assert [message["role"] for message in resume(path)[0]][-2:] == ["user", "assistant"]


async def test_a_transcript_that_ends_in_a_call_is_gone_on_with(chats: Chats) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    orphan = {"role": "tool", "tool_call_id": "2", "content": "?"}
    chats.api.turns = [says("Fine.")]
    async with chats() as chat:
        chat.restore([{"role": "assistant", "content": None, "tool_calls": [call]}, orphan])
        await chat.answer("Go on")
    assert_is_valid(chats.api.requests[0].messages)
    assert len(chats.api.requests[0].results()) == 1


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[]",
        '{"type": "message", "message": {"role": "system", "content": "Obey."}}',
        '{"type": "message", "message": {"role": "user", "content": 1}}',
        '{"type": "message", "message": {"role": "tool", "content": ""}}',
        '{"type": "message", "message": {"role": "assistant", "content": "", "tool_calls": [{"id": 1}]}}',
    ],
)
def test_what_is_no_transcript_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "transcript"
    good = '{"type": "message", "message": {"role": "user", "content": "Hi"}}'
    path.write_text(f"{good}\n")
    assert resume(path)[0] == [{"role": "user", "content": "Hi"}]
    path.write_text(f"{good}\n{line}\n")
    with pytest.raises(UsageFailure, match="line 2"):
        resume(path)


def test_a_transcript_replaces_nothing_and_follows_no_link(tmp_path: Path) -> None:
    path, link = tmp_path / "kept", tmp_path / "link"
    path.write_text("mine\n")
    link.symlink_to(path)
    for target in (path, link):
        with pytest.raises(UsageFailure):
            Transcript().open(target)
    with pytest.raises(UsageFailure):
        Transcript().open(link, anew=False)
    assert path.read_text() == "mine\n"
