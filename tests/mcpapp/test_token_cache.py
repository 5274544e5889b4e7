"""What is kept about tokens, and for how long."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mcpapp import token_cache, verifier
from mcpapp.token_cache import TokenCache, TooManyLookups
from mcpapp.verifier import InvalidToken, Verifier

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Found:
    token: str
    depends_on: tuple[str, ...]
    look_up_again_at: float = math.inf


class Feed:
    """Says what it is told to, and brings news when it is asked, as real ones do."""

    def __init__(self) -> None:
        self.knows = True
        self.news: list[Callable[[], None]] = []

    def are_known(self) -> bool:
        while self.news:
            self.news.pop()()
        return self.knows


class Lookups:
    """A lookup that counts, and waits while it is told to."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.cancelled = 0
        self.open = anyio.Event()
        self.open.set()
        self.found: dict[str, Found | None] = {}
        self.error: Exception | None = None

    def add(self, token: str, *depends_on: str) -> None:
        self.found[token] = Found(token, (f"token:{token}", *depends_on))

    async def __call__(self, token: str) -> Found | None:
        self.counts[token] += 1
        found, error = self.found.get(token), self.error  # read at the start: what changes later it does not see
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if error is not None:
            raise error
        return found


@pytest.fixture
def lookups() -> Lookups:
    lookups = Lookups()
    lookups.add("good", "user:1", "client:1")
    return lookups


@pytest.fixture
def cache(lookups: Lookups) -> TokenCache[Found]:
    cache = TokenCache(lookups)
    cache.feed = Feed()
    return cache


async def begun(lookups: Lookups, count: int) -> None:
    """Wait until so many lookups have begun."""
    with anyio.fail_after(10):
        while lookups.counts.total() < count:
            await checkpoint()


async def gather(cache: TokenCache[Found], token: str, count: int) -> list[Any]:
    return await asyncio.gather(*(cache.find(token) for _ in range(count)), return_exceptions=True)


async def test_of_fifty_cold_calls_with_one_token_one_looks_it_up(cache: TokenCache[Found], lookups: Lookups) -> None:
    assert [found.token for found in await gather(cache, "good", 50)] == ["good"] * 50
    assert lookups.counts == {"good": 1}
    await cache.find("good")
    assert lookups.counts == {"good": 1}


async def test_of_fifty_cold_calls_with_one_bad_token_one_looks_it_up(
    cache: TokenCache[Found], lookups: Lookups
) -> None:
    assert await gather(cache, "bad", 50) == [None] * 50
    assert lookups.counts == {"bad": 1}


