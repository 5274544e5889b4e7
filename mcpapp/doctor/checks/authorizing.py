"""Checks of the authorization endpoint: who signs in, who consents, and what goes back (RFC 6749 §4.1, RFC 9207)."""

from __future__ import annotations

from mcpapp.doctor.checks.check import CLAUDE_CODE, CODEX, FASTMCP, GEMINI, MCP_REMOTE, PYTHON_SDK, VSCODE, Check
from mcpapp.doctor.report import Level

CHECKS = {
    "site.no-access": Check(
        "The doctor can sign in.",
        "It makes a person only at the site that it is started in; what comes after the sign-in was not looked at.",
        "Start it in the folder of that site, with that site's settings.",
        (),
        Level.SKIPPED,
    ),
    "site.session-not-taken": Check(
        "The site takes the session that was made for it here.",
        "This checkout is not the site that answers there: its database or its SECRET_KEY is another, or something on "
        "the way removes cookies.",
        "Start the doctor with the settings of the deployed site (DATABASE_URL, SECRET_KEY, PUBLIC_URL), and look "
        "whether all workers have the same.",
        proxy="request-headers",
    ),
    "site.person-left": Check(
        "The person that the doctor made is gone again.",
        "They have no password and no right, but are of no use.",
        "Delete the account in the admin; the next run of the doctor tries again.",
        (),
        Level.WARNING,
    ),
    "authorization.unreachable": Check(
        "The authorization endpoint can be reached.",
        "That is where the person's browser goes.",
        "Let its path through to the application.",
        proxy="path",
    ),
    "authorization.refused": Check(
        "The client's request to sign in is accepted.",
        "The person sees an error page and the client waits in vain.",
        "The page says what is wrong; the log of the application says more.",
    ),
    "authorization.error-returned": Check(
        "The client is not sent back with an error.",
        "The client shows it as a failed login.",
        "The error says what of the request is not accepted: mostly a scope or the resource.",
    ),
    "authorization.nobody-asked": Check(
        "A code is given to nobody who has not signed in.",
        "Whoever has the URL gets tokens, as if there were no sign-in at all.",
        "Ask for a sign-in and for consent before a code is given (fine for a demonstration on one's own machine).",
    ),
    "authorization.no-consent-form": Check(
        "The person is asked for consent in a form.",
        "There is nothing to press, so nobody gets any further.",
        "Show a form with a button named allow, as templates/authapp/consent.html has it; look into the log if the "
        "page is an error.",
    ),
    "authorization.asked-twice": Check(
        "The person is asked once.",
        "After Allow comes another question: people think that it did not work, and give up.",
        "Go back to the client right after consent.",
        level=Level.WARNING,
    ),
    "authorization.form-action": Check(
        "The page's policy lets its form lead back to the client.",
        "Chrome holds form-action against every redirect after the form: the Allow button does nothing.",
        "Leave form-action out of the consent page's Content-Security-Policy, or name the redirect URI in it.",
    ),
    "authorization.wrong-place": Check(
        "The person is sent back to the client's redirect URI.",
        "The code never reaches the client.",
        "Redirect to the redirect_uri of the request, byte for byte.",
    ),
    "authorization.state-changed": Check(
        "state comes back as it was sent.",
        "Clients refuse another one: it is their protection against forged answers.",
        "Return state byte for byte, percent-encoded once.",
    ),
    "authorization.iss-missing": Check(
        "The response names its issuer.",
        "Where iss is announced, and for Gemini CLI always, a response without it is refused (RFC 9207).",
        "Add iss to every authorization response, errors included.",
        (GEMINI, PYTHON_SDK, FASTMCP, CODEX),
    ),
    "authorization.iss-wrong": Check(
        "The issuer in the response is the one of the metadata.",
        "Clients compare the two and take another one for a mix-up attack (RFC 9207 §2.4).",
        "Send the issuer exactly as the metadata spells it; with a proxy in front, set PUBLIC_URL.",
    ),
    "authorization.code-needs-decoding": Check(
        "The code can be read without decoding it.",
        "VS Code cuts it out of the URL as it stands.",
        "Make codes of letters, digits, - and _ only.",
        (VSCODE,),
        Level.WARNING,
    ),
    "authorization.port-not-free": Check(
        "A client on loopback may come back on any port.",
        "These listen on a port that is free at the moment and keep their registration (RFC 8252 §7.3).",
        "Compare loopback redirect URIs without the port, for 127.0.0.1, [::1] and localhost "
        "(django-oauth-toolkit: ALLOW_LOCALHOST_LOOPBACK).",
        (VSCODE, CLAUDE_CODE, CODEX, GEMINI, MCP_REMOTE, FASTMCP),
    ),
    "authorization.stale-client": Check(
        "A client that is not known (any more) is told so with an error page.",
        "fastmcp asks ahead with its stored identifier and registers anew on a 400; on anything else it stays broken.",
        "Answer 400 or 401 to an unknown client_id, before anybody signs in; never redirect.",
        (FASTMCP,),
        Level.WARNING,
    ),
}
