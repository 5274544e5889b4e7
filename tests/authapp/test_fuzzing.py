"""Fuzzing: sound requests, mutated in one place or several, sent through the final ASGI application.

A request is spelled as bytes, the way a socket delivers it. What may happen is judged here by rules of our own, never
by the code under test. `FUZZ_REQUESTS` says about how many requests are made (default 1,500, always the same ones;
any other number draws anew), e.g. `FUZZ_REQUESTS=20000 make test ARGS="tests/authapp/test_fuzzing.py -rP"`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import re
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qsl, quote_plus, unquote_plus, urlencode, urlsplit

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.signals import got_request_exception, request_finished, request_started
from django.db import close_old_connections, transaction
from django.urls import Resolver404, resolve
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from oauth2_provider.models import get_access_token_model, get_grant_model

from authapp.models import Application, TokenFamily
from tests.devices import DEVICE_CODE
from tests.oauth import CALLBACK, HOST, ISSUER, PKCE, RESOURCE, authorize, browser, connected, registered

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "1500"))
pytestmark = [pytest.mark.django_db, pytest.mark.timeout(max(300, REQUESTS // 20))]

WEB_CALLBACK = "https://app.example/oauth/cb?tenant=1"
CURSOR = "cursor://anysphere.cursor-mcp/oauth/callback"
OUR_RESOURCES = {RESOURCE, RESOURCE.replace("127.0.0.1", "localhost")}
OUR_ISSUERS = {ISSUER, ISSUER.replace("127.0.0.1", "localhost")}
CSRF = secrets.token_hex(16)
FORM = "application/x-www-form-urlencoded"

# RFC 6749 §4.1.2.1 and §5.2, RFC 7591 §3.2.2, RFC 6750 §3.1, RFC 7009 §2.2.1, RFC 8707 §2, RFC 8628 §3.5.
MACHINE_ERRORS = {
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_token_type",
    "invalid_scope",
    "invalid_target",
    "invalid_token",
    "insufficient_scope",
    "invalid_redirect_uri",
    "invalid_client_metadata",
    "access_denied",
    "authorization_pending",
    "slow_down",
    "expired_token",
    "temporarily_unavailable",
}
DESCRIPTION = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]*")  # RFC 6749 §5.2; RFC 7591 §3.2.2 wants ASCII as well


# --- What is sent, and what comes back ----------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """One request, as an ASGI server hands it on."""

    method: str
    path: str
    query: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""

    def header(self, name: bytes) -> bytes:
        return b", ".join(value for known, value in self.headers if known == name)

    def parameters(self, text: bytes) -> list[tuple[str, str]]:
        return parse_qsl(text.decode("utf-8", "replace"), keep_blank_values=True, errors="replace")


@dataclass
class Answer:
    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str:
        return ", ".join(value for known, value in self.headers if known == name)

    def json(self) -> Any:
        return json.loads(self.body)


def send(sent: Sent) -> Answer:
    """Send a request through config.asgi. Raises: whatever a view did not handle."""
    from config.asgi import application, django_application

    answer, raised = Answer(), []

    def note(sender: Any, request: Any = None, **kwargs: Any) -> None:
        import sys

        raised.append(sys.exc_info()[1])

    # The one header that an HTTP server answers for itself; a chunked request has none.
    chunked = sent.header(b"transfer-encoding") or not sent.body
    length = [] if chunked else [(b"content-length", str(len(sent.body)).encode())]

    async def run() -> None:
        messages = [{"type": "http.request", "body": sent.body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

        async def collect(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = [(name.decode().lower(), value.decode()) for name, value in message["headers"]]
            else:
                answer.body += message.get("body", b"")

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": sent.method,
            "scheme": "http",
            "path": sent.path,
            "raw_path": sent.path.encode("utf-8", "replace"),
            "query_string": sent.query,
            "headers": [*sent.headers, *length],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8000),
        }
        # In the thread of the test, whose transaction holds what is asked for.
        with patch.object(django_application, "run_in_thread", sync_to_async(lambda f, *given: f(*given))):
            await application(scope, receive, collect)

    got_request_exception.connect(note)
    for signal in (request_started, request_finished):  # as Django's test client does: the transaction must live on
        signal.disconnect(close_old_connections)
    try:
        async_to_sync(run)()
    finally:
        got_request_exception.disconnect(note)
        for signal in (request_started, request_finished):
            signal.connect(close_old_connections)
    if raised:
        raise raised[0]
    assert 200 <= answer.status < 500, answer
    return answer


@pytest.fixture(autouse=True)
def _documents(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Identifiers may be URLs, as in production; no name can be resolved."""
    settings.OAUTH2_PROVIDER = {**settings.OAUTH2_PROVIDER, "CIMD_ENABLED": True}

    def nowhere(*arguments: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)


# --- Odd things ---------------------------------------------------------------------------------------------

