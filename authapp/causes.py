"""Why an attempt to connect does not go on, in plain words, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from authapp import conf
from authapp.models import ConnectionAttempt

PATIENCE = timedelta(minutes=10)
"""How long an attempt may stand still before it counts as stuck."""

Text = str | Promise
_SEE_CLIENT = _("Let the person remove the server from the client and add it again, so that it registers anew.")
_PROXY = _(
    "Look at the proxy, the firewall and the CDN in front of the site: they must hand on the Authorization header and "
    "let the client's user agent through."
)

PROBLEMS: dict[str, tuple[Text, Text]] = {
    "registration_refused": (
        _("The registration was refused (%(error)s): %(description)s"),
        _("The client sends metadata that is not accepted; its author has to change it, or the settings allow it."),
    ),
    "unknown_client": (
        _("The client uses the identifier %(client_id)s, which is not known here (any more)."),
        _SEE_CLIENT,
    ),
    "client_document": (
        _("The document that names the client could not be used: %(client_id)s %(description)s"),
        _("The site must be able to reach it, and its host must not be denied (client hosts)."),
    ),
    "redirect_uri": (
        _("The redirect URI is not registered: %(redirect_uri)s"),
        format_lazy("{} {}", _("It must equal a registered one, but for the port on loopback."), _SEE_CLIENT),
    ),
    "authorize_invalid_target": (
        _("It asked for the resource %(resource)s; this server is %(ours)s."),
        _("The URL in the client must be exactly that of this server, scheme and path included."),
    ),
    "authorize_invalid_scope": (
        _("It asked for scopes that are not offered: %(scope)s"),
        _("Remove the scopes from the client's settings, or add them to the site's."),
    ),
    "authorize_invalid_request": (
        _("Its authorization request is not in order: %(description)s"),
        _("The client is too old or at fault: it must use PKCE with S256 (OAuth 2.1)."),
    ),
    "consent_refused": (_("The person said no."), _("Nothing is wrong. They may connect again at any time.")),
    "client_disabled": (_("The client is disabled."), _("Enable it in the list of clients if it may connect.")),
    "client_authentication": (
        _("The client did not prove who it is: %(description)s"),
        format_lazy("{} {}", _("Its secret or key is wrong or missing."), _SEE_CLIENT),
    ),
    "code_expired": (
        _("It fetched its tokens too late: the code had expired."),
        _("Compare the clocks, and let the person sign in again without waiting."),
    ),
    "code_unknown": (
        _("The code it sent is unknown, or was used before."),
        _("A client or proxy sends the token request twice, or mixes two sign-ins up. Sign in again."),
    ),
    "code_refused": (
        _("Its code was not accepted: the PKCE verifier does not fit, or the account is not active."),
        _("The client lost what it kept since the sign-in began, for instance by a restart. Sign in again."),
    ),
    "token_redirect_uri": (
        _("The redirect URI of its token request is not the one it signed in with."),
        _("The client is at fault: both must be equal, letter by letter."),
    ),
    "token_invalid_target": (
        _("It asked the token endpoint for the resource %(resource)s; this server is %(ours)s."),
        _("The URL in the client must be exactly that of this server, scheme and path included."),
    ),
    "refresh_refused": (
        _("Its login has ended: the refresh token was revoked, replayed or is too old."),
        _("The client has to send the person to sign in again; one that does not must be reconnected by hand."),
    ),
    "authorization_dropped": (
        _("Tokens were issued, but the client's requests to the MCP endpoint come without an Authorization header."),
        _PROXY,
    ),
    "token_no_token": (_("Its requests come without a token."), _PROXY),
    "token_expired": (
        _("It goes on with an access token that has expired, and does not refresh it."),
        _("Restart the client; it may need the scope offline_access."),
    ),
    "token_unknown": (_("It goes on with a token that was revoked."), _SEE_CLIENT),
    "token_other_resource": (
        _("Its token is for another resource: %(detail)s"),
        _("The URL in the client must be exactly that of this server, scheme and path included."),
    ),
    "token_inactive": (_("The person's account is not active."), _("Activate the account if it may be used.")),
    "token_client_disabled": (_("The client is disabled."), _("Enable it in the list of clients if it may connect.")),
    "token_app_only": (_("It calls without a person, and only people may call."), _("See APP_ONLY_TOKENS.")),
    "token_scopes": (_("Its token has none of the scopes of this server."), _SEE_CLIENT),
    "calls_fail": (
        _("It is connected, but its calls of tools fail (%(reason)s)."),
        _("See the list of tool calls, by this client, for each of them."),
    ),
}

IDLE: dict[str, tuple[Text, Text]] = {
    "discovered_at": (
        _("It read where to sign in, and did not register."),
        _(
            "A client that is set up already may only have looked. Otherwise the client cannot register by itself: "
            "give it a client ID made in the list of clients."
        ),
    ),
    "registered_at": (
        _("It registered, and no browser came to sign in."),
        _("The client could not open a browser, or nobody followed it. Let the person press Connect once more."),
    ),
    "shown_at": (
        _("The sign-in page was shown, and nobody signed in."),
        _("The person has no account here, forgot the password, or closed the window."),
    ),
    "signed_in_at": (
        _("The person signed in, and did not answer on the consent page."),
        _("The window was closed. Let them connect once more."),
    ),
    "consented_at": (
        _(
            "The person allowed it, and the client never fetched its tokens: the browser could not reach %(leads_to)s, "
            "or the client cannot reach the token endpoint."
        ),
        _(
            "On a remote machine or in a container the callback port must be forwarded. Otherwise see whether the "
            "client's machine reaches this site."
        ),
    ),
    "token_issued_at": (
        _(
            "Tokens were issued and never used: something between the client and the MCP endpoint drops the "
            "Authorization header or blocks its user agent."
        ),
        _PROXY,
    ),
}


@dataclass(frozen=True, slots=True)
class Cause:
    """What is said of an attempt."""

    state: str
    """`stuck`, `waiting`, `connected`, `healthy` or `retried`."""
    cause: str = ""
    fix: str = ""


def last_stage(attempt: ConnectionAttempt) -> str:
    """Return the field of the furthest stage that an attempt reached; empty for one that only failed."""
    reached = [field for field, _name in ConnectionAttempt.STAGES if getattr(attempt, field) is not None]
    return reached[-1] if reached else ""


def cause_of(attempt: ConnectionAttempt) -> Cause:
    """Return how an attempt stands, why, and what to do."""
    if attempt.problem:
        cause, fix = PROBLEMS.get(attempt.problem, (_("It was refused (%(problem)s): %(description)s"), ""))
        return Cause("retried" if attempt.was_retried else "stuck", _filled(cause, attempt), _filled(fix, attempt))
    if attempt.was_retried and attempt.first_call_at is None:
        return Cause("retried")
    if attempt.healthy_at is not None:
        return Cause("healthy")
    stage = last_stage(attempt)
    if stage == "first_call_at":
        return Cause("connected")
    if attempt.last_at > timezone.now() - PATIENCE:
        return Cause("waiting")
    cause, fix = IDLE.get(stage, ("", ""))
    return Cause("stuck", _filled(cause, attempt), _filled(fix, attempt))


def _filled(text: Text, attempt: ConnectionAttempt) -> str:
    known: dict[str, Any] = dict.fromkeys(
        ("error", "description", "client_id", "redirect_uri", "scope", "leads_to", "detail", "reason"), ""
    )
    known |= {"client_id": attempt.client_id, "ours": " / ".join(conf.resources()), "resource": ""}
    detail = {name: ", ".join(value) if isinstance(value, list) else value for name, value in attempt.detail.items()}
    return str(text) % {**known, "problem": attempt.problem, **detail}
