"""Microsoft Entra as msal meets it on the wire, over real TLS on this machine: two tenants, a person, an application.

Discovery, the authorization endpoint with PKCE, tokens, refresh tokens that rotate, device codes, keys. What it cannot
show is Entra itself: conditional access and consent pages are flags here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.tls import Authority

TENANT = "6f3c1f2e-0d0a-4c6b-9a57-1f0b7f1c9a11"
OTHER_TENANT = "b1d9a3c4-5e6f-4a7b-8c9d-0e1f2a3b4c5d"
CLIENT_ID = "0b8f5a52-7d1c-4f6e-8a3b-2c4d5e6f7a8b"
AUDIENCE = "api://5d0c8e1a-3b2f-4c6d-9e8f-7a6b5c4d3e2f"
SCOPE = f"{AUDIENCE}/mcp:tools"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"


class EntraProvider:
    """The provider, at `url`; `with` serves it. Whoever trusts `certificate` trusts it."""

    def __init__(self, folder: Path) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.requests: list[str] = []
        """Method, path and, of a token request, the grant type."""
        self.forms: list[dict[str, str]] = []
        """What the token endpoint was sent."""
        self.tenant_of_tokens = TENANT
        self.username = "alice@contoso.example"
        self.client_ids = {CLIENT_ID}
        self.expires_in = 3600
        self.refuses_the_person = False
        self.needs_interaction = False
        """Refresh tokens are answered `interaction_required`, as after a change of password."""
        self.device_answers = ["authorization_pending"]
        """What polls are told, one after the other, before they get tokens."""
        self.issued: list[str] = []
        """Access tokens, in their order."""
        self._codes: dict[str, dict[str, str]] = {}
        self._refresh_tokens: dict[str, str] = {}
        self._devices: dict[str, str] = {}
        authority = Authority(folder)
        self.certificate = authority.certificate
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.requests.append(f"GET {urlsplit(self.path).path}")
                provider._get(self)

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"] or 0)
                form = dict(parse_qsl(self.rfile.read(length).decode()))
                provider.requests.append(f"POST {self.path} {form.get('grant_type', '')}".rstrip())
                self.answer(*provider._post(self.path, form))

            def answer(self, status: int, document: dict[str, Any]) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        context = authority.context("localhost")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_address[1]}"

    def __enter__(self) -> EntraProvider:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def verify(self, token: str) -> dict[str, Any]:
        """Return the claims of an access token, as an API that takes these tokens directly reads them.

        Raises: jwt.InvalidTokenError.
        """
        claims: dict[str, Any] = jwt.decode(token, self.key.public_key(), algorithms=["RS256"], audience=AUDIENCE)
        return claims

    def _get(self, handler: Any) -> None:
        address = urlsplit(handler.path)
        tenant, _, rest = address.path.strip("/").partition("/")
        if tenant not in (TENANT, OTHER_TENANT, "contoso.example"):
            handler.answer(400, {"error": "invalid_tenant"})
        elif rest == "v2.0/.well-known/openid-configuration":
            # By the name of its domain a tenant is asked for, by its ID it answers.
            base = f"{self.url}/{TENANT if tenant == 'contoso.example' else tenant}"
            document = {
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
                "jwks_uri": f"{base}/discovery/v2.0/keys",
            }
            handler.answer(200, document)
        elif rest == "oauth2/v2.0/authorize":
            self._authorize(handler, dict(parse_qsl(address.query)))
        else:
            handler.answer(404, {"error": "not_found"})

    def _authorize(self, handler: Any, asked: dict[str, str]) -> None:
        """The person is signed in at the provider already, and consents or refuses."""
        back = urlsplit(asked.get("redirect_uri", ""))
        right = (
            asked.get("client_id") in self.client_ids
            # What is registered is http://localhost; the port does not count (RFC 8252 §7.3).
            and (back.scheme, back.hostname, back.path.rstrip("/")) == ("http", "localhost", "")
            and asked.get("response_type") == "code"
            and asked.get("code_challenge_method") == "S256"
            and "openid" in asked.get("scope", "").split()
        )
        if not right:
            handler.answer(400, {"error": "invalid_request", "asked": asked})
            return
        if self.refuses_the_person:
            answer = {"error": "access_denied", "error_description": "The person said no."}
        else:
            code = secrets.token_urlsafe(24)
            self._codes[code] = asked
            answer = {"code": code, "client_info": _client_info()}
        answer["state"] = asked["state"]
        handler.send_response(302)
        handler.send_header("Location", f"{asked['redirect_uri']}?{urlencode(answer)}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def _post(self, path: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if path.endswith("/oauth2/v2.0/devicecode"):
            device_code = secrets.token_urlsafe(16)
            self._devices[device_code] = form["scope"]
            answer = {"device_code": device_code, "user_code": "ABCD1234", "verification_uri": f"{self.url}/device"}
            return 200, answer | {"interval": 1, "expires_in": 900, "message": "Go there and enter the code."}
        if not path.endswith("/oauth2/v2.0/token"):
            return 404, {"error": "not_found"}
        self.forms.append(form)
        if form.get("client_id") not in self.client_ids:
            return 400, {"error": "unauthorized_client"}
        if form["grant_type"] == "authorization_code":
            asked = self._codes.pop(form["code"], None)
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            if asked is None or _base64url(digest) != asked["code_challenge"]:
                return 400, {"error": "invalid_grant"}
            return 200, self._tokens(form, asked["scope"], asked.get("nonce"))
        if form["grant_type"] == "refresh_token":
            if form["refresh_token"] not in self._refresh_tokens:
                return 400, {"error": "invalid_grant", "error_description": "That refresh token is not known."}
            if self.needs_interaction:
                return 400, {"error": "interaction_required", "suberror": "basic_action"}
            del self._refresh_tokens[form["refresh_token"]]
            return 200, self._tokens(form, form["scope"], None)
        if form["grant_type"] == DEVICE_CODE:
            if form["device_code"] not in self._devices:
                return 400, {"error": "invalid_grant"}
            if self.device_answers:
                return 400, {"error": self.device_answers.pop(0)}
            return 200, self._tokens(form, self._devices.pop(form["device_code"]), None)
        return 400, {"error": "unsupported_grant_type"}

    def _tokens(self, form: dict[str, str], asked: str, nonce: str | None) -> dict[str, Any]:
        now = int(time.time())
        person = {
            "iss": f"{self.url}/{self.tenant_of_tokens}/v2.0",
            "tid": self.tenant_of_tokens,
            "oid": "11111111-2222-3333-4444-555555555555",
            "sub": "alice-at-this-application",
            "preferred_username": self.username,
            "name": "Alice",
            "iat": now,
            "exp": now + self.expires_in,
        }
        demanded = json.loads(form.get("claims") or "{}").get("access_token", {})
        scopes = [scope for scope in asked.split() if "://" in scope]
        names = " ".join(scope.rpartition("/")[2] for scope in scopes)
        access = person | {"aud": scopes[0].rpartition("/")[0], "scp": names, "ver": "2.0", "jti": secrets.token_hex(8)}
        if "acrs" in demanded:
            access["acrs"] = [demanded["acrs"]["value"]]
        access_token = self._sign(access)
        self.issued.append(access_token)
        refresh_token = secrets.token_urlsafe(24)
        self._refresh_tokens[refresh_token] = self.username
        return {
            "token_type": "Bearer",
            "scope": " ".join(scopes),
            "expires_in": self.expires_in,
            "access_token": access_token,
            "refresh_token": refresh_token,
            "id_token": self._sign(person | {"aud": form["client_id"]} | ({"nonce": nonce} if nonce else {})),
            "client_info": _client_info(),
        }

    def _sign(self, claims: dict[str, Any]) -> str:
        return jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": "1"})


def _client_info() -> str:
    return _base64url(json.dumps({"uid": "11111111-2222-3333-4444-555555555555", "utid": TENANT}).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
