"""Tokens that no person takes part in: refused unless the site lets services call (MCP OAuth client credentials)."""

from __future__ import annotations

import logging
import time
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission

from authapp.models import Application
from mcpapp.identity import current_identity
from mcpapp.registry import Catalog, tool
from tests.authapp.service_clients import robot, service, token_of
from tests.mcpapp.both_ways import ERAS
from tests.mcpapp.helpers import call, heard, is_refused, listed, make_token, send, serving
from tests.oauth import RESOURCE

pytestmark = [pytest.mark.anyio, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _on(settings: Any) -> None:
    settings.AUTHAPP = {**settings.AUTHAPP, "CLIENT_CREDENTIALS": True}
    settings.MCPAPP = {**settings.MCPAPP, "APP_ONLY_TOKENS": True}


def made() -> str:
    return token_of(service(robot(), scope="mcp:tools mcp:write"))


@pytest.mark.parametrize("era", ERAS)
async def test_a_service_calls_tools_as_its_service_user(era: str) -> None:
    token = await sync_to_async(made)()
    async with serving() as endpoint:
        assert "protected-data" in await listed(endpoint, token, era=era)
        for _ in range(2):  # looked up, and kept
            result = await call(endpoint, token, "protected-data", era)
            assert result["structuredContent"]["username"] == "robot"


@pytest.mark.rfc("6750 3.1")
@pytest.mark.parametrize("era", ERAS)
async def test_where_only_people_may_call_its_token_is_invalid(
    era: str, settings: Any, alice: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.MCPAPP = {name: value for name, value in settings.MCPAPP.items() if name != "APP_ONLY_TOKENS"}
    token, persons = await sync_to_async(made)(), await sync_to_async(make_token)(alice)
    async with serving() as endpoint:
        with caplog.at_level(logging.INFO, "mcpapp"):
            for _ in range(2):
                response = await send(endpoint, token, "tools/call", {"name": "protected-data"}, era=era)
                assert response.status_code == 401
                assert 'error="invalid_token"' in response.headers["www-authenticate"]
        assert "app-only" in caplog.text
        assert token not in caplog.text
        assert (await call(endpoint, persons, "protected-data", era))["structuredContent"]["username"] == "alice"


@pytest.mark.parametrize("era", ERAS)
async def test_a_tool_knows_whether_a_service_calls_it(catalog: Catalog, era: str, alice: Any) -> None:
    @tool(name="who", scopes=["mcp:tools"])
    def who() -> str:
        """Say who is calling."""
        return f"{current_identity().user} {current_identity().is_app_only}"

    token, persons = await sync_to_async(made)(), await sync_to_async(make_token)(alice)
    async with serving() as endpoint:
        assert (await call(endpoint, token, "who", era))["content"][0]["text"] == "robot True"
        assert (await call(endpoint, persons, "who", era))["content"][0]["text"] == "alice False"


async def test_a_service_may_what_its_service_user_may(catalog: Catalog) -> None:
    @tool(name="audit", scopes=["mcp:tools"], permissions=["authapp.view_auditevent"])
    def audit() -> str:
        """Need a permission."""
        return "seen"

    token = await sync_to_async(made)()
    async with serving() as endpoint:
        assert await listed(endpoint, token) == []
        permission = await Permission.objects.aget(codename="view_auditevent")
        user = await get_user_model().objects.aget(username="robot")
        await user.user_permissions.aadd(permission)
        assert await listed(endpoint, token) == ["audit"]
        assert (await call(endpoint, token, "audit"))["content"][0]["text"] == "seen"


@pytest.mark.parametrize(
    "change",
    [
        {"service_user": None},
        {"scope": ""},
        {"authorization_grant_type": "authorization-code"},
        {"client_type": "public"},
    ],
    ids=str,
)
async def test_what_its_owner_takes_from_it_ends_what_was_kept_of_its_token(change: dict[str, Any]) -> None:
    token = await sync_to_async(made)()
    async with serving() as endpoint:
        await call(endpoint, token, "protected-data")
        await Application.objects.aupdate(**change)
        assert await is_refused(endpoint, token)


async def test_another_service_user_is_who_calls_from_then_on() -> None:
    token = await sync_to_async(made)()
    async with serving() as endpoint:
        await call(endpoint, token, "protected-data")
        await Application.objects.aupdate(service_user=await sync_to_async(robot)("other"))

        async def other_calls() -> bool:
            result = await call(endpoint, token, "protected-data")
            return bool(result["structuredContent"]["username"] == "other")

        assert await heard(other_calls)
        await get_user_model().objects.filter(username="other").aupdate(is_active=False)
        assert await is_refused(endpoint, token)


async def find_elsewhere(token: str) -> Any:
    """Stand for the lookup of another authorization server."""
    if not token.startswith("elsewhere"):
        return None
    user = await get_user_model().objects.aget(username="robot")
    return SimpleNamespace(
        user=user,
        client_id="elsewhere",
        client_name="",
        scopes={"mcp:tools"},
        resource=[RESOURCE],
        expires_at=int(time.time()) + 60,
        **({"is_app_only": True} if token == "elsewhere-service" else {}),
    )


async def test_another_servers_lookup_says_so_too_and_one_that_does_not_know_is_about_people(settings: Any) -> None:
    await sync_to_async(robot)()
    off = {**settings.MCPAPP, "TOKEN_LOOKUP": f"{__name__}.find_elsewhere", "APP_ONLY_TOKENS": False}
    for app_only_tokens, status in ((False, 401), (True, 200)):
        settings.MCPAPP = {**off, "APP_ONLY_TOKENS": app_only_tokens}
        async with serving() as endpoint:
            assert (await send(endpoint, "elsewhere-service", "tools/list")).status_code == status
            assert (await send(endpoint, "elsewhere", "tools/list")).status_code == 200
