"""Tokens of other issuers act as the same users, within the same scopes and permissions, as the site's own."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.test import Client

from authapp import issuer_people
from authapp.models import AuditEvent, LinkedIdentity
from mcpapp import conf
from mcpapp.issuers import lookup
from mcpapp.issuers.settings import token_issuers
from mcpapp.models import ToolCall
from mcpapp.registry import Catalog, tool
from tests.issuer import CLIENT, OID, TENANT, Issuer
from tests.keys import Key
from tests.mcpapp.both_ways import ERAS
from tests.mcpapp.helpers import call, listed, make_token, send, serving
from tests.mcpapp.issuers.conftest import trust
from tests.oauth import ISSUER, RESOURCE

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("version", [1, 2])
async def test_a_token_of_the_tenant_calls_tools_as_the_linked_user(
    linked: LinkedIdentity, trusted: Issuer, version: int, era: str
) -> None:
    token = trusted.token(trusted.claims(version, app_displayname="Contoso Desk" if version == 1 else None))
    async with serving() as endpoint:
        for _ in range(2):  # looked up, and kept
            data = (await call(endpoint, token, "protected-data", era))["structuredContent"]
            assert data["username"] == "alice"
            assert data["groups"] == ["Owners"]
            assert data["scopes"] == ["mcp:tools"]
            assert data["client"] == ("Contoso Desk" if version == 1 else CLIENT)


async def test_our_own_tokens_go_on_working_beside_them(linked: LinkedIdentity, trusted: Issuer, bob: Any) -> None:
    own = await sync_to_async(make_token)(bob)
    async with serving() as endpoint:
        assert (await call(endpoint, own, "protected-data"))["structuredContent"]["username"] == "bob"
        assert (await call(endpoint, trusted.token(), "protected-data"))["structuredContent"]["username"] == "alice"


@pytest.mark.rfc("6750 3.1")
async def test_scopes_and_permissions_are_the_same_as_for_our_own(
    catalog: Catalog, linked: LinkedIdentity, trusted: Issuer
) -> None:
    @tool("read")
    def read() -> str:
        return "read"

    @tool("write", scopes=["mcp:write"])
    def write() -> str:
        return "written"

    @tool("lend", permissions=["auth.add_user"])
    def lend() -> str:
        return "lent"

    narrow, wide = trusted.token(), trusted.token(trusted.claims(scp="User.Read mcp:write"))
    async with serving() as endpoint:
        assert await listed(endpoint, narrow) == ["read", "write"]
        refused = await send(endpoint, narrow, "tools/call", {"name": "write", "arguments": {}})
        assert refused.status_code == 403
        assert 'scope="mcp:tools mcp:write"' in refused.headers["www-authenticate"]
        assert "lend" not in await listed(endpoint, wide)
        for name in ("read", "write"):  # the one implies the other
            assert not (await call(endpoint, wide, name))["isError"]
        assert (await call(endpoint, wide, "lend"))["isError"]


async def test_their_calls_are_in_the_log_like_ours(linked: LinkedIdentity, trusted: Issuer, settings: Any) -> None:
    settings.MCPAPP = {**settings.MCPAPP, "CALL_LOG": True}
    async with serving() as endpoint:
        await call(endpoint, trusted.token(), "protected-data")
    row = await ToolCall.objects.aget()
    assert (row.username, row.client_id, row.outcome) == ("alice", CLIENT, "ok")


@pytest.mark.parametrize("change", ["user disabled", "link disabled", "link deleted", "user deleted"])
async def test_a_kept_token_ends_with_the_link_and_the_user(
    linked: LinkedIdentity, trusted: Issuer, change: str
) -> None:
    token = trusted.token()

    def end() -> None:
        match change:
            case "user disabled":
                get_user_model().objects.filter(username="alice").update(is_active=False)
            case "link disabled":
                LinkedIdentity.objects.update(disabled_at=linked.created_at)
            case "link deleted":
                LinkedIdentity.objects.all().delete()
            case "user deleted":
                get_user_model().objects.filter(username="alice").delete()
        connections.close_all()

    async with serving() as endpoint:
        for _ in range(3):
            assert (await send(endpoint, token, "tools/list")).status_code == 200
        await sync_to_async(end)()
        for _ in range(200):
            status = (await send(endpoint, token, "tools/list")).status_code
            if status != 200:
                break
        assert status == 401


async def test_a_stranger_of_the_tenant_is_refused_and_an_account_is_made_only_where_the_settings_say(
    trusted: Issuer, settings: Any, alice: Any
) -> None:
    """With the same e-mail and name as somebody who is here: that links nobody."""
    await get_user_model().objects.filter(username="alice").aupdate(email="alice@contoso.example")
    token = trusted.token()
    async with serving() as endpoint:
        assert (await send(endpoint, token, "tools/list")).status_code == 401
    assert await LinkedIdentity.objects.acount() == 0
    trust(settings, trusted.entra(create_users=True))
    async with serving() as endpoint:
        for _ in range(2):
            data = (await call(endpoint, token, "protected-data"))["structuredContent"]
            assert data["username"] == "alice@contoso.example"
            assert data["groups"] == []
    made = await get_user_model().objects.aget(username="alice@contoso.example")
    assert made.pk != alice.pk
    assert not made.has_usable_password()
    assert (made.is_staff, made.is_superuser, made.email) == (False, False, "")
    event = await AuditEvent.objects.aget(action="identity_linked")
    assert (event.username, event.detail["by"]) == ("alice@contoso.example", "first token")


async def test_a_name_that_is_taken_is_not_taken_over(trusted: Issuer, settings: Any, alice: Any) -> None:
    trust(settings, trusted.entra(create_users=True))
    token = trusted.token(trusted.claims(preferred_username="ALICE"))
    async with serving() as endpoint:
        data = (await call(endpoint, token, "protected-data"))["structuredContent"]
    assert data["username"].startswith("ALICE-")


async def test_of_many_first_calls_at_once_one_makes_the_account(trusted: Issuer, settings: Any) -> None:
    import asyncio

    trust(settings, trusted.entra(create_users=True))
    tokens = [trusted.token(trusted.claims(uti=str(number))) for number in range(8)]
    async with serving() as endpoint:
        answers = await asyncio.gather(*(send(endpoint, token, "tools/list") for token in tokens))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert await get_user_model().objects.acount() == await LinkedIdentity.objects.acount() == 1


async def test_roles_are_taken_where_the_settings_say_and_grant_nothing(
    linked: LinkedIdentity, trusted: Issuer, settings: Any
) -> None:
    token = trusted.token(trusted.claims(roles=["mcp:write", "admin"]))
    async with serving() as endpoint:
        assert (await send(endpoint, token, "tools/list")).status_code == 401
    trust(settings, trusted.entra(accept_roles=True))
    async with serving() as endpoint:
        assert (await call(endpoint, token, "protected-data"))["structuredContent"]["scopes"] == ["mcp:tools"]


# --- Any provider ----------------------------------------------------------------------------------------------------


@pytest.mark.rfc("9068 2.2")
@pytest.mark.parametrize(
    ("algorithm", "changes"),
    [
        ("RS256", {}),
        ("ES256", {"azp": "desk", "client_id": None}),  # Keycloak
        ("EdDSA", {"scope": None, "scp": ["openid", "mcp:tools"]}),  # a list, as of Okta
        ("RS256", {"aud": [RESOURCE, "https://example.auth0.example/userinfo"]}),  # Auth0
        ("PS256", {}),
    ],
)
async def test_tokens_of_any_provider_by_settings(
    issuer: Issuer, settings: Any, alice: Any, algorithm: str, changes: dict[str, Any]
) -> None:
    issuer.keys = [Key(algorithm, kid="one")]
    trust(settings, issuer.oidc(algorithms=[algorithm]))
    await LinkedIdentity.objects.acreate(issuer=issuer.url, subject="alice", user=alice)
    async with serving() as endpoint:
        good = issuer.token(issuer.plain_claims(**changes), typ="at+jwt")
        assert (await call(endpoint, good, "protected-data"))["structuredContent"]["username"] == "alice"
        app_only = issuer.token(issuer.plain_claims(sub="some-client"))
        assert (await send(endpoint, app_only, "tools/list")).status_code == 401
    assert "/.well-known/openid-configuration" in issuer.requests


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": "some-client"},  # RFC 9068 §2.2
        {"azp": "another", "sub": "some-client"},
        {"sub": "some-client@clients"},  # Auth0
        {"sub": "0f0f", "gty": "client-credentials"},
        {"sub": "0f0f", "preferred_username": "service-account-some-client"},  # Keycloak
        {"sub": "0f0f", "idtyp": "app"},
    ],
)
async def test_a_client_that_acts_for_itself_is_given_no_account(
    issuer: Issuer, settings: Any, alice: Any, changes: dict[str, Any]
) -> None:
    trust(settings, issuer.oidc(create_users=True))
    async with serving() as endpoint:
        app_only = issuer.token(issuer.plain_claims(**changes))
        assert (await send(endpoint, app_only, "tools/list")).status_code == 401
        assert await LinkedIdentity.objects.acount() == 0
        a_person = issuer.token(issuer.plain_claims(preferred_username="servicing", azp="another"))
        assert (await send(endpoint, a_person, "tools/list")).status_code == 200
        assert await LinkedIdentity.objects.acount() == 1


@pytest.mark.rfc("8707 2")
async def test_a_token_whose_audience_is_one_of_our_resources_is_for_that_one(
    issuer: Issuer, settings: Any, alice: Any
) -> None:
    other, api = "https://other.example/star", "api://star"
    trust(settings, issuer.oidc(audiences=[RESOURCE, other, api]), RESOURCES=[RESOURCE, other])
    await LinkedIdentity.objects.acreate(issuer=issuer.url, subject="alice", user=alice)
    for aud, expected in (
        (RESOURCE, 200),
        (other, 401),
        ([other, api], 401),
        ([other, RESOURCE], 200),
        (api, 200),
    ):
        async with serving() as endpoint:
            token = issuer.token(issuer.plain_claims(aud=aud))
            assert (await send(endpoint, token, "tools/list")).status_code == expected, aud


async def test_a_link_that_an_address_made_does_not_lead_to_staff(linked: LinkedIdentity, trusted: Issuer) -> None:
    """The same link counts for assertions of organisations, which refuse it (`authapp.identities`)."""
    users = get_user_model().objects.filter(username="alice")
    await LinkedIdentity.objects.aupdate(linked_by="email")
    async with serving() as endpoint:
        assert (await send(endpoint, trusted.token(), "tools/list")).status_code == 200
        await users.aupdate(is_staff=True)
        await sync_to_async(connections.close_all)()
        for _ in range(200):
            if (status := (await send(endpoint, trusted.token(), "tools/list")).status_code) != 200:
                break
        assert status == 401
        await LinkedIdentity.objects.aupdate(linked_by="administrator")
        assert (await send(endpoint, trusted.token(), "tools/list")).status_code == 200


async def test_people_are_looked_for_by_a_few_threads_however_many_tokens_come(
    linked: LinkedIdentity, trusted: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them takes a connection to the database."""
    lock, at_once, most = threading.Lock(), 0, 0

    def find_person(*arguments: Any) -> Any:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        found = issuer_people.find_person(*arguments)
        with lock:
            at_once -= 1
        return found

    monkeypatch.setattr(conf, "issuer_user", lambda: find_person)
    monkeypatch.setattr(lookup, "MAXIMUM_SEARCHES", 2)
    async with serving() as endpoint:
        tokens = [trusted.token(trusted.claims(uti=str(number))) for number in range(40)]
        answers = await asyncio.gather(*(send(endpoint, token, "tools/list") for token in tokens))
    assert [answer.status_code for answer in answers] == [200] * 40
    assert 0 < most <= 2


