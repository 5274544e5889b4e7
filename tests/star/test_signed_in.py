"""The commands at servers that want a sign-in: this project's, and one of fastmcp; the person is scripted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.desk import Desk
from tests.star.program import Star
from tests.star.shell import running

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running("tests.star.fastmcp_server", log=tmp_path_factory.mktemp("fast") / "log") as port:
        yield f"http://127.0.0.1:{port}/mcp"


def test_tools_and_calls_at_this_server_after_one_sign_in(star: Star, url: str, desk: Desk) -> None:
    listed = star("tools", url).stdout.splitlines()
    assert "public-info" in [line.partition("\t")[0] for line in listed]
    assert next(line for line in listed if line.startswith("protected-data\t")).endswith("\tread")
    # The only server that somebody is signed in to need not be named.
    data = json.loads(star("call", "protected-data").stdout)
    assert data["username"] == "demo"
    assert json.loads(star("call", url, "public-info").stdout)["resource"] == url
    assert star("ping").stdout.endswith("(MCP 2026-07-28).\n")
    assert len(desk.visits()) == 1


def test_a_tool_that_does_not_exist_is_told_with_the_nearest_one(star: Star, url: str) -> None:
    done = star("call", url, "protected-date", code=2)
    assert "Did you mean protected-data?" in done.stderr
    assert done.stdout == ""


def test_which_server_is_asked_where_there_are_several_or_none(star: Star, url: str, fast: str) -> None:
    assert "Which server?" in star("tools", code=2).stderr
    star("tools", url)
    star("tools")
    star("tools", fast)
    told = star("tools", code=2).stderr
    assert url in told
    assert fast in told


def test_everything_works_at_a_server_of_fastmcp(star: Star, fast: str, desk: Desk, tmp_path: Path) -> None:
    assert star("ping", fast).stdout.startswith("fast 4.5.6 answered in ")
    assert star("tools", fast).stdout == "scopes\tReturn a word and what was granted.\tword: string\t?\n"
    assert json.loads(star("call", fast, "scopes", "word=x").stdout) == ["x", "read"]
    assert "word: is missing (string)." in star("call", fast, "scopes", code=2).stderr
    assert star("resources", "read", fast, "test://note").stdout == "noted\n"
    assert star("resources", "list", fast).stdout.startswith("test://note\t")
    assert star("prompts", "get", fast, "greet", "name=Ada").stdout == "user:\nHello Ada\n"
    before = star.content()["tokens"]["access_token"]
    star.change(expires_at=time.time() - 1)
    assert json.loads(star("call", fast, "scopes", "word=r").stdout) == ["r", "read"]
    assert star.content()["tokens"]["access_token"] != before
    assert len(desk.visits()) == 1, "the refresh asked nobody"
    star("logout", fast)
    assert star.kept() == []
    assert json.loads(star("call", fast, "scopes", "word=y").stdout) == ["y", "read"]
    assert len(desk.visits()) == 2


@pytest.fixture
def sdk_example(tmp_path: Path) -> Iterator[str]:
    with running("tests.star.sdk_oauth_server", log=tmp_path / "log") as port:
        yield f"http://127.0.0.1:{port}/mcp"


def test_everything_works_at_a_server_of_the_sdk_with_the_sdks_authorization_server(
    star: Star, sdk_example: str, desk: Desk
) -> None:
    assert star("ping", sdk_example).stdout.startswith("sdk-example 7.8.9 answered in ")
    assert star("tools", sdk_example).stdout == "scopes\tReturn a word and what was granted.\tword: string\t?\n"
    assert json.loads(star("call", sdk_example, "scopes", "word=x").stdout) == ["x", "user"]
    before = star.content()["tokens"]
    star.change(expires_at=time.time() - 1)
    assert json.loads(star("call", sdk_example, "scopes", "word=y").stdout) == ["y", "user"]
    after = star.content()["tokens"]
    assert before["access_token"] != after["access_token"]
    assert before["refresh_token"] != after["refresh_token"]
    assert len(desk.visits()) == 1, "the refresh asked nobody"
    star("logout", sdk_example)
    assert star.kept() == []
    assert json.loads(star("call", sdk_example, "scopes", "word=z").stdout) == ["z", "user"]
    assert len(desk.visits()) == 2


def test_the_configuration_of_other_clients_names_the_server_byte_for_byte(star: Star, url: str) -> None:
    star("tools", url)
    done = star("config", "vscode")
    assert json.loads(done.stdout) == {"servers": {"star": {"type": "http", "url": url}}}
    assert done.stderr == "VS Code, .vscode/mcp.json:\n"
