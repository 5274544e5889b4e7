"""The mirror: it tells the doctor how a request arrived, and is nobody to everybody else.

Each is our choice: no specification knows of it. What matters is that a stranger learns and costs nothing.
"""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from django.core import signing

from mcpapp import edge_mirror, fast_path
from mcpapp.edge_mirror import HEADER, Kind, Question, Seen, acknowledges, ask, read
from tests.mcpapp.helpers import send
from tests.mcpapp.over_http import served

pytestmark = pytest.mark.anyio
PATHS = ("/star", "/star/", "/", "/o/token/", "/.well-known/oauth-protected-resource/star", "/nowhere")


def bare(response: httpx2.Response) -> tuple[int, dict[str, str], bytes]:
    """Everything of an answer but the name of its request, which no two have in common."""
    headers = {name: value for name, value in response.headers.items() if name != "x-request-id"}
    return response.status_code, headers, response.content


def asked(kind: Kind = Kind.FACTS) -> tuple[Question, dict[str, str]]:
    question, value = ask(kind)
    return question, {HEADER: value}


def signed(salt: str = "mcpapp.edge_mirror.question", key: str | None = None, **document: Any) -> str:
    """A question as anybody may make it who knows how, with a key of one's own."""
    content = {"kind": "facts", "nonce": "0" * 16, "at": int(time.time())} | document
    return signing.Signer(salt=salt, key=key).sign_object(content)


async def seen(endpoint: httpx2.AsyncClient, method: str = "POST", path: str = "/star", **options: Any) -> Seen:
    question, headers = asked()
    response = await endpoint.request(method, path, headers=headers | options.pop("headers", {}), **options)
    found = read(question, response.text)
    assert found is not None, response.text
    return found


# --- To whom it answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
async def test_a_signed_question_is_answered_on_every_path(endpoint: Any, path: str) -> None:
    """The positive control of the refusals: where a proxy leads a request is part of the question."""
    question, headers = asked()
    response = await endpoint.get(path, headers=headers)
    assert response.status_code == 200
    assert acknowledges(question, response.headers[HEADER])
    found = read(question, response.text)
    assert found is not None
    assert found.path == path


NOT_QUESTIONS = {
    "nothing": lambda: "",
    "no signature": lambda: "facts",
    "a wrong signature": lambda: ask(Kind.FACTS)[1][:-1] + "!",
    "another key": lambda: signed(key="somebody else's"),
    "another purpose": lambda: signed(salt="django.core.signing"),
    "an answer": lambda: signed(salt="mcpapp.edge_mirror.answer"),
    "an acknowledgement": lambda: signing.Signer(salt="mcpapp.edge_mirror.acknowledgement").sign("0" * 16),
    "yesterday's": lambda: signed(at=int(time.time()) - 61),
    "tomorrow's": lambda: signed(at=int(time.time()) + 62),
    "no time": lambda: signed(at=None),
    "an unknown kind": lambda: signed(kind="environment"),
    "something long": lambda: signed(nonce="0" * 400),
    "bytes": lambda: "\xff\xfe:\xff",
}


@pytest.mark.parametrize("what", NOT_QUESTIONS)
async def test_whatever_is_no_question_is_answered_byte_for_byte_as_if_it_were_not_there(
    endpoint: Any, what: str
) -> None:
    value = NOT_QUESTIONS[what]().encode("latin-1")
    for path in ("/star", "/.well-known/oauth-protected-resource/star", "/.well-known/openid-configuration"):
        for method in ("GET", "POST"):
            without = await endpoint.request(method, path)
            with_it = await endpoint.request(method, path, headers={HEADER: value})
            assert bare(with_it) == bare(without), (method, path)
            assert HEADER not in with_it.headers


async def test_a_call_with_a_token_and_no_question_is_a_call(endpoint: Any, token: str) -> None:
    answered = await send(endpoint, token, "tools/list")
    assert answered.status_code == 200
    assert HEADER not in answered.headers


async def test_a_question_is_answered_for_a_minute_by_the_clocks_of_both(endpoint: Any, monkeypatch: Any) -> None:
    question, headers = asked()
    now = time.time()
    for later, is_answered in ((59, True), (62, False), (-58, True), (-62, False)):
        monkeypatch.setattr(edge_mirror, "time", SimpleNamespace(time=lambda shift=later: now + shift))
        response = await endpoint.get("/star", headers=headers)
        assert (read(question, response.text) is not None) is is_answered, later


async def test_a_question_of_the_secret_key_before_is_answered(endpoint: Any, settings: Any) -> None:
    question, headers = asked()
    old, settings.SECRET_KEY = settings.SECRET_KEY, "another-one"
    assert (await endpoint.get("/star", headers=headers)).status_code == 401
    settings.SECRET_KEY_FALLBACKS = [old]
    assert (await endpoint.get("/star", headers=headers)).status_code == 200
    settings.SECRET_KEY = old
    assert question.kind is Kind.FACTS


# --- What it tells ----------------------------------------------------------------------------------------------------


async def test_it_tells_how_the_request_arrived(endpoint: Any) -> None:
    headers = {"Authorization": "Bearer abc", "X-Forwarded-For": "192.0.2.7", "Mcp-Session-Id": "s"}
    found = await seen(endpoint, path="/star/", content=b"12345", headers=headers)
    assert abs(found.time - time.time()) < 60
    assert found == Seen(
        time=found.time,
        method="POST",
        scheme="http",
        host="127.0.0.1:8000",
        path="/star/",
        root_path="",
        http_version="1.1",
        client="127.0.0.1",
        forwarded_for="192.0.2.7",
        forwarded_proto="",
        authorization=(10,),
        headers=("accept", "mcp-session-id", "user-agent"),
        body_bytes=5,
        body_is_whole=True,
    )


