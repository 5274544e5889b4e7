"""How the machine-facing endpoints say no: the RFC's JSON, never cached, never a page."""

from __future__ import annotations

import re
from typing import TypeVar

from django.http import HttpResponseBase, JsonResponse

# RFC 6749 §5.2: printable ASCII but the quotation mark and the backslash.
_NOT_IN_A_DESCRIPTION = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")

ResponseT = TypeVar("ResponseT", bound=HttpResponseBase)


def error_response(code: str, description: str, *, status: int = 400) -> JsonResponse:
    """Return an error of RFC 6749 §5.2 or RFC 7591 §3.2.2; a character no description may have becomes a "?"."""
    text = _NOT_IN_A_DESCRIPTION.sub("?", description)
    return no_store(JsonResponse({"error": code, "error_description": text}, status=status))


def no_store(response: ResponseT) -> ResponseT:
    """Keep a response out of every cache (RFC 6749 §5.1)."""
    response["Cache-Control"] = "no-store"
    response["Pragma"] = "no-cache"
    return response
