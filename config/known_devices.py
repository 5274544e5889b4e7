"""Browsers in which somebody has signed in before: guesses from elsewhere do not keep that person out of them.

Failed sign-ins to an account are limited, whoever makes them, or a password could be guessed from many addresses. That
limit alone would let a stranger keep a person out for as long as they like. So a browser that has signed in carries a
signed cookie, and its failures are counted by themselves ("device cookies", OWASP). It lets nobody in: it only says
which count a failure goes to, and has a limit of its own.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse

COOKIE = "known_device"
SECONDS = 365 * 24 * 3600
MAXIMUM_PEOPLE = 5
"""Of one browser; the one who signed in first goes first."""
_SALT = "config.known_devices"


def count_for(request: HttpRequest, login: str) -> str:
    """Return which count a failed sign-in under a name goes to: the browser's own, or the one for all strangers."""
    device, people = _read(request)
    return f"device:{device}:{login}" if _digest(login) in people else f"strangers:{login}"


def remember(request: HttpRequest, response: HttpResponse, login: str) -> None:
    """Note in the browser that somebody has signed in."""
    device, people = _read(request)
    known = [digest for digest in people if digest != _digest(login)] + [_digest(login)]
    value = signing.dumps([device or secrets.token_hex(16), known[-MAXIMUM_PEOPLE:]], salt=_SALT)
    response.set_cookie(
        COOKIE,
        value,
        max_age=SECONDS,
        path="/",
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _read(request: HttpRequest) -> tuple[str, list[str]]:
    try:
        device, people = signing.loads(request.COOKIES.get(COOKIE, ""), salt=_SALT, max_age=SECONDS)
    except (signing.BadSignature, ValueError, TypeError):
        return "", []
    return str(device), [str(digest) for digest in people]


def _digest(login: Any) -> str:
    return hashlib.sha256(str(login).lower().encode("utf-8", "replace")).hexdigest()[:32]
