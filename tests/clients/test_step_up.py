"""Real clients that have less at first and get more when they need it: another scope, or a person at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import mcp
import pytest
from mcp.client.auth import OAuthFlowError
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.clients.desk import Desk, installed, node
from tests.clients.drivers import (
    ERAS,
    Keyring,
    PythonSDK,
    assert_names,
    inspector,
    installed_typescript,
    run,
    typescript_calls,
)
from tests.clients.person import Person
from tests.clients.replays import VSCode
from tests.conftest import LiveDatabases, LiveServer

pytestmark = [pytest.mark.live, pytest.mark.clients]

EVERYTHING = ["public-info", "protected-data", "list-connected-apps", "disconnect-app"]
STEP_UP = ["POST /star 403", "POST /o/token/ 200", "POST /star 200"]
LOGIN = [
    "POST /star 401",
    "GET /.well-known/oauth-protected-resource/star 200",
    "GET /.well-known/oauth-authorization-server 200",
    "POST /o/register/ 201",
    "POST /o/token/ 200",
    "POST /star 200",
]

every_typescript_sdk = pytest.mark.parametrize(
    ("program", "options", "version"),
    [
        ("typescript_v1.mjs", [], "2025-11-25"),
        ("typescript_v2.mjs", ["--era", "legacy"], "2025-11-25"),
        ("typescript_v2.mjs", ["--era", "2026-07-28"], "2026-07-28"),
    ],
    ids=["1", "2-legacy", "2-2026-07-28"],
)


def scopes(text: str | None) -> set[str]:
    """Scopes without the one for refresh tokens, which is the clients' own affair."""
    return set((text or "").split()) - {"offline_access"}


def asked_for(authorization_url: str) -> set[str]:
    """What a client sent the person to consent to."""
    return scopes(parse_qs(urlsplit(authorization_url).query)["scope"][0])


def dumped(result: mcp.types.CallToolResult) -> dict[str, Any]:
    return result.model_dump(by_alias=True)


# Stepping up: connected with mcp:tools, a tool needs mcp:write


class OldClient:
    """A client that the person connected earlier, for another one to disconnect."""

    def __init__(self, vs_code: VSCode) -> None:
        self.vs_code = vs_code
        listed = vs_code.call("list-connected-apps")["structuredContent"]["result"]
        [self.connection_id] = [one["connection_id"] for one in listed if one["is_this_one"]]

    def assert_disconnected(self, result: dict[str, Any]) -> None:
        """The tool must have said so, and it must be so."""
        assert not result.get("isError"), result
        assert "Visual Studio Code is disconnected." in json.dumps(result), result
        assert self.vs_code.post_mcp("tools/list", {}).status_code == 401

    def assert_still_connected(self) -> None:
        assert self.vs_code.tools() == set(EVERYTHING)


@pytest.fixture
def old_client(url: str, profile: Any) -> Iterator[OldClient]:
    with Person("demo", "demo", profile) as person, VSCode(url) as vs_code:
        vs_code.log_in(person)
        yield OldClient(vs_code)


@pytest.mark.parametrize("era", ERAS)
def test_the_python_sdk_gets_a_missing_scope_by_one_more_consent(
    url: str, person: Person, old_client: OldClient, era: str
) -> None:
    keyring = Keyring()
    sdk = PythonSDK(url, person, keyring)

    async def scenario() -> None:
        async with sdk.connected(era) as client:
            assert_names("demo", dumped(await client.call_tool("protected-data")))
            assert keyring.tokens
            assert scopes(keyring.tokens.scope) == {"mcp:tools"}
            assert (len(sdk.visits), person.consents) == (1, 1)
            # The list of tools, by which the SDK checks results, is the one request besides those of the step-up.
            await client.list_tools()
            sdk.requests.clear()

            result = await client.call_tool("disconnect-app", {"connection_id": old_client.connection_id})
            old_client.assert_disconnected(dumped(result))
            assert sdk.requests == STEP_UP
            assert scopes(keyring.tokens.scope) == {"mcp:tools", "mcp:write"}
            assert (len(sdk.visits), person.consents) == (2, 2)
            assert asked_for(sdk.visits[1]) == {"mcp:tools", "mcp:write"}

            sdk.requests.clear()
            again = await client.call_tool("disconnect-app", {"connection_id": old_client.connection_id})
            assert "There is no such thing." in json.dumps(dumped(again))
            assert_names("demo", dumped(await client.call_tool("protected-data")))
            assert sdk.requests == ["POST /star 200"] * 2

    run(scenario)
    assert (len(sdk.visits), person.consents) == (2, 2)


