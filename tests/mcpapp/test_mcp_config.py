"""`manage.py mcp_config`: each client, each place, and files that are broken, shared, linked or not ours to write."""

from __future__ import annotations

import io
import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from mcpapp.client import config_files
from mcpapp.client.client_configs import client_configs, client_names
from mcpapp.client.failures import Failure
from tests.oauth import RESOURCE

JSON = ("vscode", "claude-code", "claude-desktop", "cursor", "gemini")
PLACES = [(client, scope) for client in config_files.clients() for scope in config_files.scopes_of(client)]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's home, and the folder of a project in it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    monkeypatch.setattr("sys.platform", "linux")
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("mcp_config", *arguments, stdout=out)
    return out.getvalue()


def file_of(client: str, scope: Any) -> Path:
    return config_files.file_of(client, scope, Path())


def read(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    return tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)


def installed(client: str) -> Any:
    """What a file with nothing else in it says, as people are told it."""
    text = next(one.text for one in client_configs(RESOURCE, "star") if one.client == client)
    if client == "claude-code":  # people are told the command that writes the same
        return {"mcpServers": {"star": {"type": "http", "url": RESOURCE}}}
    return tomllib.loads(text) if client == "codex" else json.loads(text)


@pytest.mark.parametrize(("client", "scope"), PLACES)
def test_a_client_finds_the_server_where_it_looks(client: str, scope: str, home: Path) -> None:
    told = run(client, "--scope", scope, "--install")
    path = file_of(client, scope)
    assert read(path) == installed(client)
    assert path.is_relative_to(home) or scope == "project"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "is written" in told
    assert RESOURCE in told, "the difference is shown"
    before = path.read_bytes()
    assert "has it already" in run(client, "--scope", scope, "--install")
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir() if "star" in one.name] == [], "no copy of nothing, no rest"


@pytest.mark.parametrize(("client", "scope"), PLACES)
def test_what_is_printed_for_a_place_is_what_is_put_there(client: str, scope: str) -> None:
    where, _, text = run(client, "--scope", scope).partition("\n")
    assert where == f"# {file_of(client, scope)}"
    assert (tomllib.loads if client == "codex" else json.loads)(text) == installed(client)


def test_the_places_are_those_that_clients_read() -> None:
    home = Path.home()
    assert {f"{client} {scope}": str(file_of(client, scope)).replace(str(home), "~") for client, scope in PLACES} == {
        "vscode project": ".vscode/mcp.json",
        "vscode user": "~/.config/Code/User/mcp.json",
        "claude-code project": ".mcp.json",
        "claude-code user": "~/.claude.json",
        "claude-desktop user": "~/.config/Claude/claude_desktop_config.json",
        "cursor project": ".cursor/mcp.json",
        "cursor user": "~/.cursor/mcp.json",
        "gemini project": ".gemini/settings.json",
        "gemini user": "~/.gemini/settings.json",
        "codex user": "~/.codex/config.toml",
    }


def test_the_list_names_every_client_and_where_it_keeps_servers() -> None:
    lines = [line.split("\t") for line in run("--list").splitlines()]
    assert {client: title for client, title, _ in lines} == client_names()
    assert ["cursor", "Cursor", "project user"] in lines
    assert ["inspector", "MCP Inspector", "in a terminal"] in lines


@pytest.mark.parametrize("client", list(client_names()))
def test_without_a_place_it_is_what_people_are_told(client: str) -> None:
    config = next(one for one in client_configs(RESOURCE, "star") if one.client == client)
    told = run(client)
    assert config.text in told
    assert config.link in told


@pytest.mark.parametrize("client", JSON)
def test_comments_other_servers_and_other_settings_stay(client: str, home: Path) -> None:
    key = next(iter(installed(client)))
    path = file_of(client, "user")
    path.parent.mkdir(parents=True, exist_ok=True)
    before = f'{{\n  // mine\n  "theme": "dark",\n  "{key}": {{\n    "other": {{ "command": "x" }}, // why\n  }},\n}}\n'
    path.write_text(before)
    path.chmod(0o640)
    run(client, "--scope", "user", "--install")
    text = path.read_text()
    assert [line for line in before.splitlines() if line not in text.splitlines()] == []
    assert path.stat().st_mode & 0o777 == 0o640
    copy = path.with_name(path.name + ".before-star")
    assert copy.read_text() == before
    assert copy.stat().st_mode & 0o777 == 0o640


