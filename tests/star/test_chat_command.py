"""`star chat` as people run it: in a pipe, and on a pseudo-terminal."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import ROOT, free_port
from tests.star.openai_server import OpenAIServer, Turn, Wire, calls, openai_server, refuses, says
from tests.star.shell import TIMEOUT_SECONDS, Shell, Terminal, running
from tests.star.test_chat import mcp_url

__all__ = ["mcp_url"]
pytestmark = pytest.mark.live

KEY = "sk-of-the-test-1234567890"


@pytest.fixture
def api() -> Iterator[OpenAIServer]:
    with openai_server() as server:
        yield server


class ChatTerminal(Terminal):
    """A terminal whose reader waits for what comes after that which they waited for before."""

    _read_to = 0

    def wait_for(self, text: str) -> None:
        end = time.monotonic() + TIMEOUT_SECONDS
        while (at := self.screen.find(text, self._read_to)) < 0:
            assert self.read(end - time.monotonic()), f"no {text!r} in:\n{self.screen[self._read_to :]}"
        self._read_to = at + len(text)

    def interrupt(self, told: str) -> None:
        """Press Ctrl-C until it is `told`.

        Known gap: Python's `input` does not see an interrupt that comes in the instant between the prompt and its wait
        for keys, where a test is and a person is not. The next one is seen.
        """
        for _ in range(3):
            self.type("\x03")
            end = time.monotonic() + 5
            while self.screen.find(told, self._read_to) < 0 and self.read(end - time.monotonic()):
                pass
            if self.screen.find(told, self._read_to) >= 0:
                break
        self.wait_for(told)


class Star:
    """`star chat` with the test's endpoint."""

    def __init__(self, api: OpenAIServer, shell: Shell) -> None:
        self.shell = shell
        self.environment = shell.environment
        self.environment["MODEL_KEY"] = KEY
        self.model = ["--model", "test", "--base-url", api.url, "--key-env", "MODEL_KEY"]
        self.terminals: list[Terminal] = []

    def run(self, *arguments: str, stdin: str = "", model: list[str] | None = None) -> subprocess.CompletedProcess[str]:
        return self.shell.star("chat", *arguments, *(self.model if model is None else model), stdin=stdin)

    def at_a_terminal(self, *arguments: str) -> ChatTerminal:
        self.terminals.append(terminal := ChatTerminal(self.shell, "chat", *arguments, *self.model))
        return terminal


@pytest.fixture
def star(api: OpenAIServer, tmp_path: Path) -> Iterator[Star]:
    star = Star(api, Shell(tmp_path))
    yield star
    for terminal in star.terminals:
        terminal.__exit__(None, None, None)


# One question


def test_one_question_has_its_answer_on_stdout_and_all_else_on_stderr(
    star: Star, api: OpenAIServer, mcp_url: str
) -> None:
    api.turns = [calls(("add", {"a": 19, "b": 23})), says("It is ", "**42**.")]
    done = star.run(mcp_url, "-p", "What is 19 + 23?", "--price-in", "1", "--price-out", "2")
    assert (done.returncode, done.stdout) == (0, "It is **42**.\n"), done.stderr
    assert '→ add {"a": 19, "b": 23}\n✓ add (' in done.stderr
    assert "2 requests, 200 tokens in, 40 out, 0.0003 at the prices given." in done.stderr
    assert api.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert "its words, not the person's):\nCall add for sums.\\x1b[2J" in api.requests[0].messages[0]["content"]


def test_the_question_is_taken_from_a_pipe(star: Star, api: OpenAIServer, mcp_url: str) -> None:
    api.turns = [says("Yes.")]
    done = star.run(mcp_url, stdin="Is it?\n")
    assert (done.returncode, done.stdout) == (0, "Yes.\n"), done.stderr
    assert api.requests[0].messages[-1]["content"] == "Is it?\n"


