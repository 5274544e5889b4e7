"""Programs without a browser of their own connect over HTTP with kept libraries (RFC 8628), up to a call of a tool."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from oauthlib.oauth2 import DeviceClient
from oauthlib.oauth2.rfc6749.errors import CustomOAuth2Error, OAuth2Error

from tests.clients.desk import HERE, TIMEOUT_SECONDS, Desk, node
from tests.clients.drivers import assert_names
from tests.clients.person import Person
from tests.conftest import ROOT
from tests.devices import DEVICE_CODE

pytestmark = [pytest.mark.live, pytest.mark.clients]


def test_openid_client_connects_by_the_link_with_the_code_calls_refreshes_and_revokes(desk: Desk, url: str) -> None:
    done = desk.run(node(), str(HERE / "device.mjs"), url.removesuffix("/star"), url)
    said = json.loads(done.stdout)
    assert said["tokens"] == {"scope": "mcp:tools", "type": "bearer"}
    assert said["asked"]["verification_uri_complete"].startswith(f"{url.removesuffix('star')}device/?user_code=")
    assert len(said["results"]) == 2
    for result in said["results"]:
        assert_names("demo", result)
    assert said["afterwards"] in {"invalid_token", "OAUTH_WWW_AUTHENTICATE_CHALLENGE"}
    assert desk.consents() == 1
    assert "Your device is connected" in desk.browser_said()


class OAuthLibDevice:
    """oauthlib's client, with httpx2 to carry what it writes."""

    def __init__(self, issuer: str) -> None:
        self.http = httpx2.Client(base_url=issuer, trust_env=False, headers={"User-Agent": "oauthlib-device/1"})
        self.metadata = self.http.get("/.well-known/oauth-authorization-server").json()
        body = {"client_name": "oauthlib", "grant_types": [DEVICE_CODE], "token_endpoint_auth_method": "none"}
        registered = self.http.post(self.metadata["registration_endpoint"], json=body)
        assert registered.status_code == 201, registered.text
        self.client = DeviceClient(registered.json()["client_id"])
        # Written by hand: oauthlib puts these into the URL, and only of https.
        form = {"client_id": self.client.client_id, "scope": "mcp:tools"}
        self.asked: dict[str, Any] = self.http.post(self.metadata["device_authorization_endpoint"], data=form).json()

    def poll(self) -> dict[str, Any]:
        """Raises: oauthlib's error for the one that the server answers."""
        body = self.client.prepare_request_body(device_code=self.asked["device_code"], include_client_id=True)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = self.http.post(self.metadata["token_endpoint"], content=body, headers=headers)
        tokens: dict[str, Any] = self.client.parse_request_body_response(answer.text)
        return tokens

    def call(self, url: str, tokens: dict[str, Any]) -> Any:
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "protected-data", "arguments": {}},
        }
        headers = {
            "Authorization": f"Bearer {tokens['access_token']}",
            "Accept": "application/json, text/event-stream",
        }
        text = self.http.post(url, json=body, headers=headers).text
        return json.loads(text[text.index("{") :])["result"]


@pytest.fixture
def device(url: str) -> Iterator[OAuthLibDevice]:
    device = OAuthLibDevice(url.removesuffix("/star"))
    yield device
    device.http.close()


def error_of(device: OAuthLibDevice) -> str:
    try:
        device.poll()
    except (OAuth2Error, CustomOAuth2Error) as error:
        return str(error.error)
    return ""


def test_oauthlib_connects_by_the_code_that_a_person_types(device: OAuthLibDevice, person: Person, url: str) -> None:
    assert device.asked["verification_uri"] == f"{url.removesuffix('star')}device/"
    assert error_of(device) == "authorization_pending"
    typed = device.asked["user_code"].replace("-", " ").lower()
    assert "Your device is connected" in person.connect_device(device.asked["verification_uri"], typed)
    tokens = device.poll()
    assert_names("demo", device.call(url, tokens))
    assert error_of(device) == "invalid_grant"


def test_oauthlib_hears_of_a_no_and_of_polling_too_fast(device: OAuthLibDevice, person: Person) -> None:
    assert [error_of(device), error_of(device)] == ["authorization_pending", "slow_down"]
    said = person.connect_device(device.asked["verification_uri"], device.asked["user_code"], deny=True)
    assert "Nothing was connected" in said
    assert error_of(device) == "access_denied"
    assert "This code is not valid" in person.connect_device(
        device.asked["verification_uri"], device.asked["user_code"]
    )


# The guide


def test_the_guide_does_what_it_says(person: Person, url: str, tmp_path: Path) -> None:
    """docs/devices.md: its program, and the address and the code that it prints."""
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "devices.md").read_text("utf-8"), re.DOTALL)
    program = tmp_path / "lamp.py"
    program.write_text(example)
    environment = {**os.environ, "SITE": url.removesuffix("/star"), "NO_PROXY": "*"}
    command = [sys.executable, "-W", "error::DeprecationWarning", str(program)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as lamp:
        try:
            assert lamp.stdout
            printed = re.fullmatch(r"Open (\S+) and enter ([A-Z-]{9})\n", lamp.stdout.readline())
            assert printed, lamp.communicate()
            assert "Your device is connected" in person.connect_device(printed[1], printed[2])
            said, complained = lamp.communicate(timeout=TIMEOUT_SECONDS)
        finally:
            lamp.kill()
    assert lamp.returncode == 0, complained
    assert "'username': 'demo'" in said
    assert "'client': 'Reading lamp'" in said