async def test_a_refusal_is_kept_for_its_seconds_and_no_longer(
    cache: TokenCache[Found], lookups: Lookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(token_cache, "time", SimpleNamespace(monotonic=lambda: now))
    assert await cache.find("bad") is None
    lookups.add("bad")
    now += token_cache.REFUSAL_SECONDS - 0.1
    assert await cache.find("bad") is None
    now += 0.2
    assert await cache.find("bad") is not None


async def test_a_change_of_anything_ends_refusals(cache: TokenCache[Found], lookups: Lookups) -> None:
    assert await cache.find("bad") is None
    lookups.add("bad")
    cache.forget(["user:77"])
    assert await cache.find("bad") is not None


async def test_what_a_lookup_that_began_before_a_change_found_is_not_kept(
    cache: TokenCache[Found], lookups: Lookups
) -> None:
    lookups.open = anyio.Event()
    before = asyncio.create_task(cache.find("good"))
    await begun(lookups, 1)
    lookups.found["good"] = None
    cache.forget(["token:good"])
    after = asyncio.create_task(cache.find("good"))  # does not wait for the one that saw the time before
    await begun(lookups, 2)
    lookups.open.set()
    assert await before is not None, "it was good when the call began"
    assert await after is None
    assert await cache.find("good") is None


@pytest.mark.parametrize("names", [["client:77"], None])
async def test_not_even_where_the_change_seems_to_be_of_something_else(
    cache: TokenCache[Found], lookups: Lookups, names: list[str] | None
) -> None:
    """Only the lookup says what a token depends on, so while it is under way any change may be of that."""
    lookups.open = anyio.Event()
    before = asyncio.create_task(cache.find("good"))
    await begun(lookups, 1)
    cache.forget(names)
    lookups.open.set()
    await before
    await cache.find("good")
    assert lookups.counts == {"good": 2}


async def test_news_that_the_feed_brings_when_asked_count_for_this_call(
    cache: TokenCache[Found], lookups: Lookups
) -> None:
    await cache.find("good")
    lookups.found["good"] = None
    cache.feed.news.append(lambda: cache.forget(["user:1"]))  # type: ignore[union-attr]
    assert await cache.find("good") is None


async def test_the_feed_is_asked_once_for_all_calls_that_had_come_and_again_for_the_next(
    cache: TokenCache[Found], lookups: Lookups
) -> None:
    feed = cache.feed
    assert isinstance(feed, Feed)
    lookups.add("good")
    await cache.find("good")
    await checkpoint()
    asked: list[int] = []
    kept: list[Found | None] = []

    async def one(number: int) -> None:
        feed.news.append(lambda: asked.append(number))
        kept.append(cache.kept("good"))

    await asyncio.gather(*(one(number) for number in range(5)))
    assert asked == [0], "it was asked for each"
    assert None not in kept
    # One that comes after a change was committed is scheduled after those: the feed is asked anew, and brings the news.
    feed.news.append(lambda: cache.forget(["token:good"]))
    await asyncio.gather(*(one(number) for number in range(5, 8)))
    assert kept[5:] == [None] * 3
    feed.knows = False
    await checkpoint()
    assert cache.kept("good") is None


async def test_a_change_forgets_what_depends_on_it_and_nothing_else(cache: TokenCache[Found], lookups: Lookups) -> None:
    for token, user, client in (("a", 1, 1), ("b", 1, 2), ("c", 2, 2)):
        lookups.add(token, f"user:{user}", f"client:{client}")
    tokens = ("a", "b", "c")

    async def looked_up_again() -> set[str]:
        lookups.counts.clear()
        for token in tokens:
            await cache.find(token)
        return {*lookups.counts}

    assert await looked_up_again() == {"a", "b", "c"}
    assert await looked_up_again() == set()
    for names, expected in (
        (["user:1"], {"a", "b"}),
        (["client:2"], {"b", "c"}),
        (["token:a"], {"a"}),
        (["user:2", "token:a"], {"a", "c"}),
        (["connection:9"], set()),
        ([], set()),
        (None, {"a", "b", "c"}),
    ):
        cache.forget(names)
        assert await looked_up_again() == expected, names


async def test_only_so_many_tokens_are_kept_and_the_one_longest_unused_goes(
    cache: TokenCache[Found], lookups: Lookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_cache, "MAXIMUM_ENTRIES", 2)
    for token in "abc":
        lookups.add(token, f"user:{token}", "client:1")
    for token in ("a", "b", "a", "c"):  # b was not used for longest
        await cache.find(token)
    lookups.counts.clear()
    await cache.find("a")
    await cache.find("c")
    assert lookups.counts == {}
    await cache.find("b")
    assert lookups.counts == {"b": 1}
    assert len(cache._entries) == 2
    # Nor does what they depended on pile up.
    assert {name: len(keys) for name, keys in cache._dependents.items()} == {
        "token:b": 1,
        "user:b": 1,
        "token:c": 1,
        "user:c": 1,
        "client:1": 2,
    }


async def test_a_flood_of_bad_tokens_evicts_no_good_one_and_is_bounded(
    cache: TokenCache[Found], lookups: Lookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_cache, "MAXIMUM_ENTRIES", 2)
    monkeypatch.setattr(token_cache, "MAXIMUM_REFUSALS", 5)
    await cache.find("good")
    for number in range(50):
        assert await cache.find(f"bad-{number}") is None
    assert len(cache._refusals) == 5
    await cache.find("good")
    assert lookups.counts["good"] == 1
    await cache.find("bad-49")
    assert lookups.counts["bad-49"] == 1, "the latest refusals are those that are kept"


async def test_lookups_under_way_are_bounded(
    cache: TokenCache[Found], lookups: Lookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_cache, "MAXIMUM_LOOKUPS", 3)
    lookups.open = anyio.Event()
    waiting = [asyncio.create_task(cache.find(f"bad-{number}")) for number in range(3)]
    await begun(lookups, 3)
    with pytest.raises(TooManyLookups):
        await cache.find("another")
    same = asyncio.create_task(cache.find("bad-0"))  # needs no lookup of its own
    lookups.open.set()
    assert await asyncio.gather(*waiting, same) == [None] * 4
    assert await cache.find("another") is None


async def test_the_first_client_may_leave_and_the_others_still_get_their_answer(
    cache: TokenCache[Found], lookups: Lookups
) -> None:
    lookups.open = anyio.Event()
    first = asyncio.create_task(cache.find("good"))
    await begun(lookups, 1)
    others = [asyncio.create_task(cache.find("good")) for _ in range(3)]
    await checkpoint()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    lookups.open.set()
    assert [found.token for found in await asyncio.gather(*others) if found] == ["good"] * 3
    assert lookups.counts == {"good": 2}, "one of the others looked it up, for all of them"
    assert lookups.cancelled == 1


async def test_a_lookup_that_everybody_left_frees_its_place(
    cache: TokenCache[Found], lookups: Lookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_cache, "MAXIMUM_LOOKUPS", 1)
    lookups.open = anyio.Event()
    lookups.error = RuntimeError("nobody hears this")
    only = asyncio.create_task(cache.find("good"))
    await begun(lookups, 1)
    only.cancel()
    with pytest.raises(asyncio.CancelledError):
        await only
    lookups.open.set()
    lookups.error = None
    with anyio.fail_after(10):
        while cache._lookups:
            await checkpoint()
    assert await cache.find("good") is not None


async def test_an_exception_reaches_everybody_who_waits_and_is_not_kept(
    cache: TokenCache[Found], lookups: Lookups
) -> None:
    lookups.error = RuntimeError("the database does not answer")
    answers = await gather(cache, "good", 10)
    assert answers == [lookups.error] * 10
    assert lookups.counts == {"good": 1}
    lookups.error = None
    assert await cache.find("good") is not None
    assert lookups.counts == {"good": 2}


async def test_without_a_feed_nothing_is_kept(lookups: Lookups) -> None:
    cache = TokenCache(lookups)
    for token in ("good", "good", "bad", "bad"):
        await cache.find(token)
    assert lookups.counts == {"good": 2, "bad": 2}
    assert len(await gather(cache, "good", 5)) == 5
    assert lookups.counts["good"] == 7, "nor does a call rely on what another began to look up before it"


async def test_while_changes_are_not_known_each_call_looks_up_and_nothing_is_kept(
    cache: TokenCache[Found], lookups: Lookups
) -> None:
    feed: Any = cache.feed
    await cache.find("good")
    feed.knows = False
    lookups.found["good"] = None
    assert await cache.find("good") is None
    assert lookups.counts == {"good": 2}
    lookups.add("good", "user:1")
    assert await cache.find("good") is not None
    feed.knows = True
    cache.forget(None)  # as feeds do when they know again
    await cache.find("good")
    assert lookups.counts == {"good": 4}


async def test_what_was_looked_up_while_changes_were_not_known_is_not_kept_by_one_that_ends_after_that(
    cache: TokenCache[Found], lookups: Lookups
) -> None:
    feed: Any = cache.feed
    feed.knows = False
    lookups.open = anyio.Event()
    unknown = asyncio.create_task(cache.find("good"))
    await begun(lookups, 1)
    feed.knows = True
    known = asyncio.create_task(cache.find("good"))  # does not wait for the other
    await begun(lookups, 2)
    lookups.open.set()
    await asyncio.gather(unknown, known)
    cache.forget(["user:1"])
    await cache.find("good")
    assert lookups.counts == {"good": 3}


async def test_what_names_nothing_it_depends_on_is_not_kept(cache: TokenCache[Found], lookups: Lookups) -> None:
    lookups.found["good"] = Found("good", ())
    await cache.find("good")
    await cache.find("good")
    assert lookups.counts == {"good": 2}


async def test_what_may_have_changed_unseen_is_looked_up_again_when_its_time_comes(
    cache: TokenCache[Found], lookups: Lookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    lookups.found["good"] = Found("good", ("user:1",), look_up_again_at=now + 60)
    for _ in range(3):
        assert await cache.find("good")
        assert cache.kept("good")
    assert lookups.counts == {"good": 1}
    monkeypatch.setattr(time, "time", lambda: now + 60)
    assert cache.kept("good") is None
    lookups.found["good"] = None
    assert await cache.find("good") is None
    assert lookups.counts == {"good": 2}
    assert not cache._dependents


async def test_the_token_itself_is_nowhere_in_what_is_kept(cache: TokenCache[Found], lookups: Lookups) -> None:
    await cache.find("good")
    await cache.find("bad")
    assert all(len(key) == 32 for key in [*cache._entries, *cache._refusals])


# With the verifier around it


class Info(SimpleNamespace):
    """What a lookup finds; `user` is another instance each time."""

    client_id = "client"
    client_name = ""
    scopes: Any = frozenset({"mcp:tools"})
    resource: Any = ("https://star.example/star",)
    depends_on: Any = frozenset({"user:1"})

    def __init__(self, **other: Any) -> None:
        super().__init__(expires_at=time.time() + 3600, **other)

    @property
    def user(self) -> Any:
        return SimpleNamespace(is_active=True, pk=1)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (Info(resource="https://star.example/star-other"), "resource"),
        (Info(scopes="mcp:tools"), "scopes"),
        (Info(depends_on="user:1"), "depends_on"),
    ],
    ids=["resource", "scopes", "depends_on"],
)
async def test_a_lookup_that_answers_in_a_way_that_would_be_misread_is_refused_loudly(
    monkeypatch: pytest.MonkeyPatch, wrong: Any, word: str
) -> None:
    """A part of a string is not the name of a resource, nor are its characters names of what changes."""

    async def find(token: str) -> Any:
        return wrong if token == "wrong" else Info()

    monkeypatch.setattr(verifier.conf, "token_lookups", lambda: (find,))
    assert await Verifier().verify("right", "https://star.example/star")
    with pytest.raises(TypeError, match=word):
        await Verifier().verify("wrong", "https://star.example/star")


