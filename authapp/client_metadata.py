"""Read the client metadata of a registration (RFC 7591 §2): every field checked, bounded, and kept as asked.

Only parsing lives here. What a client may not have (a grant, a scope) is left out and the answer says what it got,
as RFC 7591 §2 allows; what would be unsafe or is malformed is refused.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from authapp import client_keys, conf
from authapp.client_keys import NO_KEYS, ClientKeys, InvalidKeys
from authapp.redirect_uris import InvalidRedirectURI, require_registrable

RegistrationErrorCode = Literal["invalid_redirect_uri", "invalid_client_metadata"]

MAXIMUM_BODY_BYTES = 16 * 1024
MAXIMUM_REDIRECT_URIS = 20
MAXIMUM_NAME_LENGTH = 200
MAXIMUM_URI_LENGTH = 2000
MAXIMUM_CONTACTS = 10
MAXIMUM_TEXT_LENGTH = 255

# Blank in most fonts though Unicode calls them letters or symbols.
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0\U0001d159")
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


class RegistrationError(Exception):
    """A registration that is refused (RFC 7591 §3.2.2): `code` goes over the wire, the message explains it."""

    def __init__(self, code: RegistrationErrorCode, description: str) -> None:
        super().__init__(description)
        self.code = code
        self.description = description


@dataclass(frozen=True, kw_only=True)
class ClientMetadata:
    """Checked metadata of one client; names and defaults are RFC 7591's."""

    redirect_uris: list[str]
    client_name: str = ""
    token_endpoint_auth_method: str = "client_secret_basic"  # noqa: S105  (RFC 7591 §2: the default)
    token_endpoint_auth_signing_alg: str = ""
    jwks: dict[str, Any] | None = None
    jwks_uri: str = ""
    grant_types: list[str] = field(default_factory=lambda: ["authorization_code"])
    response_types: list[str] = field(default_factory=lambda: ["code"])
    scope: str = ""
    application_type: str = ""
    client_uri: str = ""
    logo_uri: str = ""
    tos_uri: str = ""
    policy_uri: str = ""
    contacts: list[str] = field(default_factory=list)
    software_id: str = ""
    software_version: str = ""
    id_token_signed_response_alg: str = ""
    post_logout_redirect_uris: list[str] = field(default_factory=list)

    @property
    def is_public(self) -> bool:
        """Whether the client has nothing to prove who it is (RFC 6749 §2.1)."""
        return self.token_endpoint_auth_method == "none"  # noqa: S105

    @property
    def has_secret(self) -> bool:
        """Whether the client proves who it is by a secret."""
        return self.token_endpoint_auth_method.startswith("client_secret_")


