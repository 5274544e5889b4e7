"""Servers that mean harm: every answer has an end, nothing reaches the terminal, and no error is one of ours."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mcpapp.doctor.reading import bearer_parameters, schemes, title_of
from mcpapp.doctor.report import Finding, Level, Report
from mcpapp.doctor.secrecy import HIDDEN, Secrets
from mcpapp.doctor.target import Target
from mcpapp.doctor.way import examine
from mcpapp.doctor.web import MAXIMUM_BYTES, Unreachable, Web
from tests.mcpapp.doctor.conftest import Clinic, without_edge, wrong
from tests.mcpapp.doctor.proxy import Asked, Forward, Reply
from tests.mcpapp.doctor.test_others import examined
from tests.star.hostile_server import kinds
from tests.star.shell import running

pytestmark = pytest.mark.live

ESCAPES = "\x1b[2J\x1b]0;owned\x07\u202egnol"


@pytest.mark.parametrize("kind", [kind for kind in kinds("http://127.0.0.1") if kind != "fine"])
async def test_whatever_a_server_answers_there_is_a_report(kind: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running("tests.star.hostile_server", kind, log=log) as port:
        report = await examined(f"http://127.0.0.1:{port}/mcp")
    assert not report.is_healthy
    json.loads(report.as_json())
    for text in (report.as_text(), report.as_json()):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert len(text) < 500_000
    assert "/stolen" not in log.read_text(), "no redirect is followed with a secret"


async def test_escapes_of_a_server_are_spelled_out(clinic: Clinic) -> None:
    def fault(asked: Asked, forward: Forward) -> Reply:
        if asked.path == "/o/register/":
            return Reply.of_json({"error": ESCAPES, "error_description": ESCAPES}, 400)
        return Reply.page(ESCAPES, 403) if asked.path == "/star" else forward(asked)

    report = await clinic.examined(fault, "vscode")
    assert "\\x1b[2J" in report.as_text(), "they were met"
    for text in (report.as_text(), report.as_json()):
        assert not set(text) & {"\x1b", "\x07", "\u202e"}


async def test_halves_of_characters_and_header_breaks_in_what_is_sent_on(clinic: Clinic) -> None:
    def fault(asked: Asked, forward: Forward) -> Reply:
        reply = forward(asked)
        if asked.path == "/o/register/" and reply.status == 201:
            return reply.saying(client_id="\ud800\r\nX: y", registration_access_token="a\r\nb: \ud800")
        return reply

    report = await clinic.examined(fault, "vscode", "claude")
    json.loads(report.as_json())
    assert "authorization.refused" in wrong(report)


async def test_metadata_that_leads_to_this_machine_from_elsewhere_is_not_asked() -> None:
    walk = Target("https://server.example/mcp")
    report = Report(walk.url)
    async with Web(report.secrets) as web:
        from mcpapp.doctor.walk import Walk

        asking = Walk(web, walk, report, [])
        for url in (
            "http://127.0.0.1/",
            "https://localhost/x",
            "http://[::1]:8000/",
            "http://other.example/",
            "ftp://x",
        ):
            assert not asking.may_ask(url), url
        assert asking.may_ask("https://login.example/o/token/")


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve one connection after another by hand."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                try:
                    answer(connection)
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


async def test_an_answer_that_never_ends_is_read_no_further_than_the_limit() -> None:
    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with answering(endless) as url:
        async with Web() as web:
            answer = await web.request("GET", url)
    assert len(answer.body) == MAXIMUM_BYTES
    assert not answer.is_whole


async def test_a_server_that_answers_byte_by_byte_is_given_up() -> None:
    stop = threading.Event()

    def slow(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not stop.wait(0.05):
            connection.sendall(b"x")

    with answering(slow) as url:
        async with Web(seconds=0.5) as web:
            with pytest.raises(Unreachable, match="no whole answer came within") as raised:
                await web.request("GET", url)
        stop.set()
    assert raised.value.kind == "timeout"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda connection: connection.sendall(b"220 mail ready\r\n"), "protocol"),
        (lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"), "protocol"),
        (lambda connection: None, "protocol"),
    ],
    ids=["no HTTP", "cut short", "silent"],
)
async def test_what_is_no_http_is_said_in_plain_words(answer: Callable[[socket.socket], None], kind: str) -> None:
    with answering(answer) as url:
        async with Web(seconds=5) as web:
            with pytest.raises(Unreachable) as raised:
                await web.request("GET", url)
    assert raised.value.kind == kind


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://127.0.0.1:1/", "refused"),
        ("http://nowhere.invalid/", "dns"),
        ("http://127.0.0.1:99999/", "url"),
        ("http://[::1", "url"),
        ("/only-a-path", "network"),
        ("ftp://127.0.0.1/", "network"),
    ],
)
async def test_what_cannot_be_asked_is_said_in_plain_words(url: str, kind: str) -> None:
    async with Web(seconds=5) as web:
        with pytest.raises(Unreachable) as raised:
            await web.request("GET", url)
    assert raised.value.kind == kind
    assert "Traceback" not in str(raised.value)


async def test_a_compressed_answer_is_inflated_to_the_limit_and_no_further() -> None:
    import gzip

    bomb = gzip.compress(b"x" * (50 * MAXIMUM_BYTES))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    with answering(lambda connection: connection.sendall(head + bomb)) as url:
        async with Web() as web:
            answer = await web.request("GET", url)
    assert len(answer.body) == MAXIMUM_BYTES
    assert not answer.is_whole


async def test_a_cookie_of_one_answer_is_not_in_the_next_request(clinic: Clinic) -> None:
    """Else what should be seen as a stranger would be seen as the person."""
    clinic.proxy.seen = []
    clinic.proxy.fault = lambda asked, forward: Reply.page("x", 200).with_header("Set-Cookie", "sessionid=abc; Path=/")
    async with Web() as web:
        answer = await web.request("GET", f"{clinic.proxy.url}/")
        assert answer.headers["set-cookie"] == "sessionid=abc; Path=/"
        await web.request("GET", f"{clinic.proxy.url}/")
    assert [asked.header("cookie") for asked in clinic.proxy.seen] == ["", ""]


async def test_two_walks_at_once_do_not_share_anything(clinic: Clinic) -> None:
    reports = [Report(clinic.url), Report(clinic.url)]

    async def walk(report: Report) -> None:
        async with Web(report.secrets) as web:
            await examine(web, Target(clinic.url, is_own_site=True), report, [], clinic.inside)

    with without_edge():
        await asyncio.gather(*map(walk, reports))
    assert [wrong(report) for report in reports] == [{}, {}]


def test_reading_long_headers_and_pages_takes_no_time_to_speak_of() -> None:
    """Quadratic readers would take minutes; no time is asserted beyond the suite's own limit."""
    from mcpapp.doctor.pages import Page
    from mcpapp.doctor.web import Answer

    began = time.monotonic()
    assert isinstance(bearer_parameters('Bearer a="' * 100_000), dict)
    assert isinstance(schemes("Basic " * 100_000), list)
    import httpx2

    for filling in (b"<title>", b"<", b"<a href='", b"<!--", b"<form ", b"&#"):
        body = (filling * MAXIMUM_BYTES)[:MAXIMUM_BYTES]
        answer = Answer(200, httpx2.Headers({"content-type": "text/html"}), body, 0, "HTTP/1.1", "http://x/")
        assert isinstance(title_of(answer), str)
        assert Page(answer).consent() is None
    assert time.monotonic() - began < 60