@pytest.mark.parametrize("era", ERAS)
def test_a_restarted_python_sdk_still_asks_for_what_it_had_and_what_it_needs(
    url: str, person: Person, old_client: OldClient, era: str
) -> None:
    """It starts with its stored token and without a challenge to learn from, but for that 403."""
    keyring = Keyring()
    run(lambda: PythonSDK(url, person, keyring).log_in_and_call(era))
    sdk = PythonSDK(url, person, keyring)

    async def scenario() -> None:
        async with sdk.connected(era) as client:
            result = await client.call_tool("disconnect-app", {"connection_id": old_client.connection_id})
            old_client.assert_disconnected(dumped(result))

    run(scenario)
    assert [asked_for(visit) for visit in sdk.visits] == [{"mcp:tools", "mcp:write"}]
    assert keyring.tokens
    assert scopes(keyring.tokens.scope) == {"mcp:tools", "mcp:write"}


@pytest.mark.parametrize("era", ERAS)
def test_a_python_sdk_that_is_denied_the_scope_keeps_what_it_had(
    url: str, person: Person, old_client: OldClient, era: str
) -> None:
    keyring = Keyring()
    run(lambda: PythonSDK(url, person, keyring).log_in_and_call(era))
    denied = PythonSDK(url, person, keyring, allow=False)

    async def scenario() -> None:
        async with denied.connected(era) as client:
            await client.call_tool("disconnect-app", {"connection_id": old_client.connection_id})

    with pytest.raises(ExceptionGroup) as raised:
        run(scenario)
    assert raised.group_contains(OAuthFlowError, match="No authorization code received")
    assert "error=access_denied" in denied.answer
    assert len(denied.visits) == 1
    old_client.assert_still_connected()
    again = PythonSDK(url, person, keyring)
    run(lambda: again.log_in_and_call(era))
    assert again.visits == []


def step_up(desk: Desk, program: str, url: str, old_client: OldClient, *options: str) -> dict[str, Any]:
    """Let a TypeScript program call a tool it may use, one it may not yet, and the first again."""
    disconnect = f"disconnect-app={json.dumps({'connection_id': old_client.connection_id})}"
    calls = [option for name in ("protected-data", disconnect, "protected-data") for option in ("--call", name)]
    return typescript_calls(desk, installed_typescript(program), url, *calls, *options)


def assert_stepped_up(answer: dict[str, Any], desk: Desk, old_client: OldClient) -> None:
    before, needing, after = answer["calls"]
    assert_names("demo", before["result"])
    assert scopes(before["scope"]) == {"mcp:tools"}
    old_client.assert_disconnected(needing["result"])
    assert needing["requests"] == STEP_UP
    assert scopes(needing["scope"]) == {"mcp:tools", "mcp:write"}
    assert_names("demo", after["result"])
    assert after["requests"] == ["POST /star 200"]
    assert [asked_for(visit) for visit in desk.visits()] == [{"mcp:tools"}, {"mcp:tools", "mcp:write"}]
    assert desk.consents() == 2


@pytest.mark.parametrize(("era", "version"), [("legacy", "2025-11-25"), ("2026-07-28", "2026-07-28")])
def test_the_typescript_sdk_2_gets_a_missing_scope_by_one_more_consent(
    url: str, desk: Desk, old_client: OldClient, era: str, version: str
) -> None:
    answer = step_up(desk, "typescript_v2.mjs", url, old_client, "--era", era)
    assert answer["version"] == version
    assert_stepped_up(answer, desk, old_client)


def test_the_typescript_sdk_1_gets_a_missing_scope_by_one_more_consent_if_it_holds_no_refresh_token(
    url: str, desk: Desk, old_client: OldClient
) -> None:
    assert_stepped_up(step_up(desk, "typescript_v1.mjs", url, old_client, "--forgetful"), desk, old_client)


