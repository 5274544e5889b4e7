"""The device authorization grant (RFC 8628): what a device may ask for, and what it gets when it polls.

`authapp.device_authorization` answers the request that starts it, `authapp.device_page` is where a person answers.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone
from oauth2_provider.oauth2_validators import OAuth2Validator
from oauthlib.common import Request
from oauthlib.oauth2.rfc8628.grant_types import DeviceCodeGrant

from authapp import account_checks, conf
from authapp.grants.issuing import end_replayed, kept
from authapp.models import DeviceAuthorization

SLOW_DOWN_SECONDS = 5
"""By how much the interval grows each time a device polls too early (RFC 8628 §3.5)."""
# A device that polls by a timer is never early by more than what the network adds to one request and not to the next.
_TOLERANCE = timedelta(seconds=1)
_Status = DeviceAuthorization.Status


class DeviceCode(DeviceCodeGrant):
    """oauthlib's grant, with the checks of the token endpoint at the device authorization endpoint as well."""

    def validate_device_authorization_request(self, request: Request) -> None:
        """Check who asks, whether they have this grant, and for which scopes (RFC 8628 §3.1).

        oauthlib calls an unknown client an invalid request, wants a `client_id` beside an Authorization header, and
        does not ask whether the client has the grant.

        Raises:
            oauthlib.oauth2.OAuth2Error: `invalid_client`, `unauthorized_client` or `invalid_scope`.
        """
        request.grant_type = conf.DEVICE_CODE
        request.scopes = None  # otherwise a parameter of that name
        self.validate_client_authentication(request)
        self.validate_grant_type(request)
        self.validate_scopes(request)

    def create_token_response(self, request: Request, token_handler: Any) -> tuple[dict[str, str], str, int]:
        """Return headers, body and status; oauthlib leaves the token modifiers of this grant out, and so ID tokens."""
        response: tuple[dict[str, str], str, int] = super().create_token_response(
            request, _Modifying(token_handler, self._token_modifiers)
        )
        return response


class _Modifying:
    """A token handler whose tokens go through modifiers before they are stored, as oauthlib's code grant does it."""

    def __init__(self, token_handler: Any, modifiers: list[Any]) -> None:
        self._token_handler, self._modifiers = token_handler, modifiers

    def create_token(self, request: Request, refresh_token: bool = False) -> Any:
        token = self._token_handler.create_token(request, refresh_token)
        for modify in self._modifiers:
            token = modify(token, self._token_handler, request)
        return token


class DeviceGrant(OAuth2Validator):
    """The device code's part of the validator."""

    def validate_device_code(
        self, client_id: str, code: str, request: Request, *args: Any, **kwargs: Any
    ) -> str | None:
        """Lock the authorization, so that of parallel polls one gets tokens; say how far it is (RFC 8628 §3.5).

        Slowing down is for devices that wait: one that was allowed gets its tokens however often it asked.

        Args:
            code: the digest of the device code.
        """
        found = DeviceAuthorization.objects.select_related("user").select_for_update(of=("self",))
        authorization = found.filter(device_code_digest=code, application=request.client).first()
        if authorization is None or authorization.status == _Status.USED:
            end_replayed(code, request.client, request)
            return None
        if authorization.is_expired():
            return str(DeviceCode.DEVICE_CODE_EXPIRED)
        if authorization.status == _Status.DENIED:
            return str(DeviceCode.DEVICE_CODE_DENIED)
        if authorization.status == _Status.PENDING:
            return str(DeviceCode.DEVICE_CODE_SLOW_DOWN if _is_early(authorization) else DeviceCode.DEVICE_CODE_PENDING)
        if authorization.user is None or not authorization.user.is_active:
            return None
        if authorization.decided_at and account_checks.ended_since(authorization.user, authorization.decided_at):
            return None
        request.device_authorization = authorization
        request.user = authorization.user
        request.scopes = authorization.scope.split()
        request.granted_resource, request.family_code = authorization.resource, code
        return str(DeviceCode.DEVICE_CODE_AUTHORIZED)

    def save_bearer_token(self, token: dict[str, Any], request: Request, *args: Any, **kwargs: Any) -> None:
        """Note that a device code is used, once its tokens are stored: a faulty request loses nothing."""
        super().save_bearer_token(token, request, *args, **kwargs)
        if authorization := kept(request, "device_authorization"):
            authorization.status = _Status.USED
            authorization.save(update_fields=["status"])


def _is_early(authorization: DeviceAuthorization) -> bool:
    """Return whether a device polls before its interval is over, and note the poll; each early one costs 5 s more."""
    now = timezone.now()
    last = authorization.last_polled_at
    early = last is not None and now + _TOLERANCE < last + timedelta(seconds=authorization.interval)
    if early:
        # Longer than it lives would say no more.
        authorization.interval = min(authorization.interval + SLOW_DOWN_SECONDS, conf.device_code_seconds())
    authorization.last_polled_at = now
    authorization.save(update_fields=["last_polled_at", "interval"])
    return early