@pytest.mark.parametrize(("option", "told"), [((), "nobody is here"), (("--yes",), "x is deleted.")])
def test_without_a_person_only_yes_lets_a_tool_change_things(
    star: Star, api: OpenAIServer, mcp_url: str, option: tuple[str, ...], told: str
) -> None:
    api.turns = [calls(("files_delete", {"path": "x"})), says("So.")]
    done = star.run(mcp_url, "-p", "Delete x.", *option)
    assert done.returncode == 0, done.stderr
    assert told in api.requests[1].results()[0]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["-p", "Hi"], 6, "star: The model's endpoint refuses the key: No."),
        (["-p", "Hi", "--tool", "nothing-*"], 2, "star: No tool is called nothing-*."),
        (["-p", "Hi", "--yes", "--ask-all"], 2, "say the opposite"),
        (["-p", " "], 2, "There is no question."),
        (["-p", "Hi", "--continue", "no-such-file"], 2, "no-such-file cannot be read"),
    ],
)
def test_what_fails_is_told_without_a_traceback(
    star: Star, api: OpenAIServer, mcp_url: str, arguments: list[str], code: int, told: str
) -> None:
    api.turns = [refuses(401)]
    done = star.run(mcp_url, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert KEY not in done.stderr


def test_a_server_that_is_not_there_has_its_own_exit_code(star: Star) -> None:
    done = star.run(f"http://127.0.0.1:{free_port()}/mcp", "-p", "Hi")
    assert (done.returncode, "Traceback" in done.stderr) == (4, False), done.stderr


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ([], "Which model?"),
        (["--model", "m"], "There is no key for OpenAI."),
        (["--azure", "https://a.example"], "Which deployment?"),
        (["--azure", "https://a.example", "--deployment", "d"], "There is no key for Azure OpenAI."),
        (["--model", "m", "--base-url", "https://a.example", "--key-env", "NOTHING"], "NOTHING is empty"),
        (["--model", "m", "--base-url", "http://a.example", "--key-env", "MODEL_KEY"], "not sent over http"),
        (["--model", "m", "--base-url", "a.example"], "is an http or https URL"),
        (["--model", "m", "--base-url", "https://a.example", "--azure", "https://a.example"], "are two places"),
    ],
)
def test_what_is_missing_for_the_model_is_told(star: Star, mcp_url: str, model: list[str], told: str) -> None:
    done = star.run(mcp_url, "-p", "Hi", model=model)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr


def test_another_endpoint_is_not_shown_the_key_for_openai(star: Star, api: OpenAIServer, mcp_url: str) -> None:
    star.environment["OPENAI_API_KEY"] = KEY
    api.turns = [says("Hi."), says("Hi.")]
    named = ["--model", "test", "--base-url", api.url]
    assert star.run(mcp_url, "-p", "Hi", model=named).returncode == 0
    assert star.run(mcp_url, "-p", "Hi", model=[*named, "--key-env", "OPENAI_API_KEY"]).returncode == 0
    assert [KEY in asked.headers["authorization"] for asked in api.requests] == [False, True]


def test_azure_is_asked_at_its_own_paths(star: Star, api: OpenAIServer, mcp_url: str) -> None:
    star.environment["AZURE_OPENAI_API_KEY"] = KEY
    resource = api.url.removesuffix("/v1")
    api.turns = [says("Hi."), says("Hi.")]
    azure = ["--azure", resource, "--deployment", "mine"]
    for model in (azure, [*azure, "--api-version", "2024-10-21"]):
        done = star.run(mcp_url, "-p", "Hi", model=model)
        assert (done.returncode, done.stdout) == (0, "Hi.\n"), done.stderr
    new, dated = api.requests
    assert (new.path, new.body["model"]) == ("/openai/v1/chat/completions", "mine")
    assert dated.path == "/openai/deployments/mine/chat/completions?api-version=2024-10-21"
    assert dated.headers["api-key"] == KEY


def test_a_transcript_is_written_once_and_gone_on_with(
    star: Star, api: OpenAIServer, mcp_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "t.jsonl"
    api.turns = [calls(("add", {"a": 1, "b": 1})), says("2"), says("4")]
    assert star.run(mcp_url, "-p", "1 + 1?", "--transcript", str(path)).returncode == 0
    again = star.run(mcp_url, "-p", "1 + 1?", "--transcript", str(path))
    assert (again.returncode, "--continue" in again.stderr) == (2, True)
    assert star.run(mcp_url, "-p", "Twice that?", "--continue", str(path)).returncode == 0
    assert [message["role"] for message in api.requests[-1].messages[1:]] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["type"] for line in lines].count("start") == 2
    call = next(line for line in lines if line["type"] == "call")
    assert (call["tool"], call["arguments"], call["is_error"]) == ("add", {"a": 1, "b": 1}, False)
    assert path.stat().st_mode & 0o777 == 0o600
    assert KEY not in path.read_text()


def test_tools_of_two_servers_have_names_of_their_own(star: Star, api: OpenAIServer, mcp_url: str) -> None:
    other = mcp_url.replace("127.0.0.1", "localhost")
    api.turns = [says("Hi.")]
    assert star.run(mcp_url, other, "-p", "Hi").returncode == 0
    names = [tool["function"]["name"] for tool in api.requests[0].body["tools"]]
    assert len(set(names)) == len(names)
    assert next(name for name in names if name.endswith("add")) == "add"
    assert any(name.startswith("localhost_") and name.endswith("_mcp_add") for name in names)


