"""How access tokens look, and what a lookup finds: with the reader of a server as with the ORM."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections
from django.utils import timezone
from oauth2_provider.models import get_access_token_model
from oauth2_provider.settings import oauth2_settings

from authapp import direct, token_rows, tokens
from authapp.models import Application, Connection
from authapp.tokens import AccessTokenInfo, find_access_token, generate_access_token, is_marked
from tests.mcpapp.helpers import make_token, send
from tests.oauth import RESOURCE

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["reader", "ORM"])
async def way(request: pytest.FixtureRequest, transactional_db: None) -> AsyncIterator[str]:
    """Both ways of looking a token up."""
    reader = await direct.open_reader("default") if request.param == "reader" else None
    assert (reader is not None) == (request.param == "reader")
    yield request.param
    if reader is not None:
        await direct.close_reader(reader)
    await sync_to_async(connections.close_all)()


# What a token looks like


def test_a_token_has_a_name_and_256_random_bits_and_a_mark() -> None:
    made = {generate_access_token() for _ in range(100)}
    assert len(made) == 100
    assert {(token[:5], len(token)) for token in made} == {("star_", 5 + 43 + 16)}
    assert all(is_marked(token) for token in made)


def test_tokens_at_the_token_endpoint_are_made_so() -> None:
    assert oauth2_settings.ACCESS_TOKEN_GENERATOR is generate_access_token


@pytest.mark.parametrize("place", [0, 4, 5, 30, 47, 48, 63], ids=str)
def test_a_token_with_one_character_changed_is_none(place: int) -> None:
    token = generate_access_token()
    other = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
    assert not is_marked(other)


@pytest.mark.parametrize(
    "token", ["", "x", "star_", "star_" + secrets.token_urlsafe(44), "é" * 64, "\ud800", "x" * 4096], ids=ascii
)
def test_what_was_made_up_is_not_marked(token: str) -> None:
    assert not is_marked(token)


def test_a_key_that_is_being_retired_still_marks_and_a_retired_one_does_not(settings: Any) -> None:
    token = generate_access_token()
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", [settings.SECRET_KEY]
    assert is_marked(token)
    assert is_marked(generate_access_token())
    settings.SECRET_KEY_FALLBACKS = []
    assert not is_marked(token)


# What a lookup finds


async def find(token: str) -> AccessTokenInfo | None:
    return await find_access_token(token)


def connect(user: Any) -> Connection:
    application = Application.objects.get(name="Tester")
    return Connection.objects.create(user=user, application=application, scope="mcp:tools")


async def test_a_lookup_tells_person_client_consent_scopes_and_resource(way: str, alice: Any) -> None:
    token = await sync_to_async(make_token)(alice, scope="mcp:tools mcp:write", resource=[RESOURCE, "https://other/x"])
    connection = await sync_to_async(connect)(alice)
    info = await find(token)
    assert info is not None
    assert (info.client_id, info.client_name) == (connection.application.client_id, "Tester")
    assert (info.connection_id, info.user.pk) == (connection.pk, alice.pk)
    assert info.scopes == {"mcp:tools", "mcp:write"}
    assert info.resource == (RESOURCE, "https://other/x")
    assert abs(info.expires_at - timezone.now().timestamp() - 3600) < 60
    stored = await get_access_token_model().objects.aget()
    assert info.depends_on == {
        f"token:{stored.token_checksum}",
        f"user:{alice.pk}",
        f"client:{connection.application_id}",
        f"connection:{connection.pk}",
    }


async def test_the_person_is_whole_and_another_instance_each_time(way: str, alice: Any) -> None:
    info = await find(await sync_to_async(make_token)(alice))
    assert info is not None
    one, two = info.user, info.user
    assert one == two == alice
    assert one is not two
    await alice.arefresh_from_db()
    for field in alice._meta.concrete_fields:
        assert getattr(one, field.attname) == getattr(alice, field.attname), field.name
    assert one._state.adding is False
    assert one._state.db == "default"


async def test_what_a_person_has_that_can_be_changed_is_not_shared_either(
    way: str, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A JSON field of a site's own user model, for example."""
    converters = token_rows._Query.parse
    monkeypatch.setattr(
        token_rows._Query,
        "parse",
        lambda query, row: converters(query, [{"a": [1]} if v == "Alice" else v for v in row]),
    )
    info = await find(await sync_to_async(make_token)(alice))
    assert info is not None
    if way == "reader":
        info.user.first_name["a"].append(2)
        assert info.user.first_name == {"a": [1]}
    else:
        info.user._state.fields_cache["a"] = 1
        assert "a" not in info.user._state.fields_cache


