"""What holds for every page: nobody is kept out (WCAG 2.2 AA, by axe-core), nothing is heavy, slow, or moves."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import pytest
from allauth.core.ratelimit import respond_429
from django.test import Client as Visitor
from django.test import RequestFactory
from playwright.sync_api import Page

from config import error_pages as handlers
from tests.browser.conftest import Open
from tests.browser.desk import Client
from tests.clients.desk import NODE_MODULES
from tests.oauth import HOST

pytestmark = pytest.mark.live

Connecting = Callable[..., Client]
Visit = Callable[[Open, Connecting, dict[str, Any]], Page]

MAXIMUM_BYTES = 60_000
MAXIMUM_PAINT_MILLISECONDS = 500
AXE = NODE_MODULES / "axe-core" / "axe.min.js"
SIZES = {"phone": {"width": 320, "height": 700}, "desktop": {"width": 1280, "height": 900}}


def at(path: str, signed_in: str = "demo") -> Visit:
    return lambda opened, connecting, options: opened(path, signed_in=signed_in, **options)


def consent(scope: str = "mcp:tools mcp:write offline_access", **metadata: Any) -> Visit:
    def visit(opened: Open, connecting: Connecting, options: dict[str, Any]) -> Page:
        return opened(connecting("Cursor", **metadata).authorize_path(scope), signed_in="demo", **options)

    return visit


def nothing_left(opened: Open, connecting: Connecting, options: dict[str, Any]) -> Page:
    page = consent()(opened, connecting, options)
    for box in page.locator("input[type=checkbox]").all():
        box.uncheck()
    page.get_by_role("button", name="Allow", exact=True).click()
    page.wait_for_selector("[role=alert]")
    return page


def wrong_password(opened: Open, connecting: Connecting, options: dict[str, Any]) -> Page:
    page = opened("/accounts/login/", **options)
    page.fill("input[name=login]", "nobody")
    page.fill("input[name=password]", "wrong")
    page.click("main button.button-primary")
    page.wait_for_load_state()
    return page


def sign_in_for_a_client(opened: Open, connecting: Connecting, options: dict[str, Any]) -> Page:
    return opened(connecting("Cursor").authorize_path(), **options)


def connected(opened: Open, connecting: Connecting, options: dict[str, Any]) -> Page:
    for name in ("One", "Two"):
        client = connecting(name)
        page = opened(client.authorize_path(), signed_in="demo", **options)
        page.get_by_role("button", name="Allow", exact=True).click()
        client.call(client.tokens()["access_token"])
    page.goto("/connected-apps/")
    return page


def device(opened: Open, connecting: Connecting, options: dict[str, Any]) -> Page:
    grants = ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"]
    client = connecting("Television", grant_types=grants)
    asked = client.http.post("/o/device_authorization/", data={"client_id": client.client_id, "scope": "mcp:tools"})
    page = opened("/device/", signed_in="demo", **options)
    page.fill("input[name=user_code]", asked.json()["user_code"])
    page.locator("main form button").first.click()
    page.wait_for_selector("input[name=authorization]", state="attached")
    return page


def device_done(opened: Open, connecting: Connecting, options: dict[str, Any]) -> Page:
    page = device(opened, connecting, options)
    page.get_by_role("button", name="Allow", exact=True).click()
    page.wait_for_load_state()
    return page


def after_the_password_again(path: str) -> Visit:
    """Go to a page that wants the password once more."""

    def visit(opened: Open, connecting: Connecting, options: dict[str, Any]) -> Page:
        page = opened(path, signed_in="demo2", **options)
        if "/reauthenticate/" in page.url:
            page.fill("input[name=password]", "demo2")
            page.locator("main form button").first.click()
            page.wait_for_url(f"**{path}**")
        return page

    return visit


PAGES: dict[str, Visit] = {
    "connect, a visitor": at("/", ""),
    "connect": at("/"),
    "sign-in": at("/accounts/login/", ""),
    "sign-in for a client": sign_in_for_a_client,
    "sign-in, wrong": wrong_password,
    "sign-out": at("/accounts/logout/"),
    "consent": consent(),
    "consent, one scope": consent("mcp:tools"),
    "consent, a program's own link": consent(redirect_uri="cursor://anysphere.cursor-mcp/oauth/callback"),
    "consent, nothing left": nothing_left,
    "connected apps, none": at("/connected-apps/", "demo2"),
    "connected apps": connected,
    "device": at("/device/"),
    "device, confirm": device,
    "device, done": device_done,
    "refused at authorize": at("/o/authorize/?client_id=unknown", ""),
    "password": at("/accounts/password/change/"),
    "second factors": at("/accounts/2fa/"),
    "the password again": at("/accounts/reauthenticate/?next=/"),
    "one-time codes, to start": after_the_password_again("/accounts/2fa/totp/activate/"),
    "passkeys": at("/accounts/2fa/webauthn/"),
    "passkeys, to add one": after_the_password_again("/accounts/2fa/webauthn/add/"),
}


def violations(page: Page) -> list[str]:
    """Return what axe-core finds, each as a rule and the places that break it."""
    page.add_script_tag(path=str(AXE))
    found = page.evaluate(
        "() => axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
    )
    return [
        f"{violation['id']}: {[node['html'][:120] for node in violation['nodes']]}" for violation in found["violations"]
    ]


@pytest.mark.parametrize("name", PAGES)
def test_nobody_is_kept_out_in_any_light_on_any_size(opened: Open, connecting: Connecting, name: str) -> None:
    # The axe of the test is no file of the site's, so the policy is set aside here, and only here.
    options: dict[str, Any] = {"bypass_csp": True, "reduced_motion": "reduce", "color_scheme": "light"}
    page = PAGES[name](opened, connecting, options)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for size, viewport in SIZES.items():
            page.set_viewport_size(viewport)
            assert violations(page) == [], f"{name}, {scheme}, {size}"
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= viewport["width"], f"{name} scrolls sideways on a {size}"
    assert page.title().strip(" ·") not in {"", "Star"}
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("h1").count() == 1


@pytest.mark.parametrize("name", ["connect", "sign-in for a client", "consent", "device", "second factors"])
def test_nobody_is_kept_out_in_chinese(opened: Open, connecting: Connecting, name: str) -> None:
    options: dict[str, Any] = {"bypass_csp": True, "locale": "zh-CN", "viewport": SIZES["phone"]}
    page = PAGES[name](opened, connecting, options)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES["phone"]["width"]
    assert page.locator("html").get_attribute("lang") == "zh-hans"


def test_a_code_to_scan_is_dark_on_light_in_the_dark_too(opened: Open, connecting: Connecting) -> None:
    page = PAGES["one-time codes, to start"](opened, connecting, {"color_scheme": "dark"})
    image = page.locator("main img")
    assert image.evaluate("image => image.complete && image.naturalWidth > 0")
    assert image.evaluate("image => getComputedStyle(image).backgroundColor") == "rgb(255, 255, 255)"


WATCH = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) { if (!entry.hadRecentInput) window.shifted += entry.value; }
}).observe({ type: "layout-shift", buffered: true });
"""


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_light_come_at_once_and_stand_still(opened: Open, connecting: Connecting, name: str) -> None:
    page = PAGES[name](opened, connecting, {})
    path = page.url
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    transferred: list[int] = []
    session.on("Network.loadingFinished", lambda told: transferred.append(int(told["encodedDataLength"])))
    page.add_init_script(WATCH)
    paints, sizes = [], []
    for _ in range(3):
        transferred.clear()
        page.goto(path)
        page.wait_for_load_state("networkidle")
        page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
        paints.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        sizes.append(sum(transferred))
        assert page.evaluate("window.shifted") == 0
    assert max(sizes) < MAXIMUM_BYTES
    assert statistics.median(paints) < MAXIMUM_PAINT_MILLISECONDS


