"""Entra mode: tokens through msal, of a provider that speaks what msal needs, for a server that takes them directly."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from mcpapp.client.entra import PUBLIC_CLOUD, EntraAuth, EntraTokens, checked, claims_challenge
from mcpapp.client.failures import EXIT_SIGN_IN, EXIT_USAGE, Failure
from mcpapp.client.options import EntraOptions, Options
from tests.star.entra_provider import CLIENT_ID, DEVICE_CODE, OTHER_TENANT, SCOPE, TENANT, EntraProvider
from tests.star.entra_server import EntraServer

pytestmark = pytest.mark.anyio


class Memory:
    """A store that a test can look into."""

    def __init__(self) -> None:
        self.record: dict[str, Any] | None = None
        self._lock = asyncio.Lock()

    def load(self) -> dict[str, Any] | None:
        return json.loads(json.dumps(self.record))

    def save(self, record: dict[str, Any]) -> None:
        self.record = record

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        async with self._lock:
            yield


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EntraProvider]:
    with EntraProvider(tmp_path) as provider:
        monkeypatch.setenv("SSL_CERT_FILE", str(provider.certificate))
        yield provider


@pytest.fixture
def server(provider: EntraProvider) -> Iterator[EntraServer]:
    with EntraServer(provider) as server:
        yield server


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stand in for the person's browser, which follows where the provider sends it; give what it opened."""
    seen: list[str] = []

    def follow(url: str) -> None:
        seen.append(url)
        httpx2.get(url, follow_redirects=True)

    def browse(url: str) -> bool:
        threading.Thread(target=follow, args=(url,), daemon=True).start()
        return True

    monkeypatch.setattr("webbrowser.open", browse)
    return seen


def entra(provider: EntraProvider, **changes: str) -> EntraOptions:
    return EntraOptions(TENANT, CLIENT_ID, SCOPE, provider.url)._replace(**changes)


def tokens(provider: EntraProvider, store: Memory, **options: Any) -> EntraTokens:
    return EntraTokens(entra(provider), Options(**{"timeout": 20, **options}), store)


async def greet(server: EntraServer, found: EntraTokens) -> str:
    """Call the tool of the server."""
    async with (
        httpx2.AsyncClient(auth=EntraAuth(server.url, found), timeout=20) as http,
        Client(streamable_http_client(server.url, http_client=http)) as client,
    ):
        result: Any = await client.call_tool("greet", {"name": "Alice"})
        return str(result.content[0].text)


async def test_the_browser_signs_in_and_the_tool_is_called(
    provider: EntraProvider, server: EntraServer, opened: list[str]
) -> None:
    """RFC 8252, with PKCE."""
    store = Memory()
    assert await greet(server, tokens(provider, store)) == "Hello, Alice."
    assert len(opened) == 1
    asked = httpx2.URL(opened[0]).params
    assert asked["code_challenge_method"] == "S256"
    assert asked["prompt"] == "select_account"
    assert set(asked["scope"].split()) == {SCOPE, "openid", "profile", "offline_access"}
    assert store.record is not None
    assert store.record["username"] == "alice@contoso.example"
    assert server.tokens == provider.issued


async def test_the_second_run_asks_the_provider_nothing(
    provider: EntraProvider, server: EntraServer, opened: list[str]
) -> None:
    store = Memory()
    await greet(server, tokens(provider, store))
    provider.requests.clear()
    assert await greet(server, tokens(provider, store)) == "Hello, Alice."
    assert provider.requests == []
    assert len(opened) == 1


async def test_an_expired_token_is_refreshed_without_the_person(
    provider: EntraProvider, server: EntraServer, opened: list[str]
) -> None:
    store = Memory()
    provider.expires_in = 200
    await tokens(provider, store).get()
    provider.expires_in = 3600
    assert await greet(server, tokens(provider, store)) == "Hello, Alice."
    assert [form["grant_type"] for form in provider.forms] == ["authorization_code", "refresh_token"]
    assert len(opened) == 1


async def test_of_twenty_that_need_a_refresh_one_makes_it(provider: EntraProvider, opened: list[str]) -> None:
    store = Memory()
    provider.expires_in = 200
    await tokens(provider, store).get()
    provider.expires_in = 3600
    found = await asyncio.gather(*(tokens(provider, store).get() for _ in range(20)))
    assert set(found) == {provider.issued[1]}
    assert [form["grant_type"] for form in provider.forms] == ["authorization_code", "refresh_token"]


