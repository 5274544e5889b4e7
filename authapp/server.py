"""The grants there are (OAUTH2_SERVER_CLASS): oauthlib's endpoints, with no grant behind them but this server's."""

from __future__ import annotations

from typing import Any

from oauthlib.oauth2 import (
    AuthorizationCodeGrant,
    AuthorizationEndpoint,
    BearerToken,
    RefreshTokenGrant,
    ResourceEndpoint,
    RevocationEndpoint,
    TokenEndpoint,
)

from authapp.openid.id_tokens import add_id_token


class Server(AuthorizationEndpoint, TokenEndpoint, ResourceEndpoint, RevocationEndpoint):
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
        for grant in (code_grant, refresh_grant):
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
            },
            default_token_type=self.bearer,
        )
        ResourceEndpoint.__init__(self, default_token="Bearer", token_types={"Bearer": self.bearer})  # noqa: S106
        RevocationEndpoint.__init__(self, request_validator)
