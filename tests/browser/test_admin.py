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
    page.reload()  # the funnel had been counted before the list was read, and the call noted between the two
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
    assert page.locator(".select2-selection__rendered").first.inner_text().endswith("demo")
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


def connect(opened: Open, client: Client, who: str = "demo") -> str:
    """Have somebody allow a client; return its access token."""
    person = opened(client.authorize_path(), signed_in=who)
    person.get_by_role("button", name="Allow", exact=True).click()
    return str(client.tokens()["access_token"])


def act(page: Page, path: str, action: str, row: str) -> None:
    """Choose the row with some words, and an action; wait for the question."""
    page.goto(path)
    page.locator("#result_list tbody tr").filter(has_text=row).first.locator(".action-select").check()
    page.select_option("select[name=action]", label=action)
    page.get_by_role("button", name="Run").or_(page.get_by_role("button", name="Go")).first.click()
    page.wait_for_selector("input[name=confirmed]", state="attached")


def test_a_connection_shows_its_use_and_is_ended_after_a_question(opened: Open, connecting: Connecting) -> None:
    works, other = connecting("Works"), connecting("Other")
    token, untouched = connect(opened, works), connect(opened, other, "demo2")
    assert works.call(token).status_code == 200
    connections = "/admin/authapp/connection/"
    page = opened(connections, signed_in="admin", bypass_csp=True, reduced_motion="reduce")
    until(page, '<td class="field-calls">1</td>')
    row = page.locator("#result_list tbody tr").filter(has_text="Works")
    assert row.locator(".field-live_tokens").inner_text() == "1 access, 1 refresh"
    assert row.locator(".field-last_used").inner_text() != "–"
    assert row.locator(".field-until").inner_text() != "–"
    act(page, connections, "Disconnect selected connections", "Works")
    look(page, "#content")
    assert "Logins that are alive" in page.content()
    page.get_by_role("link", name="Cancel").click()
    assert works.call(token).status_code == 200
    act(page, connections, "Disconnect selected connections", "Works")
    page.get_by_role("button", name="Disconnect").click()
    page.wait_for_selector(".messagelist")
    assert "Connections ended: 1." in page.content()
    assert works.call(token).status_code == 401
    assert other.call(untouched).status_code == 200
    page.locator("#result_list tbody tr th a").first.click()
    page.get_by_role("link", name="Delete", exact=True).click()
    page.get_by_role("button", name="Disconnect").click()
    page.wait_for_selector(".messagelist")
    assert other.call(untouched).status_code == 401


@pytest.mark.parametrize("kind", ["accesstoken", "refreshtoken"])
def test_live_tokens_are_found_and_revoked_after_a_question(opened: Open, connecting: Connecting, kind: str) -> None:
    client = connecting("Works")
    token = connect(opened, client)
    assert client.call(token).status_code == 200
    tokens = f"/admin/oauth2_provider/{kind}/"
    page = opened(tokens, signed_in="admin", bypass_csp=True, reduced_motion="reduce")
    rows = page.locator("#result_list tbody tr").filter(has_text="Works").filter(has_text="demo")
    for _ in range(40):
        if rows.first.locator(".field-last_used").inner_text() != "–":
            break
        time.sleep(0.25)
        page.reload()
    page.get_by_role("link", name="live", exact=True).click()
    page.wait_for_url("**/?live=yes")
    assert rows.count() == 1
    assert rows.locator(".field-is_live img").get_attribute("alt") == "True"
    assert rows.locator(".field-last_used").inner_text() != "–"
    act(page, f"{tokens}?live=yes", "Revoke selected tokens and all that belong to them", "demo")
    look(page, "#content")
    rows_of_numbers = page.locator("#content table tr").all()
    numbers = {row.locator("th").inner_text(): row.locator("td").inner_text() for row in rows_of_numbers}
    assert numbers["Logins that are alive"] == "1"
    assert client.call(token).status_code == 200
    page.get_by_role("button", name="Revoke tokens").click()
    page.wait_for_selector(".messagelist")
    assert "Logins ended: 1." in page.content()
    assert client.call(token).status_code == 401
    assert rows.count() == 0


def test_clients_and_people_lead_to_what_they_have(opened: Open, connecting: Connecting) -> None:
    works, other = connecting("Works"), connecting("Other")
    for client, who in ((works, "demo"), (other, "demo2")):
        assert client.call(connect(opened, client, who)).status_code == 200
    page = opened("/admin/mcpapp/toolcall/", signed_in="admin", bypass_csp=True, reduced_motion="reduce")
    until(page, "Other")
    until(page, "Works")
    for path, name in (("/admin/authapp/application/", "Works"), ("/admin/auth/user/", "demo")):
        for words in ("Connections", "Access tokens", "Refresh tokens", "Audit events", "Tool calls"):
            page.goto(path)
            page.locator("#result_list th").get_by_role("link", name=name, exact=True).click()
            links = page.locator("fieldset").filter(has=page.get_by_role("heading", name="See also"))
            if words == "Connections":
                look(page, "fieldset:has(.description ul)")
                assert page.locator("#connections-group, #mcp_connections-group").count() == 1
            links.get_by_role("link", name=words).click()
            page.wait_for_selector("#result_list")
            shown = page.inner_text("#result_list")
            assert "Works" in shown or words == "Audit events", words
            assert "Other" not in shown, words
            assert "demo2" not in shown, words