# --- What is hidden ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "code=SplxlOBeZQQYbYS6WxSbIA",
        '{"access_token": "SplxlOBeZQQYbYS6WxSbIA"}',
        "Authorization: Bearer SplxlOBeZQQYbYS6WxSbIA",
        "https://x/?state=1&code=SplxlOBeZQQYbYS6WxSbIA&iss=y",
        "sessionid=SplxlOBeZQQYbYS6WxSbIA; Path=/",
    ],
)
def test_what_looks_like_a_secret_is_hidden_though_nobody_said_so(text: str) -> None:
    hidden = Secrets().hide(text)
    assert "SplxlOBe" not in hidden
    assert HIDDEN in hidden


def test_our_own_words_are_not_taken_for_secrets() -> None:
    from mcpapp.doctor.checks import CHECKS
    from mcpapp.doctor.proxies import FIXES, fix

    told = [words for check in CHECKS.values() for words in (check.well, check.why, check.fix)]
    for words in (*told, *(fix(name, "https://server.example/star", "") for name in FIXES)):
        if words:
            assert Secrets().hide(words) == words


def test_a_secret_that_becomes_known_later_is_hidden_in_what_was_said_before() -> None:
    report = Report("https://server.example/mcp")
    report.add("Token", Finding("token.refused", Level.ERROR, "The server said opaque-and-short-lived-1."))
    assert "opaque-and-short-lived-1" in report.as_text(), "nobody knew"
    report.secrets.add("opaque-and-short-lived-1")
    assert "opaque-and-short-lived-1" not in report.as_text() + report.as_json()