def test_the_typescript_sdk_1_refreshes_where_it_should_ask_and_gives_up_after_that(
    url: str, desk: Desk, old_client: OldClient
) -> None:
    """With a refresh token, its `auth()` refreshes before it thinks of asking the person (client/auth.js), which gives
    the scopes that were granted and no more. The same challenge a second time ends the call (client/streamableHttp.js).
    """
    answer = step_up(desk, "typescript_v1.mjs", url, old_client)
    _, needing, after = answer["calls"]
    assert needing["error"].startswith("StreamableHTTPError 403: ")
    assert needing["error"].endswith("Server returned 403 after trying upscoping")
    assert needing["requests"] == ["POST /star 403", "POST /o/token/ 200", "POST /star 403"]
    assert scopes(needing["scope"]) == {"mcp:tools"}
    old_client.assert_still_connected()
    # Nothing is lost, and nobody was bothered.
    assert_names("demo", after["result"])
    assert after["requests"] == ["POST /star 200"]
    assert (desk.sign_ins(), desk.consents()) == (1, 1)


# Without a login at first: public tools are on


@pytest.fixture(scope="module")
def anonymous_server(tmp_path_factory: pytest.TempPathFactory, live_databases: LiveDatabases) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("anonymous"), live_databases.copy())
    server.environment["ANONYMOUS_TOOLS"] = "true"
    server.start("manage.py", "runserver", "--noreload", str(server.port))
    yield server
    server.stop()


@pytest.fixture
def anonymous_url(anonymous_server: LiveServer) -> str:
    return f"{anonymous_server.url}/star"


def assert_tells_of_the_server(result: dict[str, Any]) -> None:
    assert not result.get("isError"), result
    assert result["structuredContent"]["server"] == "Star"


def assert_nobody_was_asked(requests: list[str]) -> None:
    """Only the endpoint itself was asked, and it refused nothing but the stream that there is not."""
    assert set(requests) <= {"POST /star 200", "POST /star 202", "GET /star 405"}, requests


@pytest.mark.parametrize("era", ERAS)
def test_the_python_sdk_logs_in_at_the_first_protected_call(anonymous_url: str, person: Person, era: str) -> None:
    keyring = Keyring()
    sdk = PythonSDK(anonymous_url, person, keyring)

    async def scenario() -> None:
        async with sdk.connected(era) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["public-info"]
            assert_tells_of_the_server(dumped(await client.call_tool("public-info")))
            assert_nobody_was_asked(sdk.requests)
            assert (sdk.visits, keyring.client, keyring.tokens) == ([], None, None)

            sdk.requests.clear()
            assert_names("demo", dumped(await client.call_tool("protected-data")))
            assert sdk.requests[: len(LOGIN)] == LOGIN
            # It looks a tool up that it has not listed, to check the result.
            assert sdk.requests[len(LOGIN) :] == ["POST /star 200"]
            assert keyring.tokens
            assert scopes(keyring.tokens.scope) == {"mcp:tools"}

            assert [tool.name for tool in (await client.list_tools()).tools] == EVERYTHING
            assert_tells_of_the_server(dumped(await client.call_tool("public-info")))

    run(scenario)
    assert [asked_for(visit) for visit in sdk.visits] == [{"mcp:tools"}]
    assert person.consents == 1


@pytest.mark.parametrize("era", ERAS)
def test_a_first_call_beyond_the_default_scope_logs_the_python_sdk_in_with_all_it_needs(
    anonymous_url: str, person: Person, era: str
) -> None:
    """One login, where a challenge that named the default scope alone would make it two consents."""
    sdk = PythonSDK(anonymous_url, person, Keyring())

    async def scenario() -> None:
        async with sdk.connected(era) as client:
            result = await client.call_tool("disconnect-app", {"connection_id": 2**31})
            assert "There is no such thing." in json.dumps(dumped(result))

    run(scenario)
    assert [asked_for(visit) for visit in sdk.visits] == [{"mcp:tools", "mcp:write"}]
    assert person.consents == 1


