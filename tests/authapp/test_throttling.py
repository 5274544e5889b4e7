"""How many clients one address may register."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from authapp.models import Application
from authapp.throttling import Bucket, address_group
from tests.oauth import CALLBACK, browser, register

pytestmark = pytest.mark.django_db

OFFICE = "203.0.113.7"
HOME = "198.51.100.9"
BODY = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none", "client_name": "Test client"}


def post_from(address: str, body: Any = None, **headers: str) -> Any:
    return browser().post(
        "/o/register/", body or BODY, content_type="application/json", REMOTE_ADDR=address, headers=headers
    )


def limit(settings: Any, *, burst: int, per_minute: float = 30) -> None:
    settings.AUTHAPP = django_settings.AUTHAPP | {
        "REGISTRATION_BURST": burst,
        "REGISTRATION_REFILL_PER_MINUTE": per_minute,
    }


class Clock:
    """Time that passes when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.time()
        monkeypatch.setattr(time, "time", lambda: self.now)  # the cache's clock too

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_whole_office_registers_from_one_address_within_a_minute_by_default(clock: Clock) -> None:
    """Our choice: one person who tries clients makes 18 registrations; three of them at once are not refused."""
    assert Counter(post_from(OFFICE).status_code for _ in range(3 * 18)) == {201: 54}


def test_after_the_burst_an_address_is_told_to_wait_and_nothing_is_stored(clock: Clock) -> None:
    """Spec: RFC 6585 §4 for the status, RFC 6749 §4.1.2.1 for the code; RFC 7591 has none."""
    assert Counter(post_from(OFFICE).status_code for _ in range(60)) == {201: 60}
    refused = post_from(OFFICE)
    assert refused.status_code == 429
    assert refused["Retry-After"] == "2"
    assert refused["Cache-Control"] == "no-store"
    assert refused["Content-Type"] == "application/json"
    assert refused.json() == {
        "error": "temporarily_unavailable",
        "error_description": "Too many clients were registered from this address. Try again in 2 s.",
    }
    assert Application.objects.count() == 60
    assert post_from(HOME).status_code == 201, "another address is not refused"


def test_the_wait_it_is_told_is_enough_and_not_too_long(settings: Any, clock: Clock) -> None:
    limit(settings, burst=3, per_minute=8)  # one every 7.5 s
    assert [post_from(OFFICE).status_code for _ in range(4)] == [201, 201, 201, 429]
    clock.pass_(1)
    assert (post_from(OFFICE).status_code, post_from(OFFICE)["Retry-After"]) == (429, "7")
    clock.pass_(6)
    assert (post_from(OFFICE).status_code, post_from(OFFICE)["Retry-After"]) == (429, "1")
    clock.pass_(1)
    assert [post_from(OFFICE).status_code for _ in range(2)] == [201, 429]


def test_the_bucket_fills_again_and_never_runs_over(settings: Any, clock: Clock) -> None:
    limit(settings, burst=4, per_minute=30)
    assert [post_from(OFFICE).status_code for _ in range(5)] == [201] * 4 + [429]
    clock.pass_(4)
    assert [post_from(OFFICE).status_code for _ in range(3)] == [201] * 2 + [429]
    for seconds in (9, 7 * 24 * 3600):
        clock.pass_(seconds)
        assert [post_from(OFFICE).status_code for _ in range(5)] == [201] * 4 + [429]
    clock.pass_(20)
    assert post_from(OFFICE).status_code == 201
    clock.pass_(7)  # full for 5 s, and still remembered
    assert [post_from(OFFICE).status_code for _ in range(5)] == [201] * 4 + [429]


def test_who_goes_on_and_on_gets_what_comes_back_and_nothing_else(settings: Any, clock: Clock) -> None:
    limit(settings, burst=4, per_minute=30)
    assert Counter(post_from(OFFICE).status_code for _ in range(4)) == {201: 4}
    for _ in range(20):
        clock.pass_(2)
        assert [post_from(OFFICE).status_code for _ in range(2)] == [201, 429]


def test_a_bucket_that_is_full_takes_no_room(clock: Clock) -> None:
    bucket = Bucket("room", capacity=4, interval=2000)
    bucket.take()
    assert cache.get("room") is not None
    clock.pass_(4 * 2)
    assert cache.get("room") is None


def test_knocking_while_the_bucket_is_empty_does_not_make_the_wait_longer(settings: Any, clock: Clock) -> None:
    limit(settings, burst=1, per_minute=30)
    assert post_from(OFFICE).status_code == 201
    assert Counter(post_from(OFFICE).status_code for _ in range(20)) == {429: 20}
    clock.pass_(2)
    assert post_from(OFFICE).status_code == 201


def test_a_client_that_sends_nonsense_again_and_again_does_not_use_up_the_bucket_of_its_office(settings: Any) -> None:
    limit(settings, burst=1)
    nonsense = BODY | {"redirect_uris": ["http://evil.example/cb"]}
    assert Counter(post_from(OFFICE, nonsense).status_code for _ in range(5)) == {400: 5}
    assert [post_from(OFFICE).status_code for _ in range(2)] == [201, 429]


def test_managing_a_registration_is_not_limited(settings: Any) -> None:
    limit(settings, burst=1)
    information = post_from(OFFICE).json()
    assert post_from(OFFICE).status_code == 429
    path = f"/o/register/{information['client_id']}/"
    authorization = {"authorization": f"Bearer {information['registration_access_token']}"}
    assert browser().get(path, REMOTE_ADDR=OFFICE, headers=authorization).status_code == 200