def error_pages() -> dict[str, str]:
    """Return the pages of errors as visitors get them, which a server in development replaces by its own."""
    visitor = Visitor(headers={"host": HOST}, raise_request_exception=False)
    strict = Visitor(headers={"host": HOST}, enforce_csrf_checks=True)
    request = RequestFactory(headers={"host": HOST}).get("/")
    pages = {
        "400": handlers.bad_request(request, ValueError()),
        "403": handlers.permission_denied(request, PermissionError()),
        "404": visitor.get("/nothing-here"),
        "500": handlers.server_error(request),
        "403, no CSRF token": strict.post("/accounts/login/", {"login": "demo"}),
        "429": respond_429(visitor.get("/accounts/login/").wsgi_request),
    }
    return {name: response.content.decode() for name, response in pages.items()}


@pytest.mark.parametrize("name", ["400", "403", "404", "500", "403, no CSRF token", "429"])
def test_error_pages_keep_nobody_out_and_lead_on(opened: Open, live_server_url: str, name: str) -> None:
    body = error_pages()[name]
    page = opened("/accounts/login/", bypass_csp=True)
    page.route("**/the-error", lambda route: route.fulfill(body=body, content_type="text/html; charset=utf-8"))
    page.goto("/the-error")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for viewport in SIZES.values():
            page.set_viewport_size(viewport)  # type: ignore[arg-type]
            assert violations(page) == [], f"{name}, {scheme}"
            assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert page.locator("main a, main button, header a").count() > 0, "there is a way on"
    assert "Traceback" not in body
