"""What an authentication request (OIDC Core §3.1.2.1) has beyond an authorization request.

`prompt`, `max_age` and `login_hint` mean the same without `openid` and are in `authapp.sign_in`. `claims`, `display`,
`ui_locales` and `acr_values` are ignored, as discovery says or the specification allows.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, QueryDict

from authapp import conf
from authapp.openid import id_tokens

# OIDC Core §3.1.2.6
_REFUSED = {
    "request": "request_not_supported",
    "request_uri": "request_uri_not_supported",
    "registration": "registration_not_supported",
}


class NotSupported(ValueError):
    """A parameter cannot be served; `code` goes over the wire, the message is for the client's developer."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code


def read(parameters: QueryDict, scopes: list[str]) -> dict[str, Any]:
    """Return what of a request its code has to keep, for oauthlib's `credentials`.

    Raises:
        NotSupported: a request object, by value or reference, a registration on the way, or an endless nonce.
    """
    if "openid" not in scopes or not conf.openid():
        return {"nonce": None}
    for name, code in _REFUSED.items():
        if name in parameters:
            raise NotSupported(code, f"The parameter {name} is not supported.")
    nonce = parameters.get("nonce", "")
    if len(nonce) > id_tokens.MAXIMUM_NONCE_LENGTH:
        raise NotSupported("invalid_request", f"A nonce has {id_tokens.MAXIMUM_NONCE_LENGTH} characters at most.")
    return {"nonce": nonce or None}


def time_of(request: HttpRequest) -> int | None:
    """Return when the person of a request proved who they are, in Unix seconds; None if the site does not know."""
    at = conf.authenticated_at()(request)
    return None if at is None else int(at)


def is_for_another(request: HttpRequest) -> bool:
    """Return whether `id_token_hint` names another person than the one who is signed in; one not of ours does not."""
    text = request.GET.get("id_token_hint", "")
    hint = id_tokens.read_hint(text) if text and conf.openid() else None
    return hint is not None and not hint.is_about(request.user)
