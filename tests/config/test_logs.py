"""What a line of the log says and what none ever does, whichever logger it comes from and however it got there."""

from __future__ import annotations

import base64
import io
import json
import logging
import secrets
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.test import RequestFactory
from django.utils.crypto import get_random_string
from oauth2_provider.generators import generate_client_id, generate_client_secret
from oauthlib.common import generate_token

from authapp.tokens import generate_access_token
from config import logs, request_ids
from config.masking import MASK, masked, masked_value
from config.middleware import told_of_in_logs
from mcpapp.bearer import nobody
from mcpapp.identity import Identity, acting_as
from tests.oauth import RESOURCE

LOGGERS = (
    "authapp.tokens",
    "mcpapp.asgi",
    "config.handler",
    "mcp.server",
    "django.request",
    "django.security.csrf",
    "django.db.backends",
    "oauth2_provider",
    "oauthlib",
    "allauth",
    "httpx2",
    "asyncio",
    "uvicorn.error",
    "py.warnings",
)

JWT = jwt.encode({"sub": "alice"}, "k" * 32)
BASIC = base64.b64encode(b"client:" + secrets.token_urlsafe(24).encode()).decode()
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----"
SESSION_KEY = get_random_string(32, "abcdefghijklmnopqrstuvwxyz0123456789")

BARE = {
    "access token": generate_access_token,
    "refresh token or code": generate_token,
    "client secret": generate_client_secret,
    "device code": lambda: secrets.token_urlsafe(32),
    "session key": lambda: get_random_string(32, "abcdefghijklmnopqrstuvwxyz0123456789"),
    "CSRF token": lambda: get_random_string(64),
    "ID token": lambda: JWT,
    "private key": lambda: PEM,
    "stored digest": lambda: secrets.token_hex(32),
}
"""Secrets that are found by their looks, wherever they stand."""

NAMED = {
    "a form": "grant_type=password&username=bob&password={}",
    "a form's dict": "{{'grant_type': 'refresh_token', 'refresh_token': '{}'}}",
    "JSON": '{{"client_secret": "{}"}}',
    "JSON in JSON": '{{\\\\"client_secret\\\\": \\\\"{}\\\\"}}',
    "keywords": "Client(client_id='x', client_secret='{}')",
    "a user code": "user_code={}",
    "a state": "state={}",
    "a verifier": "code_verifier={}",
    "a bearer header": "Authorization: Bearer {}",
    "a basic header": "authorization: Basic {}",
    "a header of no known scheme": "Authorization: {}",
    "ASGI headers": "[(b'host', b'x'), (b'authorization', b'Bearer {}'), (b'accept', b'y')]",
    "ASGI cookies": "[(b'cookie', b'sessionid={}; csrftoken=short')]",
    "a cookie": "Cookie: sessionid={}; theme=dark",
    "a cookie that is set": "Set-Cookie: sessionid={}; HttpOnly",
    "META": "{{'HTTP_AUTHORIZATION': 'Bearer {}', 'HTTP_COOKIE': 'a=b'}}",
    "a request": "<WSGIRequest: GET '/o/authorize/?client_id=x&code={}'>",
    "a redirect": "https://app.example/callback?code={}&state=y",
    "a fragment": "https://app.example/callback#access_token={}",
    "a path with a query": "GET /o/authorize/?whatever={} HTTP/1.1",
    "a password's link": "/accounts/password/reset/key/{}/",
    "a database's URL": "postgres://star:{}@db.example:5432/star",
    "Redis": "redis://:{}@cache.example/0",
    "an API key": "api_key: {}",
}
"""Secrets that may look like anything: `short` is a word."""


class Log:
    """Loggers of every kind that write to one text, as the site's settings have it."""

    def __init__(self, form: str) -> None:
        self.form = form
        self.stream = io.StringIO()
        handler = logging.StreamHandler(self.stream)
        handler.setFormatter(logs.formatter(form))
        self.handler = handler

    def text(self) -> str:
        return self.stream.getvalue()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture(params=logs.FORMATS)