NASTY = [
    "",
    " ",
    "\x00",
    "a\x00b",
    "\r\nX: y",
    "%00",
    "%zz",
    "%",
    "\ud800",
    "\U0010ffff",
    "\u202ecod.exe",
    "\ufeff",
    "é",
    "ſ",
    "＜script＞",
    "<script>alert(1)</script>",
    "'\"><svg onload=alert(1)>",
    "' OR 1=1 --",
    "{{7*7}}",
    "../../etc/passwd",
    "http://[::1",
    "http://[::1]:99999/",
    "https://evil.example/cb",
    "https://evil.example\\@app.example/oauth/cb",
    "https://app.example@evil.example/oauth/cb",
    "https://app.example.evil.example/oauth/cb?tenant=1",
    "//evil.example/cb",
    "/\\evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "http://127.0.0.1:7777/callback/../x",
    "http://127.0.0.1:7777/callback#x",
    "http://127.0.0.1:７７７７/callback",
    "http://127.0.0.1:7777@evil.example/callback",
    "http://127.0.0.1.evil.example:7777/callback",
    "http://127.1:7777/callback",
    "http://2130706433/callback",
    "http://localhost:7777/callback",
    "HTTP://127.0.0.1:7777/callback",
    "http://127.0.0.1:0/callback",
    "http://127.0.0.1:65536/callback",
    f"{CALLBACK}\n",
    f"{RESOURCE}/",
    f"{RESOURCE}#x",
    "http://127.0.0.1:8000",
    "https://other.example/star",
    "true",
    "null",
    "[]",
    "-1",
    "9" * 400,
    "code token",
    "id_token",
    "none",
    "none login",
    "plain",
    "https://a.example/client.json",
    "https://a.example/\x00",
    "s256",
    "query",
    "form_post",
    "fragment",
    "auto",
    "client_credentials",
    "password",
    "urn:ietf:params:oauth:grant-type:device_code",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "mcp:tools mcp:write offline_access",
    "oauth2_provider:registration",
    "openid",
    "*",
]
any_character = st.characters(exclude_categories=())
odd_text = st.one_of(
    st.sampled_from(NASTY),
    st.text(max_size=30),
    st.text(any_character, max_size=30),
    st.builds(lambda text, times: text * times, st.sampled_from(["a", "é", "\x00", "%", "a=", "/.."]), st.just(90)),
    st.builds(lambda text, times: text * times, st.sampled_from(["a", "ab ", "é"]), st.sampled_from([2001, 9000])),
)
odd_json: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([2**64, -(2**63) - 1, 1e308, float("nan"), float("inf")]),
        odd_text,
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(odd_text, inner, max_size=3)),
    max_leaves=6,
)
odd_header = odd_text.map(
    # An HTTP server lets none of these three through.
    lambda text: re.sub(rb"[\r\n\x00]", b"", text.encode("utf-8", "surrogatepass"))[:8000]
)
HOW_OFTEN = st.sampled_from([0, 1, 1, 1, 1, 2, 2, 3])
Pairs = list[tuple[str, str]]
# oauthlib's request answers for these with a parameter of the same name, unless code has set them.
INTERNAL_NAMES = (
    "META",
    "body",
    "client",
    "code",
    "encoding",
    "grant",
    "headers",
    "refresh_token_instance",
    "scopes",
    "token_family",
    "user",
)


@st.composite
def mutated_pairs(draw: st.DrawFn, pairs: Pairs, names: tuple[str, ...] = ()) -> Pairs:
    """Parameters with some changes; `names` are further ones that may turn up."""
    changed = list(pairs)
    known = [name for name, _ in pairs] + list(names) + list(INTERNAL_NAMES)
    for _ in range(draw(HOW_OFTEN)):
        at = draw(st.integers(0, len(changed) - 1)) if changed else -1
        kind = draw(st.sampled_from(["value", "value", "bend", "drop", "repeat", "swap", "add", "rename"]))
        if at < 0 or kind == "add":
            changed.append((draw(st.one_of(st.sampled_from(known), odd_text)), draw(odd_text)))
            continue
        name, value = changed[at]
        if kind == "value":
            changed[at] = (name, draw(odd_text))
        elif kind == "bend":
            changed[at] = (name, draw(bent(value)))
        elif kind == "drop":
            del changed[at]
        elif kind == "repeat":
            changed.insert(draw(st.integers(0, len(changed))), (name, draw(st.one_of(st.just(value), odd_text))))
        elif kind == "swap":
            changed[at] = (name, draw(st.sampled_from(changed))[1])
        else:
            changed[at] = (draw(st.one_of(st.just(name.upper()), st.just(f"{name}[]"), odd_text)), value)
    return changed


def bent(value: str) -> st.SearchStrategy[str]:
    """A value that is almost the given one."""
    return st.one_of(
        st.sampled_from(
            [
                value.upper(),
                value[:-1],
                value[1:],
                f" {value}",
                f"{value}\n",
                f"{value}/",
                f"{value}\x00",
                f"{value} {value}",
                value[::-1],
                value.replace("a", "\u0430"),
            ]
        ),
        odd_text.map(lambda odd: value + odd),
        odd_text.map(lambda odd: odd + value),
        st.integers(0, max(0, len(value) - 1)).map(lambda at: value[:at] + "A" + value[at + 1 :]),
    )


@st.composite
def encoded(draw: st.DrawFn, pairs: Pairs) -> bytes:
    """Parameters as a query string or form, mostly well encoded."""
    how = draw(st.sampled_from(["utf-8"] * 12 + ["raw", "latin-1", "utf-16", "broken"]))
    if how == "raw":
        return "&".join(f"{name}={value}" for name, value in pairs).encode("utf-8", "surrogatepass")
    codec, errors = (how, "replace") if how == "latin-1" else ("utf-8", "surrogatepass")
    if how == "utf-16":
        codec = "utf-16"
    text = "&".join(
        f"{quote_plus(name.encode(codec, errors))}={quote_plus(value.encode(codec, errors))}" for name, value in pairs
    ).encode()
    if how == "broken":
        text += draw(st.sampled_from([b"&%zz", b"&%", b"&a=%ff", b";b=c", b"&&&=", b"&\xff=\xfe", b"&=" * 1200]))
    return text


