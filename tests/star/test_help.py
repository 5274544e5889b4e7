"""Pages of help, and what who types wrong is told: complete, in groups, with examples that can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mcpapp.client.cli import COMMANDS, EXAMPLES
from tests.star.shell import Shell

PAGES = [
    *([name] for name in COMMANDS),
    ["resources", "list"],
    ["resources", "read"],
    ["prompts", "list"],
    ["prompts", "get"],
]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_the_first_page_has_every_command_once_with_all_that_is_said_of_it(shell: Shell) -> None:
    page = shell.out("--help")
    shown = " ".join(page.split())
    for name, text in COMMANDS.items():
        assert len(re.findall(rf"^  {name}  ", page, re.MULTILINE)) == 1
        assert f"{name} {text}" in shown
    assert "..." not in page.partition("\n")[2], "nothing is cut off"


def test_no_command_at_all_is_answered_with_the_first_page(shell: Shell) -> None:
    done = shell.star()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.split() == shell.out("--help").split()


@pytest.mark.parametrize("words", PAGES, ids=" ".join)
def test_a_page_explains_every_argument_and_option_and_ends_with_examples(shell: Shell, words: list[str]) -> None:
    page = shell.out(*words, "--help")
    assert page.startswith(f"Usage: star {' '.join(words)} [OPTIONS] ")
    # A heading, then rows of two columns; a row's second column may follow on the next line.
    for row in re.findall(
        r"^  (?:-|[A-Z\[]).*$", page.partition("\nOptions:")[0].partition("\nArguments:")[2], re.MULTILINE
    ):
        assert re.search(r"\S  +\S", row), row
    for row in re.findall(r"^  -.*(?:\n {4,}.*)?", page, re.MULTILINE):
        assert re.search(r"^  -[^ ]+(, --[\w-]+)?( [A-Z]+)?  +\S|^  -.*\n +\S", row), row
    assert not re.search(r"<[a-z]", page), "a type of Python's says nothing to a person"
    assert all(len(line) <= 80 for line in page.splitlines()), page
    if words not in (["resources"], ["prompts"]):
        assert "\nExamples:\n  star " in page


def examples() -> list[str]:
    return [line for name, lines in EXAMPLES.items() for line in lines if "COMMAND" not in line]


@pytest.mark.parametrize("example", examples())
def test_an_example_names_options_that_there_are(shell: Shell, example: str) -> None:
    program, command, *words = shlex.split(example)
    assert program == "star"
    page = shell.out(command, "--help")
    for option in (word for word in words if word.startswith("-")):
        assert re.search(rf"^  (-\w, )?{option}\b|^  {option},", page, re.MULTILINE), option


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["pnig"], "No such command 'pnig'. Did you mean 'ping'"),
        (["tools", "--jsn"], "No such option: --jsn (Possible options: --json)"),
        (["login"], "Missing argument 'URL'."),
        (["call"], "Missing argument '[URL] TOOL [KEY=VALUE]...'."),
        (["status", "--device"], "No such option: --device"),
    ],
)
def test_what_is_typed_wrong_is_told_with_where_help_is(shell: Shell, words: list[str], told: str) -> None:
    done = shell.star(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Error: {told}" in done.stderr
    assert re.search(r"^Try 'star( \w+)* -h' for help\.$", done.stderr, re.MULTILINE)


def test_the_version_is_told(shell: Shell) -> None:
    assert re.fullmatch(r"star (\d\S*|\S+.*)\n|star, from its checkout\n", shell.out("--version"))
