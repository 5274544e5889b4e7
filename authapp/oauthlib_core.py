"""The bridge between Django requests and oauthlib, hardened: codes become hashes at this door.

An authorization code is looked up by its SHA-256 everywhere behind this class, so the database never holds one
that could be used (RFC 9700 §4.2.4 asks for secrets at rest to be protected).
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit, urlunsplit

from django.http import HttpRequest
from oauth2_provider.exceptions import FatalClientError, OAuthToolkitError
from oauth2_provider.oauth2_backends import OAuthLibCore as DOTOAuthLibCore
from oauthlib.common import Request
from oauthlib.oauth2.rfc6749 import errors

from authapp import conf

_CODES = frozenset({"code", "device_code"})


def code_digest(code: str) -> str:
    """Return the form in which an authorization code or a device code is stored."""
    return hashlib.sha256(code.encode()).hexdigest()


RECEIVED_AT = "authapp.received_at"
"""Where the ASGI scope, and then the headers of an oauthlib request, say when a request came: Unix time in seconds."""


def received_at(headers: Mapping[str, Any]) -> float:
    """Return when the request came in, before it waited for anything."""
    return float(headers[RECEIVED_AT])


def basic_client_id(request: HttpRequest) -> str:
    """Return the client identifier of HTTP Basic authentication (RFC 6749 §2.3.1), empty where there is none."""
    return (basic_credentials(request.META) or ("", ""))[0]


def basic_credentials(headers: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return client identifier and secret of HTTP Basic authentication (RFC 6749 §2.3.1), or None.

    Those with a NUL are none: no client has it, and PostgreSQL refuses to look for it.

    Args:
        headers: `request.META`, or the headers of an oauthlib request.
    """
    scheme, _, credentials = (headers.get("HTTP_AUTHORIZATION") or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client_id, _, secret = base64.b64decode(credentials).decode().partition(":")
    except ValueError:
        return None
    return None if "\x00" in unquote_plus(client_id) else (unquote_plus(client_id), unquote_plus(secret))


class OAuthLibCore(DOTOAuthLibCore):
    """DOT's core with hashed codes, no unhandled parse errors, and the issuer of the settings."""

    def extract_headers(self, request: HttpRequest) -> dict[str, Any]:
        """Return the headers, and when the request came."""
        scope: dict[str, Any] = getattr(request, "scope", {})
        headers: dict[str, Any] = super().extract_headers(request)
        scheme, _, credentials = headers.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() == "basic":  # RFC 9110 §11.1: in any case; DOT knows one spelling
            headers["HTTP_AUTHORIZATION"] = headers["Authorization"] = f"Basic {credentials.strip()}"
        return headers | {RECEIVED_AT: scope.get(RECEIVED_AT) or time.time()}

    def extract_body(self, request: HttpRequest) -> list[tuple[str, str]]:
        """Return the form's parameters, a code as its digest."""
        return [
            (name, code_digest(value) if name in _CODES else value) for name, value in super().extract_body(request)
        ]

    def validate_authorization_request(self, request: HttpRequest) -> tuple[list[str], dict[str, Any]]:
        """Check an authorization request by its query string alone: what a form posts is only yes or no.

        Raises:
            FatalClientError: nobody can be told but the person; text that cannot be parsed is one of these.
            OAuthToolkitError: the client can be told, at its redirect URI.
        """
        try:
            if any("\x00" in value for values in request.GET.lists() for value in values[1]):
                raise ValueError("NUL")  # no database finds it, and PostgreSQL refuses to look
            uri, http_method, _, headers = self._extract_params(request)
            scopes, credentials = self.server.validate_authorization_request(
                uri, http_method=http_method, body="", headers=headers
            )
        except errors.FatalClientError as error:
            raise FatalClientError(error=error) from error
        except errors.OAuth2Error as error:
            raise OAuthToolkitError(error=error) from error
        except ValueError as error:
            # oauthlib raises it for a query such as `%zz`.
            raise FatalClientError(
                error=errors.InvalidRequestFatalError(description="The query string cannot be parsed.")
            ) from error
        return scopes, credentials

    def validate_device_authorization_request(self, request: HttpRequest) -> Request:
        """Check a device authorization request (RFC 8628 §3.1) but for its resource; return oauthlib's request.

        Raises:
            oauthlib.oauth2.OAuth2Error: with the status and the JSON of the answer.
        """
        asked = Request(*self._extract_params(request))
        self.server.validate_device_authorization_request(asked)
        return asked

    def create_authorization_response(
        self, request: HttpRequest, scopes: list[str], credentials: dict[str, Any], allow: bool
    ) -> tuple[str, dict[str, str], str, int]:
        """Answer an authorization request, with the `iss` of the issuer the person is at (RFC 9207)."""
        uri, headers, body, status = super().create_authorization_response(request, scopes, credentials, allow)
        return with_issuer(uri, conf.issuer(request)), headers, body, status


def with_issuer(uri: str, issuer: str) -> str:
    """Return an authorization response URI with exactly one `iss` parameter (RFC 9207 §2)."""
    parts = urlsplit(uri)
    query = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name != "iss"]
    return urlunsplit(parts._replace(query=urlencode([*query, ("iss", issuer)])))
