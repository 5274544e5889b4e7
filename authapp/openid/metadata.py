"""What discovery says beyond RFC 8414 (OIDC Discovery §3, RP-Initiated Logout §2.1)."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from authapp import conf
from authapp.openid.claims import SUPPORTED


def facts(request: HttpRequest) -> dict[str, Any]:
    """Return the members for both documents; none where OpenID Connect is switched off."""
    if not conf.openid():
        return {}
    return {
        "userinfo_endpoint": conf.absolute_url(request, "oauth2_provider:user-info"),
        "jwks_uri": conf.absolute_url(request, "oauth2_provider:jwks-info"),
        "end_session_endpoint": conf.absolute_url(request, "oauth2_provider:rp-initiated-logout"),
        "subject_types_supported": [conf.subject_type()],
        "id_token_signing_alg_values_supported": list(conf.ID_TOKEN_ALGORITHMS),
        "response_modes_supported": ["query"],
        "claim_types_supported": ["normal"],
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", *SUPPORTED[1:]],
        "claims_parameter_supported": False,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,  # left out, it would mean true
    }
