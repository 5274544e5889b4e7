"""Real clients with nothing but the URL: they discover, register, send the person to sign in, and call the tools."""

from __future__ import annotations

import json
import subprocess
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mcp
import pytest
from fastmcp import Client as FastMCPClient
from fastmcp.client.auth import OAuth as FastMCPOAuth
from key_value.aio.stores.memory import MemoryStore
from mcp.client.auth import OAuthFlowError
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.clients.desk import Desk, end_group, installed, node
from tests.clients.drivers import ERAS, Keyring, PythonSDK, assert_both_tools, assert_names, inspector, run, typescript
from tests.clients.person import Person

pytestmark = [pytest.mark.live, pytest.mark.clients]

SPOILED = "spoiled"


# The Python SDK


@pytest.mark.parametrize("era", ERAS)
def test_the_python_sdk_logs_in_and_calls_the_tools(url: str, person: Person, era: str) -> None:
    sdk = PythonSDK(url, person, Keyring())
    run(lambda: sdk.log_in_and_call(era))
    assert len(sdk.visits) == 1


def test_the_tools_run_as_whoever_signed_in(url: str) -> None:
    """Each in a browser of their own that knows nobody."""
    with Person("demo", "demo") as demo, Person("demo2", "demo2") as demo2:
        run(lambda: PythonSDK(url, demo, Keyring()).log_in_and_call("auto"))
        run(lambda: PythonSDK(url, demo2, Keyring()).log_in_and_call("auto"))


def test_the_localhost_spelling_of_the_url_works_throughout(url: str, person: Person) -> None:
    """People type `localhost` as well, and clients compare what they typed with issuer and resource."""
    sdk = PythonSDK(url.replace("127.0.0.1", "localhost"), person, Keyring())
    run(lambda: sdk.log_in_and_call("auto"))
    assert sdk.visits[0].startswith("http://localhost:")


@pytest.mark.parametrize("method", ["none", "client_secret_post", "client_secret_basic"])
def test_the_python_sdk_logs_in_with_each_way_to_authenticate_a_client(url: str, person: Person, method: str) -> None:
    sdk = PythonSDK(url, person, Keyring(), token_endpoint_auth_method=method)
    run(lambda: sdk.log_in_and_call("auto"))


@pytest.mark.parametrize("era", ERAS)
def test_a_restarted_python_sdk_refreshes_without_a_visit_to_the_authorize_page(
    url: str, person: Person, era: str
) -> None:
    """After a restart the SDK knows no metadata: it refreshes at /token of the origin, in the legacy era without
    `resource`, and a second time with what the first gave."""
    keyring = Keyring()
    run(lambda: PythonSDK(url, person, keyring).log_in_and_call(era))
    for _ in range(2):
        before = keyring.tokens
        assert before
        assert before.refresh_token
        # The SDK refreshes on its own account, not on a 401: only a token it knows to be useless makes it.
        keyring.tokens = before.model_copy(update={"access_token": ""})
        restarted = PythonSDK(url, person, keyring)
        run(lambda sdk=restarted: sdk.log_in_and_call(era))
        assert restarted.visits == []
        assert keyring.tokens.access_token not in {"", before.access_token}


def test_a_denied_python_sdk_gets_an_error_that_it_accepts_as_ours(url: str, person: Person) -> None:
    """It checks `state` and `iss` of the error before it says that there was no code."""
    sdk = PythonSDK(url, person, Keyring(), allow=False)
    with pytest.raises(ExceptionGroup) as raised:
        run(lambda: sdk.log_in_and_call("legacy"))
    assert "error=access_denied" in sdk.answer
    assert raised.group_contains(OAuthFlowError, match="No authorization code received")


# fastmcp