def parse(body: bytes, *, content_type: str, known_scopes: frozenset[str]) -> ClientMetadata:
    """Read the body of a registration request.

    Raises:
        RegistrationError: with the code of RFC 7591 §3.2.2.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        # A form post needs no preflight, so any web page could send one with a visitor's cookies.
        raise RegistrationError("invalid_client_metadata", "Send the metadata as application/json.")
    if len(body) > MAXIMUM_BODY_BYTES:
        raise RegistrationError("invalid_client_metadata", f"The metadata is larger than {MAXIMUM_BODY_BYTES} bytes.")
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise RegistrationError("invalid_client_metadata", "The body is not valid JSON.") from None
    if not isinstance(data, dict):
        raise RegistrationError("invalid_client_metadata", "The body is not a JSON object.")
    # RFC 7591 §2: unknown metadata is ignored. A null is treated as a field that was left out.
    return from_dict({name: value for name, value in data.items() if value is not None}, known_scopes=known_scopes)


def from_dict(data: dict[str, Any], *, known_scopes: frozenset[str]) -> ClientMetadata:
    """Check decoded metadata (nulls already removed).

    Raises:
        RegistrationError: with the code of RFC 7591 §3.2.2.
    """
    grant_types = _grant_types(data)
    method = _choice(data, "token_endpoint_auth_method", conf.SUPPORTED_AUTH_METHODS, default="client_secret_basic")
    openid = data if conf.openid() else {}
    return ClientMetadata(
        redirect_uris=_redirect_uris(data.get("redirect_uris"), needed="authorization_code" in grant_types),
        client_name=_text(data, "client_name", MAXIMUM_NAME_LENGTH),
        token_endpoint_auth_method=method,
        # Keys are of use here to prove who a client is, and otherwise ignored as metadata that is not understood.
        **(_keys(data) if method == "private_key_jwt" else NO_KEYS),
        grant_types=grant_types,
        response_types=_response_types(data) if "authorization_code" in grant_types else [],
        scope=_scope(data, known_scopes),
        application_type=_choice(data, "application_type", ("native", "web"), default=""),
        client_uri=_web_uri(data, "client_uri"),
        logo_uri=_web_uri(data, "logo_uri"),
        tos_uri=_web_uri(data, "tos_uri"),
        policy_uri=_web_uri(data, "policy_uri"),
        contacts=_contacts(data),
        software_id=_text(data, "software_id", MAXIMUM_TEXT_LENGTH),
        software_version=_text(data, "software_version", MAXIMUM_TEXT_LENGTH),
        id_token_signed_response_alg=_choice(
            openid, "id_token_signed_response_alg", conf.ID_TOKEN_ALGORITHMS, default=""
        ),
        post_logout_redirect_uris=_post_logout_redirect_uris(openid),
    )


def _keys(data: dict[str, Any]) -> ClientKeys:
    try:
        return client_keys.from_dict(data)
    except InvalidKeys as error:
        raise RegistrationError("invalid_client_metadata", str(error)) from error


def _redirect_uris(value: Any, *, needed: bool) -> list[str]:
    if not needed and value in (None, []):
        return []  # a device is not redirected to (RFC 8628)
    if not isinstance(value, list) or not value or not all(isinstance(uri, str) for uri in value):
        raise RegistrationError("invalid_redirect_uri", "redirect_uris must be a non-empty array of strings.")
    if len(value) > MAXIMUM_REDIRECT_URIS:
        raise RegistrationError(
            "invalid_redirect_uri", f"At most {MAXIMUM_REDIRECT_URIS} redirect_uris can be registered."
        )
    for uri in value:
        try:
            require_registrable(uri)
        except InvalidRedirectURI as error:
            raise RegistrationError("invalid_redirect_uri", f"{uri[:200]}: {error}") from error
    return list(dict.fromkeys(value))


def _post_logout_redirect_uris(data: dict[str, Any]) -> list[str]:
    uris = _strings(data, "post_logout_redirect_uris", default=[])
    for uri in uris:
        try:
            require_registrable(uri)
        except InvalidRedirectURI as error:
            raise RegistrationError(
                "invalid_client_metadata", f"post_logout_redirect_uris: {uri[:200]}: {error}"
            ) from error
    return list(dict.fromkeys(uris))


def _grant_types(data: dict[str, Any]) -> list[str]:
    asked = _strings(data, "grant_types", default=["authorization_code"])
    # Clients list every grant they know. They get the ones that are for everybody, and never
    # one that works without a person, whoever asks.
    granted = [grant for grant in conf.supported_grant_types() if grant in asked]
    possible = [grant for grant in conf.GRANT_TYPES_WITH_A_PERSON if grant in conf.supported_grant_types()]
    if not set(granted) & set(possible):
        raise RegistrationError(
            "invalid_client_metadata",
            f"grant_types must include {' or '.join(possible)}; "
            f"this server has {', '.join(conf.supported_grant_types())}.",
        )
    return granted


def _response_types(data: dict[str, Any]) -> list[str]:
    asked = _strings(data, "response_types", default=["code"])
    granted = [response_type for response_type in conf.SUPPORTED_RESPONSE_TYPES if response_type in asked]
    if not granted:
        raise RegistrationError("invalid_client_metadata", "response_types must include code.")
    return granted


def _scope(data: dict[str, Any], known_scopes: frozenset[str]) -> str:
    value = data.get("scope", "")
    if not isinstance(value, str) or len(value) > 1000:
        raise RegistrationError("invalid_client_metadata", "scope must be a string of at most 1000 characters.")
    asked = value.split(" ") if value else []
    if not all(_SCOPE_TOKEN.fullmatch(scope) for scope in asked if scope):
        raise RegistrationError("invalid_client_metadata", "scope has characters that RFC 6749 §3.3 forbids.")
    return " ".join(dict.fromkeys(scope for scope in asked if scope in known_scopes))


def _strings(data: dict[str, Any], name: str, default: list[str]) -> list[str]:
    value = data.get(name, default)
    if not isinstance(value, list) or len(value) > 20 or not all(isinstance(item, str) for item in value):
        raise RegistrationError("invalid_client_metadata", f"{name} must be an array of strings.")
    return value or default


def _text(data: dict[str, Any], name: str, limit: int) -> str:
    value = data.get(name, "")
    if not isinstance(value, str) or len(value) > limit:
        raise RegistrationError("invalid_client_metadata", f"{name} must be a string of at most {limit} characters.")
    if any(is_invisible(character) for character in value):
        raise RegistrationError("invalid_client_metadata", f"{name} has control or invisible characters.")
    return value.strip()


def is_invisible(character: str) -> bool:
    """Return whether a character hides, reorders or fakes text: a name must look like what it is.

    That is Unicode's categories C (control, format, surrogate, private, unassigned), Zl and Zp, and a few characters
    without a glyph.
    """
    category = unicodedata.category(character)
    return category[0] == "C" or category in {"Zl", "Zp"} or character in _BLANK or character == "\u034f"


def _choice(data: dict[str, Any], name: str, choices: tuple[str, ...], *, default: str) -> str:
    value = data.get(name, default)
    if value != default and (not isinstance(value, str) or value not in choices):
        raise RegistrationError("invalid_client_metadata", f"{name} must be one of {', '.join(choices)}.")
    return str(value)


def _web_uri(data: dict[str, Any], name: str) -> str:
    value = _text(data, name, MAXIMUM_URI_LENGTH)
    if not value:
        return ""
    try:
        parts = urlsplit(value)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        valid = False
    if not valid or any(character.isspace() for character in value):
        raise RegistrationError("invalid_client_metadata", f"{name} must be a web address (https://...).")
    return value


def _contacts(data: dict[str, Any]) -> list[str]:
    value = _strings(data, "contacts", default=[])
    if len(value) > MAXIMUM_CONTACTS:
        raise RegistrationError("invalid_client_metadata", f"At most {MAXIMUM_CONTACTS} contacts can be registered.")
    return [_text({"contacts": item}, "contacts", MAXIMUM_TEXT_LENGTH) for item in value]