async def test_scopes_of_theirs_are_ours_as_the_settings_say(issuer: Issuer, settings: Any, alice: Any) -> None:
    trust(settings, issuer.oidc(scopes={"tools.read": "mcp:tools"}))
    await LinkedIdentity.objects.acreate(issuer=issuer.url, subject="alice", user=alice)
    async with serving() as endpoint:
        good = issuer.token(issuer.plain_claims(scope="tools.read"))
        assert (await send(endpoint, good, "tools/list")).status_code == 200
        by_our_name = issuer.token(issuer.plain_claims(scope="mcp:tools mcp:write"))
        assert (await send(endpoint, by_our_name, "tools/list")).status_code == 403


async def test_a_configuration_document_of_another_issuer_is_not_believed(
    issuer: Issuer, settings: Any, alice: Any
) -> None:
    """OpenID Connect Discovery §4.3."""
    trust(settings, issuer.oidc())
    await LinkedIdentity.objects.acreate(issuer=issuer.url, subject="alice", user=alice)
    wrong = json.dumps({"issuer": "https://another.example", "jwks_uri": f"{issuer.url}/keys"}).encode()
    issuer.answers["/.well-known/openid-configuration"] = (200, {}, wrong)
    token = issuer.token(issuer.plain_claims())
    async with serving() as endpoint:
        assert (await send(endpoint, token, "tools/list")).status_code == 503
        issuer.answers.clear()
        lookup.forget_keys()
        assert (await send(endpoint, token, "tools/list")).status_code == 200


