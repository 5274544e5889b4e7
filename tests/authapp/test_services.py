"""Services: the client credentials grant and what its tokens stand for (RFC 6749 §4.4)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import connections
from django.utils import timezone
from oauth2_provider.models import get_access_token_model, get_refresh_token_model

from authapp import client_secrets, direct
from authapp.management.commands.clear_unused_clients import unused_clients
from authapp.models import Application, AuditEvent, Connection
from authapp.tokens import AccessTokenInfo, find_access_token
from tests.authapp.service_clients import SECRET, ask, basic, robot, service, token_of
from tests.oauth import CALLBACK, PKCE, RESOURCE, authorization_url, browser, post_form, registered

pytestmark = pytest.mark.django_db

AccessToken = get_access_token_model()
ELSEWHERE = "https://elsewhere.example/star"


@pytest.fixture(autouse=True)
def _on(settings: Any) -> None:
    settings.AUTHAPP = {**settings.AUTHAPP, "CLIENT_CREDENTIALS": True}


def find(token: str) -> AccessTokenInfo | None:
    return async_to_sync(find_access_token)(token)


def assert_error(response: Any, error: str, status: int = 400) -> None:
    assert (response.status_code, response.json()["error"]) == (status, error), response.content
    assert response["Cache-Control"] == "no-store"


# What a service gets


@pytest.mark.rfc("6749 4.4.3")
def test_a_service_gets_an_access_token_without_a_person_and_no_refresh_token() -> None:
    client = service(robot())
    response = ask(client, resource=RESOURCE)
    body = response.json()
    assert response.status_code == 200
    assert set(body) == {"access_token", "expires_in", "token_type", "scope"}
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 3600, "mcp:tools")
    assert response["Cache-Control"] == "no-store"
    row = AccessToken.objects.get()
    assert (row.user, row.application, row.resource, row.token) == (None, client, [RESOURCE], "")
    assert not get_refresh_token_model().objects.exists()


def test_its_token_stands_for_the_service_user_and_says_that_it_is_app_only() -> None:
    user = robot()
    info = find(token_of(service(user)))
    assert info is not None
    assert (info.user, info.is_app_only, info.connection_id, info.scopes) == (user, True, None, {"mcp:tools"})


def test_a_persons_token_is_not_app_only(alice: Any) -> None:
    from tests.mcpapp.helpers import make_token

    info = find(make_token(alice))
    assert info is not None
    assert info.is_app_only is False


@pytest.mark.parametrize("way", ["basic", "post"])
def test_a_service_proves_who_it_is_in_the_header_or_the_body(way: str) -> None:
    client = service(robot())
    if way == "basic":
        assert ask(client).status_code == 200
        return
    assert ask(client, secret=None, client_id=client.client_id, client_secret=SECRET).status_code == 200


def test_its_lifetime_is_a_setting_of_its_own(settings: Any) -> None:
    settings.AUTHAPP = {**settings.AUTHAPP, "APP_TOKEN_SECONDS": 120}
    assert ask(service(robot())).json()["expires_in"] == 120
    left = AccessToken.objects.get().expires - timezone.now()
    assert timedelta(seconds=100) < left <= timedelta(seconds=120)


@pytest.mark.rfc("6749 3.3")
@pytest.mark.parametrize(
    ("own", "asked", "granted"),
    [
        ("mcp:tools mcp:write", None, "mcp:tools mcp:write"),
        ("mcp:tools mcp:write", "mcp:tools", "mcp:tools"),
        ("mcp:write", "mcp:tools", "mcp:tools"),
        ("mcp:tools offline_access", None, "mcp:tools"),
        ("mcp:tools", "mcp:tools mcp:tools", "mcp:tools"),
    ],
)
def test_it_gets_the_scopes_that_its_owner_gave_it_or_fewer(own: str, asked: str | None, granted: str) -> None:
    assert ask(service(robot(), scope=own), scope=asked).json()["scope"] == granted


@pytest.mark.rfc("6749 5.2")
@pytest.mark.parametrize(
    ("own", "asked"),
    [
        ("mcp:tools", "mcp:write"),
        ("mcp:tools", "mcp:tools mcp:write"),
        ("mcp:tools offline_access", "mcp:tools offline_access"),
        ("mcp:tools openid", "openid"),
        ("mcp:tools", "unknown"),
        ("mcp:tools oauth2_provider:registration", "oauth2_provider:registration"),
        ("", None),
        ("", "mcp:tools"),
        ("unknown", None),
    ],
)
def test_more_than_its_owner_gave_it_is_refused_and_nothing_given_is_nothing(own: str, asked: str | None) -> None:
    """Our choice: RFC 6749 would let us leave the rest out, and a program would only notice at its first write."""
    client = service(robot(), scope=own)
    refused = ask(client, scope=asked)
    assert_error(refused, "invalid_scope")
    described = refused.json()["error_description"]
    assert described.startswith("This service may have ")
    assert ("mcp:tools" in described) == ("mcp:tools" in own)
    assert ("no scope" in described) == (own in {"", "unknown"})
    assert not AccessToken.objects.exists()
    Application.objects.update(scope="mcp:tools mcp:write")
    assert ask(client, scope="mcp:tools mcp:write").status_code == 200


@pytest.mark.rfc("8707 2.2")
@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000"])
def test_without_a_resource_the_token_is_for_the_one_at_the_issuer(host: str) -> None:
    client = service(robot())
    headers = basic(client.client_id) | {"host": host}
    assert post_form("/o/token/", {"grant_type": "client_credentials"}, headers).status_code == 200
    assert AccessToken.objects.get().resource == [f"http://{host}/star"]


@pytest.mark.rfc("8707 2")
@pytest.mark.parametrize("resource", [ELSEWHERE, f"{RESOURCE}/more", [RESOURCE, ELSEWHERE]], ids=str)
def test_a_foreign_resource_is_no_target(resource: Any) -> None:
    client = service(robot())
    assert_error(ask(client, resource=resource), "invalid_target")
    assert not AccessToken.objects.exists()
    assert ask(client, resource=RESOURCE).status_code == 200


def test_the_trail_names_the_client_the_service_user_and_the_scope() -> None:
    client = service(robot())
    ask(client)
    event = AuditEvent.objects.get()
    assert (event.action, event.client_id, event.username) == ("token_issued", client.client_id, "robot")
    assert event.detail == {"scope": "mcp:tools", "resource": [RESOURCE]}


def test_a_parameter_names_nobody(alice: Any) -> None:
    """oauthlib's request answers with a parameter's text what nobody put on it."""
    client = service(robot())
    names = ("user", "service_user", "refresh_token_instance", "family_code", "granted_resource", "default_resource")
    assert ask(client, **dict.fromkeys(names, "alice")).status_code == 200
    assert AccessToken.objects.get().user is None


def test_a_grant_type_in_an_authorization_request_changes_nothing(alice: Any) -> None:
    """A person is asked for the scopes that the server has, whatever the query says besides."""
    url = authorization_url(
        registered()["client_id"], PKCE(), grant_type="client_credentials", service_user="x", scope="mcp:write nothing"
    )
    page = browser(alice).get(url)
    assert page.status_code == 200
    assert "Change your data" in page.content.decode()


# Who gets none


def nobody(client: Application) -> None:
    Application.objects.update(service_user=None)


def with_document(client: Application) -> None:
    client.client_id = "https://app.example/client.json"
    Application.objects.update(registration_source="cimd", client_id=client.client_id)


def inactive(client: Application) -> None:
    get_user_model().objects.filter(username="robot").update(is_active=False)


REFUSED: dict[str, tuple[Callable[[Application], Any], str, int]] = {
    "a client that registered itself": (
        lambda client: Application.objects.update(registration_source="dcr"),
        "unauthorized_client",
        400,
    ),
    "a client with a metadata document": (
        with_document,
        "unauthorized_client",
        400,
    ),
    "a client for people": (
        lambda client: Application.objects.update(
            authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE, redirect_uris=CALLBACK
        ),
        "unauthorized_client",
        400,
    ),
    "a public client that has a secret": (
        lambda client: Application.objects.update(client_type=Application.CLIENT_PUBLIC),
        "unauthorized_client",
        400,
    ),
    "a client without a service user": (nobody, "unauthorized_client", 400),
    "a client whose service user is inactive": (inactive, "unauthorized_client", 400),
    "a disabled client": (
        lambda client: Application.objects.update(disabled_at=timezone.now()),
        "invalid_client",
        401,
    ),
}


@pytest.mark.rfc("6749 5.2")
@pytest.mark.parametrize("who", REFUSED)
def test_nobody_else_has_the_grant(who: str) -> None:
    change, error, status = REFUSED[who]
    client = service(robot())
    assert ask(client).status_code == 200
    before = AccessToken.objects.count()
    change(client)
    assert_error(ask(client), error, status)
    assert AccessToken.objects.count() == before


@pytest.mark.parametrize("who", REFUSED)
def test_what_takes_the_grant_away_ends_the_tokens_too(who: str) -> None:
    client = service(robot())
    token = token_of(client)
    assert find(token) is not None
    REFUSED[who][0](client)
    assert find(token) is None
    assert introspected(client, token) in ({"active": False}, None)


def test_a_client_that_registers_itself_cannot_have_the_grant() -> None:
    """Asked for with others it is left out, and what is made is no service whatever else is done to it."""
    client = registered(
        grant_types=["authorization_code", "client_credentials"],
        token_endpoint_auth_method="client_secret_basic",
        scope="mcp:tools",
    )
    Application.objects.update(service_user=robot())
    headers = basic(client["client_id"], client["client_secret"])
    assert_error(post_form("/o/token/", {"grant_type": "client_credentials"}, headers), "unauthorized_client")


@pytest.mark.rfc("6749 2.3.1")
@pytest.mark.parametrize(
    ("secret", "form", "error", "status"),
    [
        ("wrong", {}, "invalid_client", 401),
        ("", {}, "invalid_client", 401),
        (None, {}, "invalid_client", 401),
        (None, {"client_id": "ITS"}, "invalid_client", 401),
        (None, {"client_id": "ITS", "client_secret": ""}, "invalid_client", 401),
        (SECRET, {"client_secret": SECRET}, "invalid_request", 400),
        (SECRET, {"client_id": "another"}, "invalid_request", 400),
        (SECRET, {"scope": ["mcp:tools", "mcp:tools"]}, "invalid_request", 400),
        (SECRET, {"scope": "mcp:tools\x00"}, "invalid_request", 400),
        (SECRET, {"scope": "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")}, "invalid_scope", 400),
        (SECRET, {"scope": "x" * 9000}, "invalid_request", 400),
        (SECRET, {"scope": " ".join(f"s{n}" for n in range(1000))}, "invalid_scope", 400),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_a_faulty_request_gets_the_error_of_the_rfc(
    secret: str | None, form: dict[str, Any], error: str, status: int
) -> None:
    client = service(robot())
    form = {name: client.client_id if value == "ITS" else value for name, value in form.items()}
    assert_error(ask(client, secret=secret, **form), error, status)
    assert ask(client).status_code == 200


def test_no_secret_is_not_the_empty_one_that_somebody_stored() -> None:
    client = service(robot(), client_secret="")
    new = ""
    for _ in range(2):
        assert_error(ask(client, secret=None, client_id=client.client_id), "invalid_client", 401)
        assert_error(ask(client, secret=""), "invalid_client", 401)
        new = replaced(client)  # by then the empty one is the previous one
    assert ask(client, secret=new).status_code == 200


def test_switched_off_the_grant_does_not_exist_and_its_tokens_end(settings: Any) -> None:
    client = service(robot())
    token = token_of(client)
    assert "client_credentials" in metadata()["grant_types_supported"]
    settings.AUTHAPP = {**settings.AUTHAPP, "CLIENT_CREDENTIALS": False}
    assert_error(ask(client), "unsupported_grant_type")
    assert "client_credentials" not in metadata()["grant_types_supported"]
    assert find(token) is None
    assert introspected(client, token) == {"active": False}


def metadata() -> dict[str, Any]:
    document: dict[str, Any] = browser().get("/.well-known/oauth-authorization-server").json()
    assert "client_secret_basic" in document["token_endpoint_auth_methods_supported"], "what the MCP extension asks for"
    return document


# What its tokens stand for, by both ways of looking one up


@pytest.fixture(params=["reader", "ORM"])
async def way(request: pytest.FixtureRequest, transactional_db: None) -> AsyncIterator[str]:
    reader = await direct.open_reader("default") if request.param == "reader" else None
    assert (reader is not None) == (request.param == "reader")
    yield request.param
    if reader is not None:
        await direct.close_reader(reader)
    await sync_to_async(connections.close_all)()


@pytest.mark.anyio
@pytest.mark.django_db(transaction=True)
async def test_a_lookup_follows_what_the_client_is_now(way: str) -> None:
    user = await sync_to_async(robot)()
    client = await sync_to_async(service)(user, scope="mcp:tools mcp:write")
    token = await sync_to_async(token_of)(client)
    found = await find_access_token(token)
    assert found is not None
    assert (found.user, found.is_app_only, found.connection_id) == (user, True, None)
    assert found.scopes == {"mcp:tools", "mcp:write"}
    await Connection.objects.acreate(user=user, application=client)
    found = await find_access_token(token)
    assert found is not None
    assert found.connection_id is None, "no consent of anybody's is behind it"
    row = await AccessToken.objects.aget()
    assert found.depends_on == {f"token:{row.token_checksum}", f"user:{user.pk}", f"client:{client.pk}"}
    for field in user._meta.concrete_fields:
        assert getattr(found.user, field.attname) == getattr(user, field.attname), field.name

    async def now(**fields: Any) -> AccessTokenInfo | None:
        await Application.objects.aupdate(**fields)
        return await find_access_token(token)

    other = await sync_to_async(robot)("other")
    found = await now(service_user=other)
    assert found is not None
    assert (found.user, f"user:{other.pk}" in found.depends_on) == (other, True)
    found = await now(scope="mcp:tools")
    assert found is not None
    assert found.scopes == {"mcp:tools"}
    for fields in (
        {"scope": ""},
        {"scope": "mcp:else"},
        {"service_user": None},
        {"client_type": "public"},
        {"registration_source": "dcr"},
        {"authorization_grant_type": "authorization-code"},
        {"disabled_at": timezone.now()},
    ):
        before = await Application.objects.values(*fields).aget()
        assert await now(**fields) is None, fields
        assert await now(**before) is not None, fields
    assert await now(authorization_grant_type="authorization-code", grant_types=["client_credentials"]) is not None
    await get_user_model().objects.filter(pk=other.pk).aupdate(is_active=False)
    assert await find_access_token(token) is None


@pytest.mark.anyio
@pytest.mark.django_db(transaction=True)
async def test_a_token_that_manages_a_registration_calls_nothing_whatever_its_client_is(way: str) -> None:
    """RFC 7592: it has no person either."""
    information = await sync_to_async(registered)()
    token = information["registration_access_token"]
    user = await sync_to_async(robot)()
    await Application.objects.aupdate(
        client_type="confidential",
        authorization_grant_type="client-credentials",
        registration_source="manual",
        scope="mcp:tools oauth2_provider:registration",
        service_user=user,
    )
    client = await Application.objects.aget()
    assert await find_access_token(await sync_to_async(token_of)(client, secret=await new_secret(client))) is not None
    assert await find_access_token(token) is None
    for scope in ("oauth2_provider:registration mcp:tools", "mcp:tools oauth2_provider:registration"):
        await AccessToken.objects.filter(scope__contains="registration").aupdate(scope=scope, resource=[RESOURCE])
        assert await find_access_token(token) is None


async def new_secret(client: Application) -> str:
    def make() -> str:
        from django.db import transaction

        with transaction.atomic():
            return client_secrets.replace(client, {})[0]

    return await sync_to_async(make)()


def test_deleting_the_service_user_ends_its_tokens_and_keeps_the_client() -> None:
    user = robot()
    client = service(user)
    token = token_of(client)
    user.delete()
    assert find(token) is None
    client.refresh_from_db()
    assert client.service_user is None


# Revocation, introspection, people


def introspected(client: Application, token: str, secret: str = SECRET) -> dict[str, Any] | None:
    response = post_form("/o/introspect/", {"token": token}, basic(client.client_id, secret))
    return response.json() if response.status_code == 200 else None


@pytest.mark.rfc("7662 2.2")
def test_a_service_can_ask_about_its_own_token_and_no_other_can() -> None:
    user = robot()
    mine, theirs = service(user), service(user, name="Other")
    token = token_of(mine)
    answer = introspected(mine, token)
    assert answer is not None
    assert (answer["active"], answer["username"], answer["scope"]) == (True, "robot", "mcp:tools")
    assert (answer["sub"], answer["client_id"], answer["aud"]) == (str(user.pk), mine.client_id, [RESOURCE])
    assert introspected(theirs, token) == {"active": False}


def test_a_token_that_manages_a_registration_is_active_to_nobody() -> None:
    information = registered(token_endpoint_auth_method="client_secret_basic")
    application = Application.objects.get()
    answer = introspected(application, information["registration_access_token"], information["client_secret"])
    assert answer == {"active": False}


@pytest.mark.rfc("7009 2.1")
def test_a_service_revokes_its_own_token_and_no_other_does() -> None:
    user = robot()
    mine, theirs = service(user), service(user, name="Other")
    token, another = token_of(mine), token_of(mine)

    def revoke(client: Application) -> int:
        return int(post_form("/o/revoke_token/", {"token": token}, basic(client.client_id)).status_code)

    assert (revoke(theirs), find(token) is None) == (200, False)
    assert (revoke(mine), find(token) is None) == (200, True)
    assert find(another) is not None
    event = AuditEvent.objects.latest("pk")
    assert (event.action, event.client_id, event.username) == ("token_revoked", mine.client_id, "robot")
    assert revoke(mine) == 200
    assert AuditEvent.objects.filter(action="token_revoked").count() == 1


def test_a_client_does_not_revoke_the_token_that_manages_its_registration() -> None:
    information = registered(token_endpoint_auth_method="client_secret_basic")
    headers = basic(information["client_id"], information["client_secret"])
    form = {"token": information["registration_access_token"]}
    assert post_form("/o/revoke_token/", form, headers).status_code == 200
    assert AccessToken.objects.count() == 1


def test_people_see_nothing_of_services(alice: Any) -> None:
    token_of(service(robot()))
    assert "Nightly" not in browser(alice).get("/connected-apps/").content.decode()
    assert not Connection.objects.exists()


def test_a_service_is_never_cleared_as_unused() -> None:
    client = service(robot())
    Application.objects.update(created=timezone.now() - timedelta(days=999), updated=timezone.now() - timedelta(999))
    assert not unused_clients(1).exists()
    Application.objects.update(registration_source="dcr")
    assert unused_clients(1).get() == client


def test_a_client_for_people_cannot_send_anyone_to_authorize_as_a_service(alice: Any) -> None:
    """A service has no redirect URI and no code grant: the authorize page refuses it."""
    client = service(robot())
    assert browser(alice).get(authorization_url(client.client_id, PKCE())).status_code == 400


# Service users


def test_a_persons_account_is_no_service_user(alice: Any) -> None:
    """Our choice: what a service does must not look like a person's doing, nor end when they leave."""
    user = robot()
    client = service(user)
    client.full_clean()
    for change in ({"password": alice.password}, {"last_login": timezone.now()}):
        get_user_model().objects.filter(pk=user.pk).update(**change)
        with pytest.raises(ValidationError, match="service_user"):
            Application.objects.get().full_clean()
        get_user_model().objects.filter(pk=user.pk).update(password=user.password, last_login=None)
    Application.objects.get().full_clean()


