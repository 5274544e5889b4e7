"""Client ID Metadata Documents (draft-ietf-oauth-client-id-metadata-document-02): how one is fetched and read.

DOT resolves, stores and refreshes clients; its setting CIMD_METADATA_FETCHER leads here. URL and document come from an
anonymous stranger, so the fetch is bounded as a whole; docs/decisions/0006 says why DOT's own transport does not do.
"""

from __future__ import annotations

import http.client
import logging
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from django.db import connection
from oauth2_provider.cimd import CIMDError, SafeMetadataFetcher
from oauth2_provider.scopes import get_scopes_backend
from oauth2_provider.settings import oauth2_settings

from authapp import client_hosts, client_keys, client_metadata, redirect_uris, safe_fetch
from authapp.client_hosts import ClientIDURL
from authapp.client_keys import NO_KEYS, InvalidKeys
from authapp.client_metadata import ClientMetadata, RegistrationError
from authapp.models import Application
from authapp.models.client import dot_grant_type
from authapp.safe_fetch import FetchError

logger = logging.getLogger(__name__)


class InvalidDocument(CIMDError):
    """The document was fetched, and cannot be used; any other `CIMDError` is about getting it."""


class MetadataFetcher(SafeMetadataFetcher):
    """Fetch a document and keep only what this server supports; DOT asks it (CIMD_METADATA_FETCHER)."""

    def fetch(self, client_id: str) -> tuple[dict[str, Any], int]:
        """Return the document and for how many seconds it is fresh.

        Raises:
            CIMDError: the document cannot be had, or must not be used.
        """
        if not connection.in_atomic_block:
            connection.close()  # given back to the pool: a slow host must not keep it from everybody else
        try:
            document, max_age = self._get(client_hosts.parse_url(client_id))
            if document.get("client_id") != client_id:
                raise InvalidDocument("client_id in the document is not the URL of the document")
            return _for_dot(narrowed(document)), max_age
        except CIMDError as error:
            # The answer to the client stays generic; this line is for the administrator.
            logger.info("The client document %r was not used: %s.", client_id, error)
            if isinstance(error, InvalidDocument):
                client_hosts.remember_as_invalid(client_id)
            raise

    def _get(self, url: ClientIDURL) -> tuple[dict[str, Any], int]:
        place = safe_fetch.Place(url.host, url.port, url.target)
        try:
            return safe_fetch.get(place, self._read_document, maximum_bytes=oauth2_settings.CIMD_MAX_DOCUMENT_SIZE)
        except FetchError as error:
            raise CIMDError(str(error)) from error

    def _read_document(self, response: http.client.HTTPResponse) -> tuple[dict[str, Any], int]:
        """Read a response with DOT's checks of status, media type, size and JSON, and ours."""
        if response.status != 200:
            challenged = " (a challenge for browsers)" if response.headers.get("cf-mitigated") else ""
            raise CIMDError(f"the host answered HTTP {response.status}{challenged}")
        try:
            if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
                raise CIMDError("the document is compressed, which was not asked for")
            document, _max_age = super()._read_document(response)
        except (CIMDError, RecursionError, ValueError) as error:
            raise InvalidDocument(str(error)) from error
        return document, safe_fetch.freshness_seconds(response.headers)


# --- What of a document is kept ----------------------------------------------------------------------------


# OpenID Connect's: django-oauth-toolkit does not store them, so what other servers understand does no harm here.
_NOT_TAKEN = frozenset({"id_token_signed_response_alg", "post_logout_redirect_uris"})


def narrowed(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with the grants and redirect URIs that this server can serve, as DOT takes it.

    Raises:
        InvalidDocument: `client_name` is missing, or nothing usable is left.
    """
    metadata = _checked(document)
    _checked_last.set((str(document.get("client_id")), metadata))
    return document | {
        "client_name": metadata.client_name,
        "redirect_uris": metadata.redirect_uris,
        "grant_types": metadata.grant_types,
        "token_endpoint_auth_method": "none",  # the only one that DOT takes; `complete` keeps what it is
    }


def _checked(document: dict[str, Any]) -> ClientMetadata:
    # A document speaks to every server at once, so a redirect URI that only others take is left out.
    uris = document.get("redirect_uris")
    if isinstance(uris, list):
        uris = [uri for uri in uris if isinstance(uri, str) and redirect_uris.is_registrable(uri)]
    data = {"token_endpoint_auth_method": "none"} | document | {"redirect_uris": uris}
    data = {name: value for name, value in data.items() if value is not None and name not in _NOT_TAKEN}
    keys = NO_KEYS
    if document.get("token_endpoint_auth_method") == "private_key_jwt" and _offers_none(document):
        # ChatGPT's (OpenID Connect RP Metadata Choices). Nothing tells it what we would choose, so it may do either.
        data["token_endpoint_auth_method"] = "none"  # noqa: S105
        with suppress(InvalidKeys):
            keys = client_keys.from_dict(data)
    try:
        metadata = client_metadata.from_dict(data, known_scopes=frozenset(get_scopes_backend().get_all_scopes()))
    except RegistrationError as error:
        raise InvalidDocument(error.description) from error
    if not metadata.client_name or metadata.has_secret:
        raise InvalidDocument("the document has no client_name, or a client with a secret")
    return replace(metadata, **keys) if keys != NO_KEYS else metadata


def _offers_none(document: dict[str, Any]) -> bool:
    offered = document.get("token_endpoint_auth_methods_supported")
    return isinstance(offered, list) and "none" in offered


# DOT fetches, reads and stores a client in one go, and knows neither several grants, nor a client without a redirect
# URI, nor one with a key. So it is given what it takes, and the client puts the rest right when DOT has it checked.
_checked_last: ContextVar[tuple[str, ClientMetadata] | None] = ContextVar("authapp_checked_document", default=None)
"""The document that this thread fetched last, until DOT has the client checked that it is of."""


def _for_dot(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document that `narrowed` returned with the grant, and a redirect URI, that DOT insists on."""
    return document | {
        "grant_types": ["authorization_code", *({"refresh_token"} & set(document["grant_types"]))],
        "redirect_uris": document["redirect_uris"] or [document["client_id"]],
    }


def complete(application: Application) -> None:
    """Give a client that DOT is about to store what of its document DOT has no place for.

    tests/authapp/test_private_seams.py holds that DOT validates a client between reading and storing it.
    """
    checked = _checked_last.get()
    if checked is None or checked[0] != application.client_id:
        return
    _checked_last.set(None)
    metadata = checked[1]
    application.grant_types = metadata.grant_types
    application.redirect_uris = " ".join(metadata.redirect_uris)
    application.authorization_grant_type = dot_grant_type(metadata.grant_types)
    application.client_type = Application.CLIENT_PUBLIC if metadata.is_public else Application.CLIENT_CONFIDENTIAL
    application.token_endpoint_auth_method = metadata.token_endpoint_auth_method
    application.token_endpoint_auth_signing_alg = metadata.token_endpoint_auth_signing_alg
    application.jwks, application.jwks_uri = metadata.jwks, metadata.jwks_uri
