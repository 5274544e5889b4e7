"""What callers who have not signed in are answered where public tools are on."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from asgiref.sync import sync_to_async

from tests.mcpapp.helpers import MODERN, make_token, payload, send

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _public_tools(settings: Any) -> None:
    settings.MCPAPP = settings.MCPAPP | {"ANONYMOUS_TOOLS": True}


@pytest.mark.parametrize("method", ["tools/list", "resources/list", "resources/templates/list", "prompts/list"])
async def test_a_list_is_not_kept_beyond_signing_in(endpoint: httpx2.AsyncClient, alice: Any, method: str) -> None:
    """Clients keep lists by their `ttlMs`, and do not forget them when the person signs in."""
    token = await sync_to_async(make_token)(alice)
    before = payload(await send(endpoint, None, method, era=MODERN))["result"]
    after = payload(await send(endpoint, token, method, era=MODERN))["result"]
    assert (before["ttlMs"], before["cacheScope"]) == (0, "private")
    assert (after["ttlMs"], after["cacheScope"]) == (60_000, "private")


async def test_a_list_of_the_older_protocol_has_nothing_to_say_about_keeping_it(endpoint: httpx2.AsyncClient) -> None:
    result = payload(await send(endpoint, None, "tools/list"))["result"]
    assert [tool["name"] for tool in result["tools"]] == ["public-info"]
    assert "ttlMs" not in result


async def test_only_who_has_signed_in_is_told_that_they_may_listen(endpoint: httpx2.AsyncClient, alice: Any) -> None:
    """Some clients listen at once to what they are told that they may, and take a challenge to that for the end."""
    token = await sync_to_async(make_token)(alice)
    for sent, may_listen in ((None, False), (token, True)):
        capabilities = payload(await send(endpoint, sent, "server/discover", era=MODERN))["result"]["capabilities"]
        assert capabilities["tools"] == {"listChanged": may_listen}
        assert capabilities["prompts"] == {"listChanged": may_listen}
        assert capabilities["resources"] == {"listChanged": may_listen, "subscribe": may_listen}
