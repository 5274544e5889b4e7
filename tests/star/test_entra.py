"""Entra mode: tokens through msal, of a provider that speaks what msal needs, for a server that takes them directly."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mcpapp.client.connection import connect
from mcpapp.client.entra import PUBLIC_CLOUD, checked, claims_challenge, token_provider
from mcpapp.client.failures import EXIT_SIGN_IN, EXIT_USAGE, Failure, as_failure
from mcpapp.client.options import EntraOptions, Options
from mcpapp.client.sign_ins import SignIn, SignIns
from tests.star.entra_provider import AUDIENCE, CLIENT_ID, DEVICE_CODE, OTHER_TENANT, SCOPE, TENANT, EntraProvider
from tests.star.entra_server import EntraServer

pytestmark = pytest.mark.anyio


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
        httpx2.get(url, follow_redirects=True, trust_env=True)

    def browse(url: str) -> None:
        seen.append(url)
        threading.Thread(target=follow, args=(url,), daemon=True).start()

    monkeypatch.setattr("mcpapp.client.browser.has_browser", lambda: True)
    monkeypatch.setattr("mcpapp.client.browser.open_page", browse)
    return seen


@pytest.fixture
def options(provider: EntraProvider, tmp_path: Path) -> Options:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    # Told already that there is no keyring: a developer's own is not for tests.
    (folder / "no-keyring").touch()
    return Options(timeout=20, cache_dir=folder, entra=checked(EntraOptions(TENANT, CLIENT_ID, SCOPE, provider.url)))


async def greet(server: EntraServer, options: Options, tool: str = "greet") -> str:
    """Call a tool of the server."""
    async with connect(server.url, options) as client:
        result: Any = await client.call_tool(tool, {"name": "Alice"})
        return str(result.content[0].text)


async def failing(server: EntraServer, options: Options) -> Failure:
    """Call the tool; give what comes of it."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  (what it is comes next)
        await greet(server, options)
    found = as_failure(caught.value)
    assert found is not None, caught.value
    return found


def grants(provider: EntraProvider) -> list[str]:
    return [form["grant_type"] for form in provider.forms]


def kept(server: EntraServer, options: Options) -> SignIn:
    found = SignIns(options).read(server.url)
    assert found is not None
    return found


def expire(server: EntraServer, options: Options) -> None:
    """Let the kept token be over, for us and for msal."""
    found = kept(server, options)
    found.expires_at = 0
    cache = json.loads(found.entra["msal"])
    for entry in cache["AccessToken"].values():
        entry["expires_on"] = "0"
    found.entra["msal"] = json.dumps(cache)
    SignIns(options).write(found)


async def test_the_browser_signs_in_and_the_tool_is_called(
    provider: EntraProvider, server: EntraServer, options: Options, opened: list[str]
) -> None:
    """RFC 8252, with PKCE."""
    assert await greet(server, options) == "Hello, Alice."
    assert len(opened) == 1
    asked = httpx2.URL(opened[0]).params
    assert asked["code_challenge_method"] == "S256"
    assert asked["prompt"] == "select_account"
    assert set(asked["scope"].split()) == {SCOPE, "openid", "profile", "offline_access"}
    assert kept(server, options).who == "alice@contoso.example"
    assert server.tokens == provider.issued


async def test_the_second_run_asks_the_provider_nothing(
    provider: EntraProvider, server: EntraServer, options: Options, opened: list[str]
) -> None:
    await greet(server, options)
    provider.requests.clear()
    # How to sign in is kept as well.
    assert await greet(server, replace(options, entra=None)) == "Hello, Alice."
    assert provider.requests == []
    assert len(opened) == 1


async def test_an_expired_token_is_refreshed_without_the_person(
    provider: EntraProvider, server: EntraServer, options: Options, opened: list[str]
) -> None:
    await greet(server, options)
    expire(server, options)
    assert await greet(server, replace(options, entra=None)) == "Hello, Alice."
    assert grants(provider) == ["authorization_code", "refresh_token"]
    assert len(opened) == 1


async def test_of_twenty_that_need_a_refresh_one_makes_it(
    provider: EntraProvider, server: EntraServer, options: Options, opened: list[str]
) -> None:
    await greet(server, options)
    expire(server, options)
    assert await asyncio.gather(*(greet(server, options) for _ in range(20))) == ["Hello, Alice."] * 20
    assert grants(provider) == ["authorization_code", "refresh_token"]


async def test_when_a_refresh_is_refused_the_person_is_asked_again(
    provider: EntraProvider, server: EntraServer, options: Options, opened: list[str]
) -> None:
    await greet(server, options)
    expire(server, options)
    provider.needs_interaction = True
    assert await greet(server, options) == "Hello, Alice."
    assert len(opened) == 2
    assert httpx2.URL(opened[1]).params["login_hint"] == "alice@contoso.example"


async def test_a_token_that_the_server_no_longer_takes_is_replaced_silently_first(
    provider: EntraProvider, server: EntraServer, options: Options, opened: list[str]
) -> None:
    await greet(server, options)
    server.refused.add(provider.issued[0])
    assert await greet(server, options) == "Hello, Alice."
    assert grants(provider) == ["authorization_code", "refresh_token"]
    assert len(opened) == 1


