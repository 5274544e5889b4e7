"""Checks of the token endpoint, of refreshing and of revoking (RFC 6749, RFC 7636, RFC 7009)."""

from __future__ import annotations

from mcpapp.doctor.checks.check import (
    CHATGPT,
    CLAUDE,
    CLAUDE_CODE,
    CURSOR,
    MCP_REMOTE,
    PYTHON_SDK,
    VSCODE,
    Check,
)
from mcpapp.doctor.report import Level

CHECKS = {
    "token.unreachable": Check(
        "The token endpoint can be reached.",
        "There is no token without it.",
        "Let the path of the token endpoint through to the application.",
        proxy="path",
    ),
    "token.server-error": Check(
        "The token endpoint does not fail.",
        "The person has signed in and consented, and the client says that it failed.",
        "Look into the log of the application, and of the proxy if it cannot reach it.",
    ),
    "token.not-json": Check(
        "The token endpoint answers JSON.",
        "Clients parse JSON; an HTML page of a proxy or a firewall ends the login.",
        "Let answers of the token endpoint through as they are.",
        proxy="error-pages",
    ),
    "token.refused": Check(
        "The code is exchanged for a token.",
        "The login ends here.",
        "The error code says why: invalid_client (how the client authenticates), invalid_grant (code, verifier or "
        "redirect_uri; a second worker with another database), invalid_target (the resource).",
    ),
    "token.type": Check(
        "The token is a Bearer token.",
        "Clients refuse a token_type that they do not know.",
        'Answer "token_type": "Bearer".',
    ),
    "token.no-expiry": Check(
        "The answer says when the token ends.",
        "Without expires_in a client notices the end only when a call fails.",
        "Add expires_in, in seconds.",
        level=Level.WARNING,
    ),
    "token.cacheable": Check(
        "Nobody may cache the answer with the tokens.",
        "A cache on the way would hand one person's token to the next.",
        "Send Cache-Control: no-store (RFC 6749 §5.1).",
        level=Level.WARNING,
        proxy="cache",
    ),
    "token.no-refresh-token": Check(
        "The client gets a refresh token, asked for by scope or not.",
        "Without one people sign in again each time the access token ends.",
        "Give every client with the grant refresh_token one, not only to those that ask for offline_access.",
    ),
    "token.scope-missing": Check(
        "The token has the scopes that were asked for and granted.",
        "Calls are then refused, and the client asks for consent again and again.",
        "Grant the scopes of the challenge, and name in `scope` what was granted (RFC 6749 §5.1).",
    ),
    "token.pkce-not-checked": Check(
        "A wrong code_verifier is refused.",
        "Whoever gets hold of a code can use it: on loopback and with private-use schemes other programs can.",
        "Check code_verifier against the S256 challenge (RFC 7636 §4.6); require PKCE of every client.",
    ),
    "token.code-replayed": Check(
        "A code works once.",
        "A code in a log or in a browser's history is as good as a login.",
        "Refuse a code that was used, and end the tokens that it gave (RFC 6749 §4.1.2). A cache in front of the "
        "token endpoint does the same harm.",
        proxy="cache",
    ),
    "token.invalid-client-status": Check(
        "A client that is not known is answered 401 invalid_client.",
        "Only that makes Claude register again; with 400 its connector stays broken for good.",
        "Answer 401 with the error invalid_client (RFC 6749 §5.2) to an unknown client_id.",
        (CLAUDE, PYTHON_SDK, CURSOR),
    ),
    "token.root-alias": Check(
        "The token endpoint is at /token as well.",
        "After a restart the Python SDK has forgotten the metadata and refreshes there, or has people sign in again.",
        "Serve the token endpoint at <ORIGIN>/token too.",
        (PYTHON_SDK,),
        Level.WARNING,
    ),
    "refresh.refused": Check(
        "The refresh token brings a new access token.",
        "Each time the access token ends the person has to sign in.",
        "Keep refresh tokens alive for weeks (in Star 30 days, sliding), in a database that all workers share.",
    ),
    "refresh.no-new-token": Check(
        "Refreshing brings another access token.",
        "The old one ends, whatever the answer says.",
        "Issue a new access token at each refresh.",
    ),
    "refresh.scope-lost": Check(
        "Refreshing loses no scope.",
        "The client is refused later, and asks the person again.",
        "Give the scopes of the first grant where the refresh names none (RFC 6749 §6).",
        level=Level.WARNING,
    ),
    "refresh.old-token-ends-all": Check(
        "Two refreshes at once do not end the login.",
        "Windows and processes of one client refresh at the same moment; if the second is taken for a theft, people "
        "are signed out at random.",
        "Let the refresh token that was just replaced work for a moment longer.",
        (CLAUDE_CODE, VSCODE, MCP_REMOTE, CHATGPT),
        Level.WARNING,
    ),
    "revocation.not-offered": Check(
        "Tokens can be revoked.",
        "A client that signs out leaves tokens behind that work until they end.",
        "Offer a revocation_endpoint (RFC 7009).",
        level=Level.NOTE,
    ),
    "revocation.refused": Check(
        "The client may revoke its token.",
        "Signing out fails.",
        "Answer 200, with the client's own authentication, to known and unknown tokens alike (RFC 7009 §2.2).",
        level=Level.WARNING,
    ),
    "revocation.token-still-works": Check(
        "A revoked token is refused at once.",
        "Whoever signed out, or was cut off, still has access. Mostly a cache of verified tokens is to blame.",
        "Ask at each call whether the token lives, or have the cache told of revocations.",
    ),
    "revocation.refresh-still-works": Check(
        "A revoked refresh token brings nothing.",
        "The login lives on after signing out.",
        "End the whole grant when its refresh token is revoked (RFC 7009 §2.1).",
    ),
}
