"""The SDKs as the small programs that people build on them, and what their answers must say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import anyio.to_thread
import httpx2
import mcp
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from tests.clients.desk import HERE, TIMEOUT_SECONDS, Desk, free_port, installed, node
from tests.clients.person import Person

# `legacy` is the initialize handshake (2025-11-25 and before), the other the stateless revision.
ERAS = ["legacy", "2026-07-28"]


def assert_both_tools(names: list[str]) -> None:
    assert {"public-info", "protected-data"} <= set(names), names


def assert_names(username: str, result: Any) -> None:
    """`protected-data` must say who is signed in. The quotes tell `demo` from `demo2`."""
    assert not result.get("isError"), result
    assert f'"{username}"' in json.dumps(result.get("structuredContent") or result["content"]).replace("\\", ""), result


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        with anyio.fail_after(TIMEOUT_SECONDS):
            await scenario()

    anyio.run(limited)


# The Python SDK


class Keyring:
    """The SDK's token storage, as an application that outlives the client keeps it."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class PythonSDK:
    """One run of a program built on the SDK.

    `visits` are the authorize pages it opened, `requests` all that it sent itself, like `POST /star 200`.
    """

    def __init__(self, url: str, person: Person, keyring: Keyring, *, allow: bool = True, **metadata: str) -> None:
        self.url = url
        self.person = person
        self.keyring = keyring
        self.allow = allow
        self.visits: list[str] = []
        self.requests: list[str] = []
        self.answer = ""
        # A restarted program comes back to the callback that it registered.
        known = keyring.client.redirect_uris if keyring.client else None
        redirect_uri = str(known[0]) if known else f"http://127.0.0.1:{free_port()}/callback"
        self.provider = OAuthClientProvider(
            url,
            OAuthClientMetadata.model_validate(
                {"client_name": "Python SDK driver", "redirect_uris": [redirect_uri], **metadata}
            ),
            keyring,
            redirect_handler=self._open,
            callback_handler=self._callback,
        )

    async def _open(self, authorization_url: str) -> None:
        self.visits.append(authorization_url)
        self.answer = await anyio.to_thread.run_sync(
            lambda: self.person.approve(authorization_url, deny=not self.allow)
        )

    async def _callback(self) -> AuthorizationCodeResult:
        answer = {name: values[0] for name, values in parse_qs(urlsplit(self.answer).query).items()}
        return AuthorizationCodeResult(code=answer.get("code", ""), state=answer.get("state"), iss=answer.get("iss"))

    async def _note(self, response: httpx2.Response) -> None:
        self.requests.append(f"{response.request.method} {response.request.url.path} {response.status_code}")

    @asynccontextmanager
    async def connected(self, era: str) -> AsyncIterator[mcp.Client]:
        async with (
            httpx2.AsyncClient(
                auth=self.provider, timeout=TIMEOUT_SECONDS, trust_env=False, event_hooks={"response": [self._note]}
            ) as http,
            mcp.Client(streamable_http_client(self.url, http_client=http), mode=era) as client,
        ):
            yield client

    async def log_in_and_call(self, era: str) -> None:
        """List the tools and call protected-data as `self.person`."""
        async with self.connected(era) as client:
            assert_both_tools([tool.name for tool in (await client.list_tools()).tools])
            result = await client.call_tool("protected-data")
            assert_names(self.person.username, result.model_dump(by_alias=True))


# The TypeScript SDKs


def typescript_calls(desk: Desk, program: str, url: str, *options: str) -> dict[str, Any]:
    """Run a TypeScript program; what it prints is described in sign_in.mjs."""
    answer: dict[str, Any] = json.loads(desk.run(node(), str(HERE / program), url, *options).stdout)
    return answer


def typescript(desk: Desk, program: str, url: str, *options: str) -> dict[str, Any]:
    """Run a TypeScript program that lists the tools and calls protected-data; its `result` is of the call."""
    answer = typescript_calls(desk, program, url, *options)
    assert_both_tools(answer["tools"])
    [call] = answer["calls"]
    assert "error" not in call, call
    return answer | {"result": call["result"]}


def installed_typescript(program: str) -> str:
    """Return the program if its SDK is installed."""
    installed(f"@modelcontextprotocol/{'sdk' if program == 'typescript_v1.mjs' else 'client'}/package.json")
    return program


# The Inspector


def inspector(desk: Desk, url: str, era: str, method: str, tool: str = "") -> dict[str, Any]:
    """Run one command of the Inspector's CLI; return the result that it printed."""
    launcher = installed("@modelcontextprotocol/inspector/clients/launcher/build/index.js")
    # Its default callback port may be taken by another Inspector on this machine.
    callback = ["--callback-url", "http://127.0.0.1:0/oauth/callback"]
    wire = ["--transport", "http", "--protocol-era", era, "--format", "json"]
    what = ["--method", method, *(["--tool-name", tool] if tool else [])]
    said = desk.run(node(), launcher, "--cli", url, *wire, *callback, *what).stdout
    result: dict[str, Any] = json.loads(said)["result"]
    return result
