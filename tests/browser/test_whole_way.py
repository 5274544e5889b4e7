"""A person connects a client in a real browser, allows less than it asks for, and ends it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.desk import Client

pytestmark = pytest.mark.live

Connecting = Callable[..., Client]
WORDS = {
    "en-US": ("Sign in", "Allow", "Deny", "Disconnect", "is disconnected"),
    "zh-CN": ("登录", "允许", "拒绝", "断开", "已断开"),
}


def box(page: Page, scope: str) -> Any:
    return page.locator(f"input[type=checkbox][value='{scope}']")


@pytest.mark.parametrize("locale", WORDS)
@pytest.mark.parametrize("script", [True, False], ids=["", "no JavaScript"])
def test_from_the_connect_page_to_a_dead_token(opened: Open, connecting: Connecting, locale: str, script: bool) -> None:
    sign_in_, allow, _, disconnect, is_disconnected = WORDS[locale]
    page = opened("/", locale=locale, java_script_enabled=script)
    expect(page.locator("main code").first).to_contain_text("/star")
    client = connecting(f"Cursor {locale} {script}")
    page.goto(client.authorize_path())
    page.fill("input[name=login]", "demo")
    page.fill("input[name=password]", "demo")
    page.get_by_role("button", name=sign_in_, exact=True).click()
    expect(page.get_by_role("button", name=allow, exact=True)).to_be_visible()
    box(page, "mcp:write").uncheck()
    page.get_by_role("button", name=allow, exact=True).click()
    page.wait_for_url("**/callback?**")
    tokens = client.tokens()
    assert tokens["scope"] == "mcp:tools offline_access"
    assert client.call(tokens["access_token"]).status_code == 200
    refused = client.call(tokens["access_token"], "disconnect-app")
    assert (refused.status_code, 'scope="mcp:tools mcp:write"' in refused.headers["www-authenticate"]) == (403, True)
    page.goto("/connected-apps/")
    card = page.locator("section.card").filter(has_text=f"Cursor {locale} {script}")
    card.get_by_role("button", name=disconnect, exact=True).click()
    expect(page.locator(".messages")).to_contain_text(is_disconnected)
    assert client.call(tokens["access_token"]).status_code == 401


def test_with_the_keyboard_alone(opened: Open, connecting: Connecting) -> None:
    client = connecting("Keyboard")
    page = opened(client.authorize_path())
    page.locator("input[name=login]").focus()
    page.keyboard.type("demo")
    page.keyboard.press("Tab")
    page.keyboard.type("demo")
    page.keyboard.press("Enter")
    page.wait_for_selector("#consent")
    unticked = pressed = False
    for _ in range(40):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "() => { const e = document.activeElement; const s = getComputedStyle(e);"
            " return [e.tagName, e.value || '', s.outlineStyle, parseFloat(s.outlineWidth)] }"
        )
        assert focused[2] != "none", f"the focus is not seen at {focused}"
        assert focused[3] >= 2
        if focused[:2] == ["INPUT", "mcp:write"]:
            page.keyboard.press("Space")
            unticked = True
        if focused[0] == "BUTTON" and focused[1] == "true":
            page.keyboard.press("Enter")
            pressed = True
            break
    assert (unticked, pressed) == (True, True)
    assert client.tokens()["scope"] == "mcp:tools offline_access"


def test_what_the_page_shows_is_what_is_granted(opened: Open, connecting: Connecting) -> None:
    client = connecting("Boxes")
    page = opened(client.authorize_path(), signed_in="demo")
    tool = page.locator("#tools li").filter(has_text="disconnect-app")
    expect(tool).to_be_visible()
    box(page, "mcp:tools").uncheck()
    expect(box(page, "mcp:write")).not_to_be_checked()
    expect(tool).to_be_hidden()
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("You left nothing")
    box(page, "mcp:write").check()
    expect(box(page, "mcp:tools")).to_be_checked()
    page.get_by_role("button", name="Allow", exact=True).click()
    assert client.tokens()["scope"].split() == ["mcp:tools", "mcp:write", "offline_access"]


@pytest.mark.parametrize("script", [True, False], ids=["", "no JavaScript"])
def test_the_language_is_chosen_and_the_client_still_waits(opened: Open, connecting: Connecting, script: bool) -> None:
    page = opened(connecting("Cursor").authorize_path(), locale="en-US", java_script_enabled=script)
    expect(page.locator("main .notice")).to_have_text("Sign in to continue to Cursor.")
    page.get_by_role("button", name="简体中文").click()
    expect(page.locator("main .notice")).to_have_text("登录后即可继续前往 Cursor。")
    page.fill("input[name=login]", "demo")
    page.fill("input[name=password]", "demo")
    page.get_by_role("button", name="登录", exact=True).click()
    expect(page.get_by_role("button", name="允许", exact=True)).to_be_visible()


def test_denying_is_one_press_as_well(opened: Open, connecting: Connecting) -> None:
    client = connecting("Denied")
    page = opened(client.authorize_path(), signed_in="demo")
    page.get_by_role("button", name="Deny", exact=True).click()
    assert client.answer()["error"] == "access_denied"


def test_an_answer_to_a_link_of_a_programs_own_leaves_no_question_behind(opened: Open, connecting: Connecting) -> None:
    client = connecting("Cursor", redirect_uri="cursor://anysphere.cursor-mcp/oauth/callback")
    page = opened(client.authorize_path(), signed_in="demo")
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page.locator("#sent")).to_be_visible()
    expect(page.get_by_role("button", name="Allow", exact=True)).to_be_hidden()


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "مرحبا Google",
    "W" * 200,
    "😀" * 60,
    "Star – verified by the administrator. Press Allow.",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_misleads_nobody(opened: Open, connecting: Connecting, name: str) -> None:
    client = connecting(name)
    page = opened(client.authorize_path(), signed_in="demo", viewport={"width": 320, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    expect(page.locator(".notice-warning")).to_contain_text("Unverified")
    expect(page.locator("h1")).to_contain_text("Connect")
    assert page.locator("h1 img").count() == 0
    isolated = page.locator("h1 bdi")
    assert isolated.count() == 1
    heading = page.locator("h1").inner_text()
    assert heading.startswith("Connect")
    assert heading.rstrip().endswith("?")


def test_the_status_of_a_client_changes_while_the_page_is_open(opened: Open, connecting: Connecting) -> None:
    page = opened("/", signed_in="demo2")
    status = page.locator("[data-client=codex]")
    expect(status).to_be_hidden()
    client = connecting("Codex")
    other = page.context.new_page()
    other.goto(client.authorize_path())
    other.get_by_role("button", name="Allow", exact=True).click()
    token = client.tokens()["access_token"]
    for _ in range(3):
        assert client.call(token).status_code == 200
    other.close()
    expect(status).to_contain_text("Connected: 3 calls", timeout=15_000)


def test_without_a_script_the_status_is_as_of_the_load(opened: Open, connecting: Connecting) -> None:
    client = connecting("Gemini CLI MCP Client")
    page = opened(client.authorize_path(), signed_in="demo2", java_script_enabled=False)
    page.get_by_role("button", name="Allow", exact=True).click()
    client.tokens()
    page.goto("/")
    expect(page.locator("[data-client=gemini]")).to_contain_text("Connected")


def test_a_passkey_signs_in(opened: Open) -> None:
    page = opened("/", signed_in="demo2")
    home = page.url.replace("127.0.0.1", "localhost")  # an IP address is no domain, and passkeys belong to one
    key = page.context.new_cdp_session(page)
    key.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    key.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    page.goto(f"{home}accounts/login/?next=/accounts/2fa/webauthn/add/")
    page.fill("input[name=login]", "demo2")
    page.fill("input[name=password]", "demo2")
    page.click("main button.button-primary")
    page.fill("input[name=password]", "demo2")  # what adds a factor wants it once more
    page.click("main button")
    page.get_by_label("Passwordless").check()
    page.click("main button")
    page.wait_for_url("**/accounts/2fa/recovery-codes/**")
    page.context.clear_cookies()
    page.goto(f"{home}accounts/login/?next=/connected-apps/")
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url("**/connected-apps/")
    expect(page.locator("header")).to_contain_text("demo2")