@pytest.mark.parametrize("is_property", [True, False])
async def test_calls_never_share_the_person_that_a_lookup_kept(
    monkeypatch: pytest.MonkeyPatch, is_property: bool
) -> None:
    """Django keeps permissions in the instance: a shared one would have those of the first call for ever."""
    user = SimpleNamespace(is_active=True, pk=1)
    kept = type("Kept", (Info,), {"user": property(lambda _: user) if is_property else user})()

    async def find(token: str) -> Any:
        return kept

    monkeypatch.setattr(verifier.conf, "token_lookups", lambda: (find,))
    identity = await Verifier().verify("good", "https://star.example/star")
    one, other = identity.user, identity.user
    assert (one.pk, other.pk) == (1, 1)
    assert len({id(one), id(other), id(user)}) == 3


@pytest.fixture
def infos(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """A lookup of one token for one resource; returns how often it was asked."""
    asked: Counter[str] = Counter()

    async def find(token: str) -> Any:
        asked[token] += 1
        await checkpoint()
        if token != "good":
            return None
        return Info()

    monkeypatch.setattr(verifier.conf, "token_lookups", lambda: (find,))
    return asked


def feed_is(monkeypatch: pytest.MonkeyPatch, feed: Feed | None) -> list[Callable[[Collection[str] | None], None]]:
    """Open this feed; return where `forget` turns up."""
    given: list[Any] = []

    @asynccontextmanager
    async def open_feed(forget: Any) -> AsyncIterator[Feed]:
        given.append(forget)
        assert feed is not None
        yield feed

    monkeypatch.setattr(verifier.conf, "token_changes", lambda: open_feed if feed is not None else None)
    return given


async def test_fifty_cold_calls_are_one_lookup_for_the_verifier_too(
    monkeypatch: pytest.MonkeyPatch, infos: Counter[str]
) -> None:
    forgets = feed_is(monkeypatch, Feed())
    door = Verifier()
    resource = "https://star.example/star"
    async with door.listening():
        identities = await asyncio.gather(*(door.verify("good", resource) for _ in range(50)))
        assert {identity.client_id for identity in identities} == {"client"}
        assert infos == {"good": 1}
        with pytest.raises(InvalidToken):
            await door.verify("good", "https://other.example/star")
        assert infos == {"good": 1}, "what is kept is the token; for which resource it is, each call asks"
        forgets[0](["user:1"])
        await door.verify("good", resource)
        assert infos == {"good": 2}
    await door.verify("good", resource)
    await door.verify("good", resource)
    assert infos == {"good": 4}, "outside of it nothing is kept"


async def test_a_token_that_expires_while_it_is_kept_is_refused(
    monkeypatch: pytest.MonkeyPatch, infos: Counter[str]
) -> None:
    feed_is(monkeypatch, Feed())
    door = Verifier()
    async with door.listening():
        await door.verify("good", "https://star.example/star")
        later = time.time() + 3601
        monkeypatch.setattr(verifier, "time", SimpleNamespace(time=lambda: later))
        with pytest.raises(InvalidToken, match="expired"):
            await door.verify("good", "https://star.example/star")
    assert infos == {"good": 1}


async def test_a_site_without_a_feed_has_every_call_looked_up(
    monkeypatch: pytest.MonkeyPatch, infos: Counter[str]
) -> None:
    feed_is(monkeypatch, None)
    door = Verifier()
    async with door.listening():
        for _ in range(3):
            await door.verify("good", "https://star.example/star")
    assert infos == {"good": 3}
