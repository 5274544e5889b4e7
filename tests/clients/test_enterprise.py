"""Enterprise-managed authorization over real HTTP: the SDK's client, an identity provider, and the site in processes.

A person signs in to their organisation's client alone; everything else happens without them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import mcp
import pytest
from mcp.client.auth import OAuthFlowError, OAuthTokenError
from mcp.client.auth.extensions.identity_assertion import IdentityAssertionOAuthProvider
from mcp.client.streamable_http import streamable_http_client

from tests.authapp.identity_provider import ID_JAG, ID_TOKEN, TOKEN_EXCHANGE, IdentityProvider
from tests.clients.desk import TIMEOUT_SECONDS
from tests.clients.drivers import ERAS, Keyring, assert_both_tools, assert_names, run
from tests.clients.person import Person
from tests.conftest import LiveDatabases, LiveServer
from tests.mcpapp.workers import Workers

pytestmark = [pytest.mark.live, pytest.mark.clients]

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
AT_PROVIDER = {"client_id": "desk-at-the-provider", "client_secret": "its-secret-there"}


class Organisation:
    """An organisation: its provider, its client at the site, and two of its people who are known there."""

    def __init__(self, workers: Workers, provider: IdentityProvider) -> None:
        self.workers = workers
        self.provider = provider
        self.url = f"{workers.url}/star"
        for server in workers.servers:
            server.environment |= {
                "TRUSTED_ISSUERS": json.dumps(
                    [{"issuer": provider.issuer, "jwks_uri": provider.jwks_uri, "name": "Example Inc."}]
                ),
                "PRIVATE_KEY_HOSTS": provider.host,
            }
        manage = workers.servers[0].manage
        self.credentials: dict[str, str] = json.loads(manage("create_enterprise_client", "Desk", "--json"))
        for username in ("demo", "demo2"):
            manage("link_identities", provider.issuer, f"U-{username}", username)
        provider.clients[AT_PROVIDER["client_id"]] = AT_PROVIDER["client_secret"]
        provider.client_ids[AT_PROVIDER["client_id"], workers.url] = self.credentials["client_id"]

    def id_jag(self, username: str, audience: str, resource: str, scope: str = "mcp:tools") -> str:
        """Have the client trade the ID token of a person who signed in to it (RFC 8693)."""
        form = AT_PROVIDER | {
            "grant_type": TOKEN_EXCHANGE,
            "requested_token_type": ID_JAG,
            "subject_token": self.provider.sign_in(sub=f"U-{username}"),
            "subject_token_type": ID_TOKEN,
            "audience": audience,
            "resource": resource,
            "scope": scope,
        }
        with httpx2.Client(trust_env=False) as http:
            answer = http.post(f"{self.provider.issuer}/token", data=form).json()
        assert answer["issued_token_type"] == ID_JAG, answer
        return str(answer["access_token"])

    def exchange(self, server: LiveServer, assertion: str) -> httpx2.Response:
        """Send an assertion to one of the workers."""
        form = self.credentials | {"grant_type": JWT_BEARER, "assertion": assertion}
        return httpx2.post(f"{server.url}/o/token/", data=form, trust_env=False)


@contextmanager
def organisation_at(folder: Path, databases: LiveDatabases) -> Iterator[Organisation]:
    with IdentityProvider() as provider:
        workers = Workers(folder, databases.copy(), count=2)
        try:
            organisation = Organisation(workers, provider)
            workers.start()
            yield organisation
        finally:
            workers.stop()


@pytest.fixture(scope="module")
def organisation(tmp_path_factory: pytest.TempPathFactory, live_databases: LiveDatabases) -> Iterator[Organisation]:
    with organisation_at(tmp_path_factory.mktemp("enterprise"), live_databases) as organisation:
        yield organisation


class Program:
    """A program of the organisation, built on the SDK."""

    def __init__(self, organisation: Organisation, username: str, **options: Any) -> None:
        self.organisation = organisation
        self.username = username
        self.requests: list[str] = []
        self.provider = IdentityAssertionOAuthProvider(
            server_url=organisation.url,
            storage=Keyring(),
            issuer=organisation.workers.url,
            assertion_provider=self.assertion,
            **(organisation.credentials | options),
        )

    async def assertion(self, audience: str, resource: str) -> str:
        return await anyio.to_thread.run_sync(self.organisation.id_jag, self.username, audience, resource)

    async def _note(self, response: httpx2.Response) -> None:
        self.requests.append(f"{response.request.method} {response.request.url.path} {response.status_code}")

    async def call(self, era: str) -> None:
        """List the tools, and call the one that says who is calling."""
        async with (
            httpx2.AsyncClient(
                auth=self.provider, timeout=TIMEOUT_SECONDS, trust_env=False, event_hooks={"response": [self._note]}
            ) as http,
            mcp.Client(streamable_http_client(self.organisation.url, http_client=http), mode=era) as client,
        ):
            assert_both_tools([tool.name for tool in (await client.list_tools()).tools])
            result = await client.call_tool("protected-data")
            assert_names(self.username, result.model_dump(by_alias=True))


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("method", ["client_secret_post", "client_secret_basic"])
def test_the_sdk_calls_a_tool_as_a_person_who_saw_no_page_of_the_site(
    organisation: Organisation, era: str, method: str
) -> None:
    """MCP enterprise-managed authorization §5, with the official client."""
    for username in ("demo", "demo2"):
        program = Program(organisation, username, token_endpoint_auth_method=method)
        run(lambda program=program: program.call(era))
        assert program.requests[:4] == [
            "POST /star 401",
            "GET /.well-known/oauth-authorization-server 200",
            "POST /o/token/ 200",
            "POST /star 200",
        ]


def test_the_sdk_hears_no_more_than_that_an_assertion_is_not_accepted(organisation: Organisation) -> None:
    with pytest.raises((OAuthTokenError, OAuthFlowError, ExceptionGroup)) as caught:
        run(lambda: Program(organisation, "stranger").call("2026-07-28"))
    assert "invalid_grant" in told(caught.value)
    run(lambda: Program(organisation, "demo").call("2026-07-28"))


def told(error: BaseException) -> str:
    parts = [str(error)]
    for inner in getattr(error, "exceptions", ()):
        parts.append(told(inner))
    return " ".join(parts)


def test_the_person_finds_the_client_among_their_apps_and_ends_it(organisation: Organisation) -> None:
    assertion = organisation.id_jag("demo", organisation.workers.url, organisation.url)
    token = organisation.exchange(organisation.workers.servers[0], assertion).json()["access_token"]

    def call() -> int:
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
        return httpx2.post(organisation.url, json=message, headers=headers, trust_env=False).status_code

    assert call() == 200
    with Person("demo", "demo") as person:
        page = person.browser.get(f"{organisation.workers.url}/connected-apps/", follow_redirects=True)
        page = sign_in(person, page)
        assert "Example Inc." in page.text
        [action] = [part.split('"')[0] for part in page.text.split('action="')[1:] if "/disconnect/" in part]
        csrf = page.text.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
        answer = person.browser.post(
            f"{organisation.workers.url}{action}",
            data={"csrfmiddlewaretoken": csrf},
            headers={"Referer": str(page.url)},
        )
        assert answer.status_code == 302
    assert call() == 401


def sign_in(person: Person, page: httpx2.Response) -> httpx2.Response:
    csrf = page.text.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
    form = {"login": person.username, "password": person.password, "csrfmiddlewaretoken": csrf}
    form["next"] = "/connected-apps/"
    return person.browser.post(str(page.url), data=form, headers={"Referer": str(page.url)}, follow_redirects=True)


def test_workers_know_what_another_one_accepted_also_after_a_restart(organisation: Organisation) -> None:
    """The extension §7.4.2: once, whoever is asked."""
    first, second = organisation.workers.servers
    assertion = organisation.id_jag("demo", organisation.workers.url, organisation.url)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda server: organisation.exchange(server, assertion), [first, second] * 4))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 7
    assert {answer.json()["error"] for answer in answers if answer.status_code == 400} == {"invalid_grant"}
    second.stop()
    second.start("-m", "uvicorn", "config.asgi:application", "--port", str(second.port), "--no-access-log")
    assert organisation.exchange(second, assertion).json()["error"] == "invalid_grant"
    fresh = organisation.id_jag("demo", organisation.workers.url, organisation.url)
    assert organisation.exchange(second, fresh).status_code == 200


def test_the_site_goes_on_while_the_provider_is_down_and_takes_its_new_key(
    tmp_path: Path, live_databases: LiveDatabases
) -> None:
    with organisation_at(tmp_path, live_databases) as organisation:
        first, second = organisation.workers.servers
        where = (organisation.workers.url, organisation.url)
        assert organisation.exchange(first, organisation.id_jag("demo", *where)).status_code == 200
        assert organisation.provider.requests.count("GET /keys") == 1
        organisation.provider.is_down = True
        second.stop()
        second.start("-m", "uvicorn", "config.asgi:application", "--port", str(second.port), "--no-access-log")
        assert organisation.exchange(second, organisation.id_jag("demo", *where)).status_code == 200
        organisation.provider.is_down = False
        organisation.provider.rotate()
        # A key that nobody knows is asked for once a minute: that minute is over.
        organisation.workers.program.run(
            "from authapp.models import KeySet; from datetime import timedelta; from django.utils import timezone\n"
            "result = KeySet.objects.update(tried_at=timezone.now() - timedelta(minutes=2))"
        )
        assert organisation.exchange(second, organisation.id_jag("demo", *where)).status_code == 200
        assert organisation.exchange(first, organisation.id_jag("demo2", *where)).status_code == 200
        assert organisation.provider.requests.count("GET /keys") == 2
