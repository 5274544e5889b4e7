"""The grants there are (OAUTH2_SERVER_CLASS): oauthlib's endpoints, with no grant behind them but this server's."""

from __future__ import annotations

from typing import Any

from oauthlib.oauth2 import (
    AuthorizationCodeGrant,
    AuthorizationEndpoint,
    BearerToken,
    DeviceAuthorizationEndpoint,
    RefreshTokenGrant,
    ResourceEndpoint,
    RevocationEndpoint,
    TokenEndpoint,
)

from authapp import conf
from authapp.grants.client_credentials import AppTokenGrant
from authapp.grants.device import DeviceCode
from authapp.grants.identity_assertion import IdentityAssertionGrant
from authapp.openid.id_tokens import add_id_token


class Server(AuthorizationEndpoint, TokenEndpoint, ResourceEndpoint, RevocationEndpoint, DeviceAuthorizationEndpoint):
    """What DOT's core asks; the arguments are `oauth2_settings.server_kwargs`."""

    def __init__(
        self,
        request_validator: Any,
        token_expires_in: Any = None,
        token_generator: Any = None,
        refresh_token_generator: Any = None,
        **_: Any,
    ) -> None:
        self.bearer = BearerToken(request_validator, token_generator, token_expires_in, refresh_token_generator)
        code_grant, refresh_grant = AuthorizationCodeGrant(request_validator), RefreshTokenGrant(request_validator)
        device_grant = DeviceCode(request_validator)
        for grant in (code_grant, refresh_grant, device_grant):
            grant.register_token_modifier(add_id_token)
        AuthorizationEndpoint.__init__(
            self, default_response_type="code", response_types={"code": code_grant}, default_token_type=self.bearer
        )
        TokenEndpoint.__init__(
            self,
            default_grant_type="authorization_code",
            grant_types={
                "authorization_code": code_grant,
                "refresh_token": refresh_grant,
                conf.DEVICE_CODE: device_grant,
                "client_credentials": AppTokenGrant(request_validator, token_generator),
                conf.JWT_BEARER: IdentityAssertionGrant(request_validator),
            },
            default_token_type=self.bearer,
        )
        ResourceEndpoint.__init__(self, default_token="Bearer", token_types={"Bearer": self.bearer})  # noqa: S106
        RevocationEndpoint.__init__(self, request_validator)
        # The codes are made in authapp.device_authorization, which knows at which issuer the device is.
        DeviceAuthorizationEndpoint.__init__(self, request_validator, verification_uri="")
        self.device_code_grant = device_grant
