"""`star tools`, `call`, `resources`, `prompts`, `ping` at a server of the SDK that has everything, in both eras."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcpapp.client.visible import one_line
from tests.star.example_server import NASTY, PNG
from tests.star.shell import Shell, running

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("everything")


@pytest.fixture(scope="module", params=["2026-07-28", "2025-11-25"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def called(folder: Path, version: str) -> Path:
    """Where the server's tools write what they do."""
    return folder / f"{version}.called"


@pytest.fixture(scope="module")
def url(folder: Path, version: str, called: Path) -> Iterator[str]:
    words = ["legacy"] if version == "2025-11-25" else []
    with running("tests.star.example_server", str(called), *words, log=folder / f"{version}.log") as port:
        yield f"http://127.0.0.1:{port}/mcp"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_ping_names_the_server_and_the_version_of_mcp(shell: Shell, url: str, version: str) -> None:
    assert shell.out("ping", url).startswith("everything 1.2.3 answered in ")
    found = json.loads(shell.out("ping", url, "--json"))
    assert (found["name"], found["protocol"], found["url"]) == ("everything", version, url)


def test_tools_are_lines_with_tabs_behind_a_pipe_and_all_of_them_in_json(shell: Shell, url: str) -> None:
    lines = {line.partition("\t")[0]: line.split("\t") for line in shell.out("tools", url).splitlines()}
    assert lines["add"] == ["add", "Add two numbers.", "a: integer, b?: integer", "read"]
    assert {name: lines[name][3] for name in ("wipe", "note", "people")} == {
        "wipe": "destructive",
        "note": "write",
        "people": "?",
    }
    found = {tool["name"]: tool for tool in json.loads(shell.out("tools", url, "--json"))}
    assert found.keys() - {NASTY} == lines.keys() - {one_line(NASTY)}
    assert found["add"]["inputSchema"]["required"] == ["a"]


def test_a_tool_is_called_with_what_was_typed(shell: Shell, url: str, called: Path) -> None:
    assert shell.out("call", url, "add", "a=1", "b=41") == "42\n"
    assert called.read_text().splitlines()[-1] == "add 1 41"