@pytest.fixture
def opened_browser(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """webbrowser.open starts the desk's browser and returns, as with a real one."""

    started: list[subprocess.Popen[str]] = []

    def start(url: str, *_: object) -> bool:
        started.append(subprocess.Popen([desk.browser, url], env=desk.environment, start_new_session=True, text=True))
        return True

    monkeypatch.setattr(webbrowser, "open", start)
    yield desk
    for browser in started:
        end_group(browser)
        browser.wait()


@pytest.mark.filterwarnings("ignore:Using in-memory token storage")
@pytest.mark.parametrize("era", ERAS)
def test_fastmcp_logs_in_and_its_restarted_client_refreshes_on_another_port(
    url: str, opened_browser: Desk, era: str
) -> None:
    """A restarted fastmcp client keeps its registration and comes back on another callback port."""
    store = MemoryStore()

    async def log_in_and_call() -> FastMCPOAuth:
        oauth = FastMCPOAuth(url, token_storage=store, callback_timeout=20)
        async with FastMCPClient(url, auth=oauth, mode=era) as client:
            assert_both_tools([tool.name for tool in await client.list_tools()])
            result = await client.call_tool("protected-data")
            assert '"demo"' in json.dumps(result.structured_content), result
        return oauth

    async def scenario() -> None:
        oauth = await log_in_and_call()
        assert opened_browser.sign_ins() == 1
        registered = await oauth.token_storage_adapter.get_client_info()
        tokens = await oauth.token_storage_adapter.get_tokens()
        assert tokens
        assert tokens.refresh_token
        # Expired while it was away, as far as it knows.
        await oauth.token_storage_adapter.set_tokens(
            tokens.model_copy(update={"access_token": SPOILED, "expires_in": -1})
        )
        await log_in_and_call()
        assert opened_browser.sign_ins() == 1, "refreshed silently"
        # Refused by the server, and nothing to refresh with.
        await oauth.token_storage_adapter.set_tokens(
            tokens.model_copy(update={"access_token": SPOILED, "refresh_token": None})
        )
        oauth = await log_in_and_call()
        assert opened_browser.sign_ins() == 2
        assert await oauth.token_storage_adapter.get_client_info() == registered, (
            "another port is no reason to re-register"
        )

    try:
        run(scenario)
    except BaseException as error:
        error.add_note(opened_browser.browser_said())
        raise


# The TypeScript SDKs


def test_the_typescript_sdk_1_logs_in_and_calls_the_tools(url: str, desk: Desk) -> None:
    installed("@modelcontextprotocol/sdk/package.json")
    assert_names("demo", typescript(desk, "typescript_v1.mjs", url)["result"])
    assert desk.sign_ins() == 1


@pytest.mark.parametrize("era", [*ERAS, "auto"])
def test_the_typescript_sdk_2_logs_in_and_calls_the_tools(url: str, desk: Desk, era: str) -> None:
    installed("@modelcontextprotocol/client/package.json")
    answer = typescript(desk, "typescript_v2.mjs", url, "--era", era)
    assert_names("demo", answer["result"])
    assert answer["version"] == ("2025-11-25" if era == "legacy" else "2026-07-28")
    assert desk.sign_ins() == 1


@pytest.mark.parametrize("program", ["typescript_v1.mjs", "typescript_v2.mjs"])
def test_a_restarted_typescript_sdk_with_a_spoiled_token_refreshes_silently(
    url: str, desk: Desk, tmp_path: Path, program: str
) -> None:
    state = tmp_path / "state.json"
    typescript(desk, program, url, "--state", str(state))
    kept = json.loads(state.read_text())
    kept["tokens"]["access_token"] = SPOILED
    state.write_text(json.dumps(kept))
    assert_names("demo", typescript(desk, program, url, "--state", str(state))["result"])
    assert desk.sign_ins() == 1


# mcp-remote


def test_mcp_remote_logs_in_and_bridges_to_a_client_over_stdio(url: str, desk: Desk) -> None:
    said = desk.run(node(), installed("mcp-remote/dist/client.js"), url).stderr
    assert_both_tools([tool["name"] for tool in said_json(said, "Tools:")["tools"]])
    assert desk.sign_ins() == 1

    # Its tokens are there for the bridge, which refreshes the one that no longer works.
    [stored] = (desk.folder / "home" / "mcp-remote").glob("*/*_tokens.json")
    stored.write_text(json.dumps(json.loads(stored.read_text()) | {"access_token": SPOILED}))
    bridge = StdioServerParameters(
        command=node(), args=[installed("mcp-remote/dist/proxy.js"), url], env=desk.environment, cwd=desk.folder
    )

    async def scenario() -> None:
        with (desk.folder / "bridge.log").open("w") as log:
            async with mcp.Client(stdio_client(bridge, errlog=log), mode="legacy") as client:
                assert_names("demo", (await client.call_tool("protected-data")).model_dump(by_alias=True))

    try:
        run(scenario)
    except BaseException as error:
        error.add_note((desk.folder / "bridge.log").read_text())
        raise
    assert desk.sign_ins() == 1


def said_json(log: str, after: str) -> Any:
    """The JSON value that a program logged after a word."""
    return json.JSONDecoder().raw_decode(log.partition(after)[2].lstrip())[0]


# The Inspector


@pytest.mark.parametrize("era", ["legacy", "modern", "auto"])
def test_the_inspector_logs_in_and_calls_the_tools(url: str, desk: Desk, era: str) -> None:
    assert_names("demo", inspector(desk, url, era, "tools/call", "protected-data"))
    assert desk.sign_ins() == 1
    assert_both_tools([tool["name"] for tool in inspector(desk, url, era, "tools/list")["tools"]])
    assert desk.sign_ins() == 1, "the second command uses the stored login"
