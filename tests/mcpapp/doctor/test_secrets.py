"""Nothing secret is in the report, in either form, of a walk that works and of walks that fail anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import parse_qsl, quote, urlsplit

import pytest

from tests.mcpapp.doctor.conftest import Clinic, wrong
from tests.mcpapp.doctor.proxy import Asked, Fault, Forward, Reply, no_fault

pytestmark = pytest.mark.live

SECRET = {
    *("access_token", "refresh_token", "id_token", "client_secret", "registration_access_token", "code"),
    *("code_verifier", "state", "token", "csrfmiddlewaretoken"),
}


def secrets_in(asked: Asked, reply: Reply) -> Iterator[str]:
    """All that is secret in an exchange, as somebody on the wire sees it."""
    for source in (asked.form.items(), parse_qsl(urlsplit(asked.target).query), reply.document.items()):
        yield from (str(value) for name, value in source if name in SECRET and value not in ("unknown", ""))
    yield from (value for name, value in parse_qsl(urlsplit(reply.header("location")).query) if name in SECRET)
    for name, value in asked.headers:
        if name.lower() == "authorization":
            yield value.partition(" ")[2]
        elif name.lower() == "cookie":
            yield from (cookie.partition("=")[2] for cookie in value.split("; "))
    for name, value in reply.headers:
        if name.lower() == "set-cookie":
            yield value.partition(";")[0].partition("=")[2]


def overhearing(fault: Fault, heard: set[str]) -> Fault:
    def both(asked: Asked, forward: Forward) -> Reply:
        before = Asked(asked.method, asked.target, list(asked.headers), asked.body)
        reply = fault(asked, forward)
        heard.update(secret for secret in secrets_in(before, reply) if len(secret) >= 8)
        return reply

    return both


def repeating(*paths: str) -> Fault:
    """A server that fails and repeats what it was sent, and what it would have answered, in every place there is."""

    def fault(asked: Asked, forward: Forward) -> Reply:
        if asked.path not in paths or asked.form.get("code") == "unknown":
            return forward(asked)
        true = forward(asked)
        told = f"{asked.target} {asked.body.decode()} {dict(asked.headers)} {true.body.decode('utf-8', 'replace')}"
        reply = Reply.of_json({"error": told[:3000], "error_description": told[-3000:], "detail": told}, 400)
        return reply.with_header("Location", f"https://x.example/{quote(told[:2000])}")

    return fault


def page_of(*paths: str) -> Fault:
    """The same as the title of a page."""

    def fault(asked: Asked, forward: Forward) -> Reply:
        if asked.path not in paths:
            return forward(asked)
        return Reply.page(f"{asked.header('authorization')} {asked.body.decode()}", 500)

    return fault


@pytest.mark.parametrize(
    ("fault", "is_wrong"),
    [
        (no_fault, False),
        (repeating("/o/token/"), True),
        (repeating("/token"), True),
        (repeating("/o/revoke_token/"), True),
        (repeating("/o/register/"), True),
        (repeating("/o/authorize/"), True),
        (repeating("/star"), True),
        (page_of("/o/token/", "/token"), True),
        (page_of("/star"), True),
    ],
    ids=["healthy", "token", "root token", "revocation", "registration", "authorization", "mcp", "page", "mcp page"],
)
async def test_nothing_secret_is_in_the_report(clinic: Clinic, fault: Fault, is_wrong: bool) -> None:
    heard: set[str] = set()
    report = await clinic.examined(overhearing(fault, heard), "claude", "python-sdk")
    assert bool(wrong(report)) is is_wrong
    assert len(heard) > 2, "secrets went over the wire"
    shown = report.as_text() + report.as_text(verbose=True) + report.as_json()
    json.loads(report.as_json())
    found = {secret for secret in heard for spelled in (secret, quote(secret, safe="")) if spelled in shown}
    assert found == set()
    assert not {secret for secret in heard if len(secret) > 24 and secret[:16] in shown}, "nor half of one"
