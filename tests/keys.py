"""Key pairs of clients and issuers, and JWTs that they sign, well or badly."""

from __future__ import annotations

import base64
import json
import time
import uuid
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from tests.oauth import ISSUER

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}


def encode(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Key:
    """A key pair; `public` is its JWK (RFC 7517)."""

    def __init__(
        self, algorithm: str = "ES256", *, kid: str | None = "key-1", bits: int = 2048, **members: Any
    ) -> None:
        self.algorithm, self.kid = algorithm, kid
        self.private: Any
        if algorithm in _CURVES:
            self.private = ec.generate_private_key(_CURVES[algorithm]())
        elif algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
        else:
            self.private = rsa.generate_private_key(65537, bits)
        to_jwk = get_default_algorithms()[algorithm].to_jwk
        named = {"kid": kid} if kid is not None else {}
        self.public: dict[str, Any] = json.loads(to_jwk(self.private.public_key())) | named | members
        self.secret: dict[str, Any] = json.loads(to_jwk(self.private)) | named

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        """Return a JWT; a header that is None is left out."""
        return self.sign_text(json.dumps(claims), **header)

    def sign_text(self, payload: str, *, header_text: str | None = None, **header: Any) -> str:
        """Sign a payload that may be no JSON, under a header that may be none either."""
        whole = {"alg": self.algorithm, "typ": "JWT", "kid": self.kid} | header
        head = header_text or json.dumps({name: value for name, value in whole.items() if value is not None})
        message = f"{encode(head.encode())}.{encode(payload.encode())}"
        algorithm = get_default_algorithms()[self.algorithm]
        return f"{message}.{encode(algorithm.sign(message.encode(), self.private))}"


def claims(client_id: str, **changes: Any) -> dict[str, Any]:
    """Return what a client's assertion says (RFC 7523 §3); a change that is None leaves a claim out."""
    now = int(time.time())
    sound = {
        "iss": client_id,
        "sub": client_id,
        "aud": ISSUER,
        "exp": now + 60,
        "iat": now,
        "jti": str(uuid.uuid4()),
    }
    return {name: value for name, value in (sound | changes).items() if value is not None}


def hmac_signed(claims: dict[str, Any], secret: bytes) -> str:
    """Return a JWT signed with a shared secret, whatever the secret looks like."""
    algorithm = get_default_algorithms()["HS256"]
    head = encode(json.dumps({"alg": "HS256"}).encode())
    message = f"{head}.{encode(json.dumps(claims).encode())}"
    return f"{message}.{encode(algorithm.sign(message.encode(), secret))}"


def unsigned(claims: dict[str, Any]) -> str:
    """Return a JWT with the algorithm `none`."""
    return jwt.encode(claims, None, algorithm="none")
