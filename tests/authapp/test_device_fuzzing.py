"""Fuzzing of the device flow (RFC 8628), by the means and the rules of tests/authapp/test_fuzzing.py."""

from __future__ import annotations

import hashlib
import re
from types import SimpleNamespace
from typing import Any

import pytest
from django.core import signing
from hypothesis import strategies as st

from authapp import throttling
from authapp.models import Application, Connection, DeviceAuthorization
from authapp.oauthlib_core import code_digest
from tests.authapp.test_fuzzing import (
    CSRF,
    FORM,
    OUR_RESOURCES,
    REQUESTS,
    Answer,
    Sent,
    basic_header,
    encoded,
    form_of,
    form_posts,
    fuzz,
    is_proven,
    mutated_headers,
    mutated_pairs,
    odd_text,
    person_tokens,
    require_machine_answer,
)
from tests.devices import DEVICE_CODE, ENDPOINT, ask, decide, device_client
from tests.oauth import HOST, RESOURCE, browser

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(max(300, REQUESTS // 20))]
FAR = "2100-01-01T00:00:00Z"  # a long run outlives ten minutes


@pytest.fixture
def world(alice: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Device clients of every kind, each with one device that was allowed and one that waits."""
    settings.AUTHAPP = {**settings.AUTHAPP, "DEVICE_AUTHORIZATION_BURST": 0}
    monkeypatch.setattr(throttling, "USER_CODES_OF_A_PERSON", 10**9)
    monkeypatch.setattr(throttling, "USER_CODES_OF_AN_ADDRESS", 10**9)
    clients = []
    for kind, method in (("public", "none"), ("post", "client_secret_post"), ("basic", "client_secret_basic")):
        info = device_client(token_endpoint_auth_method=method, client_name=f"Client {kind}")
        client = SimpleNamespace(kind=kind, id=info["client_id"], secret=info.get("client_secret", ""))
        basic = {"Authorization": basic_header(client)} if kind == "basic" else None
        given = {"client_secret": client.secret} if kind == "post" else {}
        client.allowed, client.waits = (ask(client.id, basic, **given).json() for _ in range(2))
        decide(alice, client.allowed["user_code"])
        clients.append(client)
    DeviceAuthorization.objects.update(expires_at=FAR)
    Connection.objects.all().delete()
    return SimpleNamespace(alice=alice, clients=clients, session=browser(alice).cookies["sessionid"].value)


def test_only_a_client_that_proves_who_it_is_gets_codes_and_for_our_resources_alone(world: SimpleNamespace) -> None:
    before = set(DeviceAuthorization.objects.values_list("pk", flat=True))
    other = [client.id for client in world.clients] + ["https://evil.example/star", "mcp:write"]

    @st.composite
    def requests(draw: st.DrawFn) -> Sent:
        client = draw(st.sampled_from(world.clients))
        pairs = [("scope", "mcp:tools"), ("resource", RESOURCE)]
        return draw(form_posts([ENDPOINT, ENDPOINT.rstrip("/")], client, pairs, other))

    def check(sent: Sent, answer: Answer) -> None:
        if sent.method == "OPTIONS":
            return
        require_machine_answer(sent, answer)
        made = list(DeviceAuthorization.objects.exclude(pk__in=before).select_related("application"))
        assert len(made) == (answer.status == 200), answer
        if not made:
            return
        (row,) = made
        client = next(client for client in world.clients if client.id == row.application.client_id)
        assert is_proven(sent, form_of(sent), client)
        assert sent.method == "POST"
        assert row.device_code_digest == code_digest(answer.json()["device_code"])
        assert len(row.resource) == 1
        assert set(row.resource) <= OUR_RESOURCES
        assert set(row.scope.split()) <= {"mcp:tools", "mcp:write", "offline_access"}
        assert row.scope
        assert (row.status, row.user, row.interval) == ("pending", None, 5)

    fuzz(requests(), 0.15, {200, 400, 401, 405}, check)


def test_a_device_code_becomes_tokens_for_its_own_client_and_after_a_yes_alone(world: SimpleNamespace) -> None:
    codes = [answer["device_code"] for client in world.clients for answer in (client.allowed, client.waits)]
    other = [
        *codes,
        *(client.id for client in world.clients),
        *(client.allowed["user_code"] for client in world.clients),
    ]

    @st.composite
    def requests(draw: st.DrawFn) -> Sent:
        client = draw(st.sampled_from(world.clients))
        answer = draw(st.sampled_from([client.allowed, client.allowed, client.allowed, client.waits]))
        pairs = [("grant_type", DEVICE_CODE), ("device_code", answer["device_code"])]
        return draw(form_posts(["/o/token/", "/o/token", "/token"], client, pairs, other))

    def check(sent: Sent, answer: Answer) -> None:
        if sent.method == "OPTIONS":
            return
        require_machine_answer(sent, answer)
        made = list(person_tokens().select_related("application"))
        assert len(made) == (answer.status == 200), answer
        used = DeviceAuthorization.objects.filter(status="used").count()
        assert used == len(made)
        if not made:
            return
        (token,) = made
        form = form_of(sent)
        client = next(client for client in world.clients if client.id == token.application.client_id)
        assert token.token_checksum == hashlib.sha256(answer.json()["access_token"].encode()).hexdigest()
        assert (token.user, token.scope, token.resource) == (world.alice, "mcp:tools", [RESOURCE])
        assert form["device_code"] == [client.allowed["device_code"]]
        assert form["grant_type"] == [DEVICE_CODE]
        assert is_proven(sent, form, client)

    fuzz(requests(), 0.15, {200, 400, 401, 405}, check)


def test_a_device_is_only_allowed_by_the_form_that_its_person_was_shown(world: SimpleNamespace) -> None:
    rows = list(DeviceAuthorization.objects.filter(status="pending"))
    seals = {row.pk: signing.dumps([row.pk, world.alice.pk], salt="authapp.device_page") for row in rows}
    wrong = signing.dumps([rows[0].pk, world.alice.pk + 1], salt="authapp.device_page")
    codes = [client.waits["user_code"] for client in world.clients]

    @st.composite
    def requests(draw: st.DrawFn) -> Sent:
        method = draw(st.sampled_from(["POST"] * 10 + ["GET", "GET", "GET", "HEAD", "OPTIONS", "PUT"]))
        headers = {"host": HOST}
        if draw(st.sampled_from([True, True, True, True, False])):
            headers["cookie"] = f"sessionid={world.session}; csrftoken={CSRF}"
        entered = [("csrfmiddlewaretoken", CSRF), ("user_code", draw(st.sampled_from(codes)))]
        sealed = draw(st.sampled_from([*seals.values(), *seals.values(), wrong]))
        answered = [("csrfmiddlewaretoken", CSRF), ("authorization", sealed), ("allow", "true")]
        pairs = draw(st.sampled_from([entered, answered, answered]))
        names = ("user_code", "authorization", "allow", "next", "csrfmiddlewaretoken")
        body = draw(encoded(draw(st.one_of(st.just(pairs), mutated_pairs(pairs, names)))))
        query = b""
        if method != "POST" or draw(st.booleans()):
            query = draw(encoded(draw(mutated_pairs([("user_code", codes[0])], names))))
        headers["content-type"] = FORM
        path = draw(st.sampled_from(["/device/", "/device"]))
        return Sent(method, path, query, draw(mutated_headers(headers)), body if method == "POST" else b"")

    def check(sent: Sent, answer: Answer) -> None:
        decided = list(DeviceAuthorization.objects.exclude(status="pending").filter(pk__in=seals))
        allowed = [row for row in decided if row.status == "approved"]
        assert Connection.objects.count() == len(allowed)
        if answer.status in {200, 302} or b"user_code" in answer.body:
            assert "no-store" in answer.header("cache-control"), answer
        if not decided:
            return
        (row,) = decided
        form = form_of(sent)
        assert row.user == world.alice
        assert sent.method == "POST"
        assert seals[row.pk] in form["authorization"]
        assert f"sessionid={world.session}".encode() in sent.header(b"cookie")
        assert CSRF.encode() in sent.body + sent.header(b"x-csrftoken")
        if allowed:
            assert "true" in form["allow"]
            assert Application.objects.filter(pk=row.application_id, user=None).exists()

    fuzz(requests(), 0.25, {200, 302, 400, 403, 405}, check)


def test_no_text_is_read_as_a_code_that_it_does_not_hold() -> None:
    from hypothesis import given
    from hypothesis import settings as hypothesis_settings

    from authapp import user_codes

    @hypothesis_settings(max_examples=300, database=None, deadline=None)
    @given(odd_text)
    def each(text: str) -> None:
        code = user_codes.read(text)
        assert code is None or re.fullmatch(r"[BCDFGHJKLMNPQRSTVWXZ]{8}", code)

    each()