@st.composite
def mutated_headers(draw: st.DrawFn, headers: dict[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    """Headers, mostly as they should be."""
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(pairs) - 1))
        name, value = pairs[at]
        kind = draw(st.sampled_from(["drop", "value", "bend", "repeat", "add", "add", "type", "authorization"]))
        if kind == "drop" and name != b"host":
            del pairs[at]
        elif kind == "value":
            pairs[at] = (name, draw(odd_header))
        elif kind == "bend":
            pairs[at] = (name, draw(bent(value.decode("latin-1"))).encode("utf-8", "replace")[:8000])
        elif kind == "repeat":
            pairs.append((name, draw(st.one_of(st.just(value), odd_header))))
        elif kind == "type":
            pairs = [pair for pair in pairs if pair[0] != b"content-type"]
            pairs.append((b"content-type", draw(st.sampled_from(CONTENT_TYPES)).encode()))
        elif kind == "authorization":
            pairs.append((b"authorization", draw(authorization)))
        else:
            pairs.append((draw(st.sampled_from(FURTHER_HEADERS)), draw(odd_header)))
        if not pairs:
            break
    return tuple((name, re.sub(rb"[\r\n\x00]", b"", value)) for name, value in pairs)


CONTENT_TYPES = [
    "",
    "text/plain",
    "application/json",
    "application/json; charset=utf-16",
    "application/json; charset=rot13",
    FORM,
    f"{FORM}; charset=utf-7",
    f"{FORM}; charset=\x01",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "multipart/form-data; boundary=" + "x" * 300,
    "application/jwt",
    "/",
    ";;;",
]
FURTHER_HEADERS = [
    b"accept",
    b"accept-language",
    b"accept-encoding",
    b"content-encoding",
    b"cookie",
    b"forwarded",
    b"if-none-match",
    b"if-modified-since",
    b"origin",
    b"range",
    b"referer",
    b"transfer-encoding",
    b"user-agent",
    b"x-csrftoken",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-http-method-override",
    b"dpop",
]
authorization = st.one_of(
    odd_header,
    odd_text.map(lambda text: b"Basic " + base64.b64encode(text.encode("utf-8", "surrogatepass"))),
    odd_header.map(lambda text: b"Basic " + text),
    odd_header.map(lambda text: b"Bearer " + text),
    st.sampled_from([b"Basic", b"Basic ", b"basic Og==", b"Bearer", b"Bearer a b", b"Digest x", b"Basic \xff\xfe"]),
)


# --- The world ----------------------------------------------------------------------------------------------


@pytest.fixture
def world(alice: Any, bob: Any, settings: Any) -> SimpleNamespace:
    """Clients of every kind with a code and a pair of tokens each; every example starts from here."""
    settings.AUTHAPP = {**settings.AUTHAPP, "REGISTRATION_BURST": 0}
    clients: dict[str, SimpleNamespace] = {}
    for kind, uri, method in (
        ("public", CALLBACK, "none"),
        ("web", WEB_CALLBACK, "none"),
        ("cursor", CURSOR, "none"),
        ("post", CALLBACK, "client_secret_post"),
        ("basic", CALLBACK, "client_secret_basic"),
    ):
        info = registered(redirect_uris=[uri], token_endpoint_auth_method=method, client_name=f"Client {kind}")
        clients[kind] = SimpleNamespace(
            kind=kind,
            id=info["client_id"],
            secret=info.get("client_secret", ""),
            manage=info["registration_access_token"],
            uri=uri,
            pkce=PKCE(),
        )
        clients[kind].code = authorize(alice, info["client_id"], clients[kind].pkce, redirect_uri=uri)["code"]
    for client in (clients["public"], clients["post"], clients["basic"]):
        client.tokens = tokens_of(alice, client)
    get_grant_model().objects.update(expires="2100-01-01T00:00:00Z")  # a long run outlives ten minutes
    session = browser(alice).cookies["sessionid"].value
    return SimpleNamespace(alice=alice, clients=clients, session=session)


def tokens_of(user: Any, client: SimpleNamespace) -> Any:
    if client.secret:
        from tests.oauth import redeem

        pkce = PKCE()
        code = authorize(user, client.id, pkce)["code"]
        basic = {"Authorization": basic_header(client)} if client.kind == "basic" else None
        given = {} if basic else {"client_secret": client.secret}
        response = redeem(client.id, code, pkce, headers=basic, **given)
        assert response.status_code == 200, response.content
        return response.json()
    return connected(user, {"client_id": client.id})[1]


def basic_header(client: SimpleNamespace) -> str:
    return "Basic " + base64.b64encode(f"{client.id}:{client.secret}".encode()).decode()


@contextmanager
def nothing_kept() -> Iterator[None]:
    """Undo what an example did, so that each starts from the same world."""
    with transaction.atomic():
        try:
            yield
        finally:
            transaction.set_rollback(True)


