"""Checks of what a signed-in client does: the handshake, lists and calls of both eras of MCP."""

from __future__ import annotations

from mcpapp.doctor.checks.check import CHATGPT, FASTMCP, INSPECTOR, PYTHON_SDK, Check
from mcpapp.doctor.report import Level

CHECKS = {
    "call.token-not-accepted": Check(
        "A fresh token is accepted.",
        "The client signs in, is refused, signs in again, and so on. Mostly the header gets lost on the way, or the "
        "token is for another audience.",
        "Let the header Authorization through. If it arrives: the resource server must accept tokens for the "
        "resource that its metadata names, and all workers must share one database.",
        proxy="authorization",
    ),
    "call.handshake-failed": Check(
        "The server answers the first message with what it is.",
        "A client that gets no answer to initialize takes it for no MCP server.",
        "Look into the log of the application. Event streams must come through unbuffered.",
    ),
    "call.list-failed": Check(
        "The tools are listed.",
        "The client shows none.",
        "Look into the log of the application.",
    ),
    "call.tool-failed": Check(
        "A tool can be called.",
        "That is what all of it is for.",
        "Look into the log of the application.",
    ),
    "call.no-tool": Check(
        "There is a tool that can be called without harm.",
        "Only tools that say they are read-only and need no argument are called.",
        "",
        (),
        Level.SKIPPED,
    ),
    "call.modern-era-missing": Check(
        "The server speaks the protocol of 2026-07-28.",
        "These clients ask server/discover; some do not fall back to the older handshake.",
        "Use an SDK that serves 2026-07-28 and the older revisions at one endpoint (mcp 2.3 or later), and let the "
        "headers MCP-Protocol-Version, Mcp-Method and Mcp-Name through.",
        (INSPECTOR, PYTHON_SDK, CHATGPT),
        Level.WARNING,
    ),
    "call.result-incomplete": Check(
        "Results of 2026-07-28 have what its clients require.",
        "Results need resultType, lists ttlMs and cacheScope too; strict clients refuse them without.",
        "Let the SDK write results; a gateway that rewrites JSON must keep members that it does not know.",
        (INSPECTOR, PYTHON_SDK, FASTMCP),
    ),
    "call.spoiled-token": Check(
        "A token that is not good is answered 401 with a challenge.",
        "That is when clients refresh without asking anybody; on anything else they report an error, or sign in anew.",
        'Answer 401 with WWW-Authenticate: Bearer error="invalid_token" to it.',
        proxy="response-headers",
    ),
    "call.step-up": Check(
        "A call that needs more is answered with what to ask for.",
        "From error=insufficient_scope and the whole scope (granted and needed) a client asks the person once more; "
        "with less it loops or loses what it had.",
        'Answer 403 with WWW-Authenticate: Bearer error="insufficient_scope", scope="…", resource_metadata="…".',
        level=Level.WARNING,
    ),
}