async def test_a_server_that_takes_no_token_is_told_of_after_one_refresh_and_one_sign_in(
    provider: EntraProvider, server: EntraServer, options: Options, opened: list[str]
) -> None:
    await greet(server, options)
    server.refuses_everything = True
    failure = await failing(server, options)
    assert "does not take the token" in str(failure)
    assert failure.exit_code == EXIT_SIGN_IN
    assert grants(provider) == ["authorization_code", "refresh_token", "authorization_code"]


async def test_a_claims_challenge_is_met_by_a_token_with_those_claims(
    provider: EntraProvider, server: EntraServer, options: Options, opened: list[str]
) -> None:
    """RFC 9470 is the standard's word for it; Entra's is `insufficient_claims` and `claims`."""
    await greet(server, options)
    server.demanded = "c1"
    assert await greet(server, options) == "Hello, Alice."
    assert "acrs" not in provider.verify(server.tokens[0])
    assert provider.verify(server.tokens[1])["acrs"] == ["c1"]
    assert json.loads(provider.forms[-1]["claims"]) == {
        "access_token": {"acrs": {"essential": True, "value": "c1"}, "xms_cc": {"values": ["CP1"]}}
    }
    assert len(opened) == 1


async def test_claims_that_a_refresh_cannot_meet_are_met_by_the_person(
    provider: EntraProvider, server: EntraServer, options: Options, opened: list[str]
) -> None:
    await greet(server, options)
    server.demanded = "c1"
    provider.needs_interaction = True
    assert await greet(server, options) == "Hello, Alice."
    assert len(opened) == 2
    assert "c1" in httpx2.URL(opened[1]).params["claims"]


async def test_a_tool_that_needs_more_scope_leads_to_one_consent_for_both(
    provider: EntraProvider, server: EntraServer, options: Options, opened: list[str]
) -> None:
    """RFC 6750 3.1."""
    await greet(server, options)
    provider.needs_interaction = True
    server.needed = "mcp:write"
    assert await greet(server, options) == "Hello, Alice."
    assert len(opened) == 2
    assert {SCOPE, f"{AUDIENCE}/mcp:write"} <= set(httpx2.URL(opened[1]).params["scope"].split())
    assert kept(server, options).scopes == [SCOPE, f"{AUDIENCE}/mcp:write"]
    provider.requests.clear()
    assert await greet(server, replace(options, entra=None)) == "Hello, Alice."
    assert provider.requests == []


async def test_a_server_cannot_name_the_scope_of_another_api_and_be_sent_its_token(
    provider: EntraProvider, server: EntraServer, options: Options, opened: list[str]
) -> None:
    await greet(server, options)
    provider.needs_interaction = True
    server.needed = f"https://graph.microsoft.com/Mail.Read api://other/mcp:write {AUDIENCE}/mcp:write"
    await failing(server, options)
    assert [set(httpx2.URL(url).params["scope"].split()) & {SCOPE, f"{AUDIENCE}/mcp:write"} for url in opened] == [
        {SCOPE},
        {SCOPE, f"{AUDIENCE}/mcp:write"},
    ]
    assert "graph" not in " ".join(opened)
    assert "other" not in " ".join(opened)


async def test_an_account_of_another_tenant_is_refused_and_not_kept(
    provider: EntraProvider, server: EntraServer, options: Options, opened: list[str]
) -> None:
    provider.tenant_of_tokens = OTHER_TENANT
    failure = await failing(server, options)
    assert "not of the tenant" in str(failure)
    assert failure.exit_code == EXIT_SIGN_IN
    assert SignIns(options).read(server.url) is None
    assert server.tokens == []
    provider.tenant_of_tokens = TENANT
    assert await greet(server, options) == "Hello, Alice."


async def test_a_refresh_that_brings_another_tenant_is_refused(
    provider: EntraProvider, server: EntraServer, options: Options, opened: list[str]
) -> None:
    await greet(server, options)
    expire(server, options)
    provider.tenant_of_tokens = OTHER_TENANT
    assert "not of the tenant" in str(await failing(server, options))
    assert kept(server, options).tokens["access_token"] == provider.issued[0]


async def test_a_tenant_may_be_named_by_its_domain_and_is_pinned_to_its_id(
    provider: EntraProvider, server: EntraServer, options: Options, opened: list[str]
) -> None:
    by_domain = replace(options, entra=EntraOptions("contoso.example", CLIENT_ID, SCOPE, provider.url))
    provider.tenant_of_tokens = OTHER_TENANT
    assert "not of the tenant" in str(await failing(server, by_domain))
    provider.tenant_of_tokens = TENANT
    assert await greet(server, by_domain) == "Hello, Alice."


