"""Client ID Metadata Documents (draft-ietf-oauth-client-id-metadata-document-02): how one is fetched and read.

DOT resolves, stores and refreshes clients; its setting CIMD_METADATA_FETCHER leads here. URL and document come from an
anonymous stranger, so the fetch is bounded as a whole; docs/decisions/0006 says why DOT's own transport does not do.
"""

from __future__ import annotations

import http.client
import logging
from typing import Any

from django.db import connection
from oauth2_provider.cimd import CIMDError, SafeMetadataFetcher
from oauth2_provider.scopes import get_scopes_backend
from oauth2_provider.settings import oauth2_settings

from authapp import client_hosts, client_metadata, redirect_uris, safe_fetch
from authapp.client_hosts import ClientIDURL
from authapp.client_metadata import RegistrationError
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
            return narrowed(document), max_age
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


def narrowed(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with the grants and redirect URIs that this server can serve.

    Raises:
        InvalidDocument: `client_name` is missing, or nothing usable is left.
    """
    # A document speaks to every server at once, so a redirect URI that only others take is left out.
    uris = document.get("redirect_uris")
    if isinstance(uris, list):
        uris = [uri for uri in uris if isinstance(uri, str) and redirect_uris.is_registrable(uri)]
    public = document | {"token_endpoint_auth_method": _auth_method(document)}
    try:
        metadata = client_metadata.from_dict(
            {name: value for name, value in public.items() if value is not None} | {"redirect_uris": uris},
            known_scopes=frozenset(get_scopes_backend().get_all_scopes()),
        )
    except RegistrationError as error:
        raise InvalidDocument(error.description) from error
    if not metadata.client_name or not metadata.is_public:
        raise InvalidDocument("the document has no client_name, or a client with a secret")
    return public | {
        "client_name": metadata.client_name,
        "redirect_uris": metadata.redirect_uris,
        "grant_types": metadata.grant_types,
    }


def _auth_method(document: dict[str, Any]) -> Any:
    """Return the client authentication that a document asks for, `none` where it offers that beside keys.

    ChatGPT's prefers `private_key_jwt` and lists `none` too (OpenID Connect RP Metadata Choices).
    """
    method = document.get("token_endpoint_auth_method", "none")
    offered = document.get("token_endpoint_auth_methods_supported")
    if method == "private_key_jwt" and isinstance(offered, list) and "none" in offered:
        return "none"
    return method
