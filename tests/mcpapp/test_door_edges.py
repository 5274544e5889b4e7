"""What /star must not lose before a tool runs."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx2
import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError

from mcpapp import verifier
from mcpapp.access import Access
from mcpapp.asgi import ResourceServer
from mcpapp.body import Body
from mcpapp.identity import acting_as
from mcpapp.registry import Catalog
from mcpapp.verifier import InvalidToken, Verifier, with_implied
from tests.mcpapp.helpers import MODERN, call, make_token, message, send, serving
from tests.mcpapp.over_http import serving_over_http
from tests.mcpapp.test_door import parameters
from tests.oauth import RESOURCE

pytestmark = pytest.mark.anyio


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What a TOKEN_LOOKUP that checks nothing itself returns."""
    info = SimpleNamespace(
        user=SimpleNamespace(is_active=True, pk=1),
        client_id="c",
        client_name="",
        scopes=["mcp:tools"],
        resource=[RESOURCE],
        expires_at=int(time.time()) + 60,
    )

    async def lookup(token: str) -> Any:
        return info

    monkeypatch.setattr(verifier.conf, "token_lookups", lambda: (lookup,))
    return info


async def test_the_resource_server_checks_for_itself_what_a_lookup_returns(found: SimpleNamespace) -> None:
    assert (await Verifier().verify("token", RESOURCE)).client_id == "c"
    found.expires_at = int(time.time()) - 1
    with pytest.raises(InvalidToken):
        await Verifier().verify("token", RESOURCE)
    found.expires_at += 60
    found.user.is_active = False
    with pytest.raises(InvalidToken):
        await Verifier().verify("token", RESOURCE)


def test_scopes_imply_one_another_to_any_depth_and_in_a_circle(settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "IMPLIED_SCOPES": {"a": ["b"], "b": ["c"], "c": ["a"]}}
    assert with_implied(["a", "x"]) == {"a", "b", "c", "x"}
    assert with_implied([]) == frozenset()


@pytest.mark.parametrize("origin", ["http://127x0y0z1", "http://localhost:123456", "http://localhost:1/", "file://"])
async def test_an_origin_that_resembles_loopback_is_answered_403(endpoint: httpx2.AsyncClient, origin: str) -> None:
    assert (await endpoint.post("/star", headers={"Origin": origin})).status_code == 403
    assert (await endpoint.post("/star", headers={"Origin": "http://[::1]:6274"})).status_code == 401
    assert (await endpoint.post("/star", headers={"Origin": "http://127.0.0.1:8000"})).status_code == 401


@pytest.mark.parametrize("allowed", ["*", "https://app.example"])
def test_the_settings_can_let_in_further_web_pages(settings: Any, allowed: str) -> None:
    assert not ResourceServer()._origin_allowed("https://app.example")
    settings.MCPAPP = {**settings.MCPAPP, "ALLOWED_ORIGINS": [allowed]}
    assert ResourceServer()._origin_allowed("https://app.example")


async def test_options_without_a_preflight_says_what_is_allowed(endpoint: httpx2.AsyncClient) -> None:
    response = await endpoint.options("/star")
    assert response.status_code == 204
    assert "POST" in response.headers["allow"]
    assert (await endpoint.options("/star", headers={"Origin": "https://evil.example"})).status_code == 403


