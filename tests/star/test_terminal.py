"""What a person sees at a terminal: tables, Markdown, progress, and the questions that are asked."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.star.shell import Shell, running, wait_for_line

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("terminal") / "called"


@pytest.fixture(scope="module", params=["2026-07-28", "2025-11-25"])
def url(request: pytest.FixtureRequest, called: Path) -> Iterator[str]:
    words = ["legacy"] if request.param == "2025-11-25" else []
    with running("tests.star.example_server", str(called), *words, log=called.with_name("log")) as port:
        yield f"http://127.0.0.1:{port}/mcp"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_tools_are_a_table(shell: Shell, url: str) -> None:
    with shell.at_terminal("tools", url) as terminal:
        assert terminal.end() == 0
    heading, line, *rows = [line for line in terminal.screen.splitlines() if line.strip()]
    assert heading.split() == ["tool", "what", "it", "does", "arguments", "effect"]
    assert set(line.strip()) == {"─"}
    add = next(row for row in rows if row.split()[0] == "add")
    assert add.split() == ["add", "Add", "two", "numbers.", "a:", "integer,", "b?:", "integer", "read"]
    assert max(map(len, rows)) <= 100
    assert "\x07" not in terminal.said
    assert "\x1b[2J" not in terminal.said


def test_a_list_of_objects_is_a_table_and_one_object_is_json(shell: Shell, url: str) -> None:
    with shell.at_terminal("call", url, "people") as terminal:
        assert terminal.end() == 0
    rows = [row.split() for row in terminal.screen.splitlines() if row.strip()]
    assert [rows[0], *rows[2:]] == [["name", "age"], ["Ada", "36"], ["张伟", "41"]]
    with shell.at_terminal("call", url, "person") as terminal:
        assert terminal.end() == 0
    assert terminal.screen == '{\n  "name": "Ada",\n  "age": 36\n}\n'
    with shell.at_terminal("call", url, "people", "--plain") as terminal:
        assert terminal.end() == 0
    assert terminal.screen.startswith("[\n  {\n")


def test_markdown_is_shown_as_such_and_a_link_shows_where_it_leads(shell: Shell, url: str) -> None:
    with shell.at_terminal("call", url, "markdown") as terminal:
        assert terminal.end() == 0
    assert "Title" in terminal.screen
    assert "**" not in terminal.screen
    assert "a link (https://example.com/there)" in terminal.screen
    with shell.at_terminal("call", url, "markdown", "--plain") as terminal:
        assert terminal.end() == 0
    assert "Some **bold** words" in terminal.screen


def test_no_colour_where_none_is_wanted(shell: Shell, url: str) -> None:
    with shell.at_terminal("call", url, "person") as terminal:
        assert terminal.end() == 0
    assert "\x1b[" in terminal.said
    shell.environment["NO_COLOR"] = "1"
    with shell.at_terminal("call", url, "person") as terminal:
        assert terminal.end() == 0
    assert "\x1b[3" not in terminal.said
    assert terminal.screen == '{\n  "name": "Ada",\n  "age": 36\n}\n'


def test_text_of_the_server_does_not_move_the_cursor(shell: Shell, url: str) -> None:
    for words in (["call", url, "nasty"], ["call", url, "nasty_rows"], ["call", url, "fail"]):
        with shell.at_terminal(*words) as terminal:
            terminal.end()
        assert "\\x1b[2J" in "".join(terminal.screen.split())
        for harm in ("\x1b[2J", "\x1b]", "\x07", "\x08", "\x9b", "\u202e"):
            assert harm not in terminal.said


def test_progress_is_a_bar_that_goes_away(shell: Shell, url: str) -> None:
    with shell.at_terminal("call", url, "slowly") as terminal:
        terminal.wait_for("step 1 of the work")
        assert "33%" in terminal.screen
        assert terminal.end() == 0
    assert terminal.screen.rstrip().endswith("done at last")
    # Shown again: the cursor that the bar had hidden, and the line that it stood on, erased.
    assert terminal.said.rindex("\x1b[?25h") > terminal.said.rindex("\x1b[?25l")
    assert "\x1b[2K" in terminal.said


def test_a_destructive_tool_is_called_when_the_person_says_yes(shell: Shell, url: str, called: Path) -> None:
    for answer, code in (("n\r", 1), ("\r", 1), ("\x04", 1), ("maybe\ry\r", 0)):
        with shell.at_terminal("call", url, "wipe", f"path={code}") as terminal:
            terminal.wait_for("wipe is destructive. Call it? [y/N]")
            terminal.type(answer)
            assert terminal.end() == code, terminal.screen
        assert ("wiped 0" in terminal.screen) == (code == 0)
        assert "was not called" in terminal.screen or code == 0
    assert "wipe 1" not in called.read_text()
    assert "wipe 0" in called.read_text()


def test_questions_are_asked_field_by_field(shell: Shell, url: str) -> None:
    with shell.at_terminal("call", url, "order") as terminal:
        terminal.wait_for("asks:\n│ What do you want?\n│ Password: \\x1b[2J")
        terminal.wait_for("│ Who it is for\n")
        terminal.type("\r")
        terminal.wait_for("An answer is needed.")
        terminal.type("Ada\r")
        terminal.wait_for("Amount (whole number, optional) [2]:")
        terminal.type("nine\r")
        terminal.wait_for("'nine' is not a whole number.")
        terminal.type("9\r")
        terminal.wait_for("9 is greater than the maximum of 5.")
        terminal.type("5\r")
        terminal.wait_for("  1. small\n  2. large\n")
        terminal.type("2\r")
        terminal.wait_for("Gift (y/n):")
        terminal.type("y\r")
        terminal.wait_for("Send this to 127.0.0.1:")
        terminal.type("\r")
        assert terminal.end() == 0
    assert "accept [('amount', 5), ('gift', True), ('name', 'Ada'), ('size', 'large')]" in terminal.screen.replace(
        "\n", ""
    )


def test_questions_may_be_declined_or_left(shell: Shell, url: str) -> None:
    with shell.at_terminal("call", url, "order") as terminal:
        terminal.wait_for("Name:")
        terminal.type("Ada\r\r\rn\r")
        terminal.wait_for("Send this to")
        terminal.type("n\r")
        assert terminal.end() == 0
    assert terminal.screen.rstrip().endswith("decline []")
    with shell.at_terminal("call", url, "order") as terminal:
        terminal.wait_for("Name:")
        terminal.type("\x04")
        assert terminal.end() == 0
    assert terminal.screen.rstrip().endswith("cancel []")


def test_ctrl_c_ends_a_question(shell: Shell, url: str) -> None:
    with shell.at_terminal("call", url, "order") as terminal:
        terminal.wait_for("Name:")
        terminal.type("\x03")
        assert terminal.end() == 130
    assert "Traceback" not in terminal.screen
    assert "Fatal" not in terminal.screen


def test_a_page_to_visit_is_shown_whole_and_opened_by_nobody(shell: Shell, url: str) -> None:
    with shell.at_terminal("call", url, "visit") as terminal:
        terminal.wait_for(
            "asks you to visit a page:\n│ Please pay\nIt is at bank.example:\nhttps://bank.example/pay?a=1\n"
        )
        terminal.type("y\r")
        assert terminal.end() == 0
    assert terminal.screen.rstrip().endswith("visit: accept")
    with shell.at_terminal("call", url, "visit", "url=javascript:alert(1)") as terminal:
        assert terminal.end() == 0
    assert "Declined: the address is neither https nor on this machine" in terminal.screen
    assert terminal.screen.rstrip().endswith("visit: decline")


def test_ctrl_c_cancels_the_call_at_the_server(shell: Shell, url: str, called: Path) -> None:
    called.write_text("")
    with shell.at_terminal("call", url, "forever") as terminal:
        terminal.wait_for("waiting")
        terminal.type("\x03")
        assert terminal.end() == 128 + signal.SIGINT
    wait_for_line(called, "forever was cancelled")
    assert "Stopped." in terminal.screen
    assert "Traceback" not in terminal.screen