def test_values_get_the_types_of_the_schema(shell: Shell, url: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("from\na file")
    words = [
        "text=@text",
        "number=1e3",
        "flag=yes",
        "tags=a",
        "tags=b",
        "counts=[1,2]",
        "address.city=Rome",
        "anything.x.y=1",
    ]
    assert json.loads(shell.out("call", url, "echo", *words)) == {
        "text": "from\na file",
        "number": 1000,
        "flag": True,
        "tags": ["a", "b"],
        "counts": [1, 2],
        "address": {"city": "Rome", "number": 1},
        "anything": {"x": {"y": 1}},
    }


def test_arguments_may_be_json_also_from_stdin(shell: Shell, url: str) -> None:
    assert shell.out("call", url, "add", "--json", '{"a": 1, "b": 2}') == "3\n"
    assert shell.out("call", url, "add", "--json", "-", stdin='{"a": 5}') == "6\n"
    assert shell.out("call", url, "add", "--json", '{"a": 1}', "b=9") == "10\n"
    for nothing in ("{", "[]", "1"):
        done = shell.star("call", url, "add", "--json", nothing)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["add", "a=x"], "a: 'x' is not a whole number."),
        (["add", "b=2"], "a: is missing (integer)."),
        (["add", "a"], "a: write it as key=value."),
        (["add", "a=1", "a=2"], "a: it is given twice."),
        (["add", "a=1.5"], "a: '1.5' is not a whole number."),
        (["add", "a=@nothing"], "a: "),
        (["echo", "colour=gren"], '"gren" is none of "red", "green".'),
        (["echo", 'tags=["a","b","c","d"]'], "tags: "),
        (["echo", "address.number=1"], "address.city: is missing (string)."),
        (["ad", "a=1"], "Did you mean add?"),
        (["zzz"], "lists what it has."),
    ],
)
def test_what_the_tool_would_not_take_is_said_and_not_sent(
    shell: Shell, url: str, called: Path, words: list[str], said: str
) -> None:
    assert shell.out("call", url, "add", "a=1") == "2\n"
    before = called.read_text()
    done = shell.star("call", url, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert called.read_text() == before


def test_an_argument_that_the_tool_does_not_name_is_warned_of(shell: Shell, url: str) -> None:
    done = shell.star("call", url, "echo", "colou=red")
    assert done.returncode == 0
    assert "colou: the tool names no such argument. Did you mean colour?" in done.stderr


def test_a_destructive_tool_is_not_called_where_nobody_can_be_asked(shell: Shell, url: str, called: Path) -> None:
    done = shell.star("call", url, "wipe", "path=/one")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Add --yes to call it." in done.stderr
    assert shell.out("call", url, "wipe", "path=/two", "--yes") == "wiped /two\n"
    assert "wipe /one" not in called.read_text()
    assert "wipe /two" in called.read_text()


def test_what_is_said_twice_is_shown_once_and_is_json_behind_a_pipe(shell: Shell, url: str) -> None:
    assert json.loads(shell.out("call", url, "person")) == {"name": "Ada", "age": 36}
    assert json.loads(shell.out("call", url, "people")) == [{"name": "Ada", "age": 36}, {"name": "张伟", "age": 41}]


def test_the_raw_result_is_what_the_server_sent(shell: Shell, url: str) -> None:
    result = json.loads(shell.out("call", url, "person", "--raw"))
    assert result["structuredContent"] == {"name": "Ada", "age": 36}
    assert json.loads(result["content"][0]["text"]) == {"name": "Ada", "age": 36}
    assert json.loads(shell.out("call", url, "nasty", "--raw"))["content"][0]["text"] == NASTY


def test_everything_that_is_no_text_is_named_and_saved_over_nothing(shell: Shell, url: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mixed-1.png").write_text("mine")
    (tmp_path / "out" / "mixed-1.wav").symlink_to(tmp_path / "elsewhere")
    lines = shell.out("call", url, "mixed", "--output", "out").splitlines()
    assert lines == [
        "First a text.",
        "[image: image/png, 70 bytes, saved to out/mixed-2.png]",
        "[audio: audio/wav, 44 bytes, saved to out/mixed-2.wav]",
        "[link: https://example.com/readme] readme - text/markdown",
        "[test://note (text/plain)]",
        "a note",
        "[file: application/x-sh, 2 bytes, saved to out/mixed-1.bin]",
    ]
    assert (tmp_path / "out" / "mixed-2.png").read_bytes() == PNG
    assert (tmp_path / "out" / "mixed-1.png").read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_cannot_be_written_is_a_plain_failure(shell: Shell, url: str, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    done = shell.star("call", url, "picture", "--output", "out")
    assert done.returncode == 1
    assert "A file cannot be written to out" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_tool_that_fails_says_so_on_stderr(shell: Shell, url: str) -> None:
    done = shell.star("call", url, "fail")
    assert (done.returncode, done.stdout) == (1, "")
    assert "It did not work.\\x1b[2J" in done.stderr
    raw = shell.star("call", url, "fail", "--raw")
    assert raw.returncode == 1
    assert json.loads(raw.stdout)["isError"] is True


@pytest.mark.parametrize("words", [["call", "nasty"], ["call", "nasty_rows"], ["tools"], ["call", "nasty", "--raw"]])
def test_text_of_the_server_reaches_the_terminal_harmless(shell: Shell, url: str, words: list[str]) -> None:
    out = shell.out(words[0], url, *words[1:])
    assert "Enter password:" in out
    assert "[bold red]x[/] :smile:" in out
    assert [character for character in out if not character.isprintable() and character not in "\n\t"] == []


def test_progress_and_the_log_are_told_on_stderr_when_they_are_wanted(shell: Shell, url: str) -> None:
    done = shell.star("call", url, "slowly", "pause=0.01", "--verbose")
    assert done.stdout == "done at last\n"
    assert "1 of 3 step 1 of the work" in done.stderr
    assert "info: doing step 2" in done.stderr
    quiet = shell.star("call", url, "slowly", "pause=0.01")
    assert (quiet.stdout, quiet.stderr) == ("done at last\n", "")


def test_questions_are_declined_where_nobody_can_be_asked(shell: Shell, url: str) -> None:
    done = shell.star("call", url, "order")
    assert done.stdout == "decline []\n"
    assert "asked something and was declined" in done.stderr
    assert shell.out("call", url, "visit") == "visit: decline\n"


def test_pages_that_are_wanted_first_are_named(shell: Shell, url: str) -> None:
    done = shell.star("call", url, "paid")
    assert (done.returncode, done.stdout) == (1, "")
    assert "The server wants you to visit a page first.\nPay first\nhttps://bank.example/pay\n" in done.stderr


@pytest.mark.parametrize("words", [["text=\udcff"], ["--json", '{"text": "\\ud800"}'], ["--json", '{"\\ud800": 1}']])
def test_what_is_no_text_is_not_sent(shell: Shell, url: str, words: list[str]) -> None:
    done = shell.star("call", url, "echo", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no text in UTF-8" in done.stderr


def test_resources_are_listed_and_read(shell: Shell, url: str, tmp_path: Path) -> None:
    lines = shell.out("resources", "list", url).splitlines()
    assert "test://text\ttext_resource\ttext/plain\tA text" in lines
    assert any(line.startswith("test://item/{number}\t") for line in lines)
    assert shell.out("resources", "read", url, "test://text") == "the text of the resource\n"
    assert shell.out("resources", "read", url, "test://item/7") == "item 7\n"
    assert "saved to image-1.png" in shell.out("resources", "read", url, "test://image")
    assert (tmp_path / "image-1.png").read_bytes() == PNG
    sent = json.loads(shell.out("resources", "read", url, "test://image", "--json"))
    assert base64.b64decode(sent["contents"][0]["blob"]) == PNG
    assert {part["uri"] for part in json.loads(shell.out("resources", "list", url, "--json"))["resources"]} == {
        "test://text",
        "test://image",
    }
    missing = shell.star("resources", "read", url, "test://nothing")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "Traceback" not in missing.stderr


def test_prompts_are_listed_and_filled_in(shell: Shell, url: str) -> None:
    assert shell.out("prompts", "list", url) == "review\tAsk for a review.\tcode, style?\n"
    said = shell.out("prompts", "get", url, "review", "code=1")
    assert said == "user:\nReview 1, short.\nassistant:\nGladly.\n"
    for words, complaint in [
        (["review"], "code: is missing"),
        (["review", "code=1", "stile=x"], "Did you mean style?"),
        (["reviw"], "Did you mean review?"),
        ([], "Which prompt?"),
    ]:
        done = shell.star("prompts", "get", url, *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert complaint in done.stderr


def test_whoever_stops_reading_is_not_complained_to(shell: Shell, url: str) -> None:
    with shell.start("call", url, "long") as star:
        assert star.stdout is not None
        assert star.stderr is not None
        assert star.stdout.readline() == "line 0\n"
        star.stdout.close()
        assert star.stderr.read() == ""
        assert star.wait(20) == 0


def test_nothing_answers_where_no_server_is(shell: Shell) -> None:
    done = shell.star("tools", "http://127.0.0.1:9/mcp")
    assert (done.returncode, done.stdout) == (4, "")