async def test_another_application_is_another_sign_in(
    provider: EntraProvider, server: EntraServer, options: Options, opened: list[str]
) -> None:
    await greet(server, options)
    other = EntraOptions(TENANT, "ffffffff-7d1c-4f6e-8a3b-2c4d5e6f7a8b", SCOPE, provider.url)
    provider.client_ids.add(other.client_id)
    assert await greet(server, replace(options, entra=other)) == "Hello, Alice."
    assert len(opened) == 2
    assert kept(server, options).client == {"client_id": other.client_id}


async def test_a_person_who_says_no_is_told_so(
    provider: EntraProvider, server: EntraServer, options: Options, opened: list[str]
) -> None:
    provider.refuses_the_person = True
    failure = await failing(server, options)
    assert "was refused" in str(failure)
    assert failure.exit_code == EXIT_SIGN_IN


async def test_an_answer_to_another_sign_in_is_turned_away(
    provider: EntraProvider, server: EntraServer, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 6749 10.12."""
    answers: list[int] = []

    def both(url: str) -> None:
        back = httpx2.URL(url).params["redirect_uri"]
        forged = {"code": "of-somebody-else", "state": "of-somebody-else"}
        answers.append(httpx2.get(back, params=forged).status_code)
        answers.append(httpx2.get(url, follow_redirects=True).status_code)

    def browse(url: str) -> None:
        threading.Thread(target=both, args=(url,), daemon=True).start()

    monkeypatch.setattr("mcpapp.client.browser.has_browser", lambda: True)
    monkeypatch.setattr("mcpapp.client.browser.open_page", browse)
    assert await greet(server, options) == "Hello, Alice."
    assert answers[0] == 400
    assert grants(provider) == ["authorization_code"]


async def test_nobody_comes_back_in_time(
    server: EntraServer, options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    failure = await failing(server, replace(options, timeout=0.1, no_browser=True))
    assert "Nobody signed in" in str(failure)
    assert failure.exit_code == EXIT_SIGN_IN
    assert "Open this page in a browser of this machine" in capsys.readouterr().err


async def test_a_device_shows_a_code_and_waits(
    provider: EntraProvider,
    server: EntraServer,
    options: Options,
    opened: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """RFC 8628."""
    assert await greet(server, replace(options, device=True)) == "Hello, Alice."
    assert grants(provider) == [DEVICE_CODE] * 2
    told = capsys.readouterr().err
    assert f"open {provider.url}/device on any device" in told
    assert "ABCD1234" in told
    assert opened == []


async def test_where_there_is_no_browser_a_code_is_shown_unasked(
    provider: EntraProvider, server: EntraServer, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.device_answers = []
    monkeypatch.setattr("mcpapp.client.browser.has_browser", lambda: False)
    assert await greet(server, options) == "Hello, Alice."
    assert grants(provider) == [DEVICE_CODE]


async def test_a_device_that_is_refused_is_told_so(
    provider: EntraProvider, server: EntraServer, options: Options
) -> None:
    provider.device_answers = ["authorization_declined"]
    assert "was refused" in str(await failing(server, replace(options, device=True)))


async def test_a_device_waits_no_longer_than_it_was_told(
    provider: EntraProvider, server: EntraServer, options: Options
) -> None:
    provider.device_answers = ["authorization_pending"] * 100
    begun = time.monotonic()
    assert "in time" in str(await failing(server, replace(options, device=True, timeout=1)))
    assert time.monotonic() - begun < 8


async def test_a_tenant_that_does_not_exist_is_said(
    provider: EntraProvider, server: EntraServer, options: Options
) -> None:
    nowhere = EntraOptions("nowhere.example", CLIENT_ID, SCOPE, provider.url)
    failure = await failing(server, replace(options, entra=nowhere))
    assert "knows no tenant" in str(failure)
    assert failure.exit_code == EXIT_SIGN_IN


async def test_each_step_is_shown_without_what_is_secret(
    provider: EntraProvider,
    server: EntraServer,
    options: Options,
    opened: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    await greet(server, replace(options, verbose=True))
    expire(server, options)
    await greet(server, replace(options, verbose=True))
    told = capsys.readouterr().err
    assert f"→ POST {provider.url}/{TENANT}/oauth2/v2.0/token" in told
    assert "grant_type=refresh_token" in told
    for secret in [*provider.issued, *(form.get("refresh_token") or form["code"] for form in provider.forms)]:
        assert secret not in told


async def test_a_model_gets_a_token_of_its_own_scope(
    provider: EntraProvider, options: Options, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
    monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", provider.url)
    options = replace(options, entra=None)
    scope = "https://cognitiveservices.azure.com/.default"
    assert await token_provider(scope, options)() == provider.issued[0]
    assert scope in httpx2.URL(opened[0]).params["scope"].split()
    provider.requests.clear()
    assert await token_provider(scope, options)() == provider.issued[0]
    assert provider.requests == []
    # It is no sign-in to an MCP server.
    assert list(SignIns(options).all()) == []


async def test_a_model_without_a_tenant_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_TENANT_ID", raising=False)
    with pytest.raises(Failure, match="Which tenant") as caught:
        token_provider("https://cognitiveservices.azure.com/.default")
    assert caught.value.exit_code == EXIT_USAGE


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
