"""What is told of a sign-in to its owner."""

from __future__ import annotations

import time

from mcpapp.client.sign_ins import SignIn
from mcpapp.client.visible import one_line


def described(sign_in: SignIn) -> dict[str, str]:
    """Return who is signed in where, with which scopes, until when, in words that are safe to show."""
    name = str(sign_in.client.get("client_name") or "")
    client_id = str(sign_in.client.get("client_id") or "")
    told = {
        "server": sign_in.url,
        "signed in by": sign_in.issuer or str(sign_in.server.get("token_endpoint", "")),
        "who": sign_in.who,
        "as client": f"{name} ({client_id})" if name else client_id,
        "scopes": " ".join(sign_in.scopes),
        "access": ending(sign_in),
    }
    return {name: one_line(text, 1000) for name, text in told.items() if text}


def ending(sign_in: SignIn) -> str:
    """Return how long the access lasts, and what comes after it."""
    after = "it is then renewed by itself" if sign_in.can_refresh else "then you sign in again"
    if not sign_in.tokens:
        return "has ended, sign in again"
    if sign_in.expires_at is None:
        return "for as long as the server allows"
    left = sign_in.expires_at - time.time()
    if left <= 0:
        return "has ended, and is renewed with the next call" if sign_in.can_refresh else "has ended, sign in again"
    return f"for {_in_words(left)}, {after}"


def _in_words(seconds: float) -> str:
    for size, word in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} {word}{'' if number == 1 else 's'}"
    return "less than a minute"
