"""How the machine-facing endpoints say no: the RFC's JSON, never cached, never a page."""

from __future__ import annotations

from typing import TypeVar

from django.http import HttpResponseBase, JsonResponse

ResponseT = TypeVar("ResponseT", bound=HttpResponseBase)


def error_response(code: str, description: str, *, status: int = 400) -> JsonResponse:
    """Return an error of RFC 6749 §5.2 or RFC 7591 §3.2.2."""
    return no_store(JsonResponse({"error": code, "error_description": description}, status=status))


def no_store(response: ResponseT) -> ResponseT:
    """Keep a response out of every cache (RFC 6749 §5.1)."""
    response["Cache-Control"] = "no-store"
    response["Pragma"] = "no-cache"
    return response