def test_nobody_signs_in_as_a_service_user() -> None:
    user = robot()
    for password in ("", "!", user.password, user.password[1:]):
        response = browser().post("/accounts/login/", {"login": "robot", "password": password})
        assert response.status_code == 200
        assert "_auth_user_id" not in response.wsgi_request.session


# A new secret while the one before still works


def replaced(client: Application, **options: Any) -> str:
    from django.db import transaction

    with transaction.atomic():
        return client_secrets.replace(client, {}, **options)[0]


def test_after_a_new_secret_the_one_before_works_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    client = service(robot())
    new = replaced(client)
    assert new not in str(list(Application.objects.values()))
    assert SECRET not in str(list(Application.objects.values()))
    with caplog.at_level(logging.INFO, "authapp"):
        assert ask(client, secret=new).status_code == 200
        assert "previous secret" not in caplog.text
        assert ask(client, secret=SECRET).status_code == 200
        body = {"client_id": client.client_id, "client_secret": SECRET}
        assert ask(client, secret=None, **body).status_code == 200
    assert "still uses its previous secret" in caplog.text
    assert SECRET not in caplog.text
    assert_error(ask(client, secret="wrong"), "invalid_client", 401)
    until = Application.objects.get().previous_client_secret_expires_at
    assert until is not None
    assert timedelta(days=6.9) < until - timezone.now() <= timedelta(days=7)
    Application.objects.update(previous_client_secret_expires_at=timezone.now())
    assert_error(ask(client, secret=SECRET), "invalid_client", 401)
    assert ask(client, secret=new).status_code == 200


