"""What is kept of a sign-in to a server: enough to call it, and to refresh, without asking anybody where things are."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from mcpapp.client import kept_lists
from mcpapp.client.cache import Cache
from mcpapp.client.options import Options

KIND = "servers"
# A token that ends while its request is on the way is no token.
SECONDS_OF_GRACE = 10


@dataclass
class SignIn:
    """Of one server, by its URL.

    `tokens` is a token response (RFC 6749 5.1), `expires_at` when its access token ends, in seconds since 1970, None if
    the server did not say. `client` is a client information response (RFC 7591 3.2.1), `server` the metadata of the
    authorization server (RFC 8414 2), `resource` that of the MCP server (RFC 9728 2). `who` is a name, if one was told.
    `entra` is how to sign in with Microsoft Entra ID, if that is how, and the cache of msal, which refreshes.
    """

    url: str
    tokens: dict[str, Any] = field(default_factory=dict)
    expires_at: float | None = None
    client: dict[str, Any] = field(default_factory=dict)
    server: dict[str, Any] = field(default_factory=dict)
    resource: dict[str, Any] = field(default_factory=dict)
    who: str = ""
    entra: dict[str, Any] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        """Of the authorization server."""
        return str(self.server.get("issuer", ""))

    @property
    def scopes(self) -> list[str]:
        """What was granted."""
        return str(self.tokens.get("scope") or "").split()

    @property
    def access_token(self) -> str:
        """The access token, "" if there is none that still works."""
        if self.expires_at is not None and time.time() > self.expires_at - SECONDS_OF_GRACE:
            return ""
        return str(self.tokens.get("access_token") or "")

    @property
    def can_refresh(self) -> bool:
        """Whether there may be another access token without the person."""
        return bool(self.refresh_token or self.entra.get("msal"))

    @property
    def refresh_token(self) -> str:
        """The refresh token, "" if there is none."""
        return str(self.tokens.get("refresh_token") or "")


class SignIns:
    """The kept sign-ins of this person, to servers or to what `kind` says."""

    def __init__(self, options: Options, kind: str = KIND) -> None:
        self.cache = Cache(options.cache_dir)
        self._kind = kind

    def read(self, url: str) -> SignIn | None:
        """Return what is kept for a server. Raises: CacheFailure."""
        content = self.cache.read(self._kind, url)
        return None if content is None else _sign_in(url, content)

    def write(self, sign_in: SignIn) -> None:
        """Keep a sign-in. Raises: CacheFailure."""
        self.cache.write(self._kind, sign_in.url, asdict(sign_in))

    def delete(self, url: str) -> None:
        """Forget a sign-in, and what a server told it. Raises: CacheFailure."""
        self.forget_lists(url)
        self.cache.delete(self._kind, url)

    def forget_lists(self, url: str) -> None:
        """Forget what a server told the one who was signed in. Raises: CacheFailure."""
        self.cache.delete(kept_lists.KIND, url)

    def lists(self, sign_in: SignIn) -> kept_lists.KeptLists | None:
        """Return what a server told a sign-in that still works; None for one that does not, which is told nothing."""
        token = sign_in.access_token
        return kept_lists.KeptLists(self.cache, sign_in.url, token) if token else None

    def all(self) -> Iterator[SignIn]:
        """Every sign-in that is kept. Raises: CacheFailure."""
        for content in self.cache.all(self._kind):
            if isinstance(content.get("url"), str):
                yield _sign_in(content["url"], content)

    def is_encrypted(self, url: str) -> bool:
        """Return whether a sign-in is kept encrypted."""
        return self.cache.is_encrypted(self._kind, url)

    @asynccontextmanager
    async def lock(self, url: str) -> AsyncIterator[None]:
        """Hold a server's sign-in alone among all processes. Raises: CacheFailure."""
        async with self.cache.lock(self._kind, url):
            yield


def _sign_in(url: str, content: dict[str, Any]) -> SignIn:
    """What of a content has the right type; a part of another type is as good as not kept."""
    kinds = {"tokens": dict, "client": dict, "server": dict, "resource": dict, "who": str, "entra": dict}
    good = {name: content[name] for name, kind in kinds.items() if isinstance(content.get(name), kind)}
    expires_at = content.get("expires_at")
    if isinstance(expires_at, int | float) and not isinstance(expires_at, bool):
        good["expires_at"] = float(expires_at)
    known = {each.name for each in fields(SignIn)}
    return SignIn(url=url, **{name: value for name, value in good.items() if name in known})