async def test_it_repeats_nothing_that_could_be_secret(endpoint: Any) -> None:
    """Who repeats a question that they saw learns how their own request arrived; they know what they sent."""
    _, headers = asked()
    secret = {"Authorization": "Bearer wholly-secret", "Cookie": "sessionid=wholly-secret"}
    first = await endpoint.post("/star?code=wholly-secret", headers=headers | secret, content=b"wholly-secret")
    assert first.status_code == 200
    told = signing.Signer(salt="mcpapp.edge_mirror.answer").unsign_object(json.loads(first.text)["seen"])
    assert "wholly-secret" not in json.dumps(told) + str(first.headers)
    assert set(told) == {*Seen.__dataclass_fields__, "nonce"}


async def test_who_repeats_a_question_gets_nothing_that_the_site_would_take_from_them(endpoint: Any) -> None:
    """Not a question that lives longer, no token, no cookie, no entry anywhere."""
    question, headers = asked()
    for _ in range(3):
        response = await endpoint.get("/star", headers=headers)
        assert "set-cookie" not in response.headers
        for value in (response.json()["seen"], response.headers[HEADER]):
            again = await endpoint.get("/star", headers={HEADER: value})
            assert again.status_code == 401
            assert acknowledges(question, again.headers.get(HEADER, "")) is False


async def test_an_answer_is_taken_only_from_this_site_and_for_this_question(endpoint: Any) -> None:
    question, headers = asked()
    response = await endpoint.get("/star", headers=headers)
    other, _ = ask(Kind.FACTS)
    assert read(question, response.text) is not None
    assert read(other, response.text) is None
    assert not acknowledges(other, response.headers[HEADER])
    for made_up in ("", "{}", "[]", '{"seen": 1}', '{"seen": "a:b"}', "[" * 100_000, response.text.replace(":", ";")):
        assert read(question, made_up) is None


async def test_a_refusal_has_what_a_client_cannot_do_without(endpoint: Any) -> None:
    question, headers = asked(Kind.REFUSAL)
    response = await endpoint.post("/star", headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["mcp-session-id"] == question.nonce
    assert read(question, response.text) is not None


async def test_no_answer_is_to_be_kept(endpoint: Any) -> None:
    for kind in Kind:
        response = await endpoint.get("/star", headers=asked(kind)[1])
        assert response.headers["cache-control"] in ("no-store", "no-cache, no-transform")


async def test_a_stream_begins_at_once_and_looks_like_that_of_a_call() -> None:
    from mcp.server import _streamable_http_modern as modern

    from config.asgi import application

    assert sorted(edge_mirror.STREAM_HEADERS) == sorted(fast_path._STREAM_HEADERS) == sorted(modern._SSE_HEADERS)
    question, headers = asked(Kind.STREAM)
    async with (
        served(application, lifespan="off") as address,
        httpx2.AsyncClient(trust_env=False) as client,
        client.stream("GET", f"{address}/star", headers=headers) as response,
    ):
        assert acknowledges(question, response.headers[HEADER])
        events = [chunk async for chunk in response.aiter_raw()]
    assert [event for event in events if event] == [b"data: 1\r\n\r\n", b"data: 2\r\n\r\n", b"data: 3\r\n\r\n"]


# --- What it costs ----------------------------------------------------------------------------------------------------


async def test_a_body_is_counted_up_to_the_limit_and_not_kept(endpoint: Any, settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "MAXIMUM_BODY_BYTES": 1000}
    whole = await seen(endpoint, content=b"x" * 1000)
    assert (whole.body_bytes, whole.body_is_whole) == (1000, True)
    most = await seen(endpoint, content=b"x" * 1001)
    assert most.body_is_whole is False


async def test_no_more_is_read_than_shows_that_it_is_too_much(settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "MAXIMUM_BODY_BYTES": 1000}
    read_so_far = 0

    async def receive() -> dict[str, Any]:
        nonlocal read_so_far
        read_so_far += 600
        return {"type": "http.request", "body": b"x" * 600, "more_body": True}

    assert (await answer_of(receive)).body_is_whole is False
    assert read_so_far == 1200


async def test_a_client_that_leaves_ends_the_reading() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    assert (await answer_of(receive)).body_is_whole is False


async def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: Any) -> None:
    import asyncio

    monkeypatch.setattr(edge_mirror, "BODY_SECONDS", 0.01)
    assert (await answer_of(asyncio.Event().wait)).body_bytes == 0


async def answer_of(receive: Any) -> Seen:
    question, value = ask(Kind.FACTS)
    sent: list[dict[str, Any]] = []

    async def keep(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/star", "headers": [(HEADER.lower().encode(), value.encode())]}
    found = edge_mirror.question_in(scope)
    assert found == question
    await edge_mirror.answer(found, scope, receive, keep)
    told = read(question, sent[1]["body"].decode())
    assert told is not None
    return told


async def test_facts_are_cut_where_somebody_makes_them_long(endpoint: Any) -> None:
    found = await seen(endpoint, path="/" + "a" * 5000, headers={"X-Forwarded-For": "b" * 5000})
    assert len(found.path) == len(found.forwarded_for) == edge_mirror.MAXIMUM_TEXT_LENGTH
