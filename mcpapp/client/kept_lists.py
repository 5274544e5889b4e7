"""What a server said of itself and of its tools, kept for as long as it allows (MCP 2026-07-28, `ttlMs`).

So a second call of a tool is one request. It is kept beside the sign-in that it was told to, and served to that alone:
to the very access token that it was fetched with, since what a person may see is another's business (`cacheScope`).
Without a sign-in nothing is kept. `star logout`, and signing in anew, delete it.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

from mcpapp.client.cache import MAX_BYTES, Cache
from mcpapp.client.failures import CacheFailure

if TYPE_CHECKING:
    import mcp_types as types
    from mcp.client import Client
    from mcp.client.caching import CacheEntry, CacheKey

KIND = "lists"
_METHOD = "tools/list"
_MOST_SECONDS = 24 * 3600  # as the SDK keeps at most


class KeptLists:
    """Of one server and one access token; the SDK's `ResponseCacheStore` for its list of tools."""

    def __init__(self, cache: Cache, url: str, access_token: str) -> None:
        self._cache = cache
        self._url = url
        self.partition = hashlib.sha256(access_token.encode()).hexdigest()
        self.has_served = False
        """Whether the list of tools came from here, so that the server may have another one by now."""
        self._read: dict[str, Any] | None = None

    def client_arguments(self) -> dict[str, Any]:
        """What to give to the SDK's client, so that it asks for what is not kept alone."""
        from mcp.client.caching import CacheConfig

        arguments: dict[str, Any] = {"cache": CacheConfig(self, self.partition, target_id=self._url)}
        if (known := self._discovered()) is not None:
            arguments |= {"mode": _newest(known), "prior_discover": known}
        return arguments

    def keep_discovered(self, found: types.DiscoverResult | None) -> None:
        """Keep what a server of the newest protocol says of itself, for as long as it allows."""
        if found is None or found.ttl_ms <= 0 or self._discovered() is not None:
            return
        seconds = min(found.ttl_ms / 1000, _MOST_SECONDS)
        self._write(
            {
                **self._content(),
                "discovered": found.model_dump(mode="json", by_alias=True, exclude_none=True),
                "discovered_until": time.time() + seconds,
            }
        )

    def forget(self) -> None:
        """Have the server asked for everything again."""
        self._read = {}
        self._cache.delete(KIND, self._url)

    # What the SDK asks of a store. An error of it is a miss for the SDK, and so is a content of another shape.

    async def get(self, key: CacheKey) -> CacheEntry | None:
        """Return a kept list."""
        from mcp.client.caching import CacheEntry
        from mcp_types import ListToolsResult

        if key.method != _METHOD or (kept := self._content().get("tools", {})).get("key") != _text(key):
            return None
        value = ListToolsResult.model_validate(kept["value"])
        self.has_served = kept["expires_at"] > time.time()
        return CacheEntry(value, kept["scope"], kept["expires_at"])

    async def set(self, key: CacheKey, entry: CacheEntry) -> None:
        """Keep a list of tools, and no other."""
        if key.method != _METHOD:
            return
        value = entry.value.model_dump(mode="json", by_alias=True, exclude_none=True)
        kept = {"key": _text(key), "value": value, "scope": entry.scope, "expires_at": entry.expires_at}
        self._write({**self._content(), "tools": kept})

    async def delete(self, key: CacheKey) -> None:
        """Forget a list."""
        content = dict(self._content())
        if content.get("tools", {}).get("key") == _text(key):
            del content["tools"]
            self._write(content)

    async def clear(self) -> None:
        """Forget everything."""
        self.forget()

    def _content(self) -> dict[str, Any]:
        """What is kept for this token; nothing if it is for another one."""
        if self._read is None:
            try:
                content = self._cache.read(KIND, self._url)
            except CacheFailure:
                content = None
            self._read = content if content is not None and content.get("of") == self.partition else {}
        return self._read

    def _write(self, content: dict[str, Any]) -> None:
        self._read = content = {**content, "of": self.partition}
        # Sealed it is longer by a third, and what is too long to be read is not worth writing.
        if len(json.dumps(content)) < MAX_BYTES // 2:
            try:
                self._cache.write(KIND, self._url, content)
            except CacheFailure:
                self.forget()

    def _discovered(self) -> types.DiscoverResult | None:
        from mcp_types import DiscoverResult
        from pydantic import ValidationError

        content = self._content()
        until = content.get("discovered_until")
        if not isinstance(until, int | float) or not time.time() < until < time.time() + _MOST_SECONDS:
            return None
        try:
            found = DiscoverResult.model_validate(content.get("discovered"))
        except ValidationError:
            return None
        return found if _newest(found) else None


def of(client: Client) -> KeptLists | None:
    """Return what a client keeps its lists in, None if it keeps none beyond its own life."""
    store = client.cache.store if client.cache else None
    return store if isinstance(store, KeptLists) else None


def tools_kept(cache: Cache, url: str) -> dict[str, dict[str, Any]]:
    """Return the input schemas of the tools by name, as they were last listed, also if that was long ago.

    For the shell, which completes names while a person types and asks nobody.
    """
    try:
        content = cache.read(KIND, url) or {}
    except CacheFailure:
        return {}
    kept = content.get("tools")
    value = kept.get("value") if isinstance(kept, dict) else None
    tools = value.get("tools") if isinstance(value, dict) else None
    found = {}
    for tool in tools if isinstance(tools, list) else []:
        if isinstance(tool, dict) and isinstance(name := tool.get("name"), str):
            schema = tool.get("inputSchema")
            found[name] = schema if isinstance(schema, dict) else {}
    return found


def _newest(found: types.DiscoverResult) -> str:
    """Return the newest version that both know; "" if there is none."""
    from mcp_types.version import MODERN_PROTOCOL_VERSIONS

    return next((version for version in reversed(MODERN_PROTOCOL_VERSIONS) if version in found.supported_versions), "")


def _text(key: CacheKey) -> str:
    return json.dumps([key.method, key.params_key, key.partition])