async def test_when_a_refresh_is_refused_the_person_is_asked_again(
    provider: EntraProvider, server: EntraServer, opened: list[str]
) -> None:
    store = Memory()
    provider.expires_in = 200
    await tokens(provider, store).get()
    provider.needs_interaction = True
    provider.expires_in = 3600
    assert await greet(server, tokens(provider, store)) == "Hello, Alice."
    assert len(opened) == 2
    assert httpx2.URL(opened[1]).params["login_hint"] == "alice@contoso.example"


async def test_a_token_that_the_server_no_longer_takes_is_replaced_once(
    provider: EntraProvider, server: EntraServer, opened: list[str]
) -> None:
    store = Memory()
    await greet(server, tokens(provider, store))
    server.refuses_everything = True
    with pytest.raises(BaseException) as caught:  # noqa: PT011  (what it is comes next)
        await greet(server, tokens(provider, store))
    failure = the_failure(caught.value)
    assert failure.exit_code == EXIT_SIGN_IN
    assert "does not take the token" in str(failure)
    assert [form["grant_type"] for form in provider.forms] == ["authorization_code", "refresh_token"]


async def test_a_claims_challenge_is_met_by_a_token_with_those_claims(
    provider: EntraProvider, server: EntraServer, opened: list[str]
) -> None:
    """RFC 9470 is the standard's word for it; Entra's is `insufficient_claims` and `claims`."""
    store = Memory()
    await greet(server, tokens(provider, store))
    server.demanded = "c1"
    assert await greet(server, tokens(provider, store)) == "Hello, Alice."
    assert "acrs" not in provider.verify(server.tokens[0])
    assert provider.verify(server.tokens[1])["acrs"] == ["c1"]
    assert json.loads(provider.forms[-1]["claims"]) == {
        "access_token": {"acrs": {"essential": True, "value": "c1"}, "xms_cc": {"values": ["CP1"]}}
    }
    assert len(opened) == 1


async def test_claims_that_a_refresh_cannot_meet_are_met_by_the_person(
    provider: EntraProvider, server: EntraServer, opened: list[str]
) -> None:
    store = Memory()
    await greet(server, tokens(provider, store))
    server.demanded = "c1"
    provider.needs_interaction = True
    assert await greet(server, tokens(provider, store)) == "Hello, Alice."
    assert len(opened) == 2
    assert "c1" in httpx2.URL(opened[1]).params["claims"]


async def test_an_account_of_another_tenant_is_refused_and_not_kept(provider: EntraProvider, opened: list[str]) -> None:
    store = Memory()
    provider.tenant_of_tokens = OTHER_TENANT
    with pytest.raises(Failure, match="not of the tenant") as caught:
        await tokens(provider, store).get()
    assert caught.value.exit_code == EXIT_SIGN_IN
    assert store.record is None
    provider.tenant_of_tokens = TENANT
    assert await tokens(provider, store).get() == provider.issued[-1]


async def test_a_refresh_that_brings_another_tenant_is_refused(provider: EntraProvider, opened: list[str]) -> None:
    store = Memory()
    provider.expires_in = 200
    await tokens(provider, store).get()
    provider.tenant_of_tokens = OTHER_TENANT
    with pytest.raises(Failure, match="not of the tenant"):
        await tokens(provider, store).get()
    assert store.record is not None
    assert store.record["access_token"] == provider.issued[0]


async def test_a_person_who_says_no_is_told_so(provider: EntraProvider, opened: list[str]) -> None:
    provider.refuses_the_person = True
    with pytest.raises(Failure, match="was refused") as caught:
        await tokens(provider, Memory()).get()
    assert caught.value.exit_code == EXIT_SIGN_IN


