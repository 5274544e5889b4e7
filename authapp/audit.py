"""Write down what happens to clients, consents and tokens: who, which client, from where, when, and never a secret.

An event is written in the transaction of what it tells about: either both happened or neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from authapp import attempts, signals
from authapp.models import Application, AuditEvent

Action = AuditEvent.Action


def record(
    action: AuditEvent.Action,
    meta: Mapping[str, Any],
    *,
    application: Application | None = None,
    user: Any = None,
    **detail: str | int | list[str],
) -> None:
    """Write one event.

    Args:
        meta: `request.META`, or the headers of an oauthlib request, which DOT copies from it.
        detail: what else is worth knowing; never a token, code, secret or state.
    """
    known = user if user is not None and user.pk is not None else None
    event = AuditEvent.objects.create(
        action=action,
        user=known,
        username=_short(known.get_username() if known else "", 254),
        application=application if application is not None and application.pk is not None else None,
        client_id=application.client_id if application else "",
        client_name=application.name if application else "",
        detail=detail,
        **sender(meta),
    )
    attempts.follow(event, meta)
    signals.send_when_committed(signals.happened, AuditEvent, action=action.value)


def sender(meta: Mapping[str, Any]) -> dict[str, str | None]:
    """Return where a request came from, as `ip_address` and `user_agent`."""
    return {
        "ip_address": _address(meta.get("REMOTE_ADDR")),
        "user_agent": _short(meta.get("HTTP_USER_AGENT") or "", 255),
    }


def _short(text: str, length: int) -> str:
    # PostgreSQL takes no NUL, and what a stranger sends must not forge lines where it is printed.
    return "".join(character for character in text if character.isprintable())[:length]


def _address(text: Any) -> str | None:
    try:
        return str(ip_address(str(text).partition("%")[0]))
    except ValueError:
        return None  # a Unix socket has none
