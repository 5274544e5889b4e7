"""What this site tells `manage.py mcp_doctor` of a request as it arrived here, behind every proxy.

Only a question is answered that is signed with SECRET_KEY, for this purpose and within this minute. To everybody else
the site answers as if this module did not exist. Whoever sees a question on its way and repeats it within that minute
learns how a request of their own arrived, and nothing else (docs/decisions/0036).
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from django.core import signing
from starlette.types import Receive, Scope, Send

from mcpapp import conf

HEADER = "Star-Doctor"
"""Of a request that asks; an answer has one of this name too, which a HEAD request gets as well."""
LIFE_SECONDS = 60
"""For how long a question is answered, by the clocks of both sides."""
EVENTS = 3
"""Of a stream: a proxy may pass on what comes with the headers, and keep what follows."""
GAP_SECONDS = 0.5
"""Between two of them."""
BODY_SECONDS = 30
"""How long a body may take to arrive."""
MAXIMUM_LENGTH = 400
"""Of a question: whatever is longer is none, and is not worth the arithmetic."""
MAXIMUM_TEXT_LENGTH = 300
"""Of each fact."""
NEEDED_HEADERS = (
    "accept",
    "content-type",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "user-agent",
)
"""Of a request to an MCP server, besides Authorization."""
STREAM_HEADERS = (
    (b"cache-control", b"no-cache, no-transform"),
    (b"connection", b"keep-alive"),
    (b"content-type", b"text/event-stream"),
    (b"x-accel-buffering", b"no"),
)
"""As the streams of calls have them, so that proxies treat both alike."""

_NAME = HEADER.lower().encode()
_QUESTION = "mcpapp.edge_mirror.question"
_ANSWER = "mcpapp.edge_mirror.answer"
_ACKNOWLEDGEMENT = "mcpapp.edge_mirror.acknowledgement"


class Kind(StrEnum):
    """What is asked for."""

    FACTS = "facts"
    """How the request looks here, with 200."""
    REFUSAL = "refusal"
    """The same with 401 and the headers that a client cannot do without, to see which of them come back."""
    STREAM = "stream"
    """`EVENTS` events, one at once and each other `GAP_SECONDS` after the one before it."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question; `nonce` ties the answer to it."""

    kind: Kind
    nonce: str


@dataclass(frozen=True, slots=True)
class Seen:
    """How a request looks to the application."""

    time: float
    method: str
    scheme: str
    host: str
    path: str
    root_path: str
    http_version: str
    client: str
    """The address that rate limits count."""
    forwarded_for: str
    forwarded_proto: str
    authorization: tuple[int, ...]
    """The length of each Authorization line; what they say is nobody's business."""
    headers: tuple[str, ...]
    """Those of `NEEDED_HEADERS` that arrived."""
    body_bytes: int
    body_is_whole: bool
    """Whether all of it was read: at most MCPAPP["MAXIMUM_BODY_BYTES"] is."""


# --- The doctor's side ------------------------------------------------------------------------------------------------


def ask(kind: Kind) -> tuple[Question, str]:
    """Return a question and the value of the header that asks it."""
    question = Question(kind, secrets.token_hex(8))
    document = {"kind": kind.value, "nonce": question.nonce, "at": int(time.time())}
    return question, signing.Signer(salt=_QUESTION).sign_object(document)


def acknowledges(question: Question, header: str) -> bool:
    """Return whether an answer's header of the name `HEADER` was made by this site, for this question."""
    try:
        return signing.Signer(salt=_ACKNOWLEDGEMENT).unsign(header) == question.nonce
    except signing.BadSignature:
        return False


def read(question: Question, body: str) -> Seen | None:
    """Return what an answer's body says; None if it is not the answer of this site to this question."""
    try:
        document = signing.Signer(salt=_ANSWER).unsign_object(json.loads(body)["seen"])
        if document.pop("nonce") != question.nonce:
            return None
        facts: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in document.items()
        }
        return Seen(**facts)
    except (signing.BadSignature, ValueError, LookupError, TypeError, RecursionError):
        return None


