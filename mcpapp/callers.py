"""Run each message as the person whose token came with it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from functools import lru_cache
from inspect import iscoroutine
from types import SimpleNamespace
from typing import Any, TypeVar

from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext as _
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_REQUEST
from pydantic import ValidationError

from mcpapp.call_log.record import RECORD_KEY, current_record, tell
from mcpapp.client_session import ClientSession
from mcpapp.database import own_connections
from mcpapp.identity import SCOPE_KEY, Identity, acting_as
from mcpapp.models import Outcome
from mcpapp.registry import USES
from mcpapp.shares import TooMuch, counted

logger = logging.getLogger(__name__)

ANONYMOUS_METHODS = frozenset(
    {
        "initialize",
        "ping",
        "server/discover",
        "tools/list",
        "resources/list",
        "resources/templates/list",
        "prompts/list",
        *USES,
    }
)
"""What a caller who has not signed in may send, besides notifications; what is used by it must be public as well."""

Result = TypeVar("Result")


async def with_caller(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Run each message as the person whose token came with it.

    The identity is taken from the message's own HTTP request: with sessions, a message is handled by a task that an
    earlier request of perhaps another token started.
    """
    request = ctx.request
    identity = request.scope.get(SCOPE_KEY) if request is not None else None
    if identity is not None and identity.is_anonymous and not may_be_anonymous(ctx.method):
        raise MCPError(code=INVALID_REQUEST, message="Sign in first.")
    language = language_of(request.headers.get("accept-language") if request is not None else None)
    ctx = replace(ctx, session=ClientSession.of(ctx.session, ctx))
    size = 0
    if request is not None and identity is not None and not identity.is_anonymous and ctx.method in USES:
        size = len(await request.body())  # it was read before
    current_record.set(request.scope.get(RECORD_KEY) if request is not None else None)
    result = await run_as_caller(ctx.method, identity, language, size, call_next(ctx))
    if identity is not None and identity.is_anonymous and isinstance(result, Mapping):
        return _for_nobody(result)
    return result


def _for_nobody(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a caller who has not signed in is answered, where that is something else."""
    changed: dict[str, Any] = {}
    if "ttlMs" in result:
        changed["ttlMs"] = 0  # the SDKs keep lists for as long as a client lives, beyond signing in
    if isinstance(capabilities := result.get("capabilities"), Mapping):
        # Some clients listen at once for what they are told that they may, and take a challenge to that for the end.
        changed["capabilities"] = {
            name: {key: False if key in {"listChanged", "subscribe"} else value for key, value in capability.items()}
            for name, capability in capabilities.items()
        }
    return {**result, **changed}


async def run_as_caller(
    method: str, identity: Identity | None, language: str, size: int, work: Awaitable[Result]
) -> Result:
    """Return what `work` returns, done as a person, in their language; `size` is the request's, in bytes.

    What one person has under way is bounded. Callers who have not signed in are nobody in particular; they send little,
    and wait.

    Raises:
        MCPError: it failed; what clients are not to know is in the log. Or this person has too much under way.
        pydantic.ValidationError: the message has not the form it should have.
    """
    if identity is None or identity.is_anonymous or method not in USES:
        return await _run_as(method, identity, language, work)
    try:
        with counted(identity.user_id, size):
            return await _run_as(method, identity, language, work)
    except TooMuch:
        if iscoroutine(work):
            work.close()
        tell(Outcome.OVERLOADED)
        with translation.override(language):
            text = _("You have as many calls under way as one person may have at once. Wait for some to end.")
        raise MCPError(code=INTERNAL_ERROR, message=text) from None


async def _run_as(method: str, identity: Identity | None, language: str, work: Awaitable[Result]) -> Result:
    async with own_connections():
        with acting_as(identity):
            try:
                # A request has a context of its own, in which no other language is active yet.
                if language == settings.LANGUAGE_CODE:
                    return await work
                with translation.override(language):
                    return await work
            except (MCPError, ValidationError):
                raise
            except Exception as error:  # to older clients the SDK would tell its text
                logger.exception("%s failed.", method)
                raise MCPError(code=INTERNAL_ERROR, message="Internal server error") from error


def may_be_anonymous(method: Any) -> bool:
    """Return whether a caller who has not signed in may send a message of this method at all."""
    return isinstance(method, str) and (method in ANONYMOUS_METHODS or method.startswith("notifications/"))


def language_of(accept_language: str | None) -> str:
    """Return the language that Django would answer a browser in."""
    return _language((accept_language or "")[:500])


@lru_cache(maxsize=256)
def _language(accept_language: str) -> str:
    request = SimpleNamespace(COOKIES={}, META={"HTTP_ACCEPT_LANGUAGE": accept_language}, path_info="")
    return translation.get_language_from_request(request)  # type: ignore[arg-type]
