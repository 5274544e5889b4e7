"""What clients that cannot run here put on the wire: VS Code, Cursor, Claude on the web and Claude Code.

From VS Code's sources (base/common/oauth.ts, api/common/extHostMcp.ts, api/*/extHostAuthentication.ts), from the
registrations that server authors captured and published of the others, and from the TypeScript SDK 1 that Cursor and
Claude Code are built on.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from abc import ABC, abstractmethod
from typing import Any, ClassVar
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit

import httpx2

from tests.clients.person import TIMEOUT_SECONDS, Person, origin

LATEST_LEGACY_VERSION = "2025-11-25"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"


class Replay(ABC):
    """One client at one URL. Subclasses say what it sends; each step asserts what it must have got to go on."""

    client_name: str
    user_agent: str
    mcp_user_agent = ""
    redirect_uri: str
    discovery_headers: ClassVar[dict[str, str]] = {}
    mcp_headers: ClassVar[dict[str, str]] = {"MCP-Protocol-Version": LATEST_LEGACY_VERSION}
    accept = "application/json, text/event-stream"

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx2.Client(timeout=TIMEOUT_SECONDS, trust_env=False, headers={"User-Agent": self.user_agent})
        self.challenge: dict[str, str] = {}
        self.resource_metadata: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.client: dict[str, Any] = {}
        self.tokens: dict[str, Any] = {}
        self.verifier = secrets.token_hex(32)
        self.session: dict[str, str] = {}

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *exception: object) -> None:
        self.http.close()

    def log_in(self, person: Person) -> None:
        self.discover()
        self.register()
        self.redeem(self.authorize(person))

    # Discovery

    def discover(self) -> None:
        """Ask without a token, read the challenge, then both metadata documents."""
        refused = self.post_mcp("initialize", self.initialize_params())
        assert refused.status_code == 401, said(refused)
        self.challenge = challenge_of(refused)
        self.fetch_metadata(self.challenge["resource_metadata"])

    def fetch_metadata(self, resource_metadata_url: str) -> None:
        self.resource_metadata = self.get_json(resource_metadata_url)
        assert self.resource_metadata["resource"] == self.url, "the pasted URL, byte for byte"
        issuer = self.resource_metadata["authorization_servers"][0]
        self.metadata = self.get_json(urljoin(issuer, "/.well-known/oauth-authorization-server"))
        assert self.metadata["issuer"] == issuer, self.metadata
        assert "S256" in self.metadata["code_challenge_methods_supported"], self.metadata

    def get_json(self, url: str) -> dict[str, Any]:
        response = self.http.get(url, headers=self.discovery_headers)
        assert response.status_code == 200, said(response)
        document: dict[str, Any] = response.json()
        return document

    def scope(self) -> str:
        """What the challenge names, else all that the resource lists."""
        return self.challenge.get("scope") or " ".join(self.resource_metadata["scopes_supported"])

    # Registration

    @abstractmethod
    def registration(self) -> dict[str, Any]:
        """Return what the client sends to be registered."""

    def register(self) -> None:
        sent = self.registration()
        response = self.http.post(self.metadata["registration_endpoint"], json=sent)
        assert response.status_code == 201, said(response)
        self.client = response.json()
        assert self.client["client_id"], said(response)
        # RFC 7591 section 3.2.1: all of it comes back as registered, and a grant nobody offers cannot be.
        registered = sent | {"grant_types": [grant for grant in sent["grant_types"] if grant in self.grants_offered()]}
        assert {name: self.client.get(name) for name in sent} == registered, said(response)
        if sent["token_endpoint_auth_method"] == "none":
            assert "client_secret" not in self.client
        else:
            assert self.client["client_secret"]
            assert "client_secret_expires_at" in self.client, "required with a secret: RFC 7591 section 3.2.1"

    def grants_offered(self) -> list[str]:
        offered: list[str] = self.metadata["grant_types_supported"]
        return offered

    # Authorization

    def authorization(self) -> dict[str, str]:
        return {
            "response_type": "code",
            "client_id": self.client["client_id"],
            "code_challenge": s256(self.verifier),
            "code_challenge_method": "S256",
            "redirect_uri": self.redirect_uri,
            "state": self.state(),
            "scope": self.scope(),
            "resource": self.resource_metadata["resource"],
        }

    def state(self) -> str:
        return secrets.token_urlsafe(32)

    def authorize(self, person: Person) -> str:
        """Send the person to the authorize page, and return the code that comes back."""
        returned = self.answer_of(person)
        assert "error" not in returned, returned
        assert quote(returned["code"], safe="") == returned["code"], "VS Code cuts it out of the URL without decoding"
        return returned["code"]

    def answer_of(self, person: Person, *, deny: bool = False) -> dict[str, str]:
        """What comes back to the redirect URI when the person allows, or denies."""
        sent = self.authorization()
        answer = person.approve(f"{self.metadata['authorization_endpoint']}?{urlencode(sent)}", deny=deny)
        location, _, query = answer.partition("?")
        assert location == self.redirect_uri, answer
        returned = dict(parse_qsl(query))
        assert returned["state"] == sent["state"], answer
        assert returned.get("iss") == self.metadata["issuer"], "RFC 9207, errors included"
        return returned

    # Tokens

    def client_fields(self) -> dict[str, str]:
        return {name: self.client[name] for name in ("client_id", "client_secret") if name in self.client}

    def redeem(self, code: str) -> None:
        self.ask_for_tokens(
            {
                "grant_type": "authorization_code",
                "code": code,
                "code_verifier": self.verifier,
                "redirect_uri": self.redirect_uri,
            }
        )

    def refresh(self) -> None:
        """Replace the tokens. The TypeScript SDK sends no scope, and neither does VS Code."""
        before = self.tokens
        self.ask_for_tokens({"grant_type": "refresh_token", "refresh_token": before["refresh_token"]})
        assert self.tokens["access_token"] != before["access_token"]

    def ask_for_tokens(self, grant: dict[str, str]) -> None:
        form = grant | self.client_fields() | {"resource": self.resource_metadata["resource"]}
        response = self.http.post(self.metadata["token_endpoint"], data=form, headers={"Accept": "application/json"})
        assert response.status_code == 200, said(response)
        assert response.headers["cache-control"] == "no-store", "RFC 6749 section 5.1"
        self.tokens = response.json()
        assert self.tokens["token_type"].lower() == "bearer", said(response)
        assert self.tokens["expires_in"] > 0, said(response)
        assert self.tokens["refresh_token"], "asked for by scope or not"
        assert set(self.scope().split()) <= set(self.tokens["scope"].split()), said(response)

    # MCP

    def initialize_params(self) -> dict[str, Any]:
        return {
            "protocolVersion": LATEST_LEGACY_VERSION,
            "capabilities": {"roots": {"listChanged": True}},
            "clientInfo": {"name": self.client_name, "version": "1.0.0"},
        }

    def post_mcp(self, method: str, params: dict[str, Any] | None = None) -> httpx2.Response:
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        if not method.startswith("notifications/"):
            message["id"] = secrets.randbelow(1_000_000)
        if params is not None:
            message["params"] = params
        headers = {"Accept": self.accept, "Content-Type": "application/json", **self.bearer(), **self.session}
        if self.mcp_user_agent:
            headers["User-Agent"] = self.mcp_user_agent
        if method != "initialize":
            headers |= self.mcp_headers
        return self.http.post(self.url, content=json.dumps(message), headers=headers)

    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens['access_token']}"} if self.tokens else {}

    def connect(self) -> None:
        """The initialize handshake, with a session only where the server wants one."""
        response = self.post_mcp("initialize", self.initialize_params())
        assert result_of(response)["protocolVersion"] == LATEST_LEGACY_VERSION, said(response)
        if session_id := response.headers.get("mcp-session-id"):
            self.session = {"Mcp-Session-Id": session_id}
        accepted = self.post_mcp("notifications/initialized")
        assert accepted.status_code == 202, said(accepted)

    def tools(self) -> set[str]:
        return {tool["name"] for tool in result_of(self.post_mcp("tools/list", {}))["tools"]}

    def call(self, tool: str) -> dict[str, Any]:
        return result_of(self.post_mcp("tools/call", {"name": tool, "arguments": {}}))


class VSCode(Replay):
    client_name = "Visual Studio Code"
    user_agent = "Visual Studio Code/1.119.0"
    redirect_uri = "http://127.0.0.1:33418/"
    discovery_headers: ClassVar[dict[str, str]] = {
        "Accept": "application/json",
        "MCP-Protocol-Version": LATEST_LEGACY_VERSION,
    }
    # It leaves MCP-Protocol-Version off its MCP requests.
    mcp_headers: ClassVar[dict[str, str]] = {}
    accept = "text/event-stream, application/json"
    grant_types: ClassVar[list[str]] = ["authorization_code", "refresh_token", DEVICE_CODE]

    def registration(self) -> dict[str, Any]:
        return {
            "client_name": self.client_name,
            "client_uri": "https://code.visualstudio.com",
            "grant_types": [grant for grant in self.grants_offered() if grant in self.grant_types],
            "response_types": ["code"],
            "redirect_uris": [
                "https://insiders.vscode.dev/redirect",
                "https://vscode.dev/redirect",
                "http://127.0.0.1/",
                "http://127.0.0.1:33418/",
            ],
            "scope": " ".join(self.resource_metadata["scopes_supported"]),
            "token_endpoint_auth_method": "none",
            "application_type": "native",
        }

    def state(self) -> str:
        # Plain base64: the `=`, and often a `+` or `/`, must come back as they were.
        return base64.b64encode(secrets.token_bytes(16)).decode()


class VSCodeWithoutMetadata(VSCode):
    """It asks for all its grants, the device flow included, where it has seen no list of those on offer."""

    def registration(self) -> dict[str, Any]:
        return super().registration() | {"grant_types": self.grant_types}


class VSCodeOnABusyPort(VSCode):
    redirect_uri = "http://127.0.0.1:51703/"


class VSCodeThroughItsWebRedirect(VSCode):
    """Where it cannot listen (remote windows), its site carries the code back to the URI in `state`."""

    redirect_uri = "https://vscode.dev/redirect"

    def state(self) -> str:
        authority = urlsplit(self.metadata["issuer"]).netloc
        # Already percent-encoded once: one decoding too many loses it.
        return f"vscode://dynamicauthprovider/{authority}/authorize?nonce%3D{secrets.token_hex(16)}%26windowId%3D1"


class TypeScriptSDK(Replay):
    """The order and headers of the SDK's auth.ts."""

    discovery_headers: ClassVar[dict[str, str]] = {
        "Accept": "application/json",
        "MCP-Protocol-Version": LATEST_LEGACY_VERSION,
    }

    def registration(self) -> dict[str, Any]:
        return {
            "client_name": self.client_name,
            "redirect_uris": [self.redirect_uri],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }


