"""Azure OpenAI with a token of Microsoft Entra ID in place of a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcpapp.client.chat.model import Answer, Model
from mcpapp.client.chat.providers import AZURE_SCOPE, Endpoint, open_client
from mcpapp.client.entra import token_provider
from mcpapp.client.options import Options
from tests.star.entra_provider import CLIENT_ID, TENANT, EntraProvider
from tests.star.openai_server import openai_server, says
from tests.star.test_entra import opened, options, provider

__all__ = ["opened", "options", "provider"]
pytestmark = pytest.mark.live


@pytest.mark.parametrize("api_version", ["", "2024-10-21"])
async def test_the_person_signs_in_once_and_the_token_takes_the_place_of_the_key(
    provider: EntraProvider,
    options: Options,
    opened: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    api_version: str,
) -> None:
    monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
    monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", provider.url)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "a-key-that-is-not-used")
    with openai_server() as api:
        api.turns = [says("Hi."), says("Hi.")]
        endpoint = Endpoint(azure=api.url.removesuffix("/v1"), deployment="mine", api_version=api_version)
        for _ in range(2):
            async with open_client(endpoint, token_provider(AZURE_SCOPE, options)) as client:
                answer = Answer()
                await Model(client, endpoint.name, print).stream([], [], answer, lambda text: None)
                assert answer.text == "Hi."
        assert [asked.headers["authorization"] for asked in api.requests] == [f"Bearer {provider.issued[0]}"] * 2
        assert not any("a-key-that-is-not-used" in value for asked in api.requests for value in asked.headers.values())
    assert len(opened) == 1
