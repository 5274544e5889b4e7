"""Django's pages in threads under ASGI."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest
from django.core.signals import request_finished, request_started
from django.db import connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path
from django.utils.translation import get_language

from config import handler as handler_module
from config.handler import ThreadedHandler, read_body

meeting = threading.Barrier(2)
seen: list[Any] = []


def language(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{get_language()} {threading.current_thread().name}")


def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body, content_type="application/octet-stream")


def reads_query(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.GET)))


def meet(request: HttpRequest) -> HttpResponse:
    meeting.wait(10)
    return HttpResponse("met")


def stream(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[bytes]:
        for part in (b"a", b"b", b"c"):
            yield part

    return StreamingHttpResponse(parts())


async def asynchronous(request: HttpRequest) -> HttpResponse:
    await anyio.lowlevel.checkpoint()
    return HttpResponse("async")


def fail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("on purpose")


urlpatterns = [
    path("language", language),
    path("echo", echo),
    path("reads-query", reads_query),
    path("meet", meet),
    path("stream", stream),
    path("asynchronous", asynchronous),
    path("fail", fail),
]


@pytest.fixture
def site(settings: Any) -> Iterator[ThreadedHandler]:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["django.middleware.locale.LocaleMiddleware"]
    settings.DEBUG = False
    handler = ThreadedHandler()
    yield handler
    handler._threads.submit(connections.close_all).result()
    handler._threads.shutdown()


@pytest.fixture
async def http(site: ThreadedHandler) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(site)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        yield client


async def test_a_request_is_answered_in_a_thread_of_the_pool(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/language")).text == "en django_0"
    assert (await http.post("/echo", content=b"body")).content == b"body"
    assert (await http.get("/stream")).content == b"abc"
    assert (await http.get("/asynchronous")).text == "async"
    assert (await http.get("/fail")).status_code == 500


@pytest.mark.parametrize("content_type", ["text/plain", "text/plain; charset=utf-16", "text/plain; charset=none"])
async def test_a_query_with_too_many_fields_is_a_client_error(http: httpx2.AsyncClient, content_type: str) -> None:
    """With a charset Django reads the query while it makes the request, where it expects no such error."""
    headers = {"Content-Type": content_type}
    assert (await http.get("/language?a=1", headers=headers)).status_code == 200
    assert (await http.get("/reads-query?" + "a=1&" * 1200, headers=headers)).status_code == 400


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that has just answered may not count as free yet, and the next request gets another one."""
    monkeypatch.setattr(handler_module, "THREADS", 1)


async def test_what_one_request_sets_another_in_the_same_thread_does_not_see(
    one_thread: None, http: httpx2.AsyncClient
) -> None:
    for asked, given in (("zh-hans", "zh-hans"), ("fr", "en"), ("zh-hans", "zh-hans"), ("", "en")):
        text = (await http.get("/language", headers={"Accept-Language": asked})).text
        assert text == f"{given} django_0"


async def test_two_requests_are_under_way_at_once(http: httpx2.AsyncClient) -> None:
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(http.get, "/meet")


async def test_a_request_begins_and_ends_with_its_signals_in_its_own_thread(http: httpx2.AsyncClient) -> None:
    """They open and close database connections, which belong to threads."""

    def note(sender: Any, signal: Any, **kwargs: Any) -> None:
        seen.append((sender, signal is request_started, threading.current_thread().name))

    seen.clear()
    for signal in (request_started, request_finished):
        signal.connect(note)
    try:
        for url in ("/language", "/stream", "/fail"):
            await http.get(url)
    finally:
        for signal in (request_started, request_finished):
            signal.disconnect(note)
    assert [one[:2] for one in seen] == [(ThreadedHandler, True), (ThreadedHandler, False)] * 3
    threads = [one[2] for one in seen]
    assert {name.rpartition("_")[0] for name in threads} == {"django"}
    for request in (0, 2):  # a streamed answer ends after it was sent, in whichever thread is free then
        assert threads[2 * request] == threads[2 * request + 1]


async def test_a_body_that_is_too_large_is_refused_and_not_kept(
    http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler_module, "MAXIMUM_BODY_BYTES", 1000)

    async def chunks(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x" * 100

    assert (await http.post("/echo", content=chunks(10))).status_code == 200
    assert (await http.post("/echo", content=chunks(11))).status_code == 400
    assert (await http.post("/language", content=chunks(11))).status_code == 200, "who does not read it is not hurt"


async def test_the_rest_of_a_body_that_is_too_large_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler_module, "MAXIMUM_BODY_BYTES", 1000)
    messages = [{"type": "http.request", "body": b"x" * 100, "more_body": True} for _ in range(50)]
    messages[-1]["more_body"] = False

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    assert await read_body(receive) is None
    assert messages == []


async def test_nothing_is_kept_of_a_body_that_announces_itself_as_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler_module, "MAXIMUM_BODY_BYTES", 1000)
    messages = [{"type": "http.request", "body": b"x", "more_body": False} for _ in range(2)]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    assert await read_body(receive, 1001) is None
    assert await read_body(receive, 1000) == b"x"


async def test_a_body_that_does_not_arrive_in_time_is_answered_408(
    site: ThreadedHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler_module, "BODY_SECONDS", 0.05)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await anyio.sleep_forever()
        raise AssertionError("unreachable")

    async def send(message: Any) -> None:
        sent.append(message)

    with anyio.fail_after(10):
        await site({"type": "http", "method": "POST", "path": "/echo", "headers": []}, receive, send)
    assert sent[0]["status"] == 408


async def test_a_client_that_goes_away_early_starts_nothing(site: ThreadedHandler) -> None:
    messages = [{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        raise AssertionError(message)

    def note(**kwargs: Any) -> None:
        raise AssertionError("a request started")

    request_started.connect(note)
    try:
        await site({"type": "http", "method": "POST", "path": "/echo", "headers": []}, receive, send)
    finally:
        request_started.disconnect(note)


@pytest.mark.live
def test_a_slow_upload_holds_no_thread(live_server_url: str) -> None:
    """More connections than threads send half a request; everybody else is answered."""
    import socket
    from urllib.parse import urlsplit

    address = urlsplit(live_server_url)
    assert address.hostname
    assert address.port
    slow = []
    try:
        for _ in range(handler_module.THREADS * 2):
            connection = socket.create_connection((address.hostname, address.port))
            connection.sendall(b"POST /o/token/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\ngrant_type=")
            slow.append(connection)
        assert httpx2.get(f"{live_server_url}/accounts/login/", trust_env=False, timeout=10).status_code == 200
    finally:
        for connection in slow:
            connection.close()


def test_servers_are_started_on_it() -> None:
    from config.asgi import django_application

    assert type(django_application) is ThreadedHandler
