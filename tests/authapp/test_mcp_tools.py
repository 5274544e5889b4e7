"""The tools by which people manage the apps they connected."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from asgiref.sync import sync_to_async

from authapp.models import Application, AuditEvent, Connection
from tests.mcpapp.helpers import call, is_refused, make_token

pytestmark = pytest.mark.anyio


def connect(user: Any) -> tuple[str, Connection]:
    """Return a token of a connected client that may do everything, and the connection."""
    token = make_token(user, scope="mcp:tools mcp:write")
    application = Application.objects.get(name="Tester")
    return token, Connection.objects.create(user=user, application=application, scope="mcp:tools mcp:write")


async def test_a_person_lists_their_own_apps_and_sees_which_one_asks(
    endpoint: httpx2.AsyncClient, alice: Any, bob: Any
) -> None:
    token, connection = await sync_to_async(connect)(alice)
    await sync_to_async(connect)(bob)
    other = await sync_to_async(Application.objects.create)(
        name="Other", client_type="public", authorization_grant_type="authorization-code"
    )
    await sync_to_async(Connection.objects.create)(user=alice, application=other, scope="mcp:tools")
    apps = (await call(endpoint, token, "list-connected-apps"))["structuredContent"]["result"]
    assert [(app["name"], app["is_this_one"]) for app in apps] == [("Other", False), ("Tester", True)]
    assert apps[1]["connection_id"] == connection.pk
    assert len(apps[1]["may"]) == 2


async def test_a_person_disconnects_the_app_that_asks_and_its_token_ends_at_once(
    endpoint: httpx2.AsyncClient, alice: Any
) -> None:
    token, connection = await sync_to_async(connect)(alice)
    result = await call(endpoint, token, "disconnect-app", connection_id=connection.pk)
    assert result["content"][0]["text"] == "Tester is disconnected."
    assert await is_refused(endpoint, token)
    event = await AuditEvent.objects.aget(action=AuditEvent.Action.DISCONNECTED)
    assert (event.username, event.detail["by"]) == ("alice", "alice")


async def test_nobody_disconnects_the_app_of_another(endpoint: httpx2.AsyncClient, alice: Any, bob: Any) -> None:
    token, _ = await sync_to_async(connect)(alice)
    _, bobs = await sync_to_async(connect)(bob)
    result = await call(endpoint, token, "disconnect-app", connection_id=bobs.pk)
    assert result["isError"]
    assert result["content"][0]["text"].endswith("There is no such thing.")
    assert await Connection.objects.filter(pk=bobs.pk).aexists()
