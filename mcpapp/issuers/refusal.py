"""Why a token of another issuer is refused: for the log and the admin; the client hears `invalid_token` and no more."""

from __future__ import annotations

from enum import StrEnum

from mcpapp.verifier import InsufficientScope, InvalidToken, TokensUncheckable


class Refusal(StrEnum):
    """The reasons."""

    MALFORMED = "malformed"
    WRONG_ISSUER = "wrong issuer"
    WRONG_TENANT = "wrong tenant"
    BAD_ALGORITHM = "bad algorithm"
    UNKNOWN_KEY = "unknown key"
    BAD_SIGNATURE = "bad signature"
    WRONG_AUDIENCE = "wrong audience"
    EXPIRED = "expired"
    NOT_YET_VALID = "not yet valid"
    MISSING_CLAIM = "missing claim"
    APP_ONLY = "app-only"
    ROLES = "app roles"
    MISSING_SCOPE = "missing scope"
    UNKNOWN_USER = "unknown user"
    DISABLED_USER = "disabled user"
    KEYS_UNAVAILABLE = "keys unavailable"


class _Reasoned:
    """What carries a reason."""

    def __init__(self, reason: Refusal, detail: str = "", issuer: str = "") -> None:
        super().__init__(f"{reason.value} ({detail})" if detail else reason.value)  # type: ignore[call-arg]
        self.reason = reason
        self.detail = detail
        self.issuer = issuer


class Refused(_Reasoned, InvalidToken):
    """The token is not accepted (401 `invalid_token`)."""


class LacksScope(_Reasoned, InsufficientScope):
    """The token is good, and lets its client do nothing here (403 `insufficient_scope`, RFC 6750 §3.1)."""


class Unavailable(_Reasoned, TokensUncheckable):
    """Nobody can say now whether the token is good (503)."""