@every_typescript_sdk
def test_a_typescript_sdk_logs_in_at_the_first_protected_call(
    anonymous_url: str, desk: Desk, program: str, options: list[str], version: str
) -> None:
    calls = [option for name in ("public-info", "protected-data", "public-info") for option in ("--call", name)]
    answer = typescript_calls(desk, installed_typescript(program), anonymous_url, *calls, *options)
    assert answer["version"] == version
    assert answer["tools"] == ["public-info"]
    public, protected, public_again = answer["calls"]
    assert_tells_of_the_server(public["result"])
    assert_nobody_was_asked(answer["connecting"] + public["requests"])
    assert "scope" not in public, "no token"
    assert_names("demo", protected["result"])
    assert protected["requests"] == LOGIN
    assert scopes(protected["scope"]) == {"mcp:tools"}
    assert_tells_of_the_server(public_again["result"])
    assert public_again["requests"] == ["POST /star 200"]
    assert answer["toolsAfterwards"] == EVERYTHING
    assert [asked_for(visit) for visit in desk.visits()] == [{"mcp:tools"}]
    assert desk.consents() == 1


def test_mcp_remote_logs_in_at_the_first_protected_call_and_steps_up(anonymous_url: str, desk: Desk) -> None:
    """It probes with GET; the 405 that it gets without a token is no reason to log in."""
    bridge = StdioServerParameters(
        command=node(),
        args=[installed("mcp-remote/dist/proxy.js"), anonymous_url],
        env=desk.environment,
        cwd=desk.folder,
    )

    async def scenario() -> None:
        with (desk.folder / "bridge.log").open("w") as log:
            async with mcp.Client(stdio_client(bridge, errlog=log), mode="legacy") as client:
                assert [tool.name for tool in (await client.list_tools()).tools] == ["public-info"]
                assert_tells_of_the_server(dumped(await client.call_tool("public-info")))
                assert desk.visits() == []
                assert_names("demo", dumped(await client.call_tool("protected-data")))
                assert [asked_for(visit) for visit in desk.visits()] == [{"mcp:tools"}]
                assert [tool.name for tool in (await client.list_tools()).tools] == EVERYTHING
                result = await client.call_tool("disconnect-app", {"connection_id": 2**31})
                assert "There is no such thing." in json.dumps(dumped(result))

    try:
        run(scenario)
    except BaseException as error:
        error.add_note((desk.folder / "bridge.log").read_text())
        raise
    assert [asked_for(visit) for visit in desk.visits()] == [{"mcp:tools"}, {"mcp:tools", "mcp:write"}]
    assert desk.consents() == 2


@pytest.mark.parametrize("era", ["legacy", "modern", "auto"])
def test_the_inspector_uses_public_tools_and_calls_none_that_it_was_not_shown(
    anonymous_url: str, desk: Desk, era: str
) -> None:
    """It lists before each call. In the new era it subscribes at once to what it is told that it may."""
    assert [tool["name"] for tool in inspector(desk, anonymous_url, era, "tools/list")["tools"]] == ["public-info"]
    assert_tells_of_the_server(inspector(desk, anonymous_url, era, "tools/call", "public-info"))
    with pytest.raises(AssertionError, match="Tool 'protected-data' not found on server"):
        inspector(desk, anonymous_url, era, "tools/call", "protected-data")
    assert desk.visits() == []


@pytest.fixture(scope="module")
def showing_url(tmp_path_factory: pytest.TempPathFactory, live_databases: LiveDatabases) -> Iterator[str]:
    """A server that shows protected tools to those who have not signed in."""
    server = LiveServer(tmp_path_factory.mktemp("showing"), live_databases.copy())
    server.environment |= {"ANONYMOUS_TOOLS": "true", "ANONYMOUS_SEES_PROTECTED": "true"}
    server.start("manage.py", "runserver", "--noreload", str(server.port))
    yield f"{server.url}/star"
    server.stop()


@pytest.mark.parametrize("era", ["legacy", "modern", "auto"])
def test_the_inspector_logs_in_at_the_first_protected_call_if_it_was_shown_the_tool(
    showing_url: str, desk: Desk, era: str
) -> None:
    assert [tool["name"] for tool in inspector(desk, showing_url, era, "tools/list")["tools"]] == EVERYTHING
    assert_tells_of_the_server(inspector(desk, showing_url, era, "tools/call", "public-info"))
    assert desk.visits() == []
    assert_names("demo", inspector(desk, showing_url, era, "tools/call", "protected-data"))
    # It asks for every scope of the metadata at once, so that it never comes to step up.
    assert [asked_for(visit) for visit in desk.visits()] == [{"mcp:tools", "mcp:write"}]
    assert desk.consents() == 1