@pytest.mark.parametrize("header", ["x-forwarded-for", "x-real-ip", "forwarded", "cf-connecting-ip"])
def test_a_header_that_anyone_can_send_does_not_choose_the_bucket(settings: Any, header: str) -> None:
    limit(settings, burst=1)
    values = [f"192.0.2.{number}" for number in range(3)]
    if header == "forwarded":
        values = [f"for={value}" for value in values]
    assert [post_from(OFFICE, **{header: value}).status_code for value in values] == [201, 429, 429]


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("203.0.113.7", "203.0.113.7", True),
        ("203.0.113.7", "203.0.113.8", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("::ffff:203.0.113.7", "::ffff:203.0.113.8", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "unix:/run/star.sock", True),
        ("", "203.0.113.7", False),
    ],
)
def test_an_ipv4_address_or_an_ipv6_network_of_one_host_is_what_counts(
    settings: Any, one: str, other: str, together: bool
) -> None:
    assert (address_group(one) == address_group(other)) == together
    limit(settings, burst=1)
    assert post_from(one).status_code == 201
    assert post_from(other).status_code == (429 if together else 201)


def test_a_burst_of_zero_is_no_limit(settings: Any, clock: Clock) -> None:
    limit(settings, burst=0)
    assert Counter(post_from(OFFICE).status_code for _ in range(70)) == {201: 70}


@pytest.mark.parametrize("per_minute", [0, -1])
def test_a_bucket_that_never_fills_is_a_mistake_that_is_named(settings: Any, per_minute: int) -> None:
    limit(settings, burst=1, per_minute=per_minute)
    with pytest.raises(ImproperlyConfigured, match="REGISTRATION_REFILL_PER_MINUTE"):
        post_from(OFFICE)


@pytest.mark.parametrize("broken", ["get", "add", "incr"])
def test_a_cache_that_is_down_keeps_nobody_out_and_is_logged(
    settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    limit(settings, burst=1)
    assert [post_from(OFFICE).status_code for _ in range(2)] == [201, 429], "with a cache that works there is a limit"
    cache.clear()
    caplog.clear()

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("the cache is down")

    monkeypatch.setattr(type(cache._connections["default"]), broken, refuse)  # type: ignore[attr-defined]
    with caplog.at_level(logging.ERROR, logger="authapp.throttling"):
        assert [post_from(OFFICE).status_code for _ in range(3)] == [201] * 3
    assert [record.name for record in caplog.records] == ["authapp.throttling"] * 3
    assert "the cache is down" in caplog.text


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Have threads take turns so often that they meet between any two lines."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.parametrize("seconds_since_last", [None, 7])
def test_of_many_parallel_takers_exactly_as_many_get_a_token_as_there_are(
    hasty_threads: None, clock: Clock, seconds_since_last: int | None
) -> None:
    for number in range(20):
        bucket = Bucket(f"parallel-{number}", capacity=10, interval=1000)
        if seconds_since_last:
            assert bucket.take() == 0
            clock.pass_(seconds_since_last)
        with ThreadPoolExecutor(30) as pool:
            waits = list(pool.map(lambda _, bucket=bucket: bucket.take(), range(30)))
        assert sum(wait == 0 for wait in waits) == 10
        assert bucket.take() == 1000


def test_nobody_takes_what_the_bucket_did_not_hold_while_one_says_that_it_is_full(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = Bucket("slow", capacity=10, interval=1000)
    assert bucket.take() == 0
    clock.pass_(7)
    incr = type(cache._connections["default"]).incr  # type: ignore[attr-defined]

    def slow_incr(self: Any, key: str, delta: int = 1, **options: Any) -> int:
        if delta != bucket.interval:
            time.sleep(0.005)
        return int(incr(self, key, delta, **options))

    monkeypatch.setattr(type(cache._connections["default"]), "incr", slow_incr)  # type: ignore[attr-defined]
    with ThreadPoolExecutor(30) as pool:
        waits = list(pool.map(lambda _: bucket.take(), range(30)))
    assert sum(wait == 0 for wait in waits) == 10


@pytest.mark.django_db(transaction=True)
def test_of_many_parallel_registrations_exactly_the_burst_is_made(settings: Any) -> None:
    limit(settings, burst=5, per_minute=0.01)

    def post(_: int) -> int:
        try:
            return int(post_from(OFFICE).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as pool:
        assert Counter(pool.map(post, range(20))) == {201: 5, 429: 15}
    assert Application.objects.count() == 5


@contextmanager
def all_see(value: int | None) -> Iterator[None]:
    """Have every taker find the bucket as it was before the first of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(cache._connections["default"]), "get", lambda *_, **__: value)  # type: ignore[attr-defined]
        yield


def test_takers_who_come_too_late_give_back_what_they_took_too_much(clock: Clock) -> None:
    bucket = Bucket("late", capacity=1, interval=2000)
    with all_see(None):
        assert [bucket.take() for _ in range(3)] == [0, 2000, 2000]
    assert cache.get("late") == int(clock.now * 1000) + 2000
    clock.pass_(2)
    assert bucket.take() == 0


def test_of_takers_who_see_at_once_that_the_bucket_is_full_each_is_counted_once(clock: Clock) -> None:
    bucket = Bucket("full", capacity=10, interval=2000)
    assert bucket.take() == 0
    clock.pass_(9)
    with all_see(cache.get("full")):
        assert [bucket.take() for _ in range(3)] == [0, 0, 0]
    assert cache.get("full") == int(clock.now * 1000) + 3 * 2000


def test_a_registration_of_the_other_tests_counts_like_any(settings: Any) -> None:
    """The helper of the other tests posts from 127.0.0.1, which has no privilege: a proxy may be there."""
    limit(settings, burst=1)
    assert [register().status_code for _ in range(2)] == [201, 429]
