"""Tools that hang, raise or return far too much, and clients that do not read, do not finish or just stay."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import LiveDatabases
from tests.faults.tools import LARGE
from tests.mcpapp.helpers import MODERN, message
from tests.mcpapp.streams import ACKNOWLEDGED, listen_request
from tests.mcpapp.workers import PATIENCE_SECONDS, Workers

pytestmark = [pytest.mark.live, pytest.mark.anyio]

IDLE_STREAMS = 2000
STREAMS_OF_ONE = 8
HALF_OPEN = 200


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, live_databases: LiveDatabases) -> Iterator[Workers]:
    """One worker, whose tools go wrong."""
    workers = Workers(tmp_path_factory.mktemp("bad-tools"), live_databases.copy(), count=1)
    workers.servers[0].environment["DJANGO_SETTINGS_MODULE"] = "tests.settings_with_faulty_tools"
    try:
        workers.start()
        yield workers
    finally:
        workers.stop()


@pytest.fixture
async def http(site: Workers) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=site.url, trust_env=False, timeout=PATIENCE_SECONDS) as client:
        yield client


async def call(http: httpx2.AsyncClient, token: str, tool: str, era: str = MODERN) -> httpx2.Response:
    request = message("tools/call", {"name": tool, "arguments": {}}, era=era)
    return await http.post("/star", content=request["content"], headers=bearing(token, request))


def bearing(token: str, request: dict[str, Any]) -> dict[str, str]:
    return {**request["headers"], "Authorization": f"Bearer {token}"}


async def is_served(http: httpx2.AsyncClient, token: str) -> bool:
    response = await call(http, token, "protected-data")
    return bool(response.status_code == 200 and not response.json()["result"]["isError"])


def connections(site: Workers) -> int:
    """Return how many connections of clients the worker holds: established, or closed by them alone."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    port = f":{site.servers[0].port:04X}"
    return sum(row[1].endswith(port) and row[3] in {"01", "08"} for row in rows)


