"""Whose metadata documents are accepted: how their URLs are spelled, and which hosts may publish one.

The settings and the rules in the admin decide; a refusal wins. authapp/client_id_metadata.py fetches a document.
"""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django.core.cache import cache
from django.http.request import validate_host
from django.utils import timezone
from django.utils.translation import gettext as _
from oauth2_provider.cimd import CIMDError, is_cimd_client_id
from oauth2_provider.settings import oauth2_settings

from authapp import conf, transactions
from authapp.models import Application, ClientHostRule

MAXIMUM_LENGTH = 255  # of the column

# One spelling of each URL: a name of two labels or more, in lower case and without a dot at its end, no user, no
# fragment, no empty port or query. An internationalised name is spelled in ASCII (xn--…).
_URL = re.compile(
    r"https://(?P<host>(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9]))"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?P<target>/(?P<path>[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*)(?:\?[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]+)?)"
)
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class ClientIDURL(NamedTuple):
    """A client identifier that is a URL (draft-ietf-oauth-client-id-metadata-document-02 §3), in parts."""

    host: str
    port: int
    target: str
    """Path and query, as they go into the request line."""


def parse_url(client_id: str, *, maximum_length: int = MAXIMUM_LENGTH) -> ClientIDURL:
    """Take a client identifier apart, or another URL of a client's that is spelled like one.

    Raises:
        CIMDError: it is not a URL that a document may have.
    """
    match = _URL.fullmatch(client_id) if len(client_id) <= maximum_length else None
    if match is None or _BROKEN_ESCAPE.search(client_id):
        raise CIMDError("client_id is not the plain https URL of a document")
    segments = match["path"].lower().replace("%2e", ".").split("/")
    port = int(match["port"] or 443)
    if port > 65535 or "." in segments or ".." in segments:
        raise CIMDError("client_id has a dot segment or an impossible port")
    return ClientIDURL(host=match["host"], port=port, target=match["target"])


def is_permitted(host: str) -> bool:
    """Return whether clients of a host may connect: not denied, and allowed where anything is."""
    rules = list(ClientHostRule.objects.values_list("host", "allowed"))
    denied = [*conf.client_hosts_denied(), *(pattern for pattern, is_allowed in rules if not is_allowed)]
    allowed = [*conf.client_hosts_allowed(), *(pattern for pattern, is_allowed in rules if is_allowed)]
    return not validate_host(host, denied) and (not allowed or validate_host(host, allowed))


class FetchingAllowed:
    """DOT asks this first of all (CIMD_REGISTRATION_PERMISSION_CLASSES); a no is not held against the document."""

    def has_permission(self, request: Any, client_id: str) -> bool:
        """Return whether no transaction is under way: a slow host would make everybody wait for its locks."""
        return not transactions.is_under_way()


class ClientHostPermission:
    """DOT asks this before it fetches (CIMD_REGISTRATION_PERMISSION_CLASSES)."""

    def has_permission(self, request: Any, client_id: str) -> bool:
        """Return whether a document at this URL may be fetched."""
        try:
            return is_permitted(parse_url(client_id).host)
        except CIMDError:
            return False


def may_be_used(application: Application) -> bool:
    """Return whether a stored client still stands on a document: from a permitted host, and not too old.

    DOT refreshes before it asks, so a document is only ever past its time here when no newer one can be had.
    """
    if application.registration_source != Application.RegistrationSource.CIMD:
        return True
    if not ClientHostPermission().has_permission(None, application.client_id):
        return False
    expires_at = application.cimd_expires_at
    return expires_at is None or timezone.now() <= expires_at + timedelta(seconds=conf.client_document_stale_seconds())


def is_verified(application: Application | None, redirect_uri: str) -> bool:
    """Return whether an answer goes to the host that published the client's document, or to a name under it.

    On loopback or with a private-use scheme nobody can know which program it is.
    """
    if application is None or application.registration_source != Application.RegistrationSource.CIMD:
        return False
    host, parts = parse_url(application.client_id).host, urlsplit(redirect_uri)
    redirect_host = parts.hostname or ""
    return parts.scheme == "https" and (redirect_host == host or redirect_host.endswith(f".{host}"))


def host_of(application: Application) -> str:
    """Return the host that published a client's document, empty where the client has none."""
    if application.registration_source != Application.RegistrationSource.CIMD:
        return ""
    return parse_url(application.client_id).host


# --- Why a client is not known -----------------------------------------------------------------------------


def remember_as_invalid(client_id: str) -> None:
    """Note that a document was read and could not be used, for as long as it is not asked for again."""
    cache.set(_invalid_key(client_id), True, oauth2_settings.CIMD_FAILURE_BACKOFF_SECONDS)


def problem_with(client_id: str) -> str:
    """Return for the person why a client that names itself by a URL is not known; nothing for any other client.

    It says whose document it is, and never how the network answered.
    """
    if not is_cimd_client_id(client_id):
        return ""
    try:
        host = parse_url(client_id).host
    except CIMDError:
        return _("The address by which the client names itself is not one that a client’s document can have.")
    application = Application.objects.filter(client_id=client_id).first()
    if application is not None and may_be_used(application):
        return ""
    if not is_permitted(host):
        return _("This site does not accept clients from %(host)s.") % {"host": host}
    if not oauth2_settings.CIMD_ENABLED:
        return _("This site does not read the documents by which clients describe themselves; they register instead.")
    if cache.get(_invalid_key(client_id)):
        return _("The client’s document at %(host)s has a mistake and cannot be used.") % {"host": host}
    return _("The client’s document at %(host)s could not be read.") % {"host": host}


def _invalid_key(client_id: str) -> str:
    return f"authapp:invalid-client-document:{hashlib.sha256(client_id.encode()).hexdigest()}"