def test_comments_and_other_tables_of_toml_stay() -> None:
    path = file_of("codex", "user")
    path.parent.mkdir()
    before = '# mine\nmodel = "gpt"  # why\n\n[mcp_servers.other]\ncommand = "x"\n\n[profiles.a]\nb = 1\n'
    path.write_text(before)
    run("codex", "--install")
    text = path.read_text()
    assert [line for line in before.splitlines() if line not in text.splitlines()] == []
    assert read(path)["mcp_servers"] == {"other": {"command": "x"}, "star": {"url": RESOURCE}}
    assert read(path)["profiles"] == {"a": {"b": 1}}
    assert "has it already" in run("codex", "--install")


def test_an_entry_of_ours_is_renewed_and_what_was_added_to_it_stays() -> None:
    path = Path(".mcp.json")
    path.write_text('{"mcpServers": {"star": {"type": "http", "url": "https://old", "oauth": {"callbackPort": 8765}}}}')
    run("claude-code", "--scope", "project", "--install")
    assert read(path)["mcpServers"]["star"] == {"type": "http", "url": RESOURCE, "oauth": {"callbackPort": 8765}}
    run("claude-code", "--scope", "project", "--install", "--name", "an other")
    assert set(read(path)["mcpServers"]) == {"star", "an-other"}
    assert Path(".mcp.json.before-star-2").exists(), "the first copy stays what it is"


def test_a_dry_run_shows_and_changes_nothing() -> None:
    Path(".mcp.json").write_text("{}")
    told = run("claude-code", "--scope", "project", "--install", "--dry-run")
    assert f'+      "url": "{RESOURCE}"' in told
    assert Path(".mcp.json").read_text() == "{}"
    assert [one.name for one in Path().iterdir()] == [".mcp.json"]


@pytest.mark.parametrize(
    ("client", "content"),
    [
        ("vscode", b"{"),
        ("vscode", b"[]"),
        ("vscode", b'{"servers": []}'),
        ("vscode", b'{"servers": {"star": 1}}'),
        ("vscode", b'{"servers": {"star": {"command": "x"}}}'),
        ("vscode", b'{"servers": {}, "servers": {}}'),
        ("vscode", b'{"a": "\xff"}'),
        ("codex", b"a = "),
        ("codex", b"mcp_servers = 1"),
        ("codex", b'[mcp_servers.star]\ncommand = "x"'),
        ("codex", b"\xff"),
    ],
)
def test_a_file_that_is_not_understood_is_left_alone(client: str, content: bytes) -> None:
    path = file_of(client, "user")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(CommandError, match="Nothing was changed"):
        run(client, "--scope", "user", "--install")
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_a_link_stays_a_link_and_what_it_leads_to_is_changed(home: Path) -> None:
    real = home / "dotfiles" / "mcp.json"
    real.parent.mkdir()
    real.write_text("{}")
    Path(".mcp.json").symlink_to(real)
    run("claude-code", "--scope", "project", "--install")
    assert Path(".mcp.json").is_symlink()
    assert read(real) == installed("claude-code")


def test_what_another_program_wrote_meanwhile_is_not_lost() -> None:
    path = Path(".mcp.json")
    path.write_text("{}")
    edit = config_files.planned("claude-code", path, "star", RESOURCE)
    path.write_text('{"theirs": 1}')
    with pytest.raises(Failure, match="was changed meanwhile"):
        config_files.write(edit)
    assert path.read_text() == '{"theirs": 1}'
    new = config_files.planned("claude-code", Path("new.json"), "star", RESOURCE)
    Path("new.json").write_text("theirs")
    with pytest.raises(Failure, match="was changed meanwhile"):
        config_files.write(new)
    assert sorted(one.name for one in Path().iterdir()) == [".mcp.json", "new.json"]


def test_two_of_us_at_once_do_not_both_write() -> None:
    path = Path(".mcp.json")
    path.write_text("{}")
    edit = config_files.planned("claude-code", path, "star", RESOURCE)
    Path("..mcp.json.star-new").write_text("")
    with pytest.raises(Failure, match="Another program is changing"):
        config_files.write(edit)
    assert path.read_text() == "{}"
    Path("..mcp.json.star-new").unlink()
    config_files.write(edit)
    assert read(path) == installed("claude-code")


