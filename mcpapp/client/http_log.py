"""What `--verbose` shows: each HTTP step on stderr, with nothing in it that lets anybody in."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from mcpapp.client import console
from mcpapp.client.visible import one_line

if TYPE_CHECKING:
    import httpx2

MASK = "***"
# Parameters of OAuth that are no secret; the value of every other one is masked.
_PUBLIC = {
    "client_id",
    "code_challenge_method",
    "error",
    "error_description",
    "grant_type",
    "iss",
    "prompt",
    "redirect_uri",
    "resource",
    "response_type",
    "scope",
    "token_type_hint",
}
_STARTED = "star.started"


def hooks() -> dict[str, list[Any]]:
    """The event hooks for an HTTP client whose steps are shown."""
    return {"request": [_sent], "response": [_answered]}


def sync_hooks() -> dict[str, list[Any]]:
    """The same for an HTTP client without asyncio."""
    return {"request": [_tell_request], "response": [_tell_response]}


def masked(url: str) -> str:
    """Return a URL without what is secret in it: its user, its fragment, the values of unknown parameters."""
    head, _, query = url.partition("#")[0].partition("?")
    scheme, separator, rest = head.partition("://")
    authority, slash, path = rest.partition("/")
    head = f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"
    return f"{head}?{_masked_parameters(query)}" if query else head


def _masked_parameters(text: str) -> str:
    pairs = parse_qsl(text, keep_blank_values=True)
    return urlencode([(name, value if name in _PUBLIC else MASK) for name, value in pairs], safe="*:/")


async def _sent(request: httpx2.Request) -> None:
    _tell_request(request)


async def _answered(response: httpx2.Response) -> None:
    _tell_response(response)


def _tell_request(request: httpx2.Request) -> None:
    request.extensions[_STARTED] = time.monotonic()
    told = [f"Authorization: {value.partition(' ')[0]} {MASK}" for value in request.headers.get_list("authorization")]
    kind = request.headers.get("content-type", "")
    if kind.startswith("application/x-www-form-urlencoded"):
        told.append(_masked_parameters(request.content.decode("ascii", "replace")))
    elif method := request.headers.get("mcp-method", ""):
        told.append(one_line(method))
    detail = f"  ({'; '.join(told)})" if told else ""
    console.say(f"→ {request.method} {one_line(masked(str(request.url)), 1000)}{detail}")


def _tell_response(response: httpx2.Response) -> None:
    started = response.request.extensions.get(_STARTED, time.monotonic())
    told = f"← {response.status_code} in {(time.monotonic() - started) * 1000:.0f} ms"
    if response.status_code in (401, 403):
        told += "".join(f"  {one_line(value, 1000)}" for value in response.headers.get_list("www-authenticate"))
    elif location := response.headers.get("location", ""):
        told += f"  to {one_line(masked(location), 1000)}"
    console.say(told)
