"""Tokens of Microsoft Entra ID for Azure OpenAI, kept beside the other sign-ins of this person."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from mcpapp.client import entra
from mcpapp.client.cache import Cache
from mcpapp.client.chat.providers import TokenProvider
from mcpapp.client.options import EntraOptions, Options

SCOPE = "https://cognitiveservices.azure.com/.default"
KIND = "azure-openai"


class _Kept:
    """The sign-in for one resource in the cache (an `entra.Store`)."""

    def __init__(self, resource: str, options: Options) -> None:
        self._cache = Cache(options.cache_dir)
        self._resource = resource

    def load(self) -> dict[str, Any] | None:
        return self._cache.read(KIND, self._resource)

    def save(self, record: dict[str, Any]) -> None:
        self._cache.write(KIND, self._resource, record)

    def locked(self) -> AbstractAsyncContextManager[None]:
        return self._cache.lock(KIND, self._resource)


def token_provider(resource: str, asked: EntraOptions, options: Options) -> TokenProvider:
    """Return what gets a token for the Azure OpenAI resource at that URL: silently, or by a sign-in of the person.

    Raises: UsageFailure where `asked` names no tenant or application; what is returned raises SignInFailure.
    """
    asked = asked._replace(scope=asked.scope or SCOPE)
    return entra.token_provider(asked, options, _Kept(resource.rstrip("/"), options))
