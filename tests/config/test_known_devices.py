"""Guessing is slowed down for everybody, and keeps nobody out of a browser in which they have signed in before."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import signing
from django.core.cache import cache
from django.test import Client

from config import known_devices
from tests.oauth import HOST

pytestmark = pytest.mark.django_db

RIGHT = {"login": "alice", "password": "alice-password"}
WRONG = {"login": "alice", "password": "wrong"}


@pytest.fixture(autouse=True)
def _nothing_counted() -> None:
    cache.clear()


def desk(address: str = "192.0.2.1") -> Client:
    return Client(headers={"host": HOST}, REMOTE_ADDR=address)


def is_in(client: Client, form: dict[str, str] = RIGHT) -> bool:
    return client.post("/accounts/login/", form).status_code == 302


def guess(times: int = 8, address: str = "198.51.100.") -> None:
    """Guess as somebody with many addresses does."""
    for number in range(times):
        assert not is_in(desk(f"{address}{number + 1}"), WRONG)


def test_a_person_gets_in_where_they_were_before_while_strangers_guess(alice: Any) -> None:
    own = desk()
    assert is_in(own)
    own.post("/accounts/logout/")
    guess()
    assert is_in(own), "their own browser"
    assert not is_in(desk("192.0.2.1")), "the same address, another browser: nobody can say who that is"
    assert not is_in(desk("203.0.113.7"))


def test_guessing_from_a_browser_that_is_known_is_slowed_down_as_well(alice: Any) -> None:
    own = desk()
    assert is_in(own)
    own.post("/accounts/logout/")
    for _ in range(6):
        assert not is_in(own, WRONG)
    assert not is_in(own)
    assert is_in(desk("203.0.113.7")), "and nobody else is"


def test_the_cookie_of_one_person_is_none_for_another(alice: Any, bob: Any) -> None:
    bobs = desk()
    assert is_in(bobs, {"login": "bob", "password": "bob-password"})
    bobs.post("/accounts/logout/")
    guess()
    assert not is_in(bobs)


@pytest.mark.parametrize(
    "value", ["", "x", "a:b:c", signing.dumps(["d", ["x"]]), signing.dumps(5, salt=known_devices._SALT)]
)
def test_a_made_up_cookie_is_none(alice: Any, value: str) -> None:
    guess()
    client = desk("203.0.113.7")
    client.cookies[known_devices.COOKIE] = value
    assert not is_in(client)
    cache.clear()
    assert is_in(client)


def test_the_cookie_is_for_this_site_alone_and_lets_nobody_in(alice: Any) -> None:
    client = desk()
    response = client.post("/accounts/login/", RIGHT)
    cookie = response.cookies[known_devices.COOKIE]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")
    assert "alice" not in cookie.value
    other = desk()
    other.cookies[known_devices.COOKIE] = cookie.value
    assert other.get("/connected-apps/").status_code == 302


def test_a_browser_knows_a_few_people_and_forgets_the_first(alice: Any, django_user_model: Any) -> None:
    client = desk()
    assert is_in(client)
    for number in range(known_devices.MAXIMUM_PEOPLE):
        django_user_model.objects.create_user(f"person{number}", password="a-password-of-theirs")
        client.post("/accounts/logout/")
        assert is_in(client, {"login": f"person{number}", "password": "a-password-of-theirs"})
    client.post("/accounts/logout/")
    guess()
    assert not is_in(client)