@pytest.mark.parametrize("step", ["open", "replace", "fsync"])
def test_where_it_cannot_be_written_nothing_is_changed(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, or a folder that is read-only: root, who runs tests in containers, may write everywhere."""
    Path(".mcp.json").write_text("{}")

    def fail(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(CommandError, match=r"cannot be written: Permission denied\. Nothing was changed"):
            run("claude-code", "--scope", "project", "--install")
    assert Path(".mcp.json").read_text() == "{}"
    assert not list(Path().glob("*star-new"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "For which client"),
        (("inspector", "--install"), "keeps no servers in a file"),
        (("codex", "--scope", "project", "--install"), "no file in a project"),
        (("curser",), "invalid choice"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        run(*arguments)


def test_an_existing_file_is_changed_where_the_system_has_no_user_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".mcp.json").write_text("{}")
    monkeypatch.delattr(os, "geteuid")
    run("claude-code", "--scope", "project", "--install")
    assert read(Path(".mcp.json")) == installed("claude-code")


@pytest.mark.parametrize("content", ["mcp_servers = {}\n", 'mcp_servers = { other = { url = "https://x" } }\n'])
def test_servers_in_a_table_on_one_line_get_one_more(content: str) -> None:
    path = file_of("codex", "user")
    path.parent.mkdir()
    path.write_text(content)
    run("codex", "--install")
    assert read(path)["mcp_servers"] == tomllib.loads(content)["mcp_servers"] | {"star": {"url": RESOURCE}}
    assert "has it already" in run("codex", "--install")


def test_a_site_without_a_server_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpapp.conf.resources", list)
    with pytest.raises(CommandError, match="RESOURCES is empty"):
        run("cursor")


@pytest.mark.parametrize(
    ("client", "content"),
    [
        ("cursor", '{"mcpServers": {"star": {"url": "https://old/star", "headers": {"Authorization": "x"}}}}'),
        ("gemini", '{"mcpServers": {"star": {"httpUrl": "https://old/star", "headers": {"Authorization": "x"}}}}'),
        (
            "claude-desktop",
            '{"mcpServers": {"star": {"command": "npx", "args": ["mcp-remote", "https://old"], "env": {"A": "x"}}}}',
        ),
        ("codex", '[mcp_servers.star]\nurl = "https://old/star"\nhttp_headers = { Authorization = "x" }\n'),
        ("codex", '[mcp_servers.star]\nurl = "https://old/star"\nbearer_token_env_var = "TOKEN"\n'),
    ],
)
def test_credentials_for_one_host_are_not_left_to_another(client: str, content: str) -> None:
    path = file_of(client, "user")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(CommandError, match="use --name"):
        run(client, "--scope", "user", "--install")
    assert path.read_text() == content


def test_credentials_for_the_same_host_stay() -> None:
    path = file_of("cursor", "user")
    path.parent.mkdir()
    headers = {"Authorization": "x"}
    path.write_text(json.dumps({"mcpServers": {"star": {"url": f"{RESOURCE}/old", "headers": headers}}}))
    run("cursor", "--scope", "user", "--install")
    assert read(path)["mcpServers"]["star"] == {"url": RESOURCE, "headers": headers}


@pytest.mark.parametrize("client", config_files.clients())
def test_without_a_place_the_file_is_named_that_an_installation_writes(client: str) -> None:
    told = run(client).splitlines()[-1]
    assert told.startswith(f"# --install writes {file_of(client, 'user')}")
    assert told.endswith("unless --scope project") == ("project" in config_files.scopes_of(client))
    run(client, "--install")
    assert read(file_of(client, "user")) == installed(client)


def test_a_refused_table_is_told_in_one_sentence_alone() -> None:
    path = file_of("codex", "user")
    path.parent.mkdir()
    path.write_text("mcp_servers = 1")
    with pytest.raises(CommandError, match="cannot be changed: mcp_servers is no table"):
        run("codex", "--install")


def test_a_dry_run_of_nothing_is_refused() -> None:
    with pytest.raises(CommandError, match="give both"):
        run("cursor", "--dry-run")