def log(request: pytest.FixtureRequest) -> Iterator[Log]:
    log = Log(request.param)
    changed = [(logging.getLogger(name), logging.getLogger(name).level) for name in LOGGERS]
    for logger, _ in changed:
        logger.addHandler(log.handler)
        logger.setLevel(logging.DEBUG)
    yield log
    for logger, level in changed:
        logger.removeHandler(log.handler)
        logger.setLevel(level)


def tell_in_every_way(logger: logging.Logger, text: str) -> None:
    """As a message, an argument, what an exception says, its cause, and as what is handed over beside it."""
    logger.warning("%s", text)
    logger.warning(text.replace("%", "%%"))
    logger.info("Told of %r and %s", text, {"detail": text, "list": [text]})
    logger.error("Failed", extra={"status_code": text, "request": text})
    try:
        try:
            raise KeyError(text)
        except KeyError as cause:
            raise ValueError(f"The value {text} is bad") from cause
    except ValueError as error:
        error.add_note(text)
        logger.exception("It failed.")
        logger.error("It failed: %s", error, exc_info=error)


@pytest.mark.parametrize("name", LOGGERS)
def test_no_logger_tells_a_secret_in_any_way(log: Log, name: str) -> None:
    logger = logging.getLogger(name)
    told = []
    for make in BARE.values():
        secret = make()
        told.append(secret.splitlines()[len(secret.splitlines()) // 2])
        tell_in_every_way(logger, f"before {secret} after")
    for place in NAMED.values():
        for secret in ("pa55", "hunter-two", generate_token()):
            told.append(secret)
            tell_in_every_way(logger, "before " + place.format(secret))
    text = log.text()
    assert text.count("before") > 300, "all of it was logged"
    assert {secret for secret in told if secret in text} == set()
    assert MASK in text


@pytest.mark.parametrize("place", NAMED)
@pytest.mark.parametrize("secret", ["pa55", "hunter-two", "Zm9vYmFyYmF6cXV4MTIzNDU2"])
def test_a_secret_is_found_by_what_it_is_called_or_where_it_stands(place: str, secret: str) -> None:
    assert secret not in masked(NAMED[place].format(secret))


@pytest.mark.parametrize("kind", BARE)
@pytest.mark.parametrize("around", ["{}", "'{}'", "({})", "x={},", "at {}:"])
def test_a_secret_is_found_by_its_looks(kind: str, around: str) -> None:
    make: Callable[[], str] = BARE[kind]  # type: ignore[assignment]
    for _ in range(100):
        secret = make()
        assert secret not in masked(around.format(secret)), secret


@pytest.mark.parametrize(
    "text",
    [
        "The MCP server could not start.",
        "tools/call failed.",
        "Refused an access token for http://127.0.0.1:8000/star: issued for https://a.example/star, this is it.",
        f"A code of client {generate_client_id()} was replayed; its tokens are revoked.",
        f"Request {secrets.token_hex(16)} of trace {secrets.token_hex(8)}, {uuid.uuid4()}",
        '127.0.0.1:5 - "GET /.well-known/oauth-protected-resource/star HTTP/1.1" 200',
        "mcpapp.call_log.writer.MaximumWaitingBytes2026 test_a_name_of_many_words_2026_07_28",
        "More than 1000 requests in a second were refused; the others wait.",
        "What was noted at the door of /star could not be written.",
        "OperationalError: connection to server at db.example, port 5432 failed: timeout expired",
        '  File "/srv/star/mcpapp/call_log/writer.py", line 152, in _write_for_ever',
        "2026-07-28T12:00:00.123456+00:00 took 1.5 s, 20000 rows, code 400, state unknown",
    ],
)
def test_what_is_no_secret_stays_readable(text: str) -> None:
    assert masked(text) == text


def test_what_is_very_long_is_cut_before_it_is_looked_at() -> None:
    for hostile in ("a" * 10_000_000, "token=" * 1_000_000, "/?" * 1_000_000, "Bearer " * 100_000, "'" * 1_000_000):
        assert len(masked(hostile)) <= 30_000


def test_values_of_any_kind_are_masked_by_their_names_too() -> None:
    value = {"password": "pa55", "headers": [("cookie", "a=b"), "x"], "n": 5, "deep": {"access_token": b"abc"}}
    assert masked_value(value) == {
        "password": MASK,
        "headers": [["cookie", "a=b"], "x"],
        "n": 5,
        "deep": {"access_token": MASK},
    }
    assert "pa55" not in str(masked_value([object(), {"a": {"b": {"c": {"d": {"password": "pa55"}}}}}]))


# --- What a line says ----------------------------------------------------------------------------------------


def one_line(form: str = "json") -> Any:
    """Log one line; return it, decoded if it is JSON."""
    log = Log(form)
    logger = logging.getLogger("mcpapp.asgi")
    logger.addHandler(log.handler)
    try:
        logger.warning("It %s.", "happened", extra={"status_code": 400})
    finally:
        logger.removeHandler(log.handler)
    return log.lines()[0] if form == "json" else log.text()


def test_a_line_of_json_has_time_level_logger_and_text() -> None:
    line = one_line()
    assert line.pop("timestamp").endswith("Z")
    assert line == {"level": "warning", "logger": "mcpapp.asgi", "event": "It happened.", "status_code": 400}


def test_a_line_in_a_call_names_the_request_the_person_and_the_client() -> None:
    token = request_ids.current.set("request-1")
    identity = Identity(
        user=User(pk=7),
        user_id=7,
        client_id="the-client",
        client_name="",
        scopes=frozenset(),
        resource="",
        expires_at=0,
    )
    try:
        with acting_as(identity):
            line = one_line()
        assert (line["request_id"], line["user"], line["client"]) == ("request-1", "7", "the-client")
        with acting_as(nobody(RESOURCE)):
            assert {"user", "client"}.isdisjoint(one_line())
        assert "[request_id=request-1 status_code=400]" in one_line("text")
    finally:
        request_ids.current.reset(token)


def test_a_line_of_a_page_names_the_person_who_is_known_by_then_and_asks_no_database() -> None:
    lines = []

    def page(request: Any) -> HttpResponse:
        lines.append(one_line())
        request._cached_user = AnonymousUser()
        lines.append(one_line())
        request._cached_user = User(pk=3)  # as AuthenticationMiddleware leaves it
        lines.append(one_line())
        return HttpResponse()

    token = generate_access_token()
    request = RequestFactory().get("/o/authorize/", {"client_id": "the-client\nforged"})
    told_of_in_logs(page)(request)
    told_of_in_logs(page)(RequestFactory().get("/o/authorize/", {"client_id": token}))
    assert [line.get("user") for line in lines] == [None, None, "3"] * 2
    assert lines[0]["client"] == "the-clientforged"
    assert token not in json.dumps(lines)
    assert "client" not in one_line(), "the page is over"


def test_a_line_about_more_parameters_than_django_reads_is_a_line_all_the_same() -> None:
    lines = []
    request = RequestFactory().get("/o/authorize/?" + "a=1&" * 1001)
    told_of_in_logs(lambda _: lines.append(one_line()) or HttpResponse())(request)  # type: ignore[func-returns-value]
    assert lines[0]["event"] == "It happened."
    assert "client" not in lines[0]


def test_a_line_of_the_access_log_has_its_parts() -> None:
    log = Log("json")
    arguments = ("127.0.0.1:5", "GET", "/o/token/", "1.1", 200)
    record = logging.LogRecord("uvicorn.access", logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d', arguments, None)
    log.handler.handle(record)
    [line] = log.lines()
    assert line["event"] == '127.0.0.1:5 - "GET /o/token/ HTTP/1.1" 200'
    assert (line["address"], line["method"], line["path"], line["status"]) == ("127.0.0.1:5", "GET", "/o/token/", 200)


def test_a_level_that_there_is_not_stops_the_start() -> None:
    with pytest.raises(ImproperlyConfigured, match="LOG_LEVEL"):
        logs.settings("LOUD", "json")
