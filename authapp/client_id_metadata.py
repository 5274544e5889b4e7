"""Client ID Metadata Documents (draft-ietf-oauth-client-id-metadata-document): DOT fetches, we read more of them.

DOT's fetcher is safe against SSRF but takes only documents with a single grant; VS Code's lists several. The
document is checked like a registration and handed back with what this server has.
"""

from __future__ import annotations

from typing import Any

from oauth2_provider.cimd import CIMDError, SafeMetadataFetcher
from oauth2_provider.scopes import get_scopes_backend

from authapp import client_metadata, redirect_uris
from authapp.client_metadata import RegistrationError


class MetadataFetcher(SafeMetadataFetcher):
    """Fetch a document and keep only what this server supports."""

    def fetch(self, client_id: str) -> tuple[dict[str, Any], int]:
        """Return the document and for how many seconds it is fresh.

        Raises:
            CIMDError: the document cannot be had, or must not be used.
        """
        try:
            document, max_age = super().fetch(client_id)
        except RecursionError as error:
            raise CIMDError("client_id document is nested too deeply") from error
        return narrowed(document), max_age


def narrowed(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with the grants and redirect URIs that this server can serve.

    Raises:
        CIMDError: `client_name` is missing, or nothing usable is left.
    """
    # A document speaks to every server at once, so a redirect URI that only others take is left out.
    uris = document.get("redirect_uris")
    if isinstance(uris, list):
        uris = [uri for uri in uris if isinstance(uri, str) and redirect_uris.is_registrable(uri)]
    public = {"token_endpoint_auth_method": "none", **document}
    try:
        metadata = client_metadata.from_dict(
            {name: value for name, value in public.items() if value is not None} | {"redirect_uris": uris},
            known_scopes=frozenset(get_scopes_backend().get_all_scopes()),
        )
    except RegistrationError as error:
        raise CIMDError(error.description) from error
    if not metadata.client_name:
        raise CIMDError("client_id document has no client_name")
    return public | {
        "client_name": metadata.client_name,
        "redirect_uris": metadata.redirect_uris,
        "grant_types": metadata.grant_types,
    }
