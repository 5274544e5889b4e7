"""Checks of how a client makes itself known: RFC 7591, or a client ID metadata document."""

from __future__ import annotations

from mcpapp.doctor.checks.check import CLAUDE, CLAUDE_CODE, CODEX, FASTMCP, PYTHON_SDK, VSCODE, Check
from mcpapp.doctor.report import Level

CHECKS = {
    "registration.refused": Check(
        "The client can register.",
        "Without an identifier it cannot ask anybody to sign in.",
        "Accept what is sent, or leave out of it what is not supported and say so in the answer (RFC 7591 §2): "
        "several grants, application_type web beside loopback, and (Cursor) the scheme cursor:// as the setting "
        "PRIVATE_USE_REDIRECT_URIS has it. The log of the application has the reason.",
    ),
    "registration.limited": Check(
        "Registrations are not counted too strictly.",
        "One person who tries a few clients registers many times, and an office has one address.",
        "Allow some 30 at once from an address (in Star AUTHAPP['REGISTRATION_BURST']). If the doctor has just run a "
        "few times, it has used them up: wait a minute.",
        level=Level.WARNING,
    ),
    "registration.unusable": Check(
        "The answer to a registration has what a client needs.",
        "Clients validate it, and give up where client_id is missing or it is no JSON.",
        "Answer 201 with the client information of RFC 7591 §3.2.1 as JSON.",
    ),
    "registration.status": Check(
        "A registration is answered 201.",
        "RFC 7591 §3.2.1 says so; most clients take any success.",
        "Answer 201 Created.",
        level=Level.NOTE,
    ),
    "registration.redirect-uris-changed": Check(
        "The redirect URIs come back as registered.",
        "Where the client then asks to be sent back to is no longer registered, and it is refused.",
        "Keep redirect URIs byte for byte, or refuse the registration.",
    ),
    "registration.auth-method-changed": Check(
        "The client gets the authentication method it asked for.",
        "A client without a secret cannot authenticate in another way, and many do not read which one they got.",
        "Register token_endpoint_auth_method as asked.",
        level=Level.WARNING,
    ),
    "registration.no-secret": Check(
        "A client that shall authenticate with a secret gets one.",
        "It has nothing to send to the token endpoint.",
        "Return client_secret with the methods client_secret_post and client_secret_basic.",
        (CLAUDE, PYTHON_SDK, FASTMCP),
    ),
    "registration.secret-expiry-missing": Check(
        "A secret comes with the time it expires.",
        "RFC 7591 §3.2.1 requires client_secret_expires_at beside a secret, and some clients refuse the answer.",
        "Add client_secret_expires_at, 0 for never.",
        (CLAUDE, PYTHON_SDK, FASTMCP),
        Level.WARNING,
    ),
    "registration.no-refresh": Check(
        "The client is registered for the grant refresh_token.",
        "Without it people sign in again when the first access token ends.",
        "Register refresh_token whenever it is asked for.",
        level=Level.WARNING,
    ),
    "registration.document-not-usable": Check(
        "The client's metadata document is taken.",
        "This client prefers its document wherever the metadata says that it is taken, and does not fall back.",
        "Let the site fetch over HTTPS from the client's host (egress firewall, DNS, the rules for client hosts), or "
        "stop announcing documents (in Star CLIENT_ID_METADATA_DOCUMENTS=false): then clients register.",
        (VSCODE, CLAUDE, CLAUDE_CODE, CODEX),
    ),
    "registration.left-behind": Check(
        "The client that the doctor registered is gone again.",
        "It is of no use to anybody.",
        "Delete it, or let the site's housekeeping do it (in Star manage.py clear_unused_clients). A server that "
        "offers RFC 7592 lets a client do it.",
        (),
        Level.NOTE,
    ),
}
