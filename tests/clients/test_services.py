"""Services on real clients, over real HTTP: from nothing but the URL and what the owner gave them to a tool call."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import mcp
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from mcp.client.auth import OAuthTokenError
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.streamable_http import streamable_http_client

from tests.clients.desk import HERE, TIMEOUT_SECONDS, Desk, installed, node
from tests.clients.drivers import ERAS, Keyring, assert_both_tools, assert_names, run
from tests.conftest import ROOT, LiveDatabases, LiveServer

pytestmark = [pytest.mark.live, pytest.mark.clients]


class Owner:
    """The owner of a site, who makes services at the command line."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self.made = 0

    def make(self, *options: str) -> dict[str, str]:
        self.made += 1
        who = ("--new-user", f"robot{self.made}") if "--user" not in options else ()
        arguments = ("create_service_client", f"Service {self.made}", *who, "--scope", "mcp:tools", "--json", *options)
        made: dict[str, str] = json.loads(self.server.manage(*arguments))
        return made


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory, live_databases: LiveDatabases) -> Iterator[Owner]:
    server = LiveServer(tmp_path_factory.mktemp("services"), live_databases.copy())
    server.environment["APP_ONLY_TOKENS"] = "true"
    server.start("manage.py", "runserver", "--noreload", str(server.port))
    yield Owner(server)
    server.stop()


class Key:
    """A key pair of a service; the server is given the public half."""

    def __init__(self, folder: Path) -> None:
        private = ec.generate_private_key(ec.SECP256R1())
        pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.pem = private.private_bytes(*pem).decode()
        self.jwk = ECAlgorithm.to_jwk(private)
        self.file = folder / "jwks.json"
        self.file.write_text(json.dumps({"keys": [json.loads(ECAlgorithm.to_jwk(private.public_key()))]}))


@asynccontextmanager
async def connected(url: str, provider: Any, era: str) -> AsyncIterator[mcp.Client]:
    async with (
        httpx2.AsyncClient(auth=provider, timeout=TIMEOUT_SECONDS, trust_env=False) as http,
        mcp.Client(streamable_http_client(url, http_client=http), mode=era) as client,
    ):
        yield client


async def call_as(username: str, url: str, provider: Any, era: str) -> None:
    async with connected(url, provider, era) as client:
        assert_both_tools([tool.name for tool in (await client.list_tools()).tools])
        assert_names(username, (await client.call_tool("protected-data")).model_dump(by_alias=True))


def with_secret(server: LiveServer, service: dict[str, str], **options: Any) -> ClientCredentialsOAuthProvider:
    return ClientCredentialsOAuthProvider(
        f"{server.url}/star",
        options.pop("keyring", None) or Keyring(),
        client_id=service["client_id"],
        client_secret=service["client_secret"],
        issuer=server.url,
        **options,
    )


# The Python SDK


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_the_python_sdk_calls_tools_with_a_secret(owner: Owner, era: str, method: str) -> None:
    service, keyring = owner.make(), Keyring()
    provider = with_secret(owner.server, service, token_endpoint_auth_method=method, keyring=keyring)
    run(lambda: call_as(service["user"], f"{owner.server.url}/star", provider, era))
    assert keyring.tokens is not None
    assert (keyring.tokens.scope, keyring.tokens.refresh_token) == ("mcp:tools", None)


@pytest.mark.parametrize("era", ERAS)
def test_the_python_sdk_calls_tools_with_a_key(owner: Owner, era: str, tmp_path: Path) -> None:
    key = Key(tmp_path)
    service = owner.make("--jwks", str(key.file))
    assert "client_secret" not in service
    signed = SignedJWTParameters(
        issuer=service["client_id"], subject=service["client_id"], signing_key=key.pem, signing_algorithm="ES256"
    )
    provider = PrivateKeyJWTOAuthProvider(
        f"{owner.server.url}/star",
        Keyring(),
        client_id=service["client_id"],
        assertion_provider=signed.create_assertion_provider(),
        issuer=owner.server.url,
    )
    run(lambda: call_as(service["user"], f"{owner.server.url}/star", provider, era))


def test_the_python_sdk_gets_another_token_when_the_one_it_has_is_worth_nothing(owner: Owner) -> None:
    """There is no refresh token: it proves who it is again."""
    service, keyring = owner.make(), Keyring()
    url = f"{owner.server.url}/star"
    run(lambda: call_as(service["user"], url, with_secret(owner.server, service, keyring=keyring), "legacy"))
    assert keyring.tokens
    keyring.tokens = keyring.tokens.model_copy(update={"access_token": "spoiled"})
    run(lambda: call_as(service["user"], url, with_secret(owner.server, service, keyring=keyring), "legacy"))
    assert keyring.tokens.access_token != "spoiled"