# --- The site's side --------------------------------------------------------------------------------------------------


def question_in(scope: Scope) -> Question | None:
    """Return the question of a request; None if it has none that is to be answered."""
    for name, value in scope["headers"]:
        if name == _NAME:
            return _question(value)
    return None


def _question(value: bytes) -> Question | None:
    if len(value) > MAXIMUM_LENGTH:
        return None
    try:
        document = signing.Signer(salt=_QUESTION).unsign_object(value.decode("latin-1"))
        if abs(time.time() - document["at"]) > LIFE_SECONDS:
            return None
        return Question(Kind(document["kind"]), document["nonce"])
    except (signing.BadSignature, ValueError, LookupError, TypeError):
        return None


async def answer(question: Question, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a question, whatever the rest of the request is."""
    acknowledgement = signing.Signer(salt=_ACKNOWLEDGEMENT).sign(question.nonce).encode()
    if question.kind is Kind.STREAM:
        await _stream(acknowledgement, send)
        return
    try:
        async with asyncio.timeout(BODY_SECONDS):
            size, is_whole = await _measured(receive, conf.maximum_body_bytes())
    except TimeoutError:
        size, is_whole = 0, False
    document = asdict(_seen(scope, size, is_whole=is_whole)) | {"nonce": question.nonce}
    body = json.dumps({"seen": signing.Signer(salt=_ANSWER).sign_object(document)}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (_NAME, acknowledgement),
    ]
    if question.kind is Kind.REFUSAL:
        headers += [(b"www-authenticate", b"Bearer"), (b"mcp-session-id", question.nonce.encode())]
    status = 401 if question.kind is Kind.REFUSAL else 200
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _stream(acknowledgement: bytes, send: Send) -> None:
    headers = [*STREAM_HEADERS, (_NAME, acknowledgement)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number in range(1, EVENTS + 1):
        await send({"type": "http.response.body", "body": b"data: %d\r\n\r\n" % number, "more_body": number < EVENTS})
        if number < EVENTS:
            await asyncio.sleep(GAP_SECONDS)


async def _measured(receive: Receive, most: int) -> tuple[int, bool]:
    """Return how much of a body arrives, up to `most` bytes, and whether that is all; nothing of it is kept."""
    size = 0
    while size <= most:
        message = await receive()
        if message["type"] != "http.request":
            return size, False
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            return size, size <= most
    return size, False


def _seen(scope: Scope, body_bytes: int, *, is_whole: bool) -> Seen:
    lines: list[tuple[bytes, bytes]] = scope["headers"]
    first = {name: value.decode("latin-1")[:MAXIMUM_TEXT_LENGTH] for name, value in reversed(lines)}
    client = scope.get("client")
    return Seen(
        time=time.time(),
        method=_text(scope, "method"),
        scheme=_text(scope, "scheme"),
        host=first.get(b"host", ""),
        path=_text(scope, "path"),
        root_path=_text(scope, "root_path"),
        http_version=_text(scope, "http_version"),
        client=str(client[0])[:MAXIMUM_TEXT_LENGTH] if client else "",
        forwarded_for=", ".join(value.decode("latin-1") for name, value in lines if name == b"x-forwarded-for")[
            -MAXIMUM_TEXT_LENGTH:
        ],
        forwarded_proto=first.get(b"x-forwarded-proto", ""),
        authorization=tuple(len(value) for name, value in lines if name == b"authorization"),
        headers=tuple(name for name in NEEDED_HEADERS if name.encode() in first),
        body_bytes=body_bytes,
        body_is_whole=is_whole,
    )


def _text(scope: Mapping[str, Any], name: str) -> str:
    return str(scope.get(name) or "")[:MAXIMUM_TEXT_LENGTH]
