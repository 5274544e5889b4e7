"""An organisation's identity provider: a real HTTP server with keys that rotate and the token exchange of ID-JAGs.

What it does is what MCP's enterprise-managed authorization asks of one (§4): it knows who is signed in by an ID token
that it issued, which of its clients may reach what, and which `client_id` each has there.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ID_JAG = "urn:ietf:params:oauth:token-type:id-jag"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Key:
    """A key pair of one algorithm; `sign` makes a JWS of any header and any claims, sound or not."""

    def __init__(self, algorithm: str = "ES256") -> None:
        self.algorithm = algorithm
        self.kid = secrets.token_hex(4)
        self.private: Any
        if algorithm == "ES256":
            self.private = ec.generate_private_key(ec.SECP256R1())
        elif algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
        else:
            self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key (RFC 7517)."""
        kinds: dict[str, Any] = {"ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}
        kind = kinds.get(self.algorithm, RSAAlgorithm)
        public: dict[str, Any] = json.loads(kind.to_jwk(self.private.public_key()))
        return {name: value for name, value in public.items() if name in {"kty", "crv", "x", "y", "n", "e"}} | {
            "kid": self.kid,
            "alg": self.algorithm,
            "use": "sig",
        }

    def sign(self, claims: dict[str, Any] | bytes, **header: Any) -> str:
        """Return a JWT; a header of None is left out."""
        protected = {"alg": self.algorithm, "kid": self.kid, "typ": "oauth-id-jag+jwt"} | header
        protected = {name: value for name, value in protected.items() if value is not None}
        payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        message = f"{base64url(json.dumps(protected).encode())}.{base64url(payload)}"
        return f"{message}.{base64url(self._signature(message.encode()))}"

    def _signature(self, message: bytes) -> bytes:
        if self.algorithm == "ES256":
            r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(hashes.SHA256())))
            return bytes(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        if self.algorithm == "EdDSA":
            return bytes(self.private.sign(message))
        return bytes(self.private.sign(message, padding.PKCS1v15(), hashes.SHA256()))


class IdentityProvider:
    """The provider, at `issuer`; `with` serves it."""

    def __init__(self, port: int = 0) -> None:
        self.keys = [Key()]
        self.published = list(self.keys)
        self.people: dict[str, dict[str, Any]] = {}
        """By ID token: who is signed in to the client."""
        self.clients: dict[str, str] = {}
        """Its own clients and their secrets."""
        self.client_ids: dict[tuple[str, str], str] = {}
        """What a client is called at an audience; what is not here is not allowed."""
        self.requests: list[str] = []
        self.is_down = False
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.requests.append(f"GET {self.path}")
                documents = {"/.well-known/openid-configuration": provider.configuration, "/keys": provider.jwks}
                found = documents.get(self.path)
                self.answer(503 if provider.is_down else 200 if found else 404, found() if found else {})

            def do_POST(self) -> None:
                provider.requests.append(f"POST {self.path}")
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                status, answer = provider.exchange(form) if self.path == "/token" else (404, {})
                self.answer(status, answer)

            def answer(self, status: int, document: dict[str, Any]) -> None:
                text = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.issuer = f"http://{self.host}"
        self.jwks_uri = f"{self.issuer}/keys"

    def __enter__(self) -> IdentityProvider:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def configuration(self) -> dict[str, Any]:
        """OpenID Connect Discovery §3, and the draft's §7.1."""
        return {
            "issuer": self.issuer,
            "jwks_uri": self.jwks_uri,
            "token_endpoint": f"{self.issuer}/token",
            "grant_types_supported": ["authorization_code", TOKEN_EXCHANGE],
            "identity_chaining_requested_token_types_supported": [ID_JAG],
        }

    def jwks(self) -> dict[str, Any]:
        return {"keys": [key.jwk for key in self.published]}

    def rotate(self) -> None:
        """Sign with another key from now on, and publish no other."""
        self.keys = self.published = [Key()]

    def sign_in(self, **person: Any) -> str:
        """Return the ID token that a client got when a person signed in to it."""
        id_token = self.keys[0].sign({"iss": self.issuer, **person}, typ="JWT")
        self.people[id_token] = person
        return id_token

    def exchange(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """RFC 8693, as the draft's §4.3 profiles it."""
        client = form.get("client_id", "")
        if not secrets.compare_digest(self.clients.get(client, secrets.token_hex(8)), form.get("client_secret", "")):
            return 401, {"error": "invalid_client"}
        person = self.people.get(form.get("subject_token", ""))
        wanted = (form.get("grant_type"), form.get("requested_token_type"), form.get("subject_token_type"))
        if person is None or wanted != (TOKEN_EXCHANGE, ID_JAG, ID_TOKEN):
            return 400, {"error": "invalid_request"}
        client_id = self.client_ids.get((client, form.get("audience", "")))
        if client_id is None:
            return 400, {"error": "access_denied"}
        claims = self.claims(
            **person,
            client_id=client_id,
            aud=form["audience"],
            **{name: form[name] for name in ("resource", "scope") if name in form},
        )
        answer = {"issued_token_type": ID_JAG, "access_token": self.keys[0].sign(claims), "token_type": "N_A"}
        return 200, answer | {"expires_in": 300}

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return the claims of an ID-JAG; one that is None is left out."""
        now = int(time.time())
        claims = {"iss": self.issuer, "jti": secrets.token_hex(8), "iat": now, "exp": now + 300} | changes
        return {name: value for name, value in claims.items() if value is not None}

    def assertion(self, **changes: Any) -> str:
        """Return an ID-JAG."""
        return self.keys[0].sign(self.claims(**changes))
