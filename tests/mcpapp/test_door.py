"""What /star answers before a tool runs (RFC 6750 §3, RFC 9728 §5.1, MCP authorization and transports)."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest
from asgiref.sync import sync_to_async
from django.test import Client

from tests.mcpapp.helpers import MODERN, call, is_refused, make_token, payload, send
from tests.oauth import HOST, ISSUER, RESOURCE

pytestmark = pytest.mark.anyio

PATHS = ["/star", "/star/"]
METADATA_URL = f"{ISSUER}/.well-known/oauth-protected-resource/star"


def parameters(response: Any) -> dict[str, str]:
    scheme, _, rest = response.headers["www-authenticate"].partition(" ")
    assert scheme == "Bearer"
    return dict(re.findall(r'(\w+)="([^"]*)"', rest))


@pytest.mark.rfc("9728 5.1")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
async def test_without_a_token_every_method_is_told_where_to_sign_in(
    endpoint: httpx2.AsyncClient, path: str, method: str
) -> None:
    response = await endpoint.request(method, path)
    assert response.status_code == 401
    assert parameters(response) == {"resource_metadata": METADATA_URL, "scope": "mcp:tools"}
    assert "location" not in response.headers


@pytest.mark.rfc("6750 3.1")
@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "Bearer unknown")],
        [("Authorization", "bearer unknown")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer a b")],
        [("Authorization", "Bearer é".encode())],
        [("Authorization", "Bearer " + "x" * 17_000)],
        [("Authorization", "Bearer a"), ("Authorization", "Bearer b")],
    ],
    ids=["unknown", "lower case", "empty", "two words", "not ASCII", "too long", "two headers"],
)
async def test_a_token_that_is_not_good_is_answered_invalid_token(
    endpoint: httpx2.AsyncClient, headers: list[tuple[str, Any]]
) -> None:
    response = await endpoint.post("/star", headers=headers)
    assert response.status_code == 401
    got = parameters(response)
    assert got["error"] == "invalid_token"
    assert (got["resource_metadata"], got["scope"]) == (METADATA_URL, "mcp:tools")


@pytest.mark.parametrize("query", ["access_token", "token"])
async def test_a_token_in_the_url_or_of_another_scheme_counts_as_none(
    endpoint: httpx2.AsyncClient, alice: Any, query: str
) -> None:
    token = await sync_to_async(make_token)(alice)
    assert (await send(endpoint, token, "tools/list")).status_code == 200
    for response in (
        await endpoint.post(f"/star?{query}={token}"),
        await endpoint.post("/star", headers={"Authorization": f"Basic {token}"}),
        await endpoint.post("/star", headers={"Cookie": f"access_token={token}"}),
    ):
        assert response.status_code == 401
        assert "error" not in parameters(response)


@pytest.mark.rfc("8707 2")
@pytest.mark.parametrize(
    "resource",
    [
        [],
        ["https://evil.example/star"],
        [f"{RESOURCE}/"],
        [f"{RESOURCE}/more"],
        [ISSUER],
        [RESOURCE.upper()],
        ["http://localhost:8000/star"],
    ],
    ids=str,
)
async def test_a_token_for_another_resource_is_answered_401(
    endpoint: httpx2.AsyncClient, alice: Any, resource: list[str]
) -> None:
    token = await sync_to_async(make_token)(alice, resource=resource)
    response = await send(endpoint, token, "tools/list")
    assert response.status_code == 401
    assert parameters(response)["error"] == "invalid_token"
    assert (await send(endpoint, await sync_to_async(make_token)(alice), "tools/list")).status_code == 200


async def test_an_expired_token_is_answered_401(endpoint: httpx2.AsyncClient, alice: Any) -> None:
    token = await sync_to_async(make_token)(alice, seconds=-1)
    assert (await send(endpoint, token, "tools/list")).status_code == 401


async def test_disabling_a_person_ends_their_access_at_the_next_call(endpoint: httpx2.AsyncClient, alice: Any) -> None:
    token = await sync_to_async(make_token)(alice)
    assert (await send(endpoint, token, "tools/list")).status_code == 200
    alice.is_active = False
    await alice.asave()
    assert await is_refused(endpoint, token)


@pytest.mark.rfc("6750 3.1")
@pytest.mark.parametrize("era", ["legacy", MODERN])
async def test_a_tool_beyond_the_granted_scopes_is_answered_403_with_all_that_is_needed(
    endpoint: httpx2.AsyncClient, alice: Any, era: str
) -> None:
    token = await sync_to_async(make_token)(alice, scope="offline_access")
    response = await send(endpoint, token, "tools/call", {"name": "protected-data", "arguments": {}}, era=era)
    assert response.status_code == 403
    got = parameters(response)
    assert (got["error"], got["scope"], got["resource_metadata"]) == ("insufficient_scope", "mcp:tools", METADATA_URL)
    assert (
        "isError" not in (await call(endpoint, token, "public-info", era))
        or not (await call(endpoint, token, "public-info", era))["isError"]
    )


async def test_a_body_that_hides_its_tool_from_the_door_does_not_get_past_the_tool(
    endpoint: httpx2.AsyncClient, alice: Any
) -> None:
    """Two `method` members: the door and the SDK could read different ones; the tool asks for its scope itself."""
    token = await sync_to_async(make_token)(alice, scope="offline_access")
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    body = (
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"protected-data","arguments":{}},'
        '"params":{"name":"public-info","arguments":{}}}'
    )
    swapped = (
        body.replace("protected-data", "X").replace("public-info", "protected-data").replace('"X"', '"public-info"')
    )
    for content in (body, swapped):
        response = await endpoint.post("/star", content=content, headers=headers | {"Content-Type": "application/json"})
        assert "alice" not in response.text


async def test_the_wider_scope_includes_the_narrower(endpoint: httpx2.AsyncClient, alice: Any) -> None:
    token = await sync_to_async(make_token)(alice, scope="mcp:write")
    assert (await call(endpoint, token, "protected-data"))["structuredContent"]["username"] == "alice"


async def test_without_sessions_a_get_with_a_token_is_405(endpoint: httpx2.AsyncClient, alice: Any) -> None:
    token = await sync_to_async(make_token)(alice)
    for method in ("GET", "HEAD", "DELETE", "PUT"):
        response = await endpoint.request(method, "/star", headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == 405
        assert response.headers["allow"] == "POST, OPTIONS"


@pytest.mark.parametrize("path", PATHS)
async def test_a_preflight_is_answered_before_authentication(endpoint: httpx2.AsyncClient, path: str) -> None:
    response = await endpoint.options(
        path,
        headers={
            "Origin": "http://localhost:6274",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type, mcp-protocol-version, mcp-method, mcp-name",
        },
    )
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "http://localhost:6274"
    allowed = response.headers["access-control-allow-headers"].lower()
    assert all(name in allowed for name in ("authorization", "mcp-protocol-version", "mcp-method", "mcp-name"))
    assert "access-control-allow-credentials" not in response.headers


async def test_a_browser_client_can_read_the_challenge(endpoint: httpx2.AsyncClient) -> None:
    response = await endpoint.post("/star", headers={"Origin": "http://127.0.0.1:6274"})
    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == "http://127.0.0.1:6274"
    exposed = response.headers["access-control-expose-headers"].lower()
    assert all(name in exposed for name in ("www-authenticate", "mcp-session-id", "mcp-protocol-version"))


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example", "http://127.0.0.1:1@e.example"]
)
async def test_a_foreign_web_page_is_answered_403(endpoint: httpx2.AsyncClient, alice: Any, origin: str) -> None:
    token = await sync_to_async(make_token)(alice)
    headers = {"Authorization": f"Bearer {token}", "Origin": origin}
    response = await endpoint.post("/star", headers=headers)
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers


async def test_a_host_that_is_not_ours_is_answered_421(endpoint: httpx2.AsyncClient) -> None:
    assert (await endpoint.get("/star", headers={"Host": "evil.example"})).status_code == 421
    assert (await endpoint.get("/star", headers={"Host": "127.0.0.1:1234"})).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-Host": "evil.example"},
        {"X-Forwarded-Proto": "https"},
        {"Forwarded": "host=evil.example"},
        {"Host": "127.0.0.1:4"},
    ],
)
async def test_no_header_changes_the_challenge(endpoint: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    assert parameters(await endpoint.get("/star", headers=headers))["resource_metadata"] == METADATA_URL


async def test_the_localhost_spelling_has_a_challenge_and_an_audience_of_its_own(
    endpoint: httpx2.AsyncClient, alice: Any
) -> None:
    local = {"Host": "localhost:8000"}
    challenge = parameters(await endpoint.get("/star", headers=local))
    assert challenge["resource_metadata"] == "http://localhost:8000/.well-known/oauth-protected-resource/star"
    token = await sync_to_async(make_token)(alice, resource=["http://localhost:8000/star"])
    bearer = {"Authorization": f"Bearer {token}"}
    assert (await endpoint.get("/star", headers=local | bearer)).status_code == 405, "accepted"
    assert (await endpoint.get("/star", headers=bearer)).status_code == 401, "and at 127.0.0.1 it is not"


@pytest.mark.parametrize("path", ["/starx", "/star/x", "/STAR", "/x/star"])
async def test_only_the_endpoint_is_the_endpoint(endpoint: httpx2.AsyncClient, path: str) -> None:
    response = await endpoint.get(path)
    assert response.status_code == 404
    assert "www-authenticate" not in response.headers


@pytest.mark.parametrize(
    ("public_prefix", "root_path", "path"),
    [
        ("", "", "/star"),
        ("", "/", "/star"),
        ("", "/prefix", "/prefix/star"),
        ("/prefix", "", "/prefix/star"),
        ("/prefix", "", "/star"),
        ("/prefix", "/prefix", "/prefix/star"),
    ],
)
def test_a_proxy_that_keeps_or_takes_off_a_prefix_reaches_the_endpoint(
    settings: Any, public_prefix: str, root_path: str, path: str
) -> None:
    """ASGI: `path` includes `root_path`."""
    from mcpapp.asgi import ResourceServer

    settings.MCPAPP = {**settings.MCPAPP, "RESOURCES": [f"https://star.example{public_prefix}/star"]}
    settings.FORCE_SCRIPT_NAME = public_prefix or None
    server = ResourceServer()
    for served in (path, f"{path}/"):
        assert server.serves({"type": "http", "path": served, "root_path": root_path})
    for other in (f"{path}x", f"{path}//", f"/other{path}", "/", f"{path}/more"):
        assert not server.serves({"type": "http", "path": other, "root_path": root_path})


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"[]", b"null", b"[" * 100_000, b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":5}'],
    ids=["empty", "cut off", "not UTF-8", "array", "null", "deep", "wrong type"],
)
@pytest.mark.parametrize("scope", ["mcp:write", "offline_access"], ids=["all scopes", "few scopes"])
@pytest.mark.parametrize("era", ["legacy", MODERN])
async def test_a_body_that_is_no_message_is_a_client_error(
    endpoint: httpx2.AsyncClient, alice: Any, content: bytes, scope: str, era: str
) -> None:
    token = await sync_to_async(make_token)(alice, scope=scope)
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": "2025-11-25" if era == "legacy" else era,
        "Mcp-Method": "tools/call",
    }
    response = await endpoint.post("/star", content=content, headers=headers)
    assert response.status_code < 500
    if response.status_code == 200:
        assert "error" in payload(response)


@pytest.mark.parametrize("scope", ["mcp:write", "offline_access"])
async def test_a_body_over_the_limit_is_answered_413(endpoint: httpx2.AsyncClient, alice: Any, scope: str) -> None:
    token = await sync_to_async(make_token)(alice, scope=scope)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    response = await endpoint.post("/star", content=b"x" * (4 * 1024 * 1024 + 1), headers=headers)
    assert response.status_code == 413


# Protected resource metadata


@pytest.mark.rfc("9728 3")
@pytest.mark.parametrize("suffix", ["/star", ""])
def test_the_metadata_of_the_resource_is_at_its_path_and_at_the_root(suffix: str) -> None:
    response = Client().get(f"/.well-known/oauth-protected-resource{suffix}", headers={"host": HOST})
    assert response.status_code == 200
    metadata = response.json()
    assert metadata["resource"] == RESOURCE
    assert metadata["authorization_servers"] == [ISSUER]
    assert metadata["scopes_supported"] == ["mcp:tools", "mcp:write"]
    assert metadata["bearer_methods_supported"] == ["header"]


@pytest.mark.parametrize("suffix", ["/other", "/star/", "/star/x", "//star"])
def test_a_resource_that_does_not_exist_has_no_metadata(suffix: str) -> None:
    response = Client().get(f"/.well-known/oauth-protected-resource{suffix}", headers={"host": HOST})
    assert response.status_code == 404