def test_more_tools_than_a_model_takes_are_chosen_among(star: Star, api: OpenAIServer, tmp_path: Path) -> None:
    api.turns = [says("Hi.")]
    with running("tests.star.tools_server", "150", log=tmp_path / "log") as port:
        url = f"http://127.0.0.1:{port}/mcp"
        done = star.run(url, "-p", "Hi")
        assert (done.returncode, done.stdout) == (2, "")
        assert "There are 162 tools, and a model takes 128 at most." in done.stderr
        assert "--tool" in done.stderr
        assert star.run(url, "-p", "Hi", "--tool", "more-1?", "--tool", "add").returncode == 0
    offered = [tool["function"]["name"] for tool in api.requests[0].body["tools"]]
    assert sorted(offered) == ["add", *(f"more-{number}" for number in range(10, 20))]


# A person at a terminal


def test_a_person_talks_allows_and_leaves(star: Star, api: OpenAIServer, mcp_url: str) -> None:
    api.turns = [
        says("# Hi\n\nI am **bold**.\n\nAnd [here](https://evil.example/x)."),
        calls(("files_delete", {"path": "x"})),
        says("Gone."),
    ]
    terminal = star.at_a_terminal(mcp_url)
    terminal.wait_for("test with 12 tools. /help tells what else there is.")
    terminal.wait_for("> ")
    terminal.type("Hello \\\nyou\n")
    terminal.wait_for("I am bold.")
    terminal.wait_for("here (https://evil.example/x)")
    terminal.wait_for("> ")
    assert api.requests[0].messages[-1]["content"] == "Hello \nyou"
    terminal.type("Delete x\n")
    terminal.wait_for("files.delete of 127.0.0.1")
    terminal.wait_for('"path": "x"')
    terminal.wait_for("Call it? [y]es, [N]o, [a]lways in this chat: ")
    terminal.type("y\n")
    terminal.wait_for("✓ files.delete")
    terminal.wait_for("Gone.")
    terminal.wait_for("> ")
    terminal.type("/quit\n")
    terminal.wait_for("3 requests, 300 tokens in, 60 out.")
    assert terminal.end() == 0


def test_the_commands_of_a_chat(star: Star, api: OpenAIServer, mcp_url: str, tmp_path: Path) -> None:
    api.turns = [says("First."), says("Second.")]
    terminal = star.at_a_terminal(mcp_url)
    steps = [
        ("/help", "what the model may call"),
        (
            "/tools",
            "files.delete  Delete a file. Writes",
        ),
        ("/nonsense", "There is no /nonsense."),
        ("One", "First."),
        ("/usage", "1 request, 100 tokens in, 20 out."),
        (f"/save {tmp_path / 'saved'}", "It may hold what tools told about you."),
        (f"/save {tmp_path / 'saved'}", "saved exists."),
        ("/save", "Where to?"),
        ("/clear", "Nothing of it is known"),
        ("Two", "Second."),
    ]
    for typed, told in steps:
        terminal.wait_for("> ")
        terminal.type(f"{typed}\n")
        terminal.wait_for(told)
    terminal.wait_for("> ")
    terminal.type("\x04")
    assert terminal.end() == 0
    assert [message["content"] for message in api.requests[1].messages[1:]] == ["Two"]
    saved = [json.loads(line) for line in (tmp_path / "saved").read_text().splitlines()]
    assert [line["message"]["content"] for line in saved if line["type"] == "message"] == ["One", "First."]


def test_ctrl_c_stops_an_answer_and_twice_leaves(star: Star, api: OpenAIServer, mcp_url: str) -> None:
    api.turns = [api.stalls("So it begins"), calls(("sleep", {})), calls(("unmarked", {})), says("Fine.")]
    terminal = star.at_a_terminal(mcp_url)
    for typed, shown in [("One", "So it begins"), ("Two", "→ sleep"), ("Three", "Call it?")]:
        terminal.wait_for("> ")
        terminal.type(f"{typed}\n")
        terminal.wait_for(shown)
        terminal.interrupt("Stopped.")
    terminal.wait_for("> ")
    terminal.type("Four\n")
    terminal.wait_for("Fine.")
    terminal.wait_for("> ")
    terminal.interrupt("Ctrl-C again, or /quit, leaves.")
    terminal.wait_for("> ")
    terminal.interrupt("Stopped.")
    assert terminal.end() == 130
    assert "Traceback" not in terminal.screen


