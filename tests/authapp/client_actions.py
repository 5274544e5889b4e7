"""Do something to rows in the admin as a person does: choose them, read what it ends, confirm."""

from __future__ import annotations

from typing import Any

from bs4 import BeautifulSoup
from django.test import Client

LIST = "/admin/authapp/application/"


def form_of(response: Any) -> tuple[str, dict[str, str]]:
    """Return a page that asks, as text, and the form that confirms."""
    assert response.status_code == 200, response.status_code
    page = BeautifulSoup(response.content, "html.parser")
    fields = page.select("#content form input[type=hidden]")
    return page.select_one("#content").get_text(" ", strip=True), {  # type: ignore[union-attr]
        str(field["name"]): str(field["value"]) for field in fields if field["name"] != "csrfmiddlewaretoken"
    }


def asked(browser: Client, action: str, selected: dict[str, Any], at: str = LIST) -> tuple[str, dict[str, str]]:
    """Return the page that asks, as text, and the form that confirms."""
    return form_of(browser.post(at, {"action": action, **selected}))


def confirmed(browser: Client, action: str, selected: dict[str, Any], at: str = LIST) -> str:
    """Confirm; return what was asked."""
    text, form = asked(browser, action, selected, at)
    assert browser.post(at, form).status_code == 302
    return text
