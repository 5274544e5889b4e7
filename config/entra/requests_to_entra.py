"""What is asked of the tenant's token endpoint (RFC 6749 §3.2), and how its answers are read."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import httpx2
from allauth.socialaccount.providers.base import ProviderException
from django.conf import settings

SECONDS = 10
MAXIMUM_BYTES = 256 * 1024
SCOPES = ("openid", "profile", "offline_access")
_AADSTS = re.compile(r"AADSTS[0-9]{4,8}")


class EntraError(ProviderException):
    """Entra gave no tokens; `code` is what it calls that (like `AADSTS50057`), or empty."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Refused(EntraError):
    """Entra answered with an error of RFC 6749 §5.2, or of its own; `error` is that."""

    def __init__(self, error: str, code: str) -> None:
        super().__init__(f"{error} {code}".strip(), code)
        self.error = error


class Unavailable(EntraError):
    """Entra did not answer, or with nothing that can be read."""


def code_in(text: Any) -> str:
    """Return Entra's own code in a text, which names the cause and nothing of a person."""
    found = _AADSTS.search(text) if isinstance(text, str) else None
    return found[0] if found else ""


def tokens(**form: str) -> dict[str, Any]:
    """Ask for tokens as this site's registration; return the answer.

    Raises:
        Refused, Unavailable: there are none.
    """
    entra = settings.ENTRA
    body = {"client_id": entra.client_id, "client_secret": entra.client_secret, **form}
    try:
        status, text = _post(entra.token_endpoint, body)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        raise Unavailable(type(error).__name__) from None
    answer = _object(text)
    if status == 200 and answer is not None and isinstance(answer.get("access_token"), str):
        return answer
    if answer is not None and 400 <= status < 500 and status != 429 and isinstance(answer.get("error"), str):
        raise Refused(answer["error"][:64], code_in(answer.get("error_description")))
    raise Unavailable(f"HTTP {status}", code_in(answer.get("error_description")) if answer else "")


def _post(url: str, form: dict[str, str]) -> tuple[int, bytes]:
    """Return the status and the body of an answer, of which no more is read than it may have, nor for longer."""
    deadline, body = time.monotonic() + SECONDS, b""
    # No redirect is followed: the secret goes to this address and to no other one.
    with (
        httpx2.Client(timeout=SECONDS, follow_redirects=False) as client,
        client.stream("POST", url, data=form) as response,
    ):
        for part in response.iter_bytes():
            body += part
            if len(body) > MAXIMUM_BYTES or time.monotonic() > deadline:
                raise ValueError("too much, or too slow")
        return response.status_code, body


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
