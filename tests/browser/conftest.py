"""A real browser at a real server: Debian's Chromium, driven by Playwright, which downloads none."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.browser.desk import Client


def chromium() -> str:
    """Return where the browser is."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert found, "Chromium was not found: on Debian, run `apt install chromium`."
    return found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


Open = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser, live_server_url: str) -> Iterator[Open]:
    """Open a page in a browser of its own; what it complains about fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page(path: str = "/", *, signed_in: str = "", **options: Any) -> Page:
        context = browser.new_context(base_url=live_server_url, **options)
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda told: _hears(told, live_server_url, complaints))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: _stays_at_home(asked.url, live_server_url, complaints))
        if signed_in:
            sign_in(page, signed_in)
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    # A refusal that a test asks for is told by the browser as well.
    assert [told for told in complaints if "status of 4" not in told] == []


def _hears(told: ConsoleMessage, home: str, complaints: list[str]) -> None:
    """Note what the browser complains about at our pages; clients' pages on loopback come and go."""
    if told.type == "error" and told.location["url"].startswith(home):
        complaints.append(told.text)


def _stays_at_home(url: str, home: str, complaints: list[str]) -> None:
    # Loopback, where the clients wait, and links of a program's own are no hosts of anybody else.
    if url.startswith("http") and urlsplit(url).hostname not in {urlsplit(home).hostname, "127.0.0.1", "localhost"}:
        complaints.append(f"a request to {url}")


def sign_in(page: Page, who: str) -> None:
    """Sign one of the development people in."""
    page.goto("/accounts/login/")
    page.fill("input[name=login]", who)
    page.fill("input[name=password]", who)
    page.click("main button.button-primary")
    page.wait_for_url("**/")


@pytest.fixture
def connecting(live_server_url: str) -> Iterator[Callable[..., Client]]:
    """Make clients that wait on loopback for the browser to come back."""
    with _clients(live_server_url) as make:
        yield make


@contextmanager
def _clients(url: str) -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(name: str = "Cursor", **metadata: Any) -> Client:
        made.append(Client(url, name, **metadata))
        return made[-1]

    yield make
    for client in made:
        client.close()