async def test_an_answer_to_another_sign_in_is_refused(
    provider: EntraProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 6749 10.12."""

    def browse(url: str) -> bool:
        back = httpx2.URL(url).params["redirect_uri"]
        forged = {"code": "of-somebody-else", "state": "of-somebody-else"}
        threading.Thread(target=httpx2.get, args=(back,), kwargs={"params": forged}, daemon=True).start()
        return True

    monkeypatch.setattr("webbrowser.open", browse)
    with pytest.raises(Failure, match="another sign-in"):
        await tokens(provider, Memory()).get()
    assert provider.forms == []


async def test_nobody_comes_back_in_time(provider: EntraProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webbrowser.open", lambda url: True)
    with pytest.raises(Failure, match="in time"):
        await tokens(provider, Memory(), timeout=0.1).get()


async def test_a_device_shows_a_code_and_waits(
    provider: EntraProvider, server: EntraServer, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """RFC 8628."""
    assert await greet(server, tokens(provider, Memory(), device=True)) == "Hello, Alice."
    assert [form["grant_type"] for form in provider.forms] == [DEVICE_CODE] * 2
    assert f"Open {provider.url}/device on any device and enter the code ABCD1234." in capsys.readouterr().err
    assert opened == []


async def test_a_device_that_is_refused_is_told_so(provider: EntraProvider) -> None:
    provider.device_answers = ["authorization_declined"]
    with pytest.raises(Failure, match="was refused"):
        await tokens(provider, Memory(), device=True).get()


async def test_a_device_waits_no_longer_than_it_was_told(provider: EntraProvider) -> None:
    provider.device_answers = ["authorization_pending"] * 100
    begun = time.monotonic()
    with pytest.raises(Failure, match="in time"):
        await tokens(provider, Memory(), device=True, timeout=1).get()
    assert time.monotonic() - begun < 5


async def test_without_anybody_there_nothing_is_asked(provider: EntraProvider, opened: list[str]) -> None:
    with pytest.raises(Failure, match="has to sign in") as caught:
        await tokens(provider, Memory(), is_interactive=False).get()
    assert caught.value.exit_code == EXIT_SIGN_IN
    assert opened == []


async def test_a_tenant_that_does_not_exist_is_said(provider: EntraProvider) -> None:
    with pytest.raises(Failure, match="knows no tenant"):
        await EntraTokens(entra(provider, tenant="nowhere.example"), Options(), Memory()).get()


async def test_the_token_goes_to_no_other_server(
    provider: EntraProvider, server: EntraServer, opened: list[str]
) -> None:
    auth = EntraAuth("http://127.0.0.1:1/mcp", tokens(provider, Memory()))
    async with httpx2.AsyncClient(auth=auth) as http:
        assert (await http.post(server.url)).status_code == 401
    assert server.tokens == []


@pytest.mark.parametrize(
    "tenant",
    ["common", "organizations", "consumers", "", "9188040d-6c67-4c5b-b112-36a304b66dad", "a/b.example", "a b.c"],
)
def test_a_tenant_is_one_organisation(tenant: str) -> None:
    with pytest.raises(Failure, match="one organisation") as caught:
        checked(EntraOptions(tenant, CLIENT_ID, SCOPE))
    assert caught.value.exit_code == EXIT_USAGE
    for fine in (TENANT, TENANT.upper(), "contoso.onmicrosoft.com"):
        assert checked(EntraOptions(fine, CLIENT_ID, SCOPE)) == (fine.lower(), CLIENT_ID, SCOPE, PUBLIC_CLOUD)


@pytest.mark.parametrize(
    "authority", ["http://login.example", "https://login.example/common", "login.example", "https://"]
)
def test_an_authority_is_an_https_host(authority: str) -> None:
    with pytest.raises(Failure, match="https URL"):
        checked(EntraOptions(TENANT, CLIENT_ID, SCOPE, authority))
    assert (
        checked(EntraOptions(TENANT, CLIENT_ID, SCOPE, "https://login.example/")).authority == "https://login.example"
    )


def test_without_a_scope_it_is_said_which_is_meant() -> None:
    with pytest.raises(Failure, match="--scope"):
        checked(EntraOptions(TENANT, CLIENT_ID))


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ('Bearer realm="", error="insufficient_claims", claims="eyJhIjp7fX0="', '{"a":{}}'),
        ('Bearer claims="eyJhIjp7fX0", error="insufficient_claims"', '{"a":{}}'),
        ('Bearer error="invalid_token"', ""),
        ('Bearer claims="bm90IGpzb24="', ""),
        ('Bearer claims="WzFd"', ""),
        ('Bearer claims="====="', ""),
        ('Bearer claims="/w=="', ""),
        ('Bearer claims="' + "A" * 20000 + '"', ""),
    ],
)
def test_what_a_challenge_demands_is_read_if_it_is_an_object(header: str, claims: str) -> None:
    assert claims_challenge(header) == claims


def the_failure(error: BaseException) -> Failure:
    from mcpapp.client.failures import as_failure

    found = as_failure(error) if isinstance(error, Exception) else None
    assert found is not None, error
    return found