async def test_people_who_are_active_by_a_property_are_looked_up_each_time(
    way: str, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row changes when it says otherwise."""
    token = await sync_to_async(make_token)(alice)
    info = await find(token)
    assert info is not None
    assert info.depends_on
    monkeypatch.setattr(token_rows, "activity_is_stored", lambda: False)
    info = await find(token)
    assert info is not None
    assert not info.depends_on


def test_a_constant_is_as_good_as_a_column_and_a_property_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def model(**body: Any) -> Any:
        return type("Person", (), {"_meta": SimpleNamespace(concrete_fields=[]), **body})

    assert token_rows.activity_is_stored()
    for found, stored in ((model(is_active=True), True), (model(is_active=property(lambda _: True)), False)):
        monkeypatch.setattr(token_rows, "get_user_model", lambda found=found: found)
        assert token_rows.activity_is_stored() == stored


async def test_without_a_consent_there_is_none(way: str, alice: Any, bob: Any) -> None:
    token = await sync_to_async(make_token)(alice)
    await sync_to_async(connect)(bob)
    info = await find(token)
    assert info is not None
    assert info.connection_id is None


async def test_what_is_unknown_expired_or_of_nobody_or_somebody_disabled_is_nothing(way: str, alice: Any) -> None:
    token = await sync_to_async(make_token)(alice)
    assert await find(token) is not None
    assert await find(generate_access_token()) is None
    assert await find("made-up") is None
    assert await find(await sync_to_async(make_token)(alice, seconds=-1)) is None
    rows, application = get_access_token_model().objects, await Application.objects.aget()

    async def with_change(rows: Any, change: dict[str, Any], back: dict[str, Any]) -> AccessTokenInfo | None:
        await rows.aupdate(**change)
        found = await find(token)
        await rows.aupdate(**back)
        assert await find(token) is not None
        return found

    people = type(alice).objects.filter(pk=alice.pk)
    clients = Application.objects.filter(pk=application.pk)
    assert await with_change(people, {"is_active": False}, {"is_active": True}) is None
    assert await with_change(clients, {"disabled_at": timezone.now()}, {"disabled_at": None}) is None
    assert await with_change(rows, {"user": None}, {"user": alice}) is None
    assert await with_change(rows, {"application": None}, {"application": application}) is None
    past, future = timezone.now() - timedelta(seconds=1), timezone.now() + timedelta(hours=1)
    assert await with_change(rows, {"expires": past}, {"expires": future}) is None


async def test_a_token_without_a_resource_is_for_none(way: str, alice: Any) -> None:
    info = await find(await sync_to_async(make_token)(alice, resource=[]))
    assert info is not None
    assert info.resource == ()


async def test_made_up_tokens_are_not_looked_up(endpoint: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def look(*args: Any) -> None:
        asked.append(args[-1])

    monkeypatch.setattr(token_rows, "read", look)
    monkeypatch.setattr(tokens, "_read_with_orm", look)
    for token in ("star_" + secrets.token_urlsafe(44), secrets.token_urlsafe(32), "x"):
        assert (await send(endpoint, token, "tools/list")).status_code == 401
    assert asked == []
    assert (await send(endpoint, generate_access_token(), "tools/list")).status_code == 401
    assert len(asked) == 1


async def test_a_site_with_a_generator_of_its_own_has_no_marks(
    way: str, monkeypatch: pytest.MonkeyPatch, alice: Any
) -> None:
    monkeypatch.setattr(oauth2_settings, "ACCESS_TOKEN_GENERATOR", secrets.token_urlsafe)
    monkeypatch.setattr("tests.mcpapp.helpers.generate_access_token", secrets.token_urlsafe)
    assert await find(await sync_to_async(make_token)(alice)) is not None


async def test_a_user_model_in_two_tables_is_read_by_the_orm(
    way: str, monkeypatch: pytest.MonkeyPatch, alice: Any
) -> None:
    assert token_rows.is_readable()
    monkeypatch.setattr(token_rows, "is_readable", lambda: False)

    async def fail(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(token_rows, "read", fail)
    assert await find(await sync_to_async(make_token)(alice)) is not None


# The connection beside Django's


async def test_the_reader_writes_nothing(transactional_db: None) -> None:
    reader = await direct.open_reader("default")
    assert reader is not None
    try:
        if isinstance(reader, direct.SQLiteReader):
            with pytest.raises(OperationalError, match="readonly"):
                await reader.fetch("DELETE FROM auth_group WHERE name = ? RETURNING 1", "x")
        assert await reader.fetch(f"SELECT {reader.placeholder}", "alive") == ("alive",)
        other = await direct.open_reader("default")  # of another server in the same process
        assert other is not None
        assert direct.reader() is other
        await direct.close_reader(other)
        assert direct.reader() is reader
    finally:
        await direct.close_reader(reader)
    assert direct.reader() is None


async def test_a_reader_that_cannot_read_says_so_in_djangos_words_and_reads_again_later(transactional_db: None) -> None:
    reader = await direct.open_reader("default")
    assert reader is not None
    try:
        with pytest.raises(OperationalError):
            await reader.fetch(f"SELECT a FROM no_such_table WHERE a = {reader.placeholder}", "x")  # noqa: S608
        assert await reader.fetch(f"SELECT {reader.placeholder}", "alive") == ("alive",)
    finally:
        await direct.close_reader(reader)
