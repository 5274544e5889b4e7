"""Who is calling: the bearer token of a request, and the challenge for one that has no good token (RFC 6750).

Tokens are taken from the Authorization header and nowhere else.
"""

from __future__ import annotations

import logging
import re

from django.contrib.auth.models import AnonymousUser
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError
from starlette.responses import Response

from mcpapp import conf
from mcpapp.brake import InThisSecond
from mcpapp.challenge import challenge, refusal
from mcpapp.door_log import DoorLog, Reason
from mcpapp.identity import Identity
from mcpapp.request_headers import RequestHeaders
from mcpapp.signals import token_refused
from mcpapp.token_cache import TooManyLookups
from mcpapp.verifier import InsufficientScope, InvalidToken, TokensUncheckable, Verifier

logger = logging.getLogger(__name__)

MAXIMUM_TOKEN_LENGTH = 16 * 1024
"""Ours have 64 characters; those of other issuers carry what is known of a person, groups and all."""
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750 §2.1


class _LogLimit:
    """A flood of bad tokens shall cost neither a line each nor the disk."""

    LINES = 10
    """How many refusals are told in a second."""

    def __init__(self) -> None:
        self._refusals = InThisSecond()
        self._untold = 0

    def untold(self) -> str | None:
        """Return what to add to a line about those before it that had none; None if this one shall have none."""
        if self._refusals.count() > self.LINES:
            self._untold += 1
            return None
        untold, self._untold = self._untold, 0
        return f" {untold} more were refused before it." if untold else ""


_limit = _LogLimit()


async def authenticate(
    headers: RequestHeaders, resource: str, verifier: Verifier, door_log: DoorLog | None = None
) -> Identity | Response:
    """Return who is calling, or what to answer instead of serving.

    Without a token: nobody, if the site has public tools; otherwise a challenge without an error code (RFC 6750 §3.1).
    """
    refused = _untold if door_log is None else door_log.refused
    sent = headers.all(b"authorization")
    if not sent:
        if conf.anonymous_tools():
            return nobody(resource)
        refused(Reason.NO_TOKEN, headers)
        return challenge(resource, scopes=conf.default_scopes())
    try:
        is_plain = len(sent) == 1 and sent[0].startswith("Bearer ")
        if is_plain and (identity := verifier.kept(sent[0][7:], resource)) is not None:
            return identity  # what nearly every call is: a good token, seen before
        scheme, _, token = sent[0].strip().partition(" ")
        if scheme.lower() != "bearer":
            refused(Reason.NO_TOKEN, headers)
            return challenge(resource, scopes=conf.default_scopes())
        token = token.strip()
        if len(sent) > 1 or len(token) > MAXIMUM_TOKEN_LENGTH or not _TOKEN68.fullmatch(token):
            refused(Reason.MALFORMED, headers)
            description = "Send one Authorization header with one well-formed Bearer token."
            return challenge(resource, scopes=conf.default_scopes(), error="invalid_token", description=description)
        identity = await verifier.verify(token, resource)
        if door_log is not None:
            door_log.accepted(identity)
        return identity
    except InvalidToken as error:
        refused(error.kind, headers, error)
        _tell(error, resource, verifier)
        description = "The access token is expired, revoked, or not for this resource."
        return challenge(resource, scopes=conf.default_scopes(), error="invalid_token", description=description)
    except InsufficientScope as error:
        refused(Reason.SCOPES, headers, error)
        _tell(error, resource, verifier)
        description = "The access token has none of the scopes of this resource."
        return challenge(resource, scopes=conf.default_scopes(), error="insufficient_scope", description=description)
    except TokensUncheckable as error:
        _tell(error, resource, verifier)
    except (OperationalError, InterfaceError) as error:  # it is away: a line each, or the log is all tracebacks
        logger.error("An access token could not be looked up, the database did not answer: %s", error)
    except DatabaseError:
        logger.exception("An access token could not be looked up.")
    except TooManyLookups:
        logger.warning("An access token was not looked up: too many others are.")
    except Exception:  # of a site's own lookup
        logger.exception("MCPAPP['TOKEN_LOOKUP'] failed.")
    refused(Reason.UNCHECKABLE, headers)
    return refusal(503, "Tokens cannot be checked right now; try again shortly.", {"Retry-After": "5"})


def _untold(reason: Reason, headers: RequestHeaders, error: Exception | None = None) -> None:
    """Note nothing: what is asked again about a stream that is open already is no request."""


def _tell(error: Exception, resource: str, verifier: Verifier) -> None:
    """Tell the log, and who listens in the site, why a token is refused; a flood of them is told of by a number."""
    if verifier.is_only_looking or (untold := _limit.untold()) is None:
        return
    logger.info("Refused an access token for %s: %s.%s", resource, error, untold)
    reason = str(getattr(error, "reason", "") or error)
    known = {"detail": getattr(error, "detail", ""), "issuer": getattr(error, "issuer", "")}
    for receiver, result in token_refused.send_robust(sender=type(error), reason=reason, resource=resource, **known):
        if isinstance(result, Exception):
            logger.error("%r failed.", receiver, exc_info=result)


def nobody(resource: str) -> Identity:
    """Return the identity of a caller who has not signed in."""
    return Identity(
        user=AnonymousUser(),
        client_id="",
        client_name="",
        scopes=frozenset(),
        resource=resource,
        expires_at=0,
        is_anonymous=True,
    )
