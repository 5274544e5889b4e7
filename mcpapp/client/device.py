"""Signing in on another device: a code is shown here, and typed there (RFC 8628)."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from mcpapp.client import console
from mcpapp.client.failures import ServerFailure, SignInFailure
from mcpapp.client.urls import is_safe
from mcpapp.client.visible import one_line

if TYPE_CHECKING:
    import httpx2

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
DEFAULT_INTERVAL = 5  # seconds, RFC 8628 3.2
SLOWER_BY = 5  # seconds, RFC 8628 3.5
MAX_INTERVAL = 60


class DeviceFlow:
    """One sign-in on another device, at the authorization server of which `metadata` tells (RFC 8414 2)."""

    def __init__(self, http: httpx2.AsyncClient, metadata: dict[str, Any], seconds: float) -> None:
        self._http = http
        self._device_endpoint = str(metadata.get("device_authorization_endpoint", ""))
        self._token_endpoint = str(metadata.get("token_endpoint", ""))
        self._seconds = seconds

    async def tokens(self, client: dict[str, str], headers: dict[str, str], asked: dict[str, str]) -> dict[str, Any]:
        """Show a code and wait until somebody has typed it; `asked` is the scope and the resource (RFC 8707).

        `client` and `headers` are how the client names and authenticates itself.
        Returns: the token response (RFC 6749 5.1).
        Raises: SignInFailure if it was refused or nobody came in time; ServerFailure if the server fails.
        """
        for endpoint in (self._device_endpoint, self._token_endpoint):
            if not is_safe(endpoint):
                raise SignInFailure("The server's sign-in is not encrypted.", "Tell those who run it.")
        answer = await self._post(self._device_endpoint, client | asked, headers)
        if "error" in answer:
            raise refused(answer)
        device_code, user_code = answer.get("device_code"), answer.get("user_code")
        uri = answer.get("verification_uri")
        if not isinstance(device_code, str) or not isinstance(user_code, str) or not isinstance(uri, str):
            raise ServerFailure("The server's answer to the device is not one of RFC 8628.", "Try without --device.")
        deadline = time.monotonic() + min(self._seconds, _number(answer.get("expires_in"), self._seconds))
        _show(uri, user_code, answer.get("verification_uri_complete"))
        form = client | {"grant_type": GRANT_TYPE, "device_code": device_code}
        # RFC 8707 2.2: the resource belongs to the token request as well.
        form |= {name: value for name, value in asked.items() if name == "resource"}
        return await self._poll(form, headers, _number(answer.get("interval"), DEFAULT_INTERVAL), deadline)

    async def _poll(
        self, form: dict[str, str], headers: dict[str, str], interval: float, deadline: float
    ) -> dict[str, Any]:
        interval = min(interval, MAX_INTERVAL)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise SignInFailure("Nobody typed the code in time.", "Run the command again for a new code.")
            await asyncio.sleep(min(interval, left))
            try:
                answer = await self._post(self._token_endpoint, form, headers)
            except ServerFailure:
                interval = min(interval * 2, MAX_INTERVAL)  # RFC 8628 3.5: back off, it may come back
                continue
            error = answer.get("error")
            if error is None:
                return answer
            if error == "slow_down":
                interval = min(interval + SLOWER_BY, MAX_INTERVAL)
            elif error != "authorization_pending":
                raise refused(answer)

    async def _post(self, url: str, form: dict[str, str], headers: dict[str, str]) -> dict[str, Any]:
        import httpx2

        try:
            response = await self._http.post(url, data=form, headers=headers)
            answer = response.json()
        except (httpx2.TransportError, ValueError, RecursionError):
            raise ServerFailure("The authorization server does not answer as it should.", "Try again later.") from None
        if not isinstance(answer, dict) or (response.status_code != 200 and "error" not in answer):
            raise ServerFailure("The authorization server does not answer as it should.", "Try again later.")
        return answer


def refused(answer: dict[str, Any]) -> SignInFailure:
    """Return the failure for an error answer of an authorization server (RFC 6749 5.2)."""
    error = one_line(str(answer.get("error", "")))
    told = one_line(str(answer.get("error_description") or ""))
    if error == "access_denied":
        return SignInFailure("The sign-in was refused.", "Run the command again if that was a mistake.", error)
    if error == "expired_token":
        return SignInFailure("Nobody typed the code in time.", "Run the command again for a new code.", error)
    return SignInFailure(f"The authorization server refused ({error}). {told}".strip(), "Try --verbose.", error)


def _number(value: Any, default: float) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(value)
    return default


def _show(uri: str, user_code: str, complete: Any) -> None:
    from mcpapp.client.console import err

    if isinstance(complete, str) and is_safe(complete) and err.is_terminal:
        import qrcode

        code = qrcode.QRCode(border=2)
        code.add_data(complete)
        if err.width >= len(code.get_matrix()):
            code.print_ascii(out=err.file, invert=True)
    console.say(
        f"To sign in, open {one_line(uri)} on any device and type this code:\n\n    {one_line(user_code)}\n\nWaiting…"
    )
