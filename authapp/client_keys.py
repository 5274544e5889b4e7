"""The keys in a client's metadata (RFC 7591 §2): `jwks` or `jwks_uri`, and the algorithm it signs with."""

from __future__ import annotations

from typing import Any, TypedDict

from authapp import json_web_keys, key_sets
from authapp.key_sets import KeySetError


class InvalidKeys(Exception):
    """The keys in a client's metadata cannot be used; the message is for the client's developer."""


class ClientKeys(TypedDict):
    """The metadata of that name."""

    jwks: dict[str, Any] | None
    jwks_uri: str
    token_endpoint_auth_signing_alg: str


NO_KEYS = ClientKeys(jwks=None, jwks_uri="", token_endpoint_auth_signing_alg="")


def from_dict(data: dict[str, Any], *, is_strangers: bool = True) -> ClientKeys:
    """Check the keys of a client that authenticates with one (nulls already removed).

    Args:
        is_strangers: whether anybody but the site's owner made the client (`key_sets.require_fetchable`).

    Raises:
        InvalidKeys: there are none, they stand in both places, or they cannot be used.
    """
    algorithm = data.get("token_endpoint_auth_signing_alg", "")
    if algorithm != "" and algorithm not in json_web_keys.ALGORITHMS:
        raise InvalidKeys(f"token_endpoint_auth_signing_alg must be one of {', '.join(json_web_keys.ALGORITHMS)}.")
    if ("jwks" in data) == ("jwks_uri" in data):
        raise InvalidKeys("private_key_jwt needs either jwks or jwks_uri.")
    try:
        if "jwks_uri" in data:
            if not isinstance(data["jwks_uri"], str):
                raise InvalidKeys("jwks_uri must be a string.")
            key_sets.require_fetchable(data["jwks_uri"], is_strangers=is_strangers)
            return ClientKeys(jwks=None, jwks_uri=data["jwks_uri"], token_endpoint_auth_signing_alg=algorithm)
        keys = key_sets.parse(data["jwks"])
    except KeySetError as error:
        raise InvalidKeys(f"{error}.") from error
    if not any(_fits(key, algorithm) for key in keys):
        raise InvalidKeys("jwks has no key to check a signature with.")
    return ClientKeys(jwks={"keys": keys}, jwks_uri="", token_endpoint_auth_signing_alg=algorithm)


def _fits(key: dict[str, Any], algorithm: str) -> bool:
    algorithms = json_web_keys.algorithms_of(key)
    return algorithm in algorithms if algorithm else bool(algorithms)
