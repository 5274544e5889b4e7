"""The Content-Security-Policy in a browser: what somebody puts into a page does not run, and what a page needs does."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Open, sign_in

pytestmark = pytest.mark.live


@pytest.mark.parametrize(
    "path",
    [
        "/admin/",
        "/admin/auth/user/",
        "/admin/auth/user/add/",
        "/admin/authapp/application/",
        "/admin/authapp/application/add/",
        "/admin/authapp/auditevent/",
        "/admin/mcpapp/toolcall/",
    ],
)
def test_nothing_of_the_admin_is_stopped(opened: Open, path: str) -> None:
    """A browser tells of what it stops in its console, which fails the test (`opened`)."""
    page = opened(path, signed_in="admin")
    expect(page.locator("#site-name")).to_be_visible()
    page.wait_for_load_state("networkidle")


def test_scripts_of_the_admin_run(opened: Open) -> None:
    page = opened("/admin/auth/user/", signed_in="admin")
    page.locator("#action-toggle").check()
    assert page.locator("#result_list tr.selected").count() == page.locator("#result_list tbody tr").count() > 0
    page.locator("#result_list tbody th a").first.click()
    page.fill("#id_last_login_0", "")
    page.locator(".datetimeshortcuts a").first.click()  # "Today"
    assert page.locator("#id_last_login_0").input_value()


PUT = {
    "script-src-elem": "const s = document.createElement('script'); s.text = 'window.ran = true'; body.append(s)",
    "script-src-attr": "body.insertAdjacentHTML('beforeend', '<b id=put onclick=\"window.ran = true\">x</b>');"
    " document.getElementById('put').click()",
    "img-src": "body.insertAdjacentHTML('beforeend', '<img src=\"https://evil.example/x.png\">')",
    "style-src-attr": "body.insertAdjacentHTML('beforeend', '<p style=\"position: fixed\">x</p>')",
    "connect-src": "fetch('https://evil.example/').catch(() => {})",
    "frame-src": "body.insertAdjacentHTML('beforeend', '<iframe src=\"/\"></iframe>')",
}


@pytest.mark.parametrize("path", ["/", "/accounts/login/", "/connected-apps/", "/admin/"])
def test_what_is_put_into_a_page_does_not_run(browser: Browser, live_server_url: str, path: str) -> None:
    for is_on in (True, False):
        context = browser.new_context(base_url=live_server_url, bypass_csp=not is_on)
        page = context.new_page()
        page.route("https://evil.example/**", lambda route: route.abort())
        if "login" not in path:
            sign_in(page, "admin")
        page.goto(path)
        page.evaluate("""() => {
            window.stopped = [];
            addEventListener("securitypolicyviolation", (event) => window.stopped.push(event.effectiveDirective));
        }""")
        for code in PUT.values():
            page.evaluate(f"() => {{ const body = document.body; {code} }}")
        if is_on:
            page.wait_for_function(f"window.stopped.length >= {len(PUT)}")
        assert sorted(page.evaluate("window.stopped")) == (sorted(PUT) if is_on else [])
        assert page.evaluate("window.ran === true") == (not is_on), "without the policy it does"
        context.close()