async def test_a_database_that_is_away_is_503_and_not_a_bad_token(
    endpoint: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def away(token: str) -> None:
        raise OperationalError("the database is away")

    monkeypatch.setattr(verifier.conf, "token_lookups", lambda: (away,))
    response = await send(endpoint, "token", "tools/list")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert response.headers["cache-control"] == "no-store"
    assert "www-authenticate" not in response.headers, "signing in again would not help"
    [told] = [record for record in caplog.records if record.name == "mcpapp.bearer"]
    assert told.getMessage().endswith("did not answer: the database is away")
    assert told.exc_info is None, "an outage is a line for each call, not a traceback"


async def test_every_refusal_is_kept_out_of_caches(endpoint: httpx2.AsyncClient, alice: Any) -> None:
    token = await sync_to_async(make_token)(alice)
    for response in (
        await endpoint.post("/star"),
        await send(endpoint, "unknown", "tools/list"),
        await endpoint.get("/star", headers={"Authorization": f"Bearer {token}"}),
        await endpoint.post("/star", headers={"Host": "evil.example"}),
        await endpoint.post("/star", headers={"Origin": "https://evil.example"}),
    ):
        assert response.status_code in {401, 403, 405, 421}
        assert response.headers["cache-control"] == "no-store"


@pytest.fixture
async def without_lifespan(transactional_db: None) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(ResourceServer())
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        yield client


async def test_a_server_that_was_not_started_says_so(without_lifespan: httpx2.AsyncClient, alice: Any) -> None:
    token = await sync_to_async(make_token)(alice)
    assert (await send(without_lifespan, token, "tools/list")).status_code == 503


async def test_the_server_stops_with_its_lifespan_and_can_start_again() -> None:
    server = ResourceServer()
    for _ in range(2):
        async with server.running():
            assert server._server is not None
        assert server._server is None


async def lifespan(server: ResourceServer, *events: str) -> list[dict[str, Any]]:
    pending, sent = [{"type": f"lifespan.{event}"} for event in events], []

    async def receive() -> dict[str, Any]:
        return pending.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await server({"type": "lifespan"}, receive, send)
    return sent


async def test_the_lifespan_starts_and_stops_the_server() -> None:
    sent = await lifespan(ResourceServer(), "startup", "shutdown")
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_start_that_fails_is_told_to_the_asgi_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no tools")

    monkeypatch.setattr("mcpapp.asgi.build_server", fail)
    sent = await lifespan(ResourceServer(), "startup")
    assert sent == [{"type": "lifespan.startup.failed", "message": "no tools"}]


async def test_stepping_up_loses_no_scope_and_names_only_those_of_this_resource(
    endpoint: httpx2.AsyncClient, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from config.asgi import resource_server

    known = resource_server.catalog.tools
    narrow = replace(known["public-info"], name="narrow", access=Access(scopes=frozenset({"mcp:write"})))
    monkeypatch.setattr(resource_server, "catalog", Catalog({**known, "narrow": narrow}, {}, {}))
    monkeypatch.setattr(resource_server, "_all_scopes", frozenset({"mcp:tools", "mcp:write"}))
    token = await sync_to_async(make_token)(alice, scope="mcp:tools offline_access")
    response = await send(endpoint, token, "tools/call", {"name": "narrow", "arguments": {}})
    assert response.status_code == 403
    assert parameters(response)["scope"] == "mcp:tools mcp:write"
    assert parameters(response)["error_description"] == "This needs the scope mcp:write."


@pytest.mark.parametrize("params", [5, None, [], {"name": ["public-info"]}, {"name": {}}], ids=str)
async def test_a_call_that_is_none_is_left_to_the_sdk(endpoint: httpx2.AsyncClient, alice: Any, params: Any) -> None:
    token = await sync_to_async(make_token)(alice, scope="offline_access")
    request = message("tools/call")
    request["content"] = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    request["headers"]["Authorization"] = f"Bearer {token}"
    response = await endpoint.post("/star", **request)
    assert response.status_code < 500


async def test_a_body_in_pieces_arrives_whole(endpoint: httpx2.AsyncClient, alice: Any) -> None:
    token = await sync_to_async(make_token)(alice, scope="offline_access")
    request = message("tools/call", {"name": "public-info", "arguments": {}})
    body = request["content"].encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 7):
            yield body[start : start + 7]

    headers = request["headers"] | {"Authorization": f"Bearer {token}"}
    response = await endpoint.post("/star", content=pieces(), headers=headers)
    assert response.status_code == 200
    assert 'isError":true' not in response.text


@pytest.mark.parametrize("begun", [b"", b'{"jsonrpc":'], ids=["nothing", "a part"])
async def test_a_body_that_does_not_arrive_in_time_is_waited_for_no_longer(
    transactional_db: None, alice: Any, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr("mcpapp.body.BODY_SECONDS", 0.05)
    token = await sync_to_async(make_token)(alice)

    async def stalling() -> AsyncIterator[bytes]:
        yield begun
        await asyncio.sleep(60)

    async with serving() as endpoint:
        headers = message("ping")["headers"] | {"Authorization": f"Bearer {token}"}
        with anyio.fail_after(10):
            response = await endpoint.post("/star", content=stalling(), headers=headers)
        assert response.status_code == 408
        assert response.headers["connection"] == "close"
        assert (await send(endpoint, token, "ping")).status_code == 200


async def test_reading_ahead_stops_at_the_limit(alice: Any, settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "MAXIMUM_BODY_BYTES": 1000}
    read = 0

    async def endless() -> dict[str, Any]:
        nonlocal read
        read += 1
        assert read < 50, "it reads on and on"
        return {"type": "http.request", "body": b"x" * 100, "more_body": True}

    body = await Body.read(endless, 1000)  # type: ignore[arg-type]
    assert body.message is None
    assert read == 11


def test_who_is_calling_ends_with_the_call() -> None:
    from mcpapp.identity import NotAuthenticated, current_identity

    with acting_as(SimpleNamespace()):  # type: ignore[arg-type]
        assert current_identity()
    with pytest.raises(NotAuthenticated):
        current_identity()


async def test_a_scheme_is_compared_without_regard_to_case(endpoint: httpx2.AsyncClient, alice: Any) -> None:
    token = await sync_to_async(make_token)(alice)
    for scheme in ("bearer", "BEARER"):
        request = message("tools/list")
        request["headers"]["Authorization"] = f"{scheme} {token}"
        assert (await endpoint.post("/star", **request)).status_code == 200
    assert (await call(endpoint, token, "public-info")) is not None


@pytest.mark.parametrize("token", ["a b", "a,b", "x" * 17_000, "é", "a=b"], ids=lambda token: ascii(token)[:9])
async def test_what_cannot_be_a_token_is_not_looked_up(
    endpoint: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    looked_up: list[str] = []

    async def lookup(token: str) -> None:
        looked_up.append(token)

    monkeypatch.setattr(verifier.conf, "token_lookups", lambda: (lookup,))
    response = await endpoint.post("/star", headers={"Authorization": f"Bearer {token}".encode()})
    assert (response.status_code, looked_up) == (401, [])


@pytest.mark.parametrize("scope", ["mcp:write", "offline_access"], ids=["all scopes", "few scopes"])
async def test_the_limit_of_a_body_is_the_one_of_the_settings(
    transactional_db: None, alice: Any, settings: Any, scope: str
) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "MAXIMUM_BODY_BYTES": 1000}
    server = ResourceServer()
    token = await sync_to_async(make_token)(alice, scope=scope)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    async with (
        server.running(),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(server), base_url="http://127.0.0.1:8000") as client,
    ):
        assert (await client.post("/star", content=b"x" * 1001, headers=headers)).status_code == 413


async def test_a_lookup_of_the_site_that_crashes_is_503_and_tells_nothing(
    endpoint: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(token: str) -> None:
        raise KeyError("secret of the site")

    monkeypatch.setattr(verifier.conf, "token_lookups", lambda: (crash,))
    response = await send(endpoint, "token", "tools/list")
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert "secret" not in response.text


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("era", ["legacy", MODERN])
async def test_a_client_that_leaves_before_the_end_of_its_body_leaves_no_traceback(
    alice: Any, era: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line of a log has to be read by somebody; anybody who is signed in could make dozens with each request."""
    token = await sync_to_async(make_token)(alice)
    made = message("tools/list", era=era)
    headers = made["headers"] | {"Host": "127.0.0.1", "Authorization": f"Bearer {token}", "Connection": "close"}
    body = made["content"].encode()
    head = "POST /star HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())

    async with serving_over_http() as url:
        monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)

        async def send_some(count: int) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:count])
            if count == len(body):
                answer = await asyncio.wait_for(reader.read(), 5)
            else:
                writer.write_eof()
                answer = b""
            writer.close()
            await writer.wait_closed()
            return answer

        for count in (0, 1, len(body) - 1):
            await send_some(count)
        assert b" 200 OK" in await send_some(len(body))
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