# --- What clients and owners are told --------------------------------------------------------------------------------


@pytest.mark.rfc("9728 2")
@pytest.mark.parametrize(("first", "order"), [(False, [0, 1]), (True, [1, 0])])
def test_both_issuers_are_in_the_metadata_in_the_order_of_the_settings(
    issuer: Issuer, settings: Any, client: Client, first: bool, order: list[int]
) -> None:
    trust(settings, issuer.entra(), TOKEN_ISSUERS_FIRST=first)
    both = [ISSUER, issuer.v2]
    document = client.get("/.well-known/oauth-protected-resource/star", headers={"host": "127.0.0.1:8000"}).json()
    assert document["authorization_servers"] == [both[number] for number in order]
    trust(settings, issuer.entra(announced=False), TOKEN_ISSUERS_FIRST=first)
    document = client.get("/.well-known/oauth-protected-resource/star", headers={"host": "127.0.0.1:8000"}).json()
    assert document["authorization_servers"] == [ISSUER]


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"profile": "entra", "tenant": "common", "audiences": ["x"]}, "one tenant"),
        ({"profile": "entra", "tenant": "organizations", "audiences": ["x"]}, "one tenant"),
        ({"profile": "entra", "tenant": "contoso.example", "audiences": ["x"]}, "one tenant"),
        ({"profile": "entra", "tenant": TENANT}, "audiences is empty"),
        ({"profile": "entra", "tenant": TENANT, "audiences": "x"}, "a list"),
        ({"profile": "entra", "tenant": TENANT, "audiences": ["x"], "issuer": "https://x.example"}, "follow from"),
        ({"profile": "saml"}, "profile"),
        ({"issuer": "http://login.example", "audiences": ["x"]}, "https"),
        ({"issuer": "", "audiences": ["x"]}, "https"),
        ({"issuer": "https://login.example", "audiences": ["x"], "jwks_uri": "ftp://login.example"}, "https"),
        ({"issuer": "https://login.example", "audiences": ["x"], "algorithms": ["HS256"]}, "algorithms"),
        ({"issuer": "https://login.example", "audiences": ["x"], "algorithms": ["none"]}, "algorithms"),
        ({"issuer": "https://login.example", "audiences": ["x"], "scopes": {"a": "admin"}}, "scopes"),
        ({"issuer": "https://login.example", "audiences": ["x"], "leeway_seconds": 3600}, "leeway"),
        ({"issuer": "https://login.example", "audience": ["x"]}, "not known: audience"),
        ({"issuer": "https://login.example", "audiences": 5}, "a list"),
        ({"issuer": "https://login.example", "audiences": {"x": 1}}, "a list"),
        ({"issuer": "https://login.example", "audiences": ["x"], "algorithms": None}, "a list"),
        ({"issuer": "https://login.example", "audiences": ["x"], "scopes": {}}, "scopes"),
        ({"issuer": "https://login.example", "audiences": ["x"], "scopes": {"": "mcp:tools"}}, "scopes"),
        ({"issuer": "https://login.example", "audiences": ["x"], "scopes": {"a": ["mcp:tools"]}}, "scopes"),
        ({"issuer": "https://login.example", "audiences": ["x"], "announced": "no"}, "true or false"),
        ({"issuer": "https://login.example", "audiences": ["x"], "create_users": 1}, "true or false"),
        ({"issuer": "https://login.example", "audiences": ["x"], "accept_roles": "true"}, "true or false"),
        ({"issuer": "https://login.example", "audiences": ["x"], "leeway_seconds": True}, "leeway"),
        ({"issuer": "https://login.example", "audiences": ["x"], "subject_claim": ""}, "subject_claim"),
        ({"issuer": "https://[", "audiences": ["x"]}, "https"),
        ({"issuer": "https://name:word@login.example", "audiences": ["x"]}, "https"),
        ({"issuer": "https://login.example ", "audiences": ["x"]}, "https"),
        ({"issuer": "https://login.example?a=b", "audiences": ["x"]}, "https"),
        ({"issuer": "https://login.example:99999", "audiences": ["x"]}, "https"),
        ("https://login.example", "an object"),
    ],
)
def test_a_setting_that_cannot_be_meant_stops_the_start(settings: Any, entry: Any, told: str) -> None:
    trust(settings, entry)
    with pytest.raises(ImproperlyConfigured, match=told):
        token_issuers()
    trust(settings, {"issuer": "https://login.example", "audiences": ["x"]})
    assert token_issuers()[0].issuer == "https://login.example"


def test_the_tenant_of_a_link_is_that_of_both_versions(issuer: Issuer, settings: Any) -> None:
    trust(settings, issuer.entra())
    (known,) = token_issuers()
    assert known.accepted == {issuer.v1, issuer.v2}
    assert known.issuer == issuer.v2
    assert known.subject_claim == "oid"
    assert OID


def test_without_an_authority_of_its_own_it_is_the_public_cloud(settings: Any) -> None:
    trust(settings, {"profile": "entra", "tenant": TENANT, "audiences": ["x"]})
    (known,) = token_issuers()
    assert known.accepted == {
        f"https://login.microsoftonline.com/{TENANT}/v2.0",
        f"https://sts.windows.net/{TENANT}/",
    }
    assert known.jwks_uri == f"https://login.microsoftonline.com/{TENANT}/discovery/v2.0/keys"
