"""Who somebody is to a client (`sub`, OIDC Core §8): the same to all of them, or to each sector somebody else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
from typing import Any
from urllib.parse import urlsplit

from django.db import IntegrityError, transaction

from authapp import conf
from authapp.models import Application, PairwiseSecret
from authapp.openid import sealing

logger = logging.getLogger(__name__)


def subject(user: Any, application: Application) -> str:
    """Return the `sub` of a person for a client, at most 255 ASCII characters as long as the primary key allows."""
    if conf.subject_type() == "public":
        return str(user.pk)
    # Of two texts one cannot pass for the other's part: no host and no client identifier has a NUL.
    text = f"{sector(application)}\x00{user.pk}".encode()
    return base64.urlsafe_b64encode(hmac.digest(_secret(), text, hashlib.sha256)).rstrip(b"=").decode()


def sector(application: Application) -> str:
    """Return whose clients see the same person (OIDC Core §8.1): a host that all answers go to, or this client alone.

    Nothing ties a device to a host (RFC 8628), so whoever registers another's address and the device grant would get
    its tokens, and learn who its people are there.

    A client cannot put itself into another's sector and keep tokens: registration refuses to change it
    (`authapp.registration`), and a client with a document has only ever the host of the document.
    """
    if application.may_use(conf.DEVICE_CODE):
        return str(application.client_id)
    parts = [urlsplit(uri) for uri in application.registered_redirect_uris]
    hosts = {part.hostname or "" for part in parts}
    if len(hosts) != 1 or any(part.scheme != "https" for part in parts):
        return str(application.client_id)
    host = hosts.pop()
    from_document = application.registration_source == Application.RegistrationSource.CIMD
    if from_document and host != urlsplit(application.client_id).hostname:
        return str(application.client_id)
    return host


def _secret() -> bytes:
    """Return the secret of this site, made at first need.

    The oldest that can be read: where SECRET_KEY was changed without a fallback a new one is made, and the old one
    counts again once the fallback is there.
    """
    number = 1
    for row in PairwiseSecret.objects.order_by("number"):
        number = row.number + 1
        try:
            sealed = sealing.reseal(row.sealed)
        except sealing.Unreadable:
            logger.error(
                "The secret of pairwise subjects cannot be decrypted: SECRET_KEY was changed without "
                "SECRET_KEY_FALLBACKS. Until that is mended people are strangers to the clients that knew them."
            )
            continue
        if sealed != row.sealed:
            PairwiseSecret.objects.filter(pk=row.pk, sealed=row.sealed).update(sealed=sealed)
        return sealing.unseal(sealed)
    try:
        with transaction.atomic():
            secret = secrets.token_bytes(32)
            PairwiseSecret.objects.create(number=number, sealed=sealing.seal(secret))
            return secret
    except IntegrityError:  # another worker was faster
        return _secret()
