"""Signing in on another device (RFC 8628), where there is no browser or the person wants it so."""

from __future__ import annotations

import re

from tests.clients.desk import Desk
from tests.clients.person import Person
from tests.star.forked import Forked
from tests.star.program import Star

HEADLESS = {"BROWSER": ""}


class Shown:
    """A command that shows a code and waits."""

    def __init__(self, star: Star, *arguments: str, **environment: str) -> None:
        self.process: Forked = star.start(*arguments, **environment)
        assert self.process.stderr
        self.told = ""
        while "Waiting…" not in self.told:
            line = self.process.stderr.readline()
            assert line, self.told
            self.told += line
        found = re.search(r"open (\S+) on any device and type this code:\s+(\S+)", self.told)
        assert found, self.told
        self.uri, self.user_code = found.groups()

    def ends(self, code: int) -> str:
        _, err = self.process.communicate(timeout=60)
        assert self.process.returncode == code, err
        assert "Traceback" not in err
        return err


def test_a_person_types_the_code_on_another_device(star: Star, url: str, person: Person, desk: Desk) -> None:
    shown = Shown(star, "login", url, "--device")
    assert "connected" in person.connect_device(shown.uri, shown.user_code)
    assert f"Signed in to {url}." in shown.ends(0)
    assert desk.visits() == []
    # It is a sign-in like any other.
    star.change(expires_at=1)
    done = star.call(url, "protected-data")
    assert "demo" in done.stdout
    assert [step for step in star.steps(done.stderr) if "/o/" in step] == ["POST /o/token/"]


def test_without_a_browser_the_device_is_chosen_by_itself(star: Star, url: str, person: Person, desk: Desk) -> None:
    shown = Shown(star, "login", url, **HEADLESS)
    person.connect_device(shown.uri, shown.user_code)
    shown.ends(0)
    assert desk.visits() == []


def test_over_ssh_the_device_is_chosen_by_itself_also_where_a_display_is_forwarded(
    star: Star, url: str, person: Person
) -> None:
    shown = Shown(star, "login", url, SSH_CONNECTION="a b c d", DISPLAY=":10", **HEADLESS)
    person.connect_device(shown.uri, shown.user_code)
    shown.ends(0)


def test_no_browser_means_the_page_and_no_device(star: Star, url: str) -> None:
    done = star("login", url, "--no-browser", "--timeout", "1", code=3, **HEADLESS)
    assert "Open this page" in done.stderr


def test_a_refusal_ends_the_waiting(star: Star, url: str, person: Person) -> None:
    """RFC 8628 3.5: access_denied"""
    shown = Shown(star, "login", url, "--device")
    person.connect_device(shown.uri, shown.user_code, deny=True)
    assert "star: The sign-in was refused." in shown.ends(3)
    assert star.content()["tokens"] == {}


def test_nobody_typing_the_code_ends_the_waiting(star: Star, url: str) -> None:
    done = star("login", url, "--device", "--timeout", "1", code=3)
    assert "Nobody typed the code in time." in done.stderr


def test_a_client_that_the_server_forgot_is_registered_anew(star: Star, url: str, person: Person) -> None:
    star("login", url)
    star.change(tokens={}, client=star.content()["client"] | {"client_id": "forgotten"})
    shown = Shown(star, "login", url, "--device")
    person.connect_device(shown.uri, shown.user_code)
    shown.ends(0)
    assert star.content()["client"]["client_id"] != "forgotten"
