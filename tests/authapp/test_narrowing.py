"""A person may allow less than a client asks for, and the token then carries just that (RFC 6749 §3.3)."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async

from authapp import narrowing
from authapp.models import AuditEvent, Connection
from authapp.narrowing import NothingLeft, narrowed
from tests.mcpapp.helpers import call, send
from tests.oauth import PKCE, answer, authorization_url, browser, redeem, refresh, registered

ALL = "mcp:tools mcp:write offline_access"


def ticks(*scopes: str) -> list[str]:
    """What the form sends: the empty value that says that there were boxes, and those that are ticked."""
    return ["", *scopes]


@pytest.mark.rfc("6749 3.3")
@pytest.mark.parametrize(
    ("asked", "ticked", "granted"),
    [
        (ALL, ["mcp:tools", "mcp:write"], ALL),
        (ALL, ["mcp:tools"], "mcp:tools offline_access"),
        ("mcp:write", ["mcp:tools", "mcp:write"], "mcp:write"),
        ("mcp:write", ["mcp:tools"], "mcp:tools"),
        # Never more than was asked, whatever is sent.
        ("mcp:tools offline_access openid", ["mcp:tools", "mcp:write", "admin", "email"], "mcp:tools offline_access"),
        ("openid email mcp:tools", ["email", "mcp:tools"], "email mcp:tools"),
    ],
)
def test_what_is_granted_is_what_was_asked_for_and_is_ticked(asked: str, ticked: list[str], granted: str) -> None:
    assert narrowed(asked.split(), ticks(*ticked)) == granted.split()


@pytest.mark.parametrize(
    ("asked", "ticked"),
    [
        (ALL, []),
        (ALL, ["offline_access"]),
        (ALL, ["mcp:write"]),  # what it includes was unticked: both are given up
        ("mcp:tools", ["mcp:write"]),
    ],
)
def test_nothing_left_is_no_consent(asked: str, ticked: list[str]) -> None:
    with pytest.raises(NothingLeft):
        narrowed(asked.split(), ticks(*ticked))


def test_a_page_without_boxes_grants_what_was_asked_for() -> None:
    """A site's own template, written before there were any."""
    assert narrowed(ALL.split(), []) == ALL.split()


def test_what_a_client_has_already_is_told_apart() -> None:
    known = {choice.name: choice.was_granted for choice in narrowing.choices(ALL.split(), None, ["mcp:tools"])}
    assert known == {"mcp:tools": True, "mcp:write": False, "offline_access": False}


@pytest.mark.rfc("6749 5.1")
def test_the_token_carries_what_was_left_and_so_do_its_successors(alice: Any) -> None:
    client_id, pkce = registered()["client_id"], PKCE()
    url = authorization_url(client_id, pkce, scope=ALL)
    page = browser(alice).get(url).content.decode()
    assert page.count('type="checkbox"') == 2
    code = answer(browser(alice).post(url, {"allow": "true", "scopes": ticks("mcp:tools")}))["code"]
    tokens = redeem(client_id, code, pkce).json()
    assert tokens["scope"] == "mcp:tools offline_access"
    assert Connection.objects.get(user=alice).scope == "mcp:tools offline_access"
    event = AuditEvent.objects.get(action="consent_given")
    assert event.detail["scope"] == "mcp:tools offline_access"
    again = refresh(client_id, tokens["refresh_token"]).json()
    assert again["scope"] == "mcp:tools offline_access"
    wider = refresh(client_id, again["refresh_token"], scope=ALL)
    assert (wider.status_code, wider.json()["error"]) == (400, "invalid_scope")


def test_unticking_everything_shows_the_page_again_and_grants_nothing(alice: Any) -> None:
    client_id = registered()["client_id"]
    url = authorization_url(client_id, PKCE(), scope=ALL)
    response = browser(alice).post(url, {"allow": "true", "scopes": ticks()})
    assert response.status_code == 400
    assert "You left nothing" in response.content.decode()
    assert not Connection.objects.exists()
    denied = answer(browser(alice).post(url, {"allow": "", "scopes": ticks()}))
    assert denied["error"] == "access_denied", "deny needs no box"


def test_a_scope_alone_has_no_box(alice: Any) -> None:
    page = browser(alice).get(authorization_url(registered()["client_id"], PKCE(), scope="mcp:tools offline_access"))
    assert 'type="checkbox"' not in page.content.decode()
    assert "Use the tools of this site as you" in page.content.decode()


def test_the_page_lists_the_tools_that_it_opens_and_no_others(alice: Any, bob: Any, settings: Any) -> None:
    client_id = registered()["client_id"]
    narrow = browser(alice).get(authorization_url(client_id, PKCE())).content.decode()
    assert "list-connected-apps" in narrow
    assert "disconnect-app" not in narrow
    wide = browser(alice).get(authorization_url(client_id, PKCE(), scope=ALL)).content.decode()
    assert wide.index("list-connected-apps") < wide.index("Delete or overwrite things") < wide.index("disconnect-app")
    settings.AUTHAPP = {name: value for name, value in settings.AUTHAPP.items() if name != "TOOL_CATALOG"}
    without = browser(alice).get(authorization_url(client_id, PKCE(), scope=ALL)).content.decode()
    assert "list-connected-apps" not in without
    assert 'type="checkbox"' in without


@pytest.mark.anyio
@pytest.mark.rfc("6750 3.1")
@pytest.mark.django_db(transaction=True)
async def test_a_tool_outside_of_what_was_left_leads_to_a_step_up_for_both(alice: Any, endpoint: Any) -> None:
    def connect(*left: str) -> str:
        pkce = PKCE()
        url = authorization_url(client_id, pkce, scope=ALL)
        code = answer(browser(alice).post(url, {"allow": "true", "scopes": ticks(*left)}))["code"]
        return str(redeem(client_id, code, pkce).json()["access_token"])

    client_id = (await sync_to_async(registered)())["client_id"]
    token = await sync_to_async(connect)("mcp:tools")
    assert not (await call(endpoint, token, "list-connected-apps")).get("isError")
    wanted = {"name": "disconnect-app", "arguments": {"connection_id": 0}}
    refused = await send(endpoint, token, "tools/call", wanted)
    assert refused.status_code == 403
    assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
    assert 'scope="mcp:tools mcp:write"' in refused.headers["www-authenticate"]
    page = await sync_to_async(lambda: browser(alice).get(authorization_url(client_id, PKCE(), scope=ALL)).content)()
    assert page.decode().count('class="badge"') == 1, "what is new is marked"
    wider = await sync_to_async(connect)("mcp:tools", "mcp:write")
    assert (await send(endpoint, wider, "tools/call", wanted)).status_code == 200
