"""The owner of the site sees in the admin who connected, who is stuck and why, and what the tools are used for."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import Open
from tests.browser.desk import Client
from tests.clients.desk import NODE_MODULES
from tests.conftest import LiveServer

pytestmark = pytest.mark.live

Connecting = Callable[..., Client]
AXE = NODE_MODULES / "axe-core" / "axe.min.js"
ATTEMPTS = "/admin/authapp/connectionattempt/"


@pytest.fixture
def live_server_url(new_server: Callable[[], LiveServer]) -> str:
    """A server of each test's own: what others did on it would be counted too."""
    server = new_server()
    server.start("manage.py", "runserver", "--noreload", str(server.port))
    return server.url


def use_the_site(opened: Open, connecting: Connecting) -> None:
    """One client connects and calls, one is denied, one comes with another redirect URI, one forgets its token."""
    works = connecting("Works")
    page = opened(works.authorize_path(), signed_in="demo")
    page.get_by_role("button", name="Allow", exact=True).click()
    token = works.tokens()["access_token"]
    assert works.call(token).status_code == 200
    assert works.call(token, "no-such-tool").status_code == 200
    assert works.call("made-up").status_code == 401
    denied = connecting("Denied")
    page.goto(denied.authorize_path())
    page.get_by_role("button", name="Deny", exact=True).click()
    denied.answer()
    lost = connecting("Lost")
    page.goto(lost.authorize_path(redirect_uri="https://elsewhere.example/callback"))


def until(page: Page, words: str) -> None:
    """Reload until what is written beside the requests is there."""
    for _ in range(40):
        if words in page.content():
            return
        time.sleep(0.25)
        page.reload()
    raise AssertionError(f"{words!r} never came: {page.inner_text('body')}")


def look(page: Page, ours: str) -> None:
    """See that our part of a page keeps nobody out, in light and dark, and fits a phone."""
    page.add_script_tag(path=str(AXE))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for viewport in ({"width": 320, "height": 700}, {"width": 1280, "height": 900}):
            page.set_viewport_size(viewport)
            page.wait_for_function("document.getAnimations().length === 0")  # links change their colour slowly
            found = page.evaluate("ours => axe.run(ours)", ours)
            assert [(one["id"], one["nodes"][0]["html"][:150]) for one in found["violations"]] == [], (scheme, viewport)
            assert page.locator(ours).bounding_box()["width"] <= viewport["width"]


def test_attempts_to_connect_are_shown_with_their_causes(opened: Open, connecting: Connecting) -> None:
    use_the_site(opened, connecting)
    page = opened(ATTEMPTS, signed_in="admin", bypass_csp=True, reduced_motion="reduce")
    until(page, 'class="attempt-state healthy"')
    rows = page.locator("#result_list tbody tr")
    names = rows.locator(".field-client, th").all_inner_texts()
    assert {"Works", "Denied", "Lost"} <= {name.strip() for name in names}
    stuck = rows.filter(has=page.locator(".attempt-state.stuck"))
    assert stuck.count() == 2
    assert "stuck" in rows.first.inner_text()  # on top
    assert "The redirect URI is not registered: https://elsewhere.example/callback" in page.content()
    assert "The person said no." in page.content()
    bars = page.locator(".funnel tr")
    assert bars.count() == 8
    assert [int(text) for text in bars.locator(".count").all_inner_texts()] == [3, 3, 2, 2, 1, 1, 1, 1]
    look(page, ".funnel")


def test_the_first_page_shows_the_use_of_the_tools(opened: Open, connecting: Connecting) -> None:
    use_the_site(opened, connecting)
    page = opened("/admin/", signed_in="admin", bypass_csp=True, reduced_motion="reduce")
    until(page, "2 calls, 1 of them failed.")
    until(page, "the token is none of this server")
    shown = page.locator(".mcp-dashboard")
    assert "protected-data" in shown.inner_text()
    assert "Works" in shown.inner_text()
    look(page, ".mcp-dashboard")
    page.keyboard.press("Tab")
    page.get_by_role("link", name="30 d").click()
    page.wait_for_url("**/admin/?days=30")
    assert page.locator(".mcp-dashboard svg.bars rect.value").count() == 30
    page.goto("/admin/mcpapp/refusal/")
    assert "The client has to sign in again." in page.content()


def test_a_client_is_disabled_enabled_and_forgotten_after_a_question(opened: Open, connecting: Connecting) -> None:
    client = connecting("Works")
    person = opened(client.authorize_path(), signed_in="demo")
    person.get_by_role("button", name="Allow", exact=True).click()
    token = client.tokens()["access_token"]
    assert client.call(token).status_code == 200
    page = opened("/admin/authapp/application/", signed_in="admin")
    until(page, '<td class="field-calls">1</td>')

    def act(action: str) -> None:
        page.goto("/admin/authapp/application/")
        page.locator("#result_list .action-select").first.check()
        page.select_option("select[name=action]", label=action)
        page.get_by_role("button", name="Run").or_(page.get_by_role("button", name="Go")).first.click()
        page.wait_for_selector("input[name=confirmed]", state="attached")

    act("Disable selected clients")
    assert "People who connected them" in page.content()
    page.get_by_role("link", name="Cancel").click()
    assert client.call(token).status_code == 200
    act("Disable selected clients")
    page.get_by_role("button", name="Disable clients").click()
    page.wait_for_selector(".messagelist")
    assert client.call(token).status_code == 401
    act("Enable selected clients")
    page.get_by_role("button", name="Enable clients").click()
    page.wait_for_selector(".messagelist")
    assert client.call(token).status_code == 200
    act("Forget selected clients")
    page.get_by_role("button", name="Forget clients").click()
    page.wait_for_selector(".messagelist")
    assert client.call(token).status_code == 401
    assert page.locator("#result_list").count() == 0


def test_the_policy_of_the_site_holds_on_these_pages(opened: Open, connecting: Connecting) -> None:
    """Nothing is set aside here: what the policy refuses, the browser complains about (see `opened`)."""
    page = opened("/admin/", signed_in="admin")
    assert page.locator(".mcp-dashboard").count() == 1
    page.goto(ATTEMPTS)
    assert page.locator(".funnel").count() == 1


def test_what_a_person_is_shown_is_seen_as_that_person(opened: Open, connecting: Connecting) -> None:
    use_the_site(opened, connecting)
    page = opened("/admin/authapp/connection/", signed_in="admin", bypass_csp=True, reduced_motion="reduce")
    page.locator("#result_list tbody tr th a").first.click()
    page.get_by_role("link", name="See as").click()
    assert page.locator(".select2-selection__rendered").all_inner_texts()[0].endswith("demo")
    page.get_by_label("mcp:write").uncheck()
    page.get_by_role("button", name="See as").click()
    row = page.get_by_role("row").filter(has_text="disconnect-app")
    assert "Scopes that are not granted: mcp:write" in row.inner_text()
    row.locator("summary").click()
    assert 'WWW-Authenticate: Bearer error="insufficient_scope"' in row.inner_text()
    frame = page.frame_locator("iframe")
    assert "Connect Works to Star?" in frame.locator("h1").inner_text()
    assert frame.locator("main").evaluate("main => getComputedStyle(main).fontFamily") != "", "its style is loaded"
    frame.get_by_role("button", name="Allow", exact=True).click()  # nothing: forms are shut in
    assert page.get_by_role("heading", name="See as").is_visible()
    look(page, ".see-as")
    page.goto("/admin/authapp/auditevent/")
    assert "looked at what a person sees" in page.locator("#result_list tbody tr").first.inner_text()