def test_a_question_of_a_server_is_put_to_the_person(star: Star, api: OpenAIServer, mcp_url: str) -> None:
    """MCP elicitation, in the chat's own way of reading the keyboard."""
    api.turns = [calls(("ask", {})), says("Nice.")]
    terminal = star.at_a_terminal(mcp_url)
    terminal.wait_for("> ")
    terminal.type("Ask me\n")
    terminal.wait_for("127.0.0.1")
    terminal.wait_for("What is your name?")
    terminal.wait_for("Name")
    terminal.type("Ada\n")
    terminal.wait_for("Send this to 127.0.0.1")
    terminal.type("y\n")
    terminal.wait_for("Nice.")
    assert api.requests[1].results() == ["Hello Ada"]
    terminal.wait_for("> ")
    terminal.type("\x04")
    assert terminal.end() == 0


def test_a_server_that_goes_away_and_comes_back_is_told_to_the_model(star: Star, api: OpenAIServer) -> None:
    call = calls(("add", {"a": 1, "b": 1}))
    api.turns = [call, says("One."), call, says("Two."), call, says("Three.")]
    server = subprocess.Popen([sys.executable, "-m", "tests.star.tools_server", str(port := free_port())], cwd=ROOT)
    _wait_for(port)
    terminal = star.at_a_terminal(f"http://127.0.0.1:{port}/mcp")
    try:
        for word in ("One.", "Two.", "Three."):
            terminal.wait_for("> ")
            if word == "Two.":
                server.kill()
                server.wait(10)
            if word == "Three.":
                server = subprocess.Popen([sys.executable, "-m", "tests.star.tools_server", str(port)], cwd=ROOT)
                _wait_for(port)
            terminal.type("Add\n")
            terminal.wait_for(word)
    finally:
        server.kill()
        server.wait(10)
    first, gone, back = [asked.results()[-1] for asked in api.requests[1::2]]
    assert (first, back) == ("2", "2")
    assert "cannot be reached" in gone


def _wait_for(port: int) -> None:
    end = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)


def test_ctrl_c_ends_the_wait_for_a_sign_in(star: Star, live_server_url: str) -> None:
    terminal = star.at_a_terminal(f"{live_server_url}/star", "--no-browser")
    terminal.wait_for("/o/authorize/")
    terminal.type("\x03")
    assert terminal.end() == 130
    assert "Traceback" not in terminal.screen


def test_whoever_reads_the_answer_may_stop_reading(star: Star, api: OpenAIServer, mcp_url: str) -> None:
    api.turns = [says("a" * 10, *(["b" * 60_000] * 5))]
    chat = star.shell.start("chat", mcp_url, "-p", "Hi", *star.model)
    assert chat.stdout
    assert chat.stderr
    assert chat.stdout.read(10) == "a" * 10
    chat.stdout.close()
    assert (chat.stderr.read(), chat.wait(20)) == ("", 0)
    chat.stderr.close()


def test_an_error_leaves_the_person_in_the_chat(star: Star, api: OpenAIServer, mcp_url: str) -> None:
    api.turns = [
        refuses(429, "Slow down.", Retry_After="0"),
        refuses(400, "context_length", "context_length_exceeded"),
        says("Hi."),
    ]
    terminal = star.at_a_terminal(mcp_url)
    terminal.wait_for("> ")
    terminal.type("One\n")
    terminal.wait_for("too many requests. Trying again in 0 s (1 of 3).")
    terminal.wait_for("longer than the model takes")
    terminal.wait_for("> ")
    terminal.type("Two\n")
    terminal.wait_for("Hi.")


def test_what_was_typed_before_a_question_does_not_answer_it(star: Star, api: OpenAIServer, mcp_url: str) -> None:
    api.turns = [_slowly_calls(api, "unmarked"), says("Never.")]
    terminal = star.at_a_terminal(mcp_url)
    terminal.wait_for("> ")
    terminal.type("Go\n")
    terminal.wait_for("Let me see")
    terminal.type("y\n")
    api.released.set()
    terminal.wait_for("Call it?")
    terminal.type("n\n")
    terminal.wait_for("✗ unmarked was not called.")
    terminal.wait_for("Never.")


def _slowly_calls(api: OpenAIServer, name: str) -> Turn:
    def turn(wire: Wire) -> None:
        wire.chunk({"content": "Let me see\n\n"})
        api.released.wait(20)
        function = {"name": name, "arguments": "{}"}
        wire.chunk({"tool_calls": [{"index": 0, "id": "1", "type": "function", "function": function}]}, "tool_calls")
        wire.end()

    return turn