class Cursor(TypeScriptSDK):
    client_name = "Cursor"
    user_agent = "Cursor/3.14.0"
    redirect_uri = "http://localhost:8787/callback"

    def registration(self) -> dict[str, Any]:
        redirect_uris = [
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
            "http://localhost:8787/callback",
        ]
        return super().registration() | {"redirect_uris": redirect_uris}


class CursorThatSaysWeb(Cursor):
    """Some versions call themselves a web application, private-use scheme and all."""

    def registration(self) -> dict[str, Any]:
        return super().registration() | {"application_type": "web"}


class CursorThroughItsScheme(Cursor):
    redirect_uri = "cursor://anysphere.cursor-mcp/oauth/callback"


class CursorAgents(Cursor):
    redirect_uri = "https://www.cursor.com/agents/mcp/oauth/callback"


class ClaudeWeb(Replay):
    """A confidential client on Anthropic's servers: a Python HTTP library for OAuth, Claude-User for MCP."""

    client_name = "Claude"
    user_agent = "python-httpx/0.28.1"
    mcp_user_agent = "Claude-User"
    redirect_uri = "https://claude.ai/api/mcp/auth_callback"
    discovery_headers: ClassVar[dict[str, str]] = {"Accept": "*/*", "MCP-Protocol-Version": LATEST_LEGACY_VERSION}

    def registration(self) -> dict[str, Any]:
        return {
            "client_name": self.client_name,
            "redirect_uris": ["https://claude.ai/api/mcp/auth_callback", "https://claude.com/api/mcp/auth_callback"],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "client_secret_post",
            "scope": self.scope(),
        }

    def initialize_params(self) -> dict[str, Any]:
        return super().initialize_params() | {"clientInfo": {"name": "Anthropic/ClaudeAI", "version": "1.0.0"}}


