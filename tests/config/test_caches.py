"""A site whose Redis goes away, hangs and comes back: nobody is answered 5xx, and limits go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep
from typing import Any

import httpx2
import pytest
import redis

from config import caches
from config.caches import RedisOrMemory
from tests.clients.person import Person
from tests.conftest import LiveServer
from tests.mcpapp.workers import PATIENCE_SECONDS
from tests.over_http import CALLBACK, log_in
from tests.redis_server import RedisServer, redis_server

__all__ = ["redis_server"]


@pytest.fixture
def cache(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisOrMemory]:
    monkeypatch.setattr(caches, "RETRY_SECONDS", 0.0)
    cache = RedisOrMemory(redis_server.url, {})
    yield cache
    cache.memory.clear()
    caches._away_until.clear()


def use(cache: RedisOrMemory) -> list[Any]:
    """Do with a cache whatever can be done with one."""
    cache.clear()
    seen = [cache.get("a"), cache.add("a", 1), cache.add("a", 2), cache.incr("a", 5), cache.decr("a"), cache.get("a")]
    seen += [cache.touch("a", 30), cache.set("b", {"x": [1]}), cache.get_many(["a", "b", "c"]), cache.has_key("b")]
    seen += [cache.set_many({"c": 3}), cache.get_or_set("d", 4), cache.delete("b"), cache.delete_many(["c", "d"])]
    return [*seen, cache.get("b"), "a" in cache]


def test_both_do_the_same(cache: RedisOrMemory, redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    in_redis = use(cache)
    assert redis_server.stored() == [b":1:a"]
    redis_server.kill()
    assert use(cache) == in_redis
    assert use(cache) == in_redis
    assert caplog.text.count("Redis does not answer") == 1, "said once"
    redis_server.start()
    assert cache.get("a") is None, "what was counted before is gone with the server"
    assert use(cache) == in_redis
    assert redis_server.stored() == [b":1:a"]
    assert caplog.text.count("Redis answers again") == 1


def test_one_that_hangs_is_waited_for_once(
    cache: RedisOrMemory, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caches, "RETRY_SECONDS", 3600.0)
    assert redis_server.process is not None
    redis_server.process.send_signal(signal.SIGSTOP)
    asked: list[str] = []
    original = caches.RedisCache.get
    monkeypatch.setattr(caches.RedisCache, "get", lambda *a, **k: asked.append("redis") or original(*a, **k))
    for _ in range(5):
        assert cache.get("a", "none") == "none"
        assert RedisOrMemory(redis_server.url, {}).get("a", "none") == "none", "another thread's"
    assert asked == ["redis"]
    assert cache.add("a", 1)


def test_while_one_thread_finds_out_whether_redis_is_back_no_other_waits(
    cache: RedisOrMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, released = [threading.Event() for _ in range(2)], threading.Event()

    def hangs(*_: Any, **__: Any) -> Any:
        asked[0 if not asked[0].is_set() else 1].set()
        assert released.wait(PATIENCE_SECONDS)
        raise redis.ConnectionError("away")

    monkeypatch.setattr(caches.RedisCache, "get", hangs)
    caches._away_until[cache.server] = 0.0  # away, and long enough ago to ask again
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(cache.get, "a", "none")
        assert asked[0].wait(PATIENCE_SECONDS)
        assert cache.get("a", "none") == "none"
        assert not asked[1].is_set()
        released.set()
        assert asking.result(PATIENCE_SECONDS) == "none"


@pytest.mark.live
def test_people_sign_in_and_are_limited_while_redis_is_away(
    redis_server: RedisServer, new_server: Callable[[], LiveServer]
) -> None:
    server = new_server()
    server.environment["REDIS_URL"] = redis_server.url
    server.start("-m", "uvicorn", "config.asgi:application", "--port", str(server.port))
    life(server)
    assert any(b"authapp:registration" in key for key in redis_server.stored()), "limits are counted in Redis"
    redis_server.kill()
    life(server)
    assert refused_guesses(server), "guessing has its limit without Redis too"
    redis_server.start()
    deadline = monotonic() + PATIENCE_SECONDS
    while not any(b"authapp:registration" in key for key in redis_server.stored()):
        assert monotonic() < deadline
        register(server)
        sleep(0.05)
    life(server)
    log = server.log.read_text()
    assert log.count("Redis does not answer") == 1
    assert "Redis answers again" in log
    assert "Traceback" not in log
    assert " 500 " not in log


def register(server: LiveServer) -> None:
    body = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}
    answer = httpx2.post(f"{server.url}/o/register/", json=body, trust_env=False, timeout=PATIENCE_SECONDS)
    assert answer.status_code == 201, answer.text


def life(server: LiveServer) -> None:
    """Do what is counted: sign in, register, ask for a device's code, refresh."""
    with Person("demo", "demo") as person:
        client = log_in(server.url, person)
    with httpx2.Client(base_url=server.url, trust_env=False, timeout=PATIENCE_SECONDS) as http:
        form = {"grant_type": "refresh_token", "refresh_token": client.refresh_token, "client_id": client.client_id}
        assert http.post("/o/token/", data=form).status_code == 200
        assert http.post("/o/device-authorization/", data={"client_id": client.client_id}).status_code < 500
        document = {"client_id": "https://client.invalid/client.json", "response_type": "code"}
        assert http.get("/o/authorize/", params=document).status_code < 500


def refused_guesses(server: LiveServer) -> bool:
    """Guess a password until that is refused; return whether it was."""
    with httpx2.Client(base_url=server.url, trust_env=False, timeout=PATIENCE_SECONDS) as http:
        for _ in range(12):
            http.get("/accounts/login/")
            form = {"login": "demo2", "password": "guess", "csrfmiddlewaretoken": http.cookies["csrftoken"]}
            answer = http.post("/accounts/login/", data=form, headers={"Referer": server.url})
            assert answer.status_code < 500
            if "Too many failed" in answer.text or answer.status_code == 429:
                return True
    return False
