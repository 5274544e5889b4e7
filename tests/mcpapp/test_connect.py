"""The connect page: what to do in each client, what the person has connected, and what it can do for them."""

from __future__ import annotations

import base64
import html
import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from django.test import Client
from django.utils import timezone

from mcpapp.connect import OTHER, cards, kind_of
from mcpapp.models import ConnectionUsage
from tests.oauth import HOST, RESOURCE, browser, connected, registered

pytestmark = pytest.mark.django_db


def page(user: Any = None, **headers: str) -> str:
    response = browser(user).get("/", headers={"host": HOST, **headers})
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def status(user: Any = None) -> dict[str, Any]:
    response = browser(user).get("/connection-status/", headers={"host": HOST})
    assert response["Cache-Control"].startswith("max-age=0")
    found: dict[str, Any] = response.json()
    return found


def used(connection_id: int, calls: int, **ago: int) -> None:
    at = timezone.now() - timedelta(**ago)
    ConnectionUsage.objects.update_or_create(
        connection_key=str(connection_id), defaults={"calls": calls, "last_call_at": at}
    )


def test_every_usual_client_has_a_card_with_the_exact_text() -> None:
    text = page()
    for card in cards(RESOURCE, {}):
        assert card.title in text
        assert card.text in text
        assert card.text or card.steps
    assert [card.client for card in cards(RESOURCE, {})] == [
        "vscode", "claude", "claude-code", "cursor", "codex", "gemini", "chatgpt", "inspector", OTHER,
    ]  # fmt: skip


def test_the_links_open_the_clients_that_have_one() -> None:
    links = {card.client: card.link for card in cards(RESOURCE, {}) if card.link}
    assert set(links) == {"vscode", "cursor"}
    head, _, query = links["vscode"].partition("?")
    assert head == "vscode:mcp/install"
    assert json.loads(unquote(query)) == {"name": "star", "type": "http", "url": RESOURCE}
    parts = urlsplit(links["cursor"])
    asked = parse_qs(parts.query)
    assert (parts.scheme, parts.netloc, parts.path) == ("cursor", "anysphere.cursor-deeplink", "/mcp/install")
    assert json.loads(base64.b64decode(asked["config"][0])) == {"url": RESOURCE}
    text = page()
    assert all(f'href="{link}"' in text for link in links.values())


def test_each_client_says_what_the_person_has_connected(alice: Any, bob: Any) -> None:
    for name in ("Cursor", "Visual Studio Code"):
        connected(alice, registered(client_name=name))
    connected(bob, registered(client_name="Codex"))
    cursor, code = alice.mcp_connections.order_by("pk")
    used(cursor.pk, 12, minutes=3)
    told = status(alice)["clients"]
    assert told == {
        "cursor": "Connected: 12 calls, the last 3\xa0minutes ago",
        "vscode": "Connected just now, no calls yet",
    }
    text = page(alice)
    assert "Connected: 12 calls" in text
    used(code.pk, 1, seconds=5)
    assert status(alice)["clients"]["vscode"] == "Connected: 1 call, the last just now"
    assert set(status(bob)["clients"]) == {"codex"}, "nothing of anybody else"


def test_who_is_not_signed_in_is_told_nothing_and_the_page_does_not_ask(alice: Any) -> None:
    connected(alice, registered(client_name="Cursor"))
    assert status() == {"clients": {}, "signed_in": False}
    assert "status.js" not in page()
    assert "status.js" in page(alice)
    assert Client().post("/connection-status/", headers={"host": HOST}).status_code == 405


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Visual Studio Code", "vscode"),
        ("Claude Code (star)", "claude-code"),
        ("Claude", "claude"),
        ("claudette", "claude"),
        ("Cursor", "cursor"),
        ("Codex", "codex"),
        ("Gemini CLI MCP Client", "gemini"),
        ("MCP Inspector", "inspector"),
        ("ChatGPT", "chatgpt"),
        ("star on laptop", OTHER),
        ("", OTHER),
        ("not Cursor", OTHER),
    ],
)
def test_a_connection_is_sorted_by_the_name_that_its_client_gave_itself(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_tools_are_shown_to_whom_they_are_for(alice: Any, settings: Any) -> None:
    assert "public-info" in page()
    assert "disconnect-app" not in page()
    assert "disconnect-app" in page(alice)
    settings.MCPAPP = {**settings.MCPAPP, "ANONYMOUS_SEES_PROTECTED": True}
    assert "disconnect-app" in page()


def test_counts_and_times_are_in_the_language_of_the_browser(alice: Any) -> None:
    connected(alice, registered(client_name="Cursor"))
    used(alice.mcp_connections.get().pk, 1234, hours=2)
    text = page(alice, **{"accept-language": "zh-CN"})
    assert "1,234 次调用" in text
    assert "2\xa0小时前" in text
