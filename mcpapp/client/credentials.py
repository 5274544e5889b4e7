"""What signs each request to an MCP server: the kept token, or a refreshed one, or one that a person is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx2

from mcpapp.client.failures import SignInFailure
from mcpapp.client.kept_lists import KeptLists
from mcpapp.client.options import Options
from mcpapp.client.refreshing import refresh
from mcpapp.client.sign_ins import SignIn, SignIns

TIMEOUT_SECONDS = 30


@dataclass
class _Attempts:
    """What was tried for one request: each way once, since a server may refuse every token."""

    tokens: list[str] = field(default_factory=list)
    refreshed: bool = False
    asked: bool = False


def http_client(options: Options, auth: httpx2.Auth | None = None, read_seconds: float = 30) -> httpx2.AsyncClient:
    """An HTTP client that shows its steps if the person wants to see them."""
    hooks: dict[str, list[Any]] | None = None
    if options.verbose:
        from mcpapp.client.http_log import hooks as log_hooks

        hooks = log_hooks()
    timeout = httpx2.Timeout(TIMEOUT_SECONDS, read=read_seconds)
    return httpx2.AsyncClient(auth=auth, timeout=timeout, event_hooks=hooks)


class Credentials(httpx2.Auth):
    """For one server, in one process. Silent first; a person is asked when there is no other way.

    Nothing is held while a request is on its way, so that calls run side by side.
    """

    def __init__(self, url: str, options: Options, leaving: AsyncExitStack) -> None:
        self._url = url
        self._options = options
        self._leaving = leaving
        self._http: httpx2.AsyncClient | None = None
        self._sign_ins = SignIns(options)
        self._one_at_a_time = asyncio.Lock()
        self._kept = self._read()

    def sync_auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Not for clients without asyncio. Raises: RuntimeError."""
        raise RuntimeError("the credentials of star need asyncio")

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Sign one request, and again when the server refuses the token. Raises: Failure."""
        token = await self._token()
        attempts = _Attempts()
        while True:
            request.headers.pop("Authorization", None)
            if token:
                request.headers["Authorization"] = f"Bearer {token}"
            response = yield request
            if not _refuses(response):
                return
            if attempts.asked:
                # Said at once: the SDK would go on with its next request, and the person be asked again.
                raise SignInFailure(
                    "The server does not take the token of this sign-in.",
                    "Sign in with another account, or ask those who run it which scope it wants.",
                )
            attempts.tokens.append(token)
            await response.aread()
            token = await self._another_token(response, attempts)

    async def sign_in(self, *, anew: bool = False) -> SignIn:
        """Have somebody signed in, silently if that is possible and not `anew`. Raises: Failure."""
        if anew or not await self._token():
            from mcpapp.client.sign_in import refusal_of

            async with self._one_at_a_time, self._sign_ins.lock(self._url):
                if anew or not self._read_again().access_token:
                    await self._ask(await refusal_of(await self.http(), self._url))
        return self._known

    def look_for_a_keyring_again(self) -> None:
        """Encrypt what is kept from now on, if there is a keyring by now."""
        self._sign_ins.cache.look_for_a_keyring_again()

    @property
    def kept(self) -> SignIn | None:
        """What is known of the sign-in, None if there is none."""
        return self._kept if self._kept and self._kept.tokens else None

    @property
    def lists(self) -> KeptLists | None:
        """What the server told this sign-in, None if there is none that works."""
        return self._sign_ins.lists(self._kept) if self._kept else None

    def keep(self, sign_in: SignIn) -> None:
        """Keep what became known of the sign-in. Raises: CacheFailure."""
        self._kept = sign_in
        self._sign_ins.write(sign_in)

    async def http(self) -> httpx2.AsyncClient:
        """The HTTP client for the authorization server, made when it is needed."""
        if self._http is None:
            from mcpapp.client.bounded import HEADERS, bound

            http = http_client(self._options)
            http.headers.update(HEADERS)
            http.event_hooks["response"].append(bound)
            self._http = await self._leaving.enter_async_context(http)
        return self._http

    @property
    def _known(self) -> SignIn:
        if self._kept is None:
            self._kept = SignIn(self._url)
        return self._kept

    def _read_again(self) -> SignIn:
        """What another process may have kept meanwhile."""
        self._kept = self._read() or self._known
        return self._kept

    def _read(self) -> SignIn | None:
        """What is kept, unless it is of another client than the one that the person names."""
        found = self._sign_ins.read(self._url)
        if found and self._options.client_id and found.client.get("client_id") != self._options.client_id:
            return None
        if found and (entra := self._options.entra) and not found.entra.items() >= entra._asdict().items():
            return None
        return found

    async def _token(self) -> str:
        """Return the token that is kept, refreshed if it ended; "" if there is none."""
        if self._kept is None:
            return ""
        if token := self._kept.access_token:
            return token
        if not self._kept.can_refresh:
            return ""
        async with self._one_at_a_time, self._sign_ins.lock(self._url):
            return self._read_again().access_token or await self._refreshed()

    async def _another_token(self, refusal: httpx2.Response, attempts: _Attempts) -> str:
        """Return a token that was not tried: another process's, a refreshed one, or a person's."""
        async with self._one_at_a_time, self._sign_ins.lock(self._url):
            found = self._read_again().access_token
            if found and found not in attempts.tokens:
                return found
            # A refresh does not widen what was granted (RFC 6749 6), so a missing scope needs the person.
            if refusal.status_code == 401 and self._known.can_refresh and not attempts.refreshed:
                attempts.refreshed = True
                if fresh := await self._refreshed(refusal):
                    return fresh
            attempts.asked = True
            await self._ask(refusal)
            return self._known.access_token

    async def _refreshed(self, refusal: httpx2.Response | None = None) -> str:
        sign_in = self._known
        if sign_in.entra:
            from mcpapp.client import entra

            if not await entra.refresh(sign_in, self._options, refusal):
                return ""
        else:
            await refresh(await self.http(), sign_in)
        self.keep(sign_in)
        return sign_in.access_token

    async def _ask(self, refusal: httpx2.Response) -> None:
        self._sign_ins.forget_lists(self._url)  # it may be somebody else who signs in
        if self._options.entra or self._known.entra:
            from mcpapp.client import entra

            await entra.sign_in(self._known, self._options, refusal)
            self.keep(self._known)
            return
        from mcpapp.client.refreshing import name_of
        from mcpapp.client.sign_in import sign_in

        http = await self.http()
        await sign_in(http, self._options, self._known, refusal, self.keep)
        if who := await name_of(http, self._known):
            self._known.who = who
            self.keep(self._known)


def _refuses(response: httpx2.Response) -> bool:
    """Return whether another token may help: there is none that works, or its scope is too small (RFC 6750 3.1)."""
    if response.status_code == 401:
        return True
    told = " ".join(response.headers.get_list("www-authenticate"))
    return response.status_code == 403 and "insufficient_scope" in told
