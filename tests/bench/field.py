"""Who is compared: each server, how it is configured, and in which eras. Nothing else says what each of them is."""

from __future__ import annotations

import http.client
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.bench import applications, load, site
from tests.bench.peers import Peers
from tests.bench.processes import ServerProcess, uvicorn
from tests.bench.site import ERAS, Call

NEW, OLDER = ERAS
SDK, WARM, LOGGED, OPEN, COLD, ORM = "sdk", "warm", "logged", "open", "cold", "orm"
FASTMCP, V1_STATELESS, V1_SHARED = "fastmcp", "ts1-stateless", "ts1-shared"
V1_SESSIONS, V2 = "ts1-sessions", "ts2"
SDK_JSON = "sdk-json"
FULL_ONLY = (SDK_JSON, V1_STATELESS)
"""Others stand for them in a short run."""
COLD_TOKENS = 25_000
"""More than twice as many as a process keeps (`mcpapp.token_cache`), used in turn: so each is looked up."""
SESSIONS = 64


@dataclass
class Contender:
    """One server that is measured."""

    key: str
    title: str
    what: str
    """Its configuration, for the document."""
    command: Callable[[int], list[str]]
    """From the number of workers."""
    values: list[str]
    """What its requests carry: access tokens, in turn, beginning with the one whose turn it is."""
    eras: tuple[str, ...] = ERAS
    environment: Mapping[str, str] = field(default_factory=dict)
    is_node: bool = False
    has_sessions: bool = False

    def plan(self, era: str, server: ServerProcess, **amount: Any) -> load.Plan:
        """Return a plan that loads this server."""
        values, headers = self.values, {}
        token = load.PLACE
        if self.has_sessions:
            token, headers = self.values[0], {"Mcp-Session-Id": load.PLACE}
            values = open_sessions(server.port, token)
        request = Call(era, token, headers).over_http().decode("latin-1")
        return load.Plan(port=server.port, request=request, values=values, resource=site.RESOURCE, **amount)

    def used(self, calls: int) -> None:
        """Put the tokens that so many calls used at the end; connections get on unevenly, so some more of them."""
        place = (calls + calls // 4) % len(self.values)
        self.values = self.values[place:] + self.values[:place]

    def answers(self, server: ServerProcess) -> bool:
        """Return whether the tool is served: what is asked while a server starts.

        Raises:
            OSError: nobody listens yet.
            SystemExit: it answers something else.
        """
        if self.has_sessions:
            open_sessions(server.port, self.values[0], 1)
            return True
        call = Call(self.eras[-1], self.values[0])
        status, body, _ = post(server.port, call.headers, call.body)
        if status != 200:
            raise SystemExit(f"{self.title} answered {status}: {body[:300]!r}")
        load.require_result(body, site.RESOURCE)
        return True


def contenders(tokens: list[str], peers: Peers | None) -> list[Contender]:
    """Return the field, our variants with these tokens; without `peers`, without those on Node."""
    from fastmcp.server.auth.providers.jwt import RSAKeyPair

    token, keys = tokens[0], RSAKeyPair.generate()
    jwt = keys.create_token(issuer=applications.ISSUER, audience=site.RESOURCE, scopes=["mcp:tools"])
    ours = "config.asgi:application"
    made_by = "tests.bench.applications"

    def factory(name: str) -> Callable[[int], list[str]]:
        return lambda workers: uvicorn(f"{made_by}:{name}", workers, "--factory")

    found = [
        Contender(
            SDK,
            "MCP Python SDK, no authentication",
            "stock `MCPServer`, stateless, its default replies (JSON in the new era, an event stream in the older one)",
            factory("plain_sdk"),
            [token],
        ),
        Contender(
            WARM,
            "ours",
            "as `uvicorn config.asgi:application` serves it; the token is kept after its first call",
            lambda workers: uvicorn(ours, workers),
            [token],
        ),
        Contender(
            LOGGED,
            "ours, each call logged",
            "the same, with `CALL_LOG` on, as it is by default",
            lambda workers: uvicorn(ours, workers),
            [token],
            environment={"CALL_LOG": "true"},
        ),
        Contender(
            OPEN,
            "ours without authentication",
            "the same application; the check of tokens replaced by a constant",
            factory("open_door"),
            [token],
        ),
        Contender(
            COLD,
            "ours, every token looked up",
            f"the same application as ours; {COLD_TOKENS:,} tokens in turn, more than it keeps",
            lambda workers: uvicorn(ours, workers),
            list(tokens),
        ),
        Contender(
            ORM,
            "ours, looked up with the ORM, nothing kept",
            "`TOKEN_LOOKUP` by `aget()` of the model, no `TOKEN_CHANGES`",
            lambda workers: uvicorn(ours, workers),
            [token],
            environment={"DJANGO_SETTINGS_MODULE": "tests.bench.orm_settings"},
        ),
        Contender(
            FASTMCP,
            "fastmcp with JWT verification",
            "`JWTVerifier`, RS256, a local 2048-bit key; issuer, audience and scope checked; stateless, JSON replies",
            factory("fastmcp_jwt"),
            [jwt],
            environment={"BENCH_PUBLIC_KEY": keys.public_key, "FASTMCP_LOG_LEVEL": "WARNING"},
        ),
        Contender(
            SDK_JSON,
            "MCP Python SDK, no authentication, JSON",
            "as the first, with `json_response=True`: JSON in both eras",
            factory("plain_sdk_json"),
            [token],
        ),
    ]
    return found if peers is None else [*found, *node_contenders(peers)]


def node_contenders(peers: Peers) -> list[Contender]:
    """Return the servers of the TypeScript SDKs, whose verifier finds the token in a Map: nothing is cheaper."""
    token = secrets.token_urlsafe(32)
    environment = {"NODE_ENV": "production", "BENCH_TOKEN": token, "BENCH_RESOURCE": site.RESOURCE}
    behind = "behind Express and `requireBearerAuth`, the token in a Map"
    rows: list[tuple[str, str, str, str, tuple[str, ...]]] = [
        (
            V1_STATELESS,
            "v1_stateless",
            "TypeScript SDK v1, stateless",
            f"a server and a transport for each request, as its own example has it, JSON replies; {behind}",
            (OLDER,),
        ),
        (
            V1_SHARED,
            "v1_stateless",
            "TypeScript SDK v1, stateless, shared validator",
            f"a server and a transport for each request, which share one JSON schema validator, JSON replies; {behind}",
            (OLDER,),
        ),
        (
            V1_SESSIONS,
            "v1_sessions",
            "TypeScript SDK v1, sessions in memory",
            f"{SESSIONS} sessions, opened beforehand, JSON replies; {behind}",
            (OLDER,),
        ),
        (V2, "v2", "TypeScript SDK v2", f"`createMcpHandler` with its defaults; {behind}", ERAS),
    ]
    return [
        Contender(
            key,
            title,
            what,
            lambda workers, server=server: peers.command(server),
            [token],
            eras,
            environment | ({"BENCH_SHARED_VALIDATOR": "1"} if key == V1_SHARED else {}),
            is_node=True,
            has_sessions=key == V1_SESSIONS,
        )
        for key, server, title, what, eras in rows
    ]


def open_sessions(port: int, token: str, count: int = SESSIONS) -> list[str]:
    """Open sessions as clients of the older era do (MCP 2025-11-25, lifecycle); return their ids."""
    hello = {
        "protocolVersion": OLDER,
        "capabilities": {},
        "clientInfo": {"name": "bench", "version": "1"},
    }
    opened = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    sessions = []
    for _ in range(count):
        call = Call(OLDER, token)
        message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
        status, body, headers = post(port, call.headers, json.dumps(message).encode())
        session = headers.get("mcp-session-id")
        if status != 200 or session is None:
            raise SystemExit(f"No session: {status} {body[:300]!r}")
        post(port, {**call.headers, "Mcp-Session-Id": session}, json.dumps(opened).encode())
        sessions.append(session)
    return sessions


def post(port: int, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes, dict[str, str]]:
    """POST to /star; return status, body and headers, whose names are in lower case."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/star", body, {**headers, "Content-Length": str(len(body))})
        response = connection.getresponse()
        return response.status, response.read(), {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()
