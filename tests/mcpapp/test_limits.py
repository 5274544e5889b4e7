"""How often one may call, and how many at once: who is over a limit is told so in words a client can act on."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import anyio
import httpx2
import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured

from authapp.models import Application
from mcpapp import limits
from mcpapp.limits import LIMITED_CODE, Limits
from mcpapp.models import Outcome
from mcpapp.registry import Catalog, tool
from tests.conftest import free_port
from tests.mcpapp.helpers import MODERN, call, listed, make_token, message, send, serving
from tests.mcpapp.over_http import connected, serving_over_http
from tests.oauth import CALLBACK
from tests.redis_server import RedisServer, redis_server

__all__ = ["redis_server"]

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def quick_tools(catalog: Catalog) -> None:
    for name in ("quick", "expensive"):

        @tool(name, scopes=[])
        async def quick() -> str:
            return "done"


@pytest.fixture
def limited(settings: Any) -> Any:
    """Return a function that sets the limits, before a server is made."""

    def set_limits(**rates: Any) -> None:
        settings.MCPAPP = {**settings.MCPAPP, "RATE_LIMITS": rates, "RATE_LIMIT_STORAGE": ""}

    return set_limits


async def statuses(endpoint: httpx2.AsyncClient, token: str | None, count: int, name: str = "quick") -> list[int]:
    return [
        (await send(endpoint, token, "tools/call", {"name": name, "arguments": {}})).status_code for _ in range(count)
    ]


@pytest.mark.rfc("6585 4")
@pytest.mark.parametrize("era", ["legacy", MODERN])
async def test_who_calls_too_often_is_told_when_to_come_again(token: str, limited: Any, era: str) -> None:
    limited(person="2/minute")
    async with serving() as endpoint:
        for _ in range(2):
            assert (await call(endpoint, token, "quick", era))["isError"] is False
        answer = await send(endpoint, token, "tools/call", {"name": "quick", "arguments": {}}, era=era)
        assert answer.status_code == 429
        seconds = int(answer.headers["retry-after"])
        assert 1 <= seconds <= 60
        assert answer.headers["ratelimit-policy"] == '"person";q=2;w=60'
        assert answer.headers["ratelimit"] == f'"person";r=0;t={seconds}'
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == {
            "jsonrpc": "2.0",
            "id": 1,
            "error": {
                "code": LIMITED_CODE,
                "message": f"Too many calls: 2 in 60 s is what you may make. Try again in {seconds} s.",
                "data": {"retry_after_seconds": seconds, "limit": "person"},
            },
        }
        assert await listed(endpoint, token, era=era), "lists are no calls"


@pytest.mark.parametrize("era", ["legacy", MODERN])
async def test_the_sdks_client_hears_the_error_and_goes_on(token: str, limited: Any, era: str) -> None:
    """Its connection stays, and so do the words for the model."""
    limited(tools={"expensive": "1/minute"})
    async with serving_over_http() as url, connected(url, token, era) as client:
        await client.call_tool("expensive", {})
        with pytest.raises(Exception, match=r"Too many calls: 1 in 60 s .* Try again in \d+ s") as refused:
            await client.call_tool("expensive", {})
        assert refused.value.error.code == LIMITED_CODE
        assert refused.value.error.data["limit"] == "tool"
        assert (await client.call_tool("quick", {})).is_error is False


async def test_each_person_has_a_share_of_their_own(token: str, bob: Any, limited: Any) -> None:
    limited(person="2/minute")
    bobs = await sync_to_async(make_token)(bob)
    async with serving() as endpoint:
        assert await statuses(endpoint, token, 3) == [200, 200, 429]
        assert await statuses(endpoint, bobs, 2) == [200, 200]


async def test_a_client_has_one_share_for_all_its_people(token: str, alice: Any, bob: Any, limited: Any) -> None:
    limited(client="2/minute")
    other = await sync_to_async(Application.objects.create)(name="Other", redirect_uris=CALLBACK)
    bobs = await sync_to_async(make_token)(bob)
    alices_other = await sync_to_async(make_token)(alice, application=other)
    async with serving() as endpoint:
        assert await statuses(endpoint, token, 1) + await statuses(endpoint, bobs, 2) == [200, 200, 429]
        assert await statuses(endpoint, alices_other, 1) == [200]


async def test_an_address_has_one_share_of_ipv6_a_network(token: str, limited: Any) -> None:
    limited(address="1/minute")
    server = limits_of(
        ("2001:db8::1", 1), ("2001:db8::2", 1), ("2001:db8:0:1::1", 1), ("::ffff:192.0.2.1", 1), ("192.0.2.1", 1)
    )
    assert [answer and answer.status_code async for answer in server] == [None, 429, None, None, 429]


async def limits_of(*clients: Any) -> Any:
    """Yield what each of the addresses is answered."""
    from mcpapp.bearer import nobody

    one = Limits()
    for client in clients:
        yield await one.refused(nobody(""), {"params": {"name": "quick"}, "id": 1}, {"client": client})


async def test_a_tool_has_a_limit_for_each_person_and_no_other_tool_feels_it(
    token: str, bob: Any, limited: Any
) -> None:
    limited(tools={"expensive": "1/minute"}, person="4/minute")
    bobs = await sync_to_async(make_token)(bob)
    async with serving() as endpoint:
        assert await statuses(endpoint, token, 2, "expensive") == [200, 429]
        assert await statuses(endpoint, bobs, 1, "expensive") == [200]
        assert await statuses(endpoint, token, 4) == [200, 200, 200, 429], "a refused call is not counted further"


async def test_a_refused_call_is_in_the_log_of_calls_and_in_the_figures(token: str, limited: Any) -> None:
    from mcpapp.asgi import ResourceServer

    limited(person="1/minute")
    server = ResourceServer()
    heard: list[Any] = []
    server.figures.hear_calls(lambda *call: heard.append(call[:2]))
    async with (
        server.running(),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(server), base_url="http://127.0.0.1:8000") as endpoint,
    ):
        assert await statuses(endpoint, token, 2) == [200, 429]
    assert heard == [("quick", Outcome.OK), ("quick", Outcome.OVERLOADED)]
    assert server.figures.limited() == {"person": 1}
    assert server.figures.in_flight() == 0


async def test_without_limits_nothing_is_counted(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise AssertionError("asked")

    monkeypatch.setattr(Limits, "_concerned", fail)
    async with serving() as endpoint:
        assert await statuses(endpoint, token, 20) == [200] * 20


# --- Redis ---------------------------------------------------------------------------------------------------


async def test_where_redis_is_away_each_process_counts_itself_and_says_so_once(
    token: str, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.MCPAPP = {
        **settings.MCPAPP,
        "RATE_LIMITS": {"person": "3/minute"},
        "RATE_LIMIT_STORAGE": f"redis://:s3cret@127.0.0.1:{free_port()}/0",
    }
    async with serving() as endpoint:
        assert await statuses(endpoint, token, 5) == [200, 200, 200, 429, 429]
    told = [record for record in caplog.records if record.name == "mcpapp.limits"]
    assert [record.levelno for record in told] == [logging.WARNING]
    assert "s3cret" not in caplog.text


async def test_processes_count_together_in_redis_and_go_on_without_it(
    token: str, bob: Any, settings: Any, redis_server: RedisServer
) -> None:
    bobs = await sync_to_async(make_token)(bob)
    rates = {"person": "3/minute", "tools": {"expensive": "1/minute"}}
    settings.MCPAPP = {**settings.MCPAPP, "RATE_LIMITS": rates, "RATE_LIMIT_STORAGE": redis_server.url}
    async with serving() as one, serving() as other:
        assert await statuses(one, token, 2) == [200, 200]
        assert await statuses(other, token, 2) == [200, 429], "three in all, wherever they go"
        assert await statuses(one, bobs, 1, "expensive") + await statuses(other, bobs, 1, "expensive") == [200, 429]
        answer = await send(other, token, "tools/call", {"name": "quick", "arguments": {}})
        assert 0 < int(answer.headers["retry-after"]) <= 60
        assert all(b"star-limits" in key for key in redis_server.stored())
        redis_server.kill()
        assert await statuses(one, token, 4) == [200, 200, 200, 429], "each by itself now"


async def test_when_redis_is_back_it_is_asked_again(monkeypatch: pytest.MonkeyPatch, limited: Any) -> None:
    limited(person="1/minute")
    one = Limits()
    asked = []
    is_away = True

    async def hit(limiter: Any, *_: Any) -> int:
        if limiter == "shared":
            asked.append(limiter)
            if is_away:
                raise ConnectionError
        return 0

    one._shared = "shared"  # type: ignore[assignment]
    monkeypatch.setattr(limits, "_hit", hit)
    item = one._by_place["person"]
    for _ in range(3):
        assert await one._seconds_to_wait(item, "person", "p1") == 0
    assert len(asked) == 1, "it is left alone for a while"
    one._away_until = 1.0  # long ago
    is_away = False
    for _ in range(2):
        assert await one._seconds_to_wait(item, "person", "p1") == 0
    assert (len(asked), one._away_until) == (3, 0.0)


# --- At once -------------------------------------------------------------------------------------------------


async def test_calls_beyond_what_a_process_takes_at_once_are_shed_and_those_that_run_are_kept(
    catalog: Catalog, token: str, settings: Any
) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "CALLS_IN_FLIGHT": 2}
    go_on = asyncio.Event()

    @tool("slow", scopes=[])
    async def slow() -> str:
        await go_on.wait()
        return "done"

    sent = message("tools/call", {"name": "slow", "arguments": {}})
    sent["headers"]["Authorization"] = f"Bearer {token}"
    async with serving() as endpoint:
        running = [asyncio.create_task(endpoint.post("/star", **sent)) for _ in range(2)]
        with anyio.fail_after(10):
            while (shed := await send(endpoint, token, "tools/call", {"name": "quick", "arguments": {}})).is_success:  # noqa: ASYNC110  (nobody tells that both have begun)
                await anyio.sleep(0.01)
        assert (shed.status_code, shed.headers["retry-after"]) == (503, "1")
        assert shed.json()["id"] == 1
        assert shed.json()["error"]["code"] == LIMITED_CODE
        assert shed.json()["error"]["data"] == {"retry_after_seconds": 1, "limit": "in_flight"}
        assert await listed(endpoint, token), "the rest goes on"
        go_on.set()
        assert [(await one).status_code for one in running] == [200, 200]
        assert await statuses(endpoint, token, 3) == [200] * 3, "and there is room again"


@pytest.mark.parametrize(
    "rates",
    [
        {"persons": "1/minute"},
        {"person": "many"},
        {"person": 5},
        {"person": "0/minute"},
        {"tools": "1/minute"},
        {"tools": {"quick": ""}},
        ["1/minute"],
    ],
)
def test_a_limit_that_is_none_stops_the_start(settings: Any, rates: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "RATE_LIMITS": rates}
    with pytest.raises(ImproperlyConfigured, match="RATE_LIMITS"):
        Limits()
