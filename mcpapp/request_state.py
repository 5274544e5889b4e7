"""Seal what clients carry between the rounds of one call (`requestState`, MCP 2026-07-28, multi round-trip requests).

A client brings it back as it got it, to any worker, and must be taken for hostile. The SDK seals it (AES-256-GCM, with
an expiry, the method, the name and the arguments inside); here are the keys, which every worker has, and the caller it
is bound to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.utils.crypto import salted_hmac
from mcp.server.context import ServerRequestContext
from mcp.server.request_state import RequestStateSecurity

from mcpapp import conf
from mcpapp.identity import SCOPE_KEY

_LABEL = "mcpapp.request_state"


def request_state_security() -> RequestStateSecurity:
    """Return how requestState is sealed: with keys from SECRET_KEY, opened also with those of SECRET_KEY_FALLBACKS."""
    return RequestStateSecurity(
        keys=_keys([settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]),
        ttl=conf.request_state_seconds(),
        bind_principal=caller_of,
        audience=conf.resources()[0],
    )


def caller_of(ctx: ServerRequestContext[Any, Any]) -> str:
    """Return whom requestState is bound to: the person, their client and the resource, as one string.

    All callers who have not signed in are one: they have nothing that tells them apart, and what is public is the same
    for each. Who signs in between two rounds starts over.

    Raises:
        LookupError: nobody is calling; the SDK then refuses.
    """
    identity = ctx.request.scope.get(SCOPE_KEY) if ctx.request is not None else None
    if identity is None:
        raise LookupError("There is no caller to bind requestState to.")
    if identity.is_anonymous:
        return json.dumps(["anonymous", identity.resource])
    return json.dumps(["person", str(identity.user_id), identity.client_id, identity.resource])


def _keys(secrets: Iterable[str | bytes]) -> list[bytes]:
    """Derive a key from each secret, under a label of its own; the SDK refuses to have one twice."""
    return list(dict.fromkeys(salted_hmac(_LABEL, "", secret=key, algorithm="sha256").digest() for key in secrets))
