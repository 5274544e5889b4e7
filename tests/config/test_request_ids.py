"""Each request has an id, which its answer tells; a stranger does not choose it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from config import asgi, request_ids
from tests.conftest import LiveServer
from tests.mcpapp.helpers import send

MADE = re.compile(r"[0-9a-f]{32}")


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/star", "/o/token/", "/not-there"])
async def test_every_answer_tells_an_id_of_its_own(endpoint: httpx2.AsyncClient, path: str) -> None:
    sent = {"X-Request-ID": "chosen-by-a-stranger"}
    told = [(await endpoint.get(path, headers=sent)).headers.get_list("x-request-id") for _ in range(2)]
    assert all(len(ids) == 1 and MADE.fullmatch(ids[0]) for ids in told), told
    assert told[0] != told[1]
    assert request_ids.current.get() == "", "the requests are over"


@pytest.mark.anyio
async def test_a_call_of_a_tool_has_its_id_where_it_runs(
    endpoint: httpx2.AsyncClient, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asgiref.sync import sync_to_async

    from tests.mcpapp.helpers import make_token

    seen = []
    add = asgi.resource_server.door_log.answered
    monkeypatch.setattr(
        asgi.resource_server.door_log, "answered", lambda *args: (seen.append(request_ids.current.get()), add(*args))
    )
    monkeypatch.setattr(asgi.resource_server, "call_log", type("Log", (), {"add": lambda *_: None})())
    token = await sync_to_async(make_token)(alice)
    answer = await send(endpoint, token, "tools/call", {"name": "public-info", "arguments": {}})
    assert answer.status_code == 200
    assert seen == [answer.headers["x-request-id"]]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("sent", "is_taken"),
    [
        (["9f86d081-884c.7d65:9a2f"], True),
        (["a" * 64], True),
        (["short"], False),
        (["a" * 65], False),
        (["has a space"], False),
        (["new\tline-forged"], False),
        (["not-ascii-é"], False),
        (["one-of-two", "two-of-two"], False),
        ([], False),
    ],
)
async def test_the_id_of_a_proxy_that_the_settings_trust_is_taken_if_it_is_well_formed(
    endpoint: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, sent: list[str], is_taken: bool
) -> None:
    monkeypatch.setattr(asgi, "_REQUEST_ID_HEADER", b"x-amzn-trace")
    headers = [("X-Amzn-Trace", value.encode()) for value in sent]
    told = (await endpoint.get("/star", headers=headers)).headers["x-request-id"]
    assert (told in sent) is is_taken
    assert is_taken or MADE.fullmatch(told)


@pytest.mark.live
def test_a_server_in_production_writes_json_alone_with_the_id_of_each_request(
    new_server: Callable[[], LiveServer],
) -> None:
    import json

    server = new_server()
    server.environment |= {"LOG_FORMAT": "json"}
    server.start("-m", "uvicorn", "config.asgi:application", "--port", str(server.port))
    with httpx2.Client(base_url=server.url, trust_env=False) as http:
        told = http.get("/star?code=s3cret-code", headers={"Authorization": "Bearer s3cret-token"}).headers
        http.get("/not-there/?code=s3cret-code")
    server.stop()
    log = server.log.read_text()
    lines = [json.loads(line) for line in log.splitlines() if not line.startswith("INFO:")]
    accesses = [line for line in lines if line["logger"] == "uvicorn.access" and line["path"] == "/star"]
    assert told["x-request-id"] in [line["request_id"] for line in accesses]
    assert "s3cret" not in log
