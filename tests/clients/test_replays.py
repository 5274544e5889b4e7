"""Clients that cannot run here, replayed on the wire: each registers, signs a person in, calls a tool and refreshes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.clients.person import Person
from tests.clients.replays import (
    ClaudeCode,
    ClaudeWeb,
    ClaudeWebAtItsOtherName,
    Cursor,
    CursorAgents,
    CursorThatSaysWeb,
    CursorThroughItsScheme,
    Replay,
    VSCode,
    VSCodeOnABusyPort,
    VSCodeThroughItsWebRedirect,
    VSCodeWithoutMetadata,
    said,
)

pytestmark = [pytest.mark.live, pytest.mark.clients]

EVERY_CLIENT: list[type[Replay]] = [
    VSCode,
    VSCodeWithoutMetadata,
    VSCodeOnABusyPort,
    VSCodeThroughItsWebRedirect,
    Cursor,
    CursorThatSaysWeb,
    CursorThroughItsScheme,
    CursorAgents,
    ClaudeWeb,
    ClaudeWebAtItsOtherName,
    ClaudeCode,
]


def assert_names_demo(result: dict[str, Any]) -> None:
    assert not result.get("isError"), result
    assert '"demo"' in json.dumps(result).replace("\\", ""), result


@pytest.mark.parametrize("replayed", EVERY_CLIENT, ids=lambda replayed: replayed.__name__)
def test_the_client_registers_signs_in_calls_the_tools_and_refreshes(
    url: str, person: Person, replayed: type[Replay]
) -> None:
    with replayed(url) as client:
        client.log_in(person)
        client.connect()
        assert {"public-info", "protected-data"} <= client.tools()
        assert_names_demo(client.call("protected-data"))
        client.refresh()
        assert_names_demo(client.call("protected-data"))
        client.refresh()
        assert_names_demo(client.call("protected-data"))


def test_the_back_channel_of_vs_code_is_not_refused_for_want_of_a_login(url: str, person: Person) -> None:
    """A 401 or 403 to a request with a token makes VS Code register anew; another refusal only means "no stream"."""
    with VSCode(url) as client:
        client.log_in(person)
        client.connect()
        headers = {"Accept": "text/event-stream", **client.bearer(), **client.session}
        with client.http.stream("GET", url, headers=headers) as response:
            assert response.status_code in {200, 404, 405}


def test_a_second_window_of_vs_code_needs_consent_and_no_second_sign_in(url: str) -> None:
    with Person("demo", "demo") as person:
        for password in ("demo", "not asked for again"):
            person.password = password
            with VSCode(url) as client:
                client.log_in(person)
                client.connect()
                assert_names_demo(client.call("protected-data"))


def test_claude_on_the_web_registers_twice_and_uses_the_second(url: str, person: Person) -> None:
    """It does so on every connection, a second or two apart."""
    with ClaudeWeb(url) as client:
        client.discover()
        client.register()
        first = client.client["client_id"]
        client.register()
        assert client.client["client_id"] != first
        client.redeem(client.authorize(person))
        client.connect()
        assert_names_demo(client.call("protected-data"))


@pytest.mark.parametrize("grant_type", ["authorization_code", "refresh_token"])
def test_a_forgotten_claude_on_the_web_is_told_invalid_client_with_401(url: str, grant_type: str) -> None:
    """Only 401 `invalid_client` makes it register again; with 400 the connector stays broken for good."""
    with ClaudeWeb(url) as client:
        client.discover()
        forgotten = {"client_id": "forgotten", "client_secret": "forgotten", "refresh_token": "any", "code": "any"}
        verifier = {"code_verifier": client.verifier, "redirect_uri": client.redirect_uri}
        response = client.http.post(
            client.metadata["token_endpoint"], data={"grant_type": grant_type, **forgotten, **verifier}
        )
        assert (response.status_code, response.json()["error"]) == (401, "invalid_client"), said(response)


def test_a_person_who_denies_sends_the_client_access_denied(url: str, person: Person) -> None:
    with VSCode(url) as client:
        client.discover()
        client.register()
        assert client.answer_of(person, deny=True)["error"] == "access_denied"