def test_a_new_secret_at_once_ends_the_one_before(settings: Any) -> None:
    client = service(robot())
    assert ask(client, secret=SECRET).status_code == 200
    new = replaced(client, overlap_seconds=0)
    assert_error(ask(client, secret=SECRET), "invalid_client", 401)
    assert ask(client, secret=new).status_code == 200
    settings.AUTHAPP = {**settings.AUTHAPP, "SECRET_OVERLAP_SECONDS": 0}
    newest = replaced(client)
    assert_error(ask(client, secret=new), "invalid_client", 401)
    assert ask(client, secret=newest).status_code == 200


def test_two_secrets_work_and_never_three() -> None:
    client = service(robot())
    second = replaced(client)
    third = replaced(client)
    assert [ask(client, secret=secret).status_code for secret in (SECRET, second, third)] == [401, 200, 200]


def test_the_previous_secret_of_one_client_is_nothing_to_another() -> None:
    user = robot()
    one, other = service(user), service(user, name="Other", client_secret="o" * 40)
    replaced(one)
    replaced(other)
    assert ask(one, secret=SECRET).status_code == 200
    assert_error(ask(other, secret=SECRET), "invalid_client", 401)


def test_a_client_that_is_public_by_now_is_not_known_by_its_previous_secret() -> None:
    client = service(robot())
    replaced(client)
    assert ask(client, secret=SECRET).status_code == 200
    Application.objects.update(client_type=Application.CLIENT_PUBLIC)
    assert_error(ask(client, secret=SECRET), "invalid_client", 401)


