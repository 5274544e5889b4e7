"""Parallel polls and answers of one device code, over HTTP, several processes, on the database the tests run on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from bs4 import BeautifulSoup

from tests.clients.person import Page, Person
from tests.conftest import LiveDatabases, LiveServer
from tests.devices import DEVICE_CODE

pytestmark = pytest.mark.live
AT_ONCE = 20


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory, live_databases: LiveDatabases) -> Iterator[str]:
    server = LiveServer(tmp_path_factory.mktemp("devices"), live_databases.copy())
    server.start("-m", "uvicorn", "config.asgi:application", "--port", str(server.port), "--workers", "3")
    yield server.url
    server.stop()


@pytest.fixture(scope="module")
def person(server_url: str) -> Iterator[Person]:
    with Person("demo", "demo") as person:
        yield person


class Device:
    def __init__(self, server_url: str) -> None:
        self.server_url = server_url
        body = {"client_name": "Parallel", "grant_types": [DEVICE_CODE], "token_endpoint_auth_method": "none"}
        self.client_id = httpx2.post(f"{server_url}/o/register/", json=body, trust_env=False).json()["client_id"]
        self.asked: dict[str, Any] = httpx2.post(
            f"{server_url}/o/device_authorization/", data={"client_id": self.client_id}, trust_env=False
        ).json()

    def poll(self) -> httpx2.Response:
        form = {"grant_type": DEVICE_CODE, "client_id": self.client_id, "device_code": self.asked["device_code"]}
        return httpx2.post(f"{self.server_url}/o/token/", data=form, trust_env=False, timeout=60)

    def works(self, tokens: dict[str, Any]) -> bool:
        headers = {"Authorization": f"Bearer {tokens['access_token']}", "Accept": "application/json, text/event-stream"}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
        return httpx2.post(f"{self.server_url}/star", json=body, headers=headers, trust_env=False).status_code == 200


def at_once(*works: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result() for future in [pool.submit(work) for work in works]]


def answers(person: Person, device: Device, count: int) -> list[Callable[[], str]]:
    """Open the question in `count` tabs; return what presses Allow in the even ones and Deny in the odd ones."""
    form = Page(person.browser.get(device.asked["verification_uri_complete"])).form_with_field("user_code")
    if form is None:
        person.connect_device(device.asked["verification_uri"], "BBBB-BBBB")  # signs in, and no more
        form = Page(person.browser.get(device.asked["verification_uri_complete"])).form_with_field("user_code")
    assert form
    headers = {"Origin": device.server_url}
    page = person.browser.post(device.asked["verification_uri"], data=dict(form.filled()), headers=headers)
    question = Page(page).form_with_field("authorization")
    assert question, page.text
    cookies = dict(person.browser.cookies)

    def press(allow: str) -> str:
        said = httpx2.post(
            device.asked["verification_uri"],
            data=dict(question.filled(allow=allow)),
            headers=headers,
            cookies=cookies,
            trust_env=False,
            timeout=60,
        )
        assert said.status_code == 200, said.text
        return str(BeautifulSoup(said.text, "html.parser").h1.get_text(strip=True))

    return [lambda allow=allow: press(allow) for allow in (["true", ""] * count)[:count]]  # type: ignore[misc]


def test_of_twenty_parallel_polls_exactly_one_gets_tokens(server_url: str, person: Person) -> None:
    """Polls that come in after the tokens were made are a replay and end them: devices poll one after the other."""
    device = Device(server_url)
    assert "connected" in person.connect_device(device.asked["verification_uri_complete"])
    responses = at_once(*[device.poll] * AT_ONCE)
    assert Counter(response.status_code for response in responses) == {200: 1, 400: AT_ONCE - 1}
    assert {response.json()["error"] for response in responses if response.status_code == 400} == {"invalid_grant"}


def test_of_twenty_parallel_polls_before_the_answer_one_is_in_time(server_url: str) -> None:
    device = Device(server_url)
    responses = at_once(*[device.poll] * AT_ONCE)
    assert Counter(response.json()["error"] for response in responses) == {
        "authorization_pending": 1,
        "slow_down": AT_ONCE - 1,
    }


def test_of_yes_and_no_at_once_one_counts_and_everybody_is_told_the_same(server_url: str, person: Person) -> None:
    for _ in range(3):
        device = Device(server_url)
        [said] = set(at_once(*answers(person, device, 6)))
        polled = device.poll()
        if said == "Your device is connected":
            assert device.works(polled.json())
        else:
            assert (said, polled.json()["error"]) == ("Nothing was connected", "access_denied")


def test_polls_during_the_answer_wait_or_get_tokens_and_never_two(server_url: str, person: Person) -> None:
    device = Device(server_url)
    said, *responses = at_once(answers(person, device, 1)[0], *[device.poll] * 12)
    assert said == "Your device is connected"
    responses.append(device.poll())
    got = [response.json() for response in responses if response.status_code == 200]
    assert len(got) == 1
    errors = {response.json()["error"] for response in responses if response.status_code != 200}
    assert errors <= {"authorization_pending", "slow_down", "invalid_grant"}