def fuzz(strategy: Any, share: float, seen: set[int], check: Callable[[Sent, Answer], None]) -> None:
    """Send `share` of all requests and check each answer; all statuses of `seen` must have come, or little was tried.

    Hypothesis shrinks towards the sound request, so a mistake is shown as a small change of it.
    """
    statuses: Counter[int] = Counter()
    wanted = max(20, round(REQUESTS * share))

    @hypothesis_settings(
        max_examples=wanted,
        derandomize="FUZZ_REQUESTS" not in os.environ,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def each(sent: Sent) -> None:
        with nothing_kept():
            answer = send(sent)
            statuses[answer.status] += 1
            if "html" in answer.header("content-type"):
                assert b"<script>alert(1)" not in answer.body
                assert b"<svg onload" not in answer.body
            require_safe_redirect(sent, answer)
            check(sent, answer)

    each()
    print(f"{statuses.total()} requests: {dict(sorted(statuses.items()))}")  # noqa: T201
    assert seen <= set(statuses), statuses
    assert statuses.total() >= wanted * 0.9


# --- What must hold -----------------------------------------------------------------------------------------


def require_safe_redirect(sent: Sent, answer: Answer) -> None:
    """A redirect stays on this site or goes to a registered URI of the client that the request names."""
    location = answer.header("location")
    if not location:
        assert not 300 <= answer.status < 400, answer
        return
    assert "\\" not in location.partition("?")[0]
    assert not re.search(r"[\x00-\x20\x7f]", location), location
    if location.startswith("/") and not location.startswith("//"):
        return
    assert is_registered_answer(location), location


def is_registered_answer(location: str) -> bool:
    """Judged by patterns of text, not by parsing: what matters is how the URL begins."""
    return bool(
        re.match(r"http://127\.0\.0\.1(:[1-9][0-9]{0,4})?/callback\?", location)
        or location.startswith((f"{WEB_CALLBACK}&", f"{CURSOR}?"))
    )


def require_machine_answer(sent: Sent, answer: Answer, *, may_be_404: bool = False) -> None:
    """Errors are the RFC's JSON and nothing is cached."""
    if sent.header(b"host") != HOST.encode() and answer.status == 400 and "json" not in answer.header("content-type"):
        return  # refused before any endpoint
    if answer.status == 400 and not is_utf8(sent.query):
        return  # Django's ASGI handler refuses it, before any endpoint
    if answer.status == 404 and may_be_404:
        return
    if answer.status == 405:  # no error of an RFC, and nothing in it
        assert answer.header("allow")
        assert answer.body == b""
        return
    assert "no-store" in answer.header("cache-control"), answer
    if answer.status < 400:
        return
    assert answer.header("content-type").startswith("application/json"), answer
    error = answer.json()
    assert error["error"] in MACHINE_ERRORS, answer
    assert DESCRIPTION.fullmatch(error.get("error_description", "")), answer
    assert set(error) <= {"error", "error_description", "error_uri", "state"}, answer
    if answer.status == 401:
        assert answer.header("www-authenticate"), answer


def is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def credentials(sent: Sent, form: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Every (client_id, secret) that a request could be said to present."""
    found = [
        (client_id, secret) for client_id in form.get("client_id", []) for secret in form.get("client_secret", [""])
    ]
    for name, value in sent.headers:
        scheme, _, rest = value.partition(b" ")
        if name == b"authorization" and scheme.lower() == b"basic":
            try:
                client_id, _, secret = base64.b64decode(rest).decode("utf-8", "replace").partition(":")
            except ValueError:
                continue
            found += [(client_id, secret), (unquote_plus(client_id), unquote_plus(secret))]
    return found


def is_proven(sent: Sent, form: dict[str, list[str]], client: SimpleNamespace) -> bool:
    return any(
        client_id == client.id and (not client.secret or secret == client.secret)
        for client_id, secret in credentials(sent, form)
    )


def form_of(sent: Sent) -> dict[str, list[str]]:
    form: dict[str, list[str]] = {}
    for name, value in sent.parameters(sent.body):
        form.setdefault(name, []).append(value)
    return form


def person_tokens() -> Any:
    return get_access_token_model().objects.filter(user__isnull=False)


# --- Registration -------------------------------------------------------------------------------------------

SOUND_METADATA: dict[str, Any] = {
    "client_name": "Fuzzed",
    "redirect_uris": [CALLBACK],
    "grant_types": ["authorization_code", "refresh_token"],
    "response_types": ["code"],
    "token_endpoint_auth_method": "none",
    "scope": "mcp:tools",
    "application_type": "native",
    "client_uri": "https://app.example/",
    "logo_uri": "https://app.example/logo.png",
    "contacts": ["someone@app.example"],
    "software_id": "fuzz",
    "software_version": "1",
}
FURTHER_METADATA = (
    "client_id",
    "client_secret",
    "registration_access_token",
    "jwks",
    "jwks_uri",
    "software_statement",
    "user",
    "skip_authorization",
    "hash_client_secret",
    "tos_uri",
    "policy_uri",
)


@st.composite
def metadata_bodies(draw: st.DrawFn) -> bytes:
    metadata = dict(SOUND_METADATA)
    for _ in range(draw(HOW_OFTEN)):
        name = draw(st.sampled_from([*SOUND_METADATA, *FURTHER_METADATA]))
        kind = draw(st.sampled_from(["drop", "value", "value", "list", "many", "add", "method", "grants"]))
        if kind == "drop":
            metadata.pop(name, None)
        elif kind == "value":
            metadata[name] = draw(odd_json)
        elif kind == "list":
            metadata[name] = draw(st.lists(st.one_of(odd_text, st.sampled_from([CALLBACK, WEB_CALLBACK, CURSOR]))))
        elif kind == "many":
            metadata[name] = [draw(st.one_of(st.just(CALLBACK), odd_text))] * draw(st.sampled_from([2, 21, 2000]))
        elif kind == "grants":
            grants = draw(st.lists(st.sampled_from(["authorization_code", "refresh_token", DEVICE_CODE, "password"])))
            metadata["grant_types"] = grants
        elif kind == "method":
            method = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none", None]
            metadata["token_endpoint_auth_method"] = draw(st.sampled_from(method))
        else:
            metadata[draw(odd_text)] = draw(odd_json)
    how = draw(
        st.sampled_from(["ascii"] * 8 + ["utf-8", "utf-16", "utf-8-sig", "cut", "twice", "deep", "other", "raw"])
    )
    text = json.dumps(metadata, ensure_ascii=how == "ascii")
    if how == "cut":
        return text.encode("utf-8", "surrogatepass")[: draw(st.integers(0, 60))]
    if how == "twice":
        return (text[:-1] + f', "redirect_uris": {json.dumps(draw(odd_json))}' + "}").encode("utf-8", "surrogatepass")
    if how == "deep":
        return b'{"client_name":' + draw(st.sampled_from([b"[", b'{"a":'])) * 20000
    if how == "other":
        return json.dumps(draw(odd_json)).encode()
    if how == "raw":
        return draw(st.binary(max_size=60))
    return text.encode(how, "surrogatepass")


@st.composite
def registrations(draw: st.DrawFn) -> Sent:
    method = draw(st.sampled_from(["POST"] * 14 + ["GET", "PUT", "OPTIONS", "DELETE", "HEAD", "PATCH"]))
    path = draw(st.sampled_from(["/o/register/", "/o/register"]))
    headers = draw(mutated_headers({"host": HOST, "content-type": "application/json"}))
    query = draw(st.one_of(st.just(b""), st.just(b""), st.just(b""), odd_header))
    return Sent(method, path, query, headers, draw(metadata_bodies()))


def require_sound_client(application: Application) -> None:
    """What a stranger may have registered, whatever was sent."""
    uris = application.redirect_uris.split()
    redirected = "authorization_code" in application.grant_types
    assert redirected <= len(uris) <= 20
    for uri in uris:
        require_harmless_uri(uri)
    assert application.user_id is None
    assert not application.skip_authorization
    assert application.authorization_grant_type == ("authorization-code" if redirected else DEVICE_CODE)
    assert set(application.grant_types) <= {"authorization_code", "refresh_token", DEVICE_CODE}
    assert redirected or DEVICE_CODE in application.grant_types
    assert set(application.response_types) == ({"code"} if redirected else set())
    assert set(application.scope.split()) <= {"mcp:tools", "mcp:write", "offline_access"}
    assert application.token_endpoint_auth_method in {"none", "client_secret_basic", "client_secret_post"}
    assert bool(application.client_secret) == (application.client_type == "confidential")
    assert not re.search(r"[\x00-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]", application.name)
    for uri in (application.client_uri, application.logo_uri, application.tos_uri, application.policy_uri):
        assert not uri or re.match(r"https?://[^\s\\@]+", uri), uri


def require_harmless_uri(uri: str) -> None:
    if uri == CURSOR:
        return
    assert re.fullmatch(r"[!-~]{1,2000}", uri), uri
    assert "\\" not in uri
    assert "#" not in uri
    found = re.fullmatch(r"(https?)://(\[[0-9a-f:]+\]|[a-z0-9.-]+)(?::([0-9]+))?(?:[/?].*)?", uri)
    assert found, uri
    scheme, host, port = found.groups()
    assert port is None or 1 <= int(port) <= 65535, uri
    if host in {"127.0.0.1", "[::1]", "localhost"}:
        return
    assert scheme == "https", uri
    assert re.search(r"\.[a-z][a-z0-9-]+\Z", host), uri
    with pytest.raises(ValueError, match="does not appear to be"):
        ip_address(host.strip("[]"))


def test_registration_takes_nothing_unsafe_whatever_is_sent(world: SimpleNamespace) -> None:
    before = set(Application.objects.values_list("pk", flat=True))

    def check(sent: Sent, answer: Answer) -> None:
        if sent.method == "OPTIONS":
            return
        require_machine_answer(sent, answer)
        made = Application.objects.exclude(pk__in=before)
        assert len(made) == (answer.status == 201)
        assert person_tokens().count() == 3
        for application in made:
            require_sound_client(application)
            told = answer.json()
            assert told["client_id"] == application.client_id
            assert ("client_secret" in told) == (application.client_type == "confidential")
            assert told["redirect_uris"] == application.redirect_uris.split()
            assert json.loads(sent.body).get("client_id") != application.client_id

    fuzz(registrations(), 0.2, {201, 400, 405}, check)


def test_a_registration_is_changed_by_its_token_alone_and_into_nothing_unsafe(world: SimpleNamespace) -> None:
    clients = list(world.clients.values())
    kept = ("redirect_uris", "name", "scope", "client_secret", "client_type", "authorization_grant_type")
    before = {row["client_id"]: row for row in Application.objects.values("client_id", *kept)}

    @st.composite
    def changes(draw: st.DrawFn) -> Sent:
        client, token_of = draw(st.sampled_from(clients)), draw(st.sampled_from(clients))
        method = draw(st.sampled_from(["PUT"] * 8 + ["GET", "GET", "DELETE", "DELETE", "POST", "PATCH", "HEAD"]))
        access = clients[0].tokens["access_token"]
        token = draw(st.sampled_from([client.manage] * 8 + [token_of.manage, access, f"{client.manage}x", ""]))
        identifier = client.id if draw(st.integers(0, 8)) else draw(odd_text)
        headers = draw(
            mutated_headers(
                {"host": HOST, "authorization": f"Bearer {token}", "content-type": "application/json"},
            )
        )
        path = f"/o/register/{identifier}" + draw(st.sampled_from(["/", ""]))
        return Sent(method, path.encode("utf-8", "replace").decode(), b"", headers, draw(metadata_bodies()))

    def check(sent: Sent, answer: Answer) -> None:
        if sent.method == "OPTIONS":
            return
        resolves = is_ours(sent.path)
        require_machine_answer(sent, answer, may_be_404=not resolves)
        after = {row["client_id"]: row for row in Application.objects.values("client_id", *kept)}
        assert sent.path.strip("/") == "o/register" or set(after) <= set(before)  # without an identifier one is made
        for client in clients:
            if after.get(client.id) == before[client.id]:
                continue
            assert sent.method in {"PUT", "DELETE"}
            assert sent.path.strip("/") == f"o/register/{client.id}"
            assert client.manage.encode() in [value.partition(b" ")[2] for _, value in sent.headers]
            if application := Application.objects.filter(client_id=client.id).first():
                assert application.client_type == before[client.id]["client_type"]
                assert application.client_secret == before[client.id]["client_secret"]
                Application.objects.filter(pk=application.pk).update(user=None)  # the person who authorized it
                application.refresh_from_db()
                require_sound_client(application)
        if answer.status == 200 and sent.method == "GET":
            assert answer.json()["client_id"] in sent.path
            assert sent.header(b"authorization").endswith(answer.json()["registration_access_token"].encode())

    fuzz(changes(), 0.15, {200, 204, 400, 401, 405}, check)


def is_ours(path: str) -> bool:
    try:
        resolve(path)
    except Resolver404:
        return False
    return True


# --- Authorization ------------------------------------------------------------------------------------------


def test_a_code_is_only_made_for_a_person_who_allows_a_sound_request(world: SimpleNamespace) -> None:
    clients = list(world.clients.values())
    before = set(get_grant_model().objects.values_list("pk", flat=True))
    challenge = PKCE().challenge

    @st.composite
    def requests(draw: st.DrawFn) -> Sent:
        client = draw(st.sampled_from(clients))
        pairs = [
            ("response_type", "code"),
            ("client_id", client.id),
            ("redirect_uri", client.uri),
            ("code_challenge", challenge),
            ("code_challenge_method", "S256"),
            ("state", "the-state"),
            ("scope", "mcp:tools"),
            ("resource", RESOURCE),
        ]
        names = ("prompt", "response_mode", "approval_prompt", "nonce", "claims", "request", "request_uri", "max_age")
        query = draw(encoded(draw(mutated_pairs(pairs, names))))
        method = draw(st.sampled_from(["GET", "GET", "POST", "POST", "POST", "HEAD", "OPTIONS", "PUT"]))
        headers, body = {"host": HOST}, b""
        if draw(st.sampled_from([True, True, True, False])):
            headers["cookie"] = f"sessionid={world.session}; csrftoken={CSRF}"
        if method == "POST":
            form = [("csrfmiddlewaretoken", CSRF), ("allow", "true")]
            extra = ("redirect_uri", "client_id", "scope", "state", "code_challenge")
            body = draw(encoded(draw(st.one_of(st.just(form), mutated_pairs(form, extra)))))
            headers["content-type"] = FORM
        path = draw(st.sampled_from(["/o/authorize/", "/o/authorize"]))
        return Sent(method, path, query, draw(mutated_headers(headers)), body)

    def check(sent: Sent, answer: Answer) -> None:
        location = answer.header("location")
        query = sent.parameters(sent.query)
        if location and not location.startswith("/"):
            asked = {value for name, value in query if name == "client_id"}
            client = next(client for client in clients if client.id in asked)
            requested = [value for name, value in query if name == "redirect_uri"]
            assert location.startswith((*requested, client.uri)), location
            returned = dict(parse_qsl(urlsplit(location).query))
            assert returned["iss"] in OUR_ISSUERS
            assert ("code" in returned) != ("error" in returned), location
            assert "no-store" in answer.header("cache-control")
        made = get_grant_model().objects.exclude(pk__in=before).select_related("application")
        if "code=" not in location.partition("?")[2].replace("error_code", ""):
            assert not made
        if not made:
            return
        (grant,) = made
        returned = dict(parse_qsl(urlsplit(location).query))
        assert grant.code == hashlib.sha256(returned["code"].encode()).hexdigest()
        assert grant.user == world.alice
        assert location.startswith(grant.redirect_uri)
        assert grant.code_challenge_method == "S256"
        assert re.fullmatch(r"[A-Za-z0-9_-]{43}", grant.code_challenge)
        assert set(grant.resource) <= OUR_RESOURCES
        assert len(grant.resource) == 1
        assert set(grant.scope.split()) <= {"mcp:tools", "mcp:write", "offline_access"}
        assert grant.application.client_id in {value for name, value in query if name == "client_id"}
        assert grant.code_challenge in {value for name, value in query if name == "code_challenge"}
        assert sent.method == "POST"
        assert f"sessionid={world.session}".encode() in sent.header(b"cookie")
        assert CSRF.encode() in sent.body + sent.header(b"x-csrftoken")
        assert ("allow", "true") in sent.parameters(sent.body)

    fuzz(requests(), 0.25, {200, 302, 400, 403, 405}, check)


# --- Tokens -------------------------------------------------------------------------------------------------


@st.composite
def form_posts(draw: st.DrawFn, paths: list[str], client: SimpleNamespace, pairs: Pairs, other: list[str]) -> Sent:
    """A form of a client with its own way to authenticate; `other` are values of other clients to try instead."""
    headers = {"host": HOST, "content-type": FORM}
    if client.kind == "basic":
        headers["authorization"] = basic_header(client)
    else:
        pairs = [*pairs, ("client_id", client.id)]
    if client.kind == "post":
        pairs.append(("client_secret", client.secret))
    if draw(st.sampled_from([True, False, False, False, False])):
        at = draw(st.integers(0, len(pairs) - 1))
        pairs[at] = (pairs[at][0], draw(st.sampled_from(other)))
    names = ("client_id", "client_secret", "client_assertion", "scope", "resource", "redirect_uri", "token_type_hint")
    body = draw(encoded(draw(mutated_pairs(pairs, names))))
    method = draw(st.sampled_from(["POST"] * 18 + ["GET", "PUT", "HEAD", "OPTIONS"]))
    query = draw(st.sampled_from([b""] * 10 + [body[:2000], b"a=b", b"%zz", b"%"]))
    return Sent(method, draw(st.sampled_from(paths)), query, draw(mutated_headers(headers)), body)


def require_deserved_tokens(world: SimpleNamespace, before: set[str], sent: Sent, answer: Answer) -> None:
    if sent.method == "OPTIONS":
        return
    require_machine_answer(sent, answer)
    made = list(person_tokens().exclude(token_checksum__in=before).select_related("application"))
    assert len(made) == (answer.status == 200), answer
    if not made:
        assert b"access_token" not in answer.body
        return
    (token,) = made
    assert token.token_checksum == hashlib.sha256(answer.json()["access_token"].encode()).hexdigest()
    assert token.user == world.alice
    assert set(token.resource) <= OUR_RESOURCES
    assert len(token.resource) == 1
    assert set(token.scope.split()) <= {"mcp:tools"}
    form = form_of(sent)
    client = next(client for client in world.clients.values() if client.id == token.application.client_id)
    assert sent.method == "POST"
    assert is_proven(sent, form, client)
    if form["grant_type"] == ["authorization_code"]:
        assert form["code"] == [client.code]
        assert form["code_verifier"] == [client.pkce.verifier]
        assert form.get("redirect_uri", [client.uri]) == [client.uri]
    else:
        assert form["grant_type"] == ["refresh_token"]
        assert form["refresh_token"] == [client.tokens["refresh_token"]]


def test_a_code_becomes_tokens_for_its_own_client_with_its_verifier_alone(world: SimpleNamespace) -> None:
    clients = list(world.clients.values())
    before = set(person_tokens().values_list("token_checksum", flat=True))
    other = [*(client.code for client in clients), *(client.id for client in clients), CALLBACK, WEB_CALLBACK]

    @st.composite
    def requests(draw: st.DrawFn) -> Sent:
        client = draw(st.sampled_from(clients))
        pairs = [
            ("grant_type", "authorization_code"),
            ("code", client.code),
            ("redirect_uri", client.uri),
            ("code_verifier", client.pkce.verifier),
            ("resource", RESOURCE),
        ]
        return draw(form_posts(["/o/token/", "/o/token", "/token"], client, pairs, other))

    def check(sent: Sent, answer: Answer) -> None:
        require_deserved_tokens(world, before, sent, answer)

    fuzz(requests(), 0.15, {200, 400, 401, 405}, check)


def test_a_refresh_token_becomes_tokens_for_its_own_client_alone(world: SimpleNamespace) -> None:
    clients = [client for client in world.clients.values() if hasattr(client, "tokens")]
    before = set(person_tokens().values_list("token_checksum", flat=True))
    other = [client.tokens[kind] for client in clients for kind in ("access_token", "refresh_token")]
    other += [client.code for client in clients] + [client.manage for client in clients]

    @st.composite
    def requests(draw: st.DrawFn) -> Sent:
        client = draw(st.sampled_from(clients))
        pairs = [
            ("grant_type", "refresh_token"),
            ("refresh_token", client.tokens["refresh_token"]),
            ("scope", "mcp:tools"),
            ("resource", RESOURCE),
        ]
        return draw(form_posts(["/o/token/", "/o/token", "/token"], client, pairs, other))

    def check(sent: Sent, answer: Answer) -> None:
        # The pair that was refreshed has made room for the new one.
        require_deserved_tokens(world, before, sent, answer)

    fuzz(requests(), 0.1, {200, 400, 401, 405}, check)


def test_only_its_own_client_revokes_a_token(world: SimpleNamespace) -> None:
    clients = [client for client in world.clients.values() if hasattr(client, "tokens")]
    other = [client.tokens[kind] for client in clients for kind in ("access_token", "refresh_token")]
    other += [client.code for client in clients] + [client.manage for client in clients]
    alive = person_tokens().count()

    @st.composite
    def requests(draw: st.DrawFn) -> Sent:
        client = draw(st.sampled_from(clients))
        kind = draw(st.sampled_from(["access_token", "refresh_token"]))
        pairs = [("token", client.tokens[kind]), ("token_type_hint", kind)]
        return draw(form_posts(["/o/revoke_token/", "/o/revoke_token"], client, pairs, other))

    def check(sent: Sent, answer: Answer) -> None:
        if sent.method == "OPTIONS":
            return
        require_machine_answer(sent, answer)
        ended = TokenFamily.objects.filter(ended_at__isnull=False).select_related("application")
        assert person_tokens().count() == alive - len(ended)
        if not ended:
            return
        (family,) = ended
        client = next(client for client in clients if client.id == family.application.client_id)
        form = form_of(sent)
        assert answer.status == 200
        assert sent.method == "POST"
        assert is_proven(sent, form, client)
        assert form["token"][0] in {client.tokens["access_token"], client.tokens["refresh_token"]}

    fuzz(requests(), 0.05, {200, 400, 401, 405}, check)


def test_only_its_own_client_learns_what_a_token_is(world: SimpleNamespace) -> None:
    clients = [client for client in world.clients.values() if hasattr(client, "tokens")]
    other = [client.tokens[kind] for client in clients for kind in ("access_token", "refresh_token")]
    other += [client.code for client in clients] + [client.manage for client in clients]

    @st.composite
    def requests(draw: st.DrawFn) -> Sent:
        client = draw(st.sampled_from(clients))
        pairs = [("token", client.tokens["access_token"]), ("token_type_hint", "access_token")]
        return draw(form_posts(["/o/introspect/", "/o/introspect"], client, pairs, other))

    def check(sent: Sent, answer: Answer) -> None:
        if sent.method == "OPTIONS":
            return
        require_machine_answer(sent, answer)
        if answer.status != 200:
            return
        told = answer.json()
        if told != {"active": False}:
            client = next(client for client in clients if client.id == told["client_id"])
            form = form_of(sent)
            assert client.secret
            assert is_proven(sent, form, client)
            assert form["token"] == [client.tokens["access_token"]]

    fuzz(requests(), 0.05, {200, 400, 401, 405}, check)


@pytest.mark.parametrize("query", [b"%zz", b"a=b", b"%", b"token=x", "é".encode()], ids=ascii)
@pytest.mark.parametrize("path", ["/o/token/", "/o/revoke_token/", "/o/introspect/", "/token"])
def test_a_form_endpoint_takes_nothing_from_the_url(world: SimpleNamespace, path: str, query: bytes) -> None:
    """RFC 6749 §3.2, RFC 7009 §2.1, RFC 7662 §2.1: parameters are in the body. Found by fuzzing."""
    client = world.clients["post"]
    form = urlencode({"client_id": client.id, "client_secret": client.secret, "token": "unknown"})
    headers = ((b"host", HOST.encode()), (b"content-type", FORM.encode()))
    answer = send(Sent("POST", path, query, headers, form.encode()))
    require_machine_answer(Sent("POST", path, query, headers), answer)
    assert answer.json() == {"active": False} or answer.json()["error"] == "invalid_request"


# --- Metadata -----------------------------------------------------------------------------------------------


def test_metadata_names_our_own_issuers_and_resources_whatever_is_asked(world: SimpleNamespace) -> None:
    names = ["oauth-authorization-server", "openid-configuration", "oauth-protected-resource"]

    @st.composite
    def requests(draw: st.DrawFn) -> Sent:
        suffix = draw(st.sampled_from(["", "", "", "", "/star", "/star", "/", "/star/", "//", "/evil/path", None]))
        suffix = draw(odd_text) if suffix is None else suffix
        path = f"/.well-known/{draw(st.sampled_from(names))}{suffix}".encode("utf-8", "replace").decode()
        host = draw(st.sampled_from([HOST] * 4 + ["localhost:8000", "127.0.0.1:4", "evil.example", "[::1]:8000"]))
        headers = draw(mutated_headers({"host": host, "accept": "application/json"}))
        method = draw(st.sampled_from(["GET"] * 6 + ["HEAD", "OPTIONS", "POST"]))
        return Sent(method, path, draw(st.one_of(st.just(b""), odd_header)), headers, draw(st.binary(max_size=20)))

    def check(sent: Sent, answer: Answer) -> None:
        assert answer.status in {200, 301, 302, 400, 404, 405}
        if answer.status != 200 or sent.method != "GET":
            return
        told = answer.json()
        assert b"evil" not in answer.body
        if "issuer" in told:
            assert told["issuer"] in OUR_ISSUERS
            assert all(value.startswith(told["issuer"]) for name, value in told.items() if name.endswith("_endpoint"))
            assert told["code_challenge_methods_supported"] == ["S256"]
        else:
            assert told["resource"] in OUR_RESOURCES
            assert set(told["authorization_servers"]) <= OUR_ISSUERS

    fuzz(requests(), 0.05, {200, 400, 404, 405}, check)


# --- The rules themselves -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example/cb?code=x",
        "https://app.example/oauth/cb?tenant=12",
        "http://127.0.0.1:7777@evil.example/callback?code=x",
        "http://127.0.0.1.evil.example/callback?code=x",
        "//evil.example/",
        "/\\evil.example",
        "cursor://evil/oauth/callback?code=x",
    ],
)
def test_the_rules_find_an_open_redirect(location: str) -> None:
    with pytest.raises(AssertionError):
        require_safe_redirect(Sent("GET", "/"), Answer(302, [("location", location)]))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(400, [("content-type", "text/html"), ("cache-control", "no-store")], b"<h1>"),
        Answer(400, [("content-type", "application/json")], b'{"error": "invalid_request"}'),
        Answer(400, [("content-type", "application/json"), ("cache-control", "no-store")], b'{"error": "oops"}'),
        Answer(
            401, [("content-type", "application/json"), ("cache-control", "no-store")], b'{"error": "invalid_client"}'
        ),
    ],
)
def test_the_rules_find_an_answer_that_is_not_the_rfcs(answer: Answer) -> None:
    with pytest.raises(AssertionError):
        require_machine_answer(Sent("POST", "/o/token/", headers=((b"host", HOST.encode()),)), answer)


@pytest.mark.parametrize(
    "uri", ["http://evil.example/", "https://10.0.0.1/", "https://a.example\\@evil.example/", "a b"]
)
def test_the_rules_find_a_harmful_redirect_uri(uri: str) -> None:
    with pytest.raises(AssertionError):
        require_harmless_uri(uri)


def test_an_unhandled_exception_is_not_swallowed(world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    from authapp import registration

    def broken(request: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(registration, "_read", broken)
    with pytest.raises(RuntimeError, match="broken"):
        send(Sent("POST", "/o/register/", headers=((b"host", HOST.encode()),)))


def test_a_sound_request_of_every_kind_succeeds(world: SimpleNamespace) -> None:
    """Without this the fuzzing would prove nothing: it starts from requests that work."""
    basic = world.clients["basic"]
    form = urlencode({"grant_type": "authorization_code", "code": basic.code, "code_verifier": basic.pkce.verifier})
    headers = ((b"host", HOST.encode()), (b"content-type", FORM.encode()))
    authorized = (*headers, (b"authorization", basic_header(basic).encode()))
    sent = Sent("POST", "/o/token/", headers=authorized, body=form.encode())
    with nothing_kept():
        assert send(sent).status == 200
    with nothing_kept():
        assert send(sent).status == 200  # undone, so it works again
    assert send(replace(sent, headers=headers)).status == 401
