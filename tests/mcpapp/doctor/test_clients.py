"""What the doctor sends is what the clients send: the same facts as in tests/clients."""

from __future__ import annotations

from typing import Any

import pytest

from mcpapp.doctor.clients import DEFAULT, DEVICE_CODE, PROFILES
from tests.clients.replays import ClaudeCode, ClaudeWeb, CursorThatSaysWeb, CursorThroughItsScheme, Replay, VSCode

RESOURCE_SCOPES = ["mcp:tools", "mcp:write"]
OFFERED = ["authorization_code", "refresh_token", DEVICE_CODE]


def replay(kind: type[Replay]) -> Replay:
    made = kind("http://127.0.0.1:8000/star")
    made.challenge = {"scope": "mcp:tools"}
    made.resource_metadata = {"scopes_supported": RESOURCE_SCOPES, "resource": made.url}
    made.metadata = {"grant_types_supported": OFFERED, "scopes_supported": [*RESOURCE_SCOPES, "offline_access"]}
    return made


@pytest.mark.parametrize(
    ("key", "kind"),
    [("vscode", VSCode), ("cursor", CursorThatSaysWeb), ("claude", ClaudeWeb), ("claude-code", ClaudeCode)],
)
def test_a_client_registers_as_its_replay_does(key: str, kind: type[Replay]) -> None:
    profile, replayed = PROFILES[key], replay(kind)
    body: dict[str, Any] = profile.registration(
        scope=replayed.scope(), resource_scopes=" ".join(RESOURCE_SCOPES), offered=OFFERED
    )
    sent = replayed.registration()
    for other in (body, sent):
        other.pop("client_name")  # Claude Code's has the name of the server in it
    assert body == sent
    assert profile.user_agent == replayed.user_agent
    assert (profile.mcp_user_agent or "") == replayed.mcp_user_agent
    assert profile.mcp_accept == replayed.accept
    assert dict(profile.discovery_headers) == replayed.discovery_headers


def test_cursor_comes_back_by_its_scheme() -> None:
    assert PROFILES["cursor"].redirect_uri == CursorThroughItsScheme.redirect_uri


def test_each_client_comes_back_to_where_it_registered_to() -> None:
    for profile in PROFILES.values():
        assert profile.redirect_uri in profile.redirect_uris, profile.key


def test_the_clients_that_were_asked_for_are_there_and_some_are_the_default() -> None:
    asked = ["vscode", "cursor", "claude", "claude-code", "codex", "gemini", "chatgpt", "inspector", "mcp-remote"]
    assert set(asked) <= set(PROFILES)
    assert set(DEFAULT) <= set(PROFILES)
    assert len({profile.title for profile in PROFILES.values()}) == len(PROFILES)
