"""The steps of the device flow in process (RFC 8628), as a device and a browser take them."""

from __future__ import annotations

import re
from typing import Any

from tests.oauth import browser, post_form, registered

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
ENDPOINT = "/o/device_authorization/"
PAGE = "/device/"


def device_client(**metadata: Any) -> dict[str, Any]:
    """Register a client that has the device grant and no other."""
    return registered(
        **{"grant_types": [DEVICE_CODE, "refresh_token"], "redirect_uris": None, "response_types": []} | metadata
    )


def ask(client_id: str, /, headers: dict[str, str] | None = None, **parameters: Any) -> Any:
    """POST the device authorization request."""
    form = {"client_id": client_id, "scope": "mcp:tools"} | parameters
    return post_form(ENDPOINT, {name: value for name, value in form.items() if value is not None}, headers)


def asked(client_id: str, /, **parameters: Any) -> dict[str, Any]:
    """Return the answer to a request that is in order."""
    response = ask(client_id, **parameters)
    assert response.status_code == 200, response.content
    answer: dict[str, Any] = response.json()
    return answer


def poll(client_id: str, device_code: str, /, headers: dict[str, str] | None = None, **parameters: Any) -> Any:
    """POST the token request."""
    form = {"grant_type": DEVICE_CODE, "client_id": client_id, "device_code": device_code} | parameters
    return post_form("/o/token/", {name: value for name, value in form.items() if value is not None}, headers)


def enter(user: Any, user_code: str, **extra: Any) -> Any:
    """Type a code into the page."""
    return browser(user).post(PAGE, {"user_code": user_code}, **extra)


def sealed(page: Any) -> str:
    """Return what the form of the confirmation page carries."""
    found = re.search(r'name="authorization" value="([^"]+)"', page.content.decode())
    assert found, page.content.decode()
    return found[1]


def decide(user: Any, user_code: str, *, allow: bool = True) -> Any:
    """Enter a code, and press Allow or Deny on the page that comes."""
    page = enter(user, user_code)
    assert page.status_code == 200, page.content
    return browser(user).post(PAGE, {"authorization": sealed(page), "allow": "true" if allow else ""})


def device_connected(user: Any, client: dict[str, Any] | None = None, /, **parameters: Any) -> tuple[Any, Any]:
    """Ask, allow and fetch; return the client information and the token response."""
    client = client or device_client()
    answer = asked(client["client_id"], **parameters)
    assert decide(user, answer["user_code"]).status_code == 200
    response = poll(client["client_id"], answer["device_code"])
    assert response.status_code == 200, response.content
    return client, response.json()
