"""`star chat` at this project's own server: signing in, more scope on the way, and nothing of it told to the model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.desk import Desk
from tests.clients.person import Person
from tests.clients.replays import VSCode
from tests.star.openai_server import OpenAIServer, Wire, calls, openai_server, says
from tests.star.program import Star

pytestmark = [pytest.mark.live, pytest.mark.clients]


@pytest.fixture
def api() -> Iterator[OpenAIServer]:
    with openai_server() as server:
        yield server


def disconnects_visual_studio_code(wire: Wire) -> None:
    """A model that reads the list of apps and asks to disconnect one."""
    listed = "".join(wire.asked.results())
    found = re.search(r'"connection_id": (\d+),\s+"name": "Visual Studio Code"', listed)
    calls(("disconnect-app", {"connection_id": int(found[1]) if found else 0}))(wire)


def test_a_call_that_needs_more_scope_leads_to_one_consent_and_goes_on(
    star: Star, url: str, desk: Desk, profile: Path, api: OpenAIServer, tmp_path: Path
) -> None:
    """RFC 6750 3.1: 403 insufficient_scope, a consent for the union, and the same call again."""
    api.turns = [
        calls(("protected-data", {}), ("public-info", {}), ("list-connected-apps", {})),
        disconnects_visual_studio_code,
        says("Disconnected."),
    ]
    model = ["--model", "test", "--base-url", api.url]
    transcript = tmp_path / "transcript"
    with Person("demo", "demo", profile) as person, VSCode(url) as vs_code:
        vs_code.log_in(person)
        done = star("chat", url, "-p", "Disconnect it.", "--yes", "--transcript", str(transcript), *model)
        assert done.stdout == "Disconnected.\n"
        assert len(desk.visits()) == 2, done.stderr
        assert vs_code.post_mcp("tools/list", {}).status_code == 401
    assert '"demo"' in api.requests[1].results()[0]
    tokens = star.content()["tokens"]
    assert set(tokens["scope"].split()) >= {"mcp:tools", "mcp:write"}
    for secret in (tokens["access_token"], tokens["refresh_token"]):
        assert secret not in json.dumps([asked.body for asked in api.requests])
        assert secret not in transcript.read_text() + done.stderr + done.stdout


def test_the_second_chat_signs_in_silently(star: Star, url: str, desk: Desk, api: OpenAIServer) -> None:
    api.turns = [says("Hi."), calls(("protected-data", {})), says("You are demo.")]
    model = ["--model", "test", "--base-url", api.url]
    star("login", url)
    star("chat", url, "-p", "Hi", *model)
    assert star("chat", "-p", "Who am I?", *model).stdout == "You are demo.\n", "the only server need not be named"
    assert len(desk.visits()) == 1