class ClaudeWebAtItsOtherName(ClaudeWeb):
    redirect_uri = "https://claude.com/api/mcp/auth_callback"


class ClaudeCode(TypeScriptSDK):
    """Its login goes to the metadata path directly and never sees a 401."""

    client_name = "Claude Code (star)"
    user_agent = "claude-code/2.1.330 (cli)"
    redirect_uri = "http://localhost:54213/callback"

    def discover(self) -> None:
        parts = urlsplit(self.url)
        self.fetch_metadata(f"{origin(self.url)}/.well-known/oauth-protected-resource{parts.path}")

    def scope(self) -> str:
        offline = ["offline_access"] if "offline_access" in self.metadata["scopes_supported"] else []
        return " ".join(self.resource_metadata["scopes_supported"] + offline)

    def registration(self) -> dict[str, Any]:
        return super().registration() | {"application_type": "native", "scope": self.scope()}

    def authorization(self) -> dict[str, str]:
        sent = super().authorization()
        # The SDK asks for consent whenever it asks for offline access (OpenID Connect Core section 11).
        return sent | {"prompt": "consent"} if "offline_access" in sent["scope"].split() else sent


def s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def challenge_of(response: httpx2.Response) -> dict[str, str]:
    """The parameters of a Bearer challenge."""
    scheme, _, parameters = response.headers["www-authenticate"].partition(" ")
    assert scheme == "Bearer", said(response)
    return dict(re.findall(r'(\w+)="([^"]*)"', parameters))


def result_of(response: httpx2.Response) -> dict[str, Any]:
    """The result of a JSON-RPC answer, which comes as JSON or as one event of a stream."""
    assert response.status_code == 200, said(response)
    text = response.text
    if response.headers["content-type"].startswith("text/event-stream"):
        text = next(line.removeprefix("data:") for line in text.splitlines() if line.startswith("data: {"))
    answer: dict[str, Any] = json.loads(text)
    assert "result" in answer, answer
    result: dict[str, Any] = answer["result"]
    return result


def said(response: httpx2.Response) -> str:
    """Request and answer, for the message of a failed assertion."""
    request = response.request
    body = request.content.decode(errors="replace")
    return (
        f"{request.method} {request.url} {body}\n"
        f"answered {response.status_code} {dict(response.headers)}: {response.text[:1000]}"
    )
