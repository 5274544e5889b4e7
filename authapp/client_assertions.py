"""Clients that prove who they are with a key: `private_key_jwt` (RFC 7523 §2.2, OpenID Connect Core §9).

A client's public keys are its registered `jwks`, or what its `jwks_uri` publishes, which is fetched before the
transaction of the endpoint. What an assertion must say is in docs/decisions/0016.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest

from authapp import assertions, conf, key_sets
from authapp.assertions import Assertion, InvalidAssertion
from authapp.key_sets import KeySetError
from authapp.models import Application

logger = logging.getLogger(__name__)

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TYP = "client-authentication+jwt"
"""What the header's `typ` may say, besides nothing and `JWT` (draft-ietf-oauth-rfc7523bis)."""


def claimed_client_id(text: str) -> str:
    """Return who an assertion says it is from, before anything is checked; empty where it says nothing."""
    try:
        issuer = assertions.read(text).claims.get("iss")
    except InvalidAssertion:
        return ""
    return issuer if isinstance(issuer, str) else ""


def refresh_keys(request: HttpRequest) -> None:
    """Fetch the keys of the client that a request's assertion is from, if that is due: before any transaction."""
    text = request.POST.get("client_assertion", "")
    client_id = claimed_client_id(text)
    application = Application.objects.filter(client_id=client_id).exclude(jwks_uri="").first() if client_id else None
    if application is not None and application.is_usable(None):
        kid = assertions.read(text).header.get("kid")
        is_owners = application.registration_source == Application.RegistrationSource.MANUAL
        key_sets.refresh(application.jwks_uri, kid=kid, meta={} if is_owners else request.META)


def verified(text: str, client: Application, meta: Mapping[str, Any]) -> Assertion | None:
    """Return an assertion if it proves that a request is from a client, and marks it as used; None if it does not.

    Args:
        meta: `request.META` or a copy of it: it says at which issuer the request is.
    """
    try:
        assertion = _verified(text, client, meta)
    except InvalidAssertion as error:
        # The answer is invalid_client and no more; this line is for the administrator.
        logger.info("An assertion of the client %r was refused: %s.", client.client_id, error)
        return None
    if not assertions.use_once(assertion):
        logger.warning("An assertion of the client %r was used twice.", client.client_id)
        return None
    return assertion


def _verified(text: str, client: Application, meta: Mapping[str, Any]) -> Assertion:
    header = assertions.read(text).header
    if not client.may_authenticate_by_key:
        raise InvalidAssertion("the client did not register for private_key_jwt")
    registered = client.token_endpoint_auth_signing_alg
    if registered and header["alg"] != registered:
        raise InvalidAssertion("alg is not the client's token_endpoint_auth_signing_alg")
    try:
        keys = key_sets.known(client.jwks_uri) if client.jwks_uri else key_sets.parse(client.jwks)
    except KeySetError as error:
        raise InvalidAssertion(f"the client's jwks: {error}") from error
    issuer = conf.issuer_at(meta)
    assertion = assertions.verify(
        text,
        keys,
        audiences={issuer, conf.url_at(issuer, "oauth2_provider:token")},
        issuer=client.client_id,
        typ=TYP if header.get("typ") == TYP else None,
    )
    if assertion.claims["sub"] != client.client_id:
        raise InvalidAssertion("sub is not the client")
    return assertion
