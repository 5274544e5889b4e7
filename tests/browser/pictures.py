"""Take the pictures of the README: `make pictures`, or `python -m tests.browser.pictures`.

Serves the site on a database of its own, goes the way of a person, and writes docs/pictures/.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2
from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import chromium, sign_in
from tests.browser.desk import Client

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "docs" / "pictures"
PORT = 8000
"""The one that people see at first; it must be free."""
URL = f"http://127.0.0.1:{PORT}"
LOOKS = {
    "desktop": {"viewport": {"width": 900, "height": 720}, "color_scheme": "light"},
    "phone": {"viewport": {"width": 360, "height": 720}, "color_scheme": "dark"},
}


def main() -> None:
    """Take them."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "DEBUG": "true",
            "ENV_FILE": "",
            "PORT": str(PORT),
            "DATABASE_URL": f"sqlite:///{folder}/pictures.sqlite3",
            "DJANGO_SETTINGS_MODULE": "config.settings",
        }
        manage = [sys.executable, "manage.py"]
        for command in (["migrate", "--verbosity", "0"], ["create_development_people"]):
            subprocess.run([*manage, *command], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
        server = subprocess.Popen(
            [*manage, "runserver", "--noreload", str(PORT)], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
        )
        try:
            _wait()
            _take()
        finally:
            server.terminate()
            server.wait(10)


def _wait() -> None:
    for _ in range(200):
        try:
            httpx2.get(f"{URL}/", trust_env=False)
        except httpx2.TransportError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("The server did not answer.")


def _take() -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for look, options in LOOKS.items():
            page = browser.new_context(base_url=URL, reduced_motion="reduce", **options).new_page()  # type: ignore[arg-type]
            _go_through(page, look)
        browser.close()


def _go_through(page: Page, look: str) -> None:
    client = Client(URL, "Cursor")
    page.goto(client.authorize_path())
    _shoot(page, f"sign-in-{look}")
    sign_in(page, "demo")
    page.goto(client.authorize_path())
    _shoot(page, f"consent-{look}")
    page.get_by_role("button", name="Allow", exact=True).click()
    page.wait_for_url("**/callback?**")
    token = client.tokens()["access_token"]
    for _ in range(12):
        client.call(token)
    time.sleep(1.5)  # the log of calls is written in batches
    page.goto("/")
    _shoot(page, f"connect-{look}")
    page.goto("/connected-apps/")
    _shoot(page, f"connected-apps-{look}")
    client.close()


def _shoot(page: Page, name: str) -> None:
    page.wait_for_load_state("networkidle")
    page.screenshot(path=FOLDER / f"{name}.png", full_page=name.startswith("consent"))


if __name__ == "__main__":
    main()