def memory(site: Workers) -> int:
    """Return how much the worker has in memory, in bytes."""
    process = site.servers[0].process
    assert process is not None
    line = next(one for one in Path(f"/proc/{process.pid}/status").read_text().splitlines() if one.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("tool", ["hangs", "hangs-in-a-thread"])
async def test_a_tool_that_hangs_is_given_up_and_others_are_served_meanwhile(
    site: Workers, http: httpx2.AsyncClient, tool: str
) -> None:
    token, other = site.grant().token, site.grant().token
    hanging = [asyncio.create_task(call(http, token, tool)) for _ in range(4)]
    await asyncio.sleep(0.2)
    assert await is_served(http, other)
    assert not any(one.done() for one in hanging), "the control: they still hang"
    for response in await asyncio.gather(*hanging):
        result = response.json()["result"]
        assert (response.status_code, result["isError"]) == (200, True)
        assert result["content"][0]["text"].endswith("This took longer than 1 s and was given up.")
    assert await is_served(http, token)


async def test_a_tool_that_raises_is_told_as_failed_and_not_why(site: Workers, http: httpx2.AsyncClient) -> None:
    token = site.grant().token
    response = await call(http, token, "raises")
    assert (response.status_code, response.json()["result"]["isError"]) == (200, True)
    assert "swordfish" not in response.text
    assert "swordfish" in site.logs()[0], "the owner of the site is told"
    assert await is_served(http, token)


async def test_fifty_megabytes_arrive_whole_and_others_are_served_meanwhile(
    site: Workers, http: httpx2.AsyncClient
) -> None:
    token, other = site.grant().token, site.grant().token
    answers = [asyncio.create_task(call(http, token, "large")) for _ in range(2)]
    served = 0
    while not all(one.done() for one in answers):
        served += await is_served(http, other)
    assert served > 0
    for response in await asyncio.gather(*answers):
        assert len(response.json()["result"]["content"][0]["text"]) == LARGE


async def test_a_client_that_does_not_read_its_answer_costs_its_own_answer_alone(
    site: Workers, http: httpx2.AsyncClient
) -> None:
    token, other = site.grant().token, site.grant().token
    request = message("tools/call", {"name": "large", "arguments": {}}, era=MODERN)
    before = connections(site)
    readers = []
    for _ in range(3):
        reader = socket.create_connection(("127.0.0.1", site.servers[0].port))
        reader.sendall(raw(request, token))
        readers.append(reader)
    for reader in readers:
        reader.recv(1024)  # it has begun
    for _ in range(5):
        assert await is_served(http, other)
    for reader in readers:
        reader.close()
    await until(lambda: connections(site) <= before + 1)
    assert await is_served(http, token)


def raw(request: dict[str, Any], token: str) -> bytes:
    """Return the bytes of a request."""
    content = request["content"].encode()
    headers = {**bearing(token, request), "Host": "127.0.0.1", "Content-Length": str(len(content))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /star HTTP/1.1\r\n{lines}\r\n".encode() + content


async def until(holds: Any) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        await asyncio.sleep(0.05)


async def test_connections_that_are_half_open_keep_nobody_out(site: Workers, http: httpx2.AsyncClient) -> None:
    token = site.grant().token
    whole = raw(message("tools/call", {"name": "public-info", "arguments": {}}, era=MODERN), token)
    before = connections(site)
    halves = []
    for number in range(HALF_OPEN):
        half = socket.create_connection(("127.0.0.1", site.servers[0].port))
        half.sendall(whole[: (0, 40, len(whole) - 20)[number % 3]])  # nothing, some headers, most of the body
        halves.append(half)
    await until(lambda: connections(site) >= before + HALF_OPEN)
    for _ in range(5):
        assert await is_served(http, token)
    with closing(halves[2]) as one:  # the control: what is finished is answered
        one.sendall(whole[-20:])
        assert one.recv(12) == b"HTTP/1.1 200"
    for half in halves:
        half.close()
    await until(lambda: connections(site) <= before + 1)


@asynccontextmanager
async def idle_streams(site: Workers, tokens: list[str]) -> AsyncIterator[list[asyncio.StreamWriter]]:
    """Open the streams, and wait until each is acknowledged; cut the connections at the end."""
    request = listen_request()
    at_once = asyncio.Semaphore(50)
    writers: list[asyncio.StreamWriter] = []

    async def listen(token: str) -> None:
        async with at_once:
            reader, writer = await asyncio.open_connection("127.0.0.1", site.servers[0].port)
            writers.append(writer)
            writer.write(raw(request, token))
            got = b""
            while ACKNOWLEDGED.encode() not in got:
                chunk = await asyncio.wait_for(reader.read(4096), PATIENCE_SECONDS)
                assert chunk, got
                got += chunk

    try:
        await asyncio.gather(*(listen(token) for token in tokens for _ in range(STREAMS_OF_ONE)))
        yield writers
    finally:
        for writer in writers:
            with suppress(OSError):
                writer.transport.abort()


async def test_two_thousand_idle_streams_leave_calls_as_they_are(site: Workers, http: httpx2.AsyncClient) -> None:
    token = site.grant().token
    code = f"result = [grant({site.resource!r})['token'] for _ in range({IDLE_STREAMS // STREAMS_OF_ONE})]"
    tokens = await asyncio.to_thread(site.program.run, code)
    before, held = connections(site), memory(site)
    async with idle_streams(site, tokens):
        assert connections(site) >= before + IDLE_STREAMS
        each = (memory(site) - held) / IDLE_STREAMS
        print(f"{each / 1024:.0f} kB for each idle stream")  # noqa: T201
        assert each < 512 * 1024
        for _ in range(20):
            assert await is_served(http, token)
    await until(lambda: connections(site) <= before + 1)
    async with idle_streams(site, tokens[:2]):  # their people have room for as many again
        assert await is_served(http, token)


async def test_what_was_asked_of_a_tool_that_went_wrong_is_in_the_log_of_calls(
    site: Workers, http: httpx2.AsyncClient
) -> None:
    token = site.grant().token
    for tool in ("hangs", "raises", "large"):
        await call(http, token, tool)
    code = (
        "from mcpapp.models import ToolCall\n"
        "result = dict(ToolCall.objects.values_list('tool', 'outcome').order_by('id'))"
    )

    async def outcomes() -> dict[str, str]:
        found: dict[str, str] = await asyncio.to_thread(site.program.run, code)
        return found

    deadline = time.monotonic() + PATIENCE_SECONDS
    while (got := await outcomes()).keys() < {"hangs", "raises", "large"}:
        assert time.monotonic() < deadline, json.dumps(got)
        await asyncio.sleep(0.2)
    assert (got["hangs"], got["raises"], got["large"]) == ("timed_out", "crashed", "ok")
