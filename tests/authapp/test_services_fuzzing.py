"""Fuzzing the client credentials grant: a service gets what its owner gave it, and nobody else gets any."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import strategies as st
from oauth2_provider.models import get_access_token_model, get_refresh_token_model

from authapp.models import Application
from tests.authapp.service_clients import SECRET, robot, service
from tests.authapp.test_fuzzing import (
    OUR_RESOURCES,
    REQUESTS,
    RESOURCE,
    Answer,
    Sent,
    form_of,
    form_posts,
    fuzz,
    is_proven,
    require_machine_answer,
)
from tests.oauth import CALLBACK

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(max(300, REQUESTS // 20))]


def known(client: Application, kind: str) -> SimpleNamespace:
    return SimpleNamespace(kind=kind, id=client.client_id, secret=SECRET, application=client)


def test_a_service_gets_what_its_owner_gave_it_and_nobody_else_gets_any(settings: Any) -> None:
    settings.AUTHAPP = {**settings.AUTHAPP, "CLIENT_CREDENTIALS": True}
    user = robot()
    good = {kind: known(service(user, name=kind), kind) for kind in ("basic", "post")}
    bad = [
        known(service(user, registration_source="dcr"), "basic"),
        known(service(user, authorization_grant_type="authorization-code", redirect_uris=CALLBACK), "post"),
        known(service(None), "basic"),
        known(service(user, scope=""), "post"),
        known(service(user, client_type="public"), "post"),
    ]
    ids = {client.id: client for client in good.values()}
    other = [*ids, *(client.id for client in bad), "refresh_token", "mcp:write", "offline_access openid", "alice", ""]

    @st.composite
    def requests(draw: st.DrawFn) -> Sent:
        client = draw(st.sampled_from([*good.values(), *good.values(), *bad]))
        pairs = [("grant_type", "client_credentials"), ("scope", "mcp:tools"), ("resource", RESOURCE)]
        name = draw(st.sampled_from(["user", "service_user", "refresh_token", "family_code", "default_resource"]))
        return draw(form_posts(["/o/token/", "/o/token", "/token"], client, [*pairs, (name, "alice")], other))

    def check(sent: Sent, answer: Answer) -> None:
        if sent.method == "OPTIONS":
            return
        require_machine_answer(sent, answer)
        made = list(get_access_token_model().objects.select_related("application"))
        assert not get_refresh_token_model().objects.exists()
        assert len(made) == (answer.status == 200), answer
        if not made:
            assert b"access_token" not in answer.body
            return
        (token,) = made
        assert token.token_checksum == hashlib.sha256(answer.json()["access_token"].encode()).hexdigest()
        assert token.user is None
        assert (len(token.resource), set(token.resource) <= OUR_RESOURCES) == (1, True)
        assert token.scope == "mcp:tools"
        assert is_proven(sent, form_of(sent), ids[token.application.client_id])
        assert form_of(sent)["grant_type"] == ["client_credentials"]

    fuzz(requests(), 0.15, {200, 400, 401, 405}, check)