def test_both_secrets_work_while_a_service_is_given_a_new_one(owner: Owner) -> None:
    service = owner.make()
    new = json.loads(owner.server.manage("rotate_client_secret", service["client_id"], "--json"))
    url = f"{owner.server.url}/star"
    for known in (service, service | new):
        run(lambda known=known: call_as(service["user"], url, with_secret(owner.server, known), "2026-07-28"))
    newest = json.loads(owner.server.manage("rotate_client_secret", service["client_id"], "--now", "--json"))
    run(lambda: call_as(service["user"], url, with_secret(owner.server, service | newest), "2026-07-28"))
    assert_refused(lambda: call_as(service["user"], url, with_secret(owner.server, service), "2026-07-28"))


def test_the_python_sdk_is_told_at_the_token_endpoint_where_services_are_off(
    new_server: Callable[[], LiveServer],
) -> None:
    server = new_server()
    server.start("manage.py", "runserver", "--noreload", str(server.port))
    service = Owner(server).make()
    assert_refused(lambda: call_as("robot1", f"{server.url}/star", with_secret(server, service), "legacy"))
    assert (
        "unsupported_grant_type"
        in httpx2.post(f"{server.url}/o/token/", data={"grant_type": "client_credentials"}, trust_env=False).text
    )


def assert_refused(scenario: Callable[[], Any]) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        run(scenario)
    assert raised.group_contains(OAuthTokenError)


# openid-client, as the base of a service that is no MCP client itself


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "private_key_jwt"])
def test_openid_client_gets_a_token_that_calls_tools(owner: Owner, desk: Desk, tmp_path: Path, method: str) -> None:
    installed("openid-client/package.json")
    key = Key(tmp_path)
    service = owner.make(*(["--jwks", str(key.file)] if method == "private_key_jwt" else []))
    proof = {"CLIENT_KEY": key.jwk} if method == "private_key_jwt" else {"CLIENT_SECRET": service["client_secret"]}
    url = f"{owner.server.url}/star"
    desk.environment |= {"METHOD": method, "SCOPE": "mcp:tools", "RESOURCE": url, **proof}
    program = str(HERE / "openid_client.mjs")
    tokens = json.loads(desk.run(node(), program, owner.server.url, service["client_id"]).stdout)
    assert (tokens["token_type"], tokens["expires_in"], tokens["scope"]) == ("bearer", 3600, "mcp:tools")
    assert "refresh_token" not in tokens

    class Bearer(httpx2.Auth):
        def auth_flow(self, request: httpx2.Request) -> Any:
            request.headers["Authorization"] = f"Bearer {tokens['access_token']}"
            yield request

    run(lambda: call_as(service["user"], url, Bearer(), "2026-07-28"))


# The guide


def test_the_guide_does_what_it_says(owner: Owner, tmp_path: Path) -> None:
    """docs/services.md: its commands one after the other, and its program with each secret that they printed."""
    guide = (ROOT / "docs" / "services.md").read_text(encoding="utf-8")
    example, make_keys, prove_by_key = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    commands = [shlex.split(line)[2:] for line in re.findall(r"^python manage\.py .*$", guide, re.MULTILINE)]
    program = tmp_path / "nightly.py"
    program.write_text(example)
    with_key = tmp_path / "nightly_with_key.py"
    by_secret = re.compile(r"^    provider = ClientCredentialsOAuthProvider\(.*?^    \)\n", re.DOTALL | re.MULTILINE)
    text, replaced_once = by_secret.subn(lambda _: textwrap.indent(prove_by_key, "    "), example)
    assert replaced_once == 1
    with_key.write_text(text)

    def said(name: str, text: str) -> str:
        found = re.search(rf"^{name}: (\S+)$", text, re.MULTILINE)
        assert found, text
        return found[1]

    def call(secret: str, program: Path = program) -> str:
        environment = {**owner.server.environment, "SITE": owner.server.url, "CLIENT_ID": client_id}
        done = subprocess.run(
            [sys.executable, "-W", "error::DeprecationWarning", str(program)],
            env=environment | {"CLIENT_SECRET": secret, "NO_PROXY": "*"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    made, with_file, with_address, replaced = commands
    printed = owner.server.manage(*made)
    client_id, secret = said("client_id", printed), said("client_secret", printed)
    assert "'nightly-robot'" in call(secret)
    new = said("client_secret", owner.server.manage(*[client_id if word == "CLIENT_ID" else word for word in replaced]))
    assert "'nightly-robot'" in call(secret)
    assert "'nightly-robot'" in call(new)

    subprocess.run([sys.executable, "-c", make_keys], cwd=tmp_path, check=True, timeout=TIMEOUT_SECONDS)
    assert '"d"' not in (tmp_path / "nightly.jwks.json").read_text()
    for number, command in enumerate((with_address, with_file)):
        words = {"nightly.jwks.json": str(tmp_path / "nightly.jwks.json"), "nightly-robot": f"robot-with-key-{number}"}
        printed = owner.server.manage(*[words.get(word, word) for word in command])
        assert "client_secret" not in printed
    client_id = said("client_id", printed)
    assert "'robot-with-key-1'" in call("", with_key)
