"""What `star config` prints is what those programs take."""

from __future__ import annotations

import json
import shlex
import tomllib
from pathlib import Path

import pytest

from mcpapp.client.client_configs import client_configs, client_names, server_name
from tests.star.shell import Shell

URL = "https://example.com/star?a=1&b=it's"


def text(client: str, url: str = URL) -> str:
    return next(one.text for one in client_configs(url, "star") if one.client == client)


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        ("vscode", {"servers": {"star": {"type": "http", "url": URL}}}),
        ("claude-desktop", {"mcpServers": {"star": {"command": "npx", "args": ["-y", "mcp-remote", URL]}}}),
        ("cursor", {"mcpServers": {"star": {"url": URL}}}),
        ("gemini", {"mcpServers": {"star": {"httpUrl": URL}}}),
    ],
)
def test_files_of_json(client: str, expected: object) -> None:
    assert json.loads(text(client)) == expected


def test_the_file_of_codex_is_toml() -> None:
    assert tomllib.loads(text("codex")) == {"mcp_servers": {"star": {"url": URL}}}


def test_commands_survive_the_shell() -> None:
    word, option, value = shlex.split(text("vscode-cli"))
    assert (word, option, json.loads(value)) == ("code", "--add-mcp", {"name": "star", "type": "http", "url": URL})
    added, _, signed_in = text("claude-code").partition(" && ")
    assert shlex.split(added) == ["claude", "mcp", "add", "--transport", "http", "star", URL]
    assert shlex.split(signed_in) == ["claude", "mcp", "login", "star"]
    assert shlex.split(text("inspector"))[2:4] == ["--cli", URL]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.com/star", "star"),
        ("https://example.com/mcp", "example-com"),
        ("https://example.com/", "example-com"),
        ("http://127.0.0.1:8000/a%20b/", "a-20b"),
    ],
)
def test_a_server_is_called_by_its_path_or_its_host(url: str, name: str) -> None:
    assert server_name(url) == name


def test_the_list_names_every_program(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    assert shell.out("config", "--list").splitlines() == ["\t".join(pair) for pair in client_names().items()]
    assert json.loads(shell.out("config", "--list", "--json")) == client_names()
    found = json.loads(shell.out("config", "cursor", "https://example.com/star", "--name", "my server", "--json"))
    assert found["where"] == "~/.cursor/mcp.json"
    assert json.loads(found["text"]) == {"mcpServers": {"my-server": {"url": "https://example.com/star"}}}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["curser", "https://example.com/star"], "Did you mean cursor?"),
        ([], "For which program?"),
        (["cursor", "example.com"], "is no URL"),
        (["cursor"], "Which server?"),
    ],
)
def test_what_cannot_be_configured_is_said(tmp_path: Path, words: list[str], said: str) -> None:
    done = Shell(tmp_path).star("config", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