def test_a_secret_that_was_stored_in_clear_is_kept_as_a_digest() -> None:
    client = service(robot(), hash_client_secret=False)
    assert Application.objects.get().client_secret == SECRET
    replaced(client)
    assert SECRET not in str(list(Application.objects.values()))
    assert ask(client, secret=SECRET).status_code == 200


def test_what_cannot_have_a_new_secret_says_why() -> None:
    client = service(robot())
    for seconds in (-1, 10**9):
        with pytest.raises(ValueError, match="overlap"):
            replaced(client, overlap_seconds=seconds)
    for field, value in (
        ("client_type", Application.CLIENT_PUBLIC),
        ("registration_source", Application.RegistrationSource.DCR),
        ("token_endpoint_auth_method", "private_key_jwt"),
    ):
        Application.objects.update(**{field: value})
        with pytest.raises(ValueError, match="no secret"):
            replaced(Application.objects.get())
        Application.objects.update(**{field: getattr(client, field)})
    assert replaced(Application.objects.get())


def test_the_trail_tells_of_a_new_secret_and_never_which() -> None:
    new = replaced(service(robot()), by="root")
    event = AuditEvent.objects.get()
    assert (event.action, event.detail["by"]) == ("secret_replaced", "root")
    assert new not in str(list(AuditEvent.objects.values()))
    assert "previous_works_until" in event.detail
