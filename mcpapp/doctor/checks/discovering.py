"""Checks of the first request and of the metadata (RFC 9728, RFC 8414)."""

from __future__ import annotations

from mcpapp.doctor.checks.check import (
    CHATGPT,
    CLAUDE,
    CLAUDE_CODE,
    CODEX,
    CURSOR,
    FASTMCP,
    GEMINI,
    INSPECTOR,
    MCP_REMOTE,
    PYTHON_SDK,
    VSCODE,
    Check,
)
from mcpapp.doctor.report import Level

_ONE_URL = (
    "Set PUBLIC_URL (and MCP_PATH) to what people paste, and restart: issuer, resource and links follow it alone."
)

CHECKS = {
    "endpoint.unreachable": Check(
        "The URL can be reached.",
        "Nothing works without it.",
        "Look at the name in the DNS, the firewall, the certificate and whether the server runs.",
    ),
    "endpoint.redirects": Check(
        "The URL answers itself; it does not redirect.",
        "A redirect turns POST into GET or loses the token, and clients compare the address with the pasted one.",
        "Serve the URL without a redirect, or paste the address that it leads to.",
        proxy="slash",
    ),
    "endpoint.not-found": Check(
        "There is something at the URL.",
        "An MCP server that does not exist asks nobody to sign in.",
        "Check the path (MCP_PATH), and that the proxy hands it on.",
        proxy="path",
    ),
    "endpoint.server-error": Check(
        "The server does not fail at the first request.",
        "Clients take it for an outage and give up.",
        "Look into the log of the application, and of the proxy if it cannot reach it.",
    ),
    "endpoint.blocked": Check(
        "No firewall or error page stands in front of the server.",
        "A client is a program: it passes no browser check and reads no HTML, so it never learns where to sign in.",
        "Let the paths of the server through the firewall without challenges for browsers (Cloudflare: a WAF rule "
        "that skips bot checks), by path, never by user agent.",
        proxy="error-pages",
    ),
    "endpoint.open": Check(
        "A caller without a token is asked to sign in.",
        "Most clients sign in only when they are refused with 401; tools that need a person may stay out of reach.",
        "Answer 401 with a challenge to whoever has no token. If tools are meant to be public, all is well.",
        level=Level.NOTE,
    ),
    "challenge.missing": Check(
        "A request without a token is answered 401 with a challenge.",
        "The challenge (RFC 6750 §3) is how a client learns that it can sign in here; without one it reports an error.",
        "Answer 401 with WWW-Authenticate to GET, HEAD and POST alike, before the method is looked at.",
        proxy="response-headers",
    ),
    "challenge.not-bearer": Check(
        "The challenge is for Bearer tokens.",
        "Clients look for the scheme Bearer. With Basic first, some ask the person for a password.",
        "Take HTTP authentication off the proxy, so that the application's challenge comes through.",
        proxy="authorization",
    ),
    "challenge.no-resource-metadata": Check(
        "The challenge says where the metadata is.",
        "Without resource_metadata (RFC 9728 §5.1) clients guess paths, and do not all guess the same ones.",
        'Send WWW-Authenticate: Bearer resource_metadata="<ORIGIN>/.well-known/oauth-protected-resource<PATH>".',
        (VSCODE, CURSOR, CLAUDE, CODEX, CHATGPT, MCP_REMOTE, PYTHON_SDK, FASTMCP),
        Level.WARNING,
    ),
    "challenge.foreign-resource-metadata": Check(
        "The metadata that the challenge names is on the host of the URL.",
        "The application takes its own address from what the proxy sends, and names one that people cannot reach.",
        _ONE_URL,
        proxy="host",
    ),
    "challenge.no-scope": Check(
        "The challenge names the scope to ask for.",
        "These clients ask for what it names; without it they ask for everything the resource lists, or for nothing.",
        "Add scope=\"…\" to the challenge (RFC 6750 §3); in Star that is MCPAPP['DEFAULT_SCOPES'].",
        (VSCODE, CURSOR, CLAUDE, CODEX, MCP_REMOTE, PYTHON_SDK, FASTMCP),
        Level.WARNING,
    ),
    "discovery.resource-metadata-missing": Check(
        "The protected resource metadata can be fetched.",
        "It names the authorization server (RFC 9728); without it there is nowhere to sign in.",
        "Serve <ORIGIN>/.well-known/oauth-protected-resource<PATH> from the application.",
        proxy="well-known",
    ),
    "discovery.path-form-missing": Check(
        "The metadata is at the path that belongs to the URL.",
        "This client goes there directly and never sees the challenge (RFC 9728 §3.1).",
        "Serve <ORIGIN>/.well-known/oauth-protected-resource<PATH>.",
        (CLAUDE_CODE,),
        proxy="well-known",
    ),
    "discovery.root-form-missing": Check(
        "The metadata is at the root form as well.",
        "Older clients know no other place.",
        "Serve <ORIGIN>/.well-known/oauth-protected-resource too.",
        (MCP_REMOTE, FASTMCP, CHATGPT),
        Level.WARNING,
        proxy="well-known",
    ),
    "discovery.resource-metadata-malformed": Check(
        "The protected resource metadata is a JSON object.",
        "Clients give up on anything else, an HTML page with status 200 above all.",
        "Let the application answer this path; a page for every unknown path must not cover it.",
        proxy="well-known",
    ),
    "discovery.resource-not-equal": Check(
        "The metadata's resource is the URL, byte for byte.",
        "Clients compare the two (RFC 9728 §3.3); a slash at the end was enough to make 11 of 14 give up.",
        "Paste the URL that the metadata names, or make it name this one. " + _ONE_URL,
        (VSCODE, CURSOR, CLAUDE, CLAUDE_CODE, CODEX, GEMINI, INSPECTOR, MCP_REMOTE, PYTHON_SDK, FASTMCP),
    ),
    "discovery.documents-differ": Check(
        "All forms of the metadata say the same.",
        "Which one is read depends on the client, so it works with some and not with others.",
        "Serve one document at all of them; a cache may hold an old one.",
        level=Level.WARNING,
    ),
    "discovery.no-authorization-server": Check(
        "The metadata names an authorization server.",
        "MCP asks for at least one in authorization_servers; clients do not look elsewhere.",
        "List the issuer in authorization_servers (in Star MCPAPP['AUTHORIZATION_SERVERS']).",
    ),
    "discovery.resource-scopes-missing": Check(
        "The metadata lists the scopes of the resource.",
        "These clients ask for all that it lists, and otherwise for none.",
        "List them in scopes_supported (in Star MCPAPP['SCOPES_SUPPORTED']).",
        (CLAUDE_CODE, INSPECTOR, VSCODE),
        Level.WARNING,
    ),
    "discovery.offline-access-in-resource": Check(
        "offline_access is not among the scopes of the resource.",
        "It is the authorization server's; MCP says that a resource should not list it.",
        "Take it out of the resource's scopes_supported and of its challenge; leave it in the issuer's metadata.",
        level=Level.NOTE,
    ),
    "discovery.insecure-issuer": Check(
        "The issuer's address is encrypted.",
        "Clients send no code or token in clear. Often TLS ends at the proxy and the application thinks it is http.",
        _ONE_URL,
        proxy="forwarded",
    ),
    "discovery.server-metadata-missing": Check(
        "The authorization server's metadata can be fetched.",
        "It says where to register, to sign in and to get tokens (RFC 8414).",
        "Serve /.well-known/oauth-authorization-server at the issuer.",
        proxy="well-known",
    ),
    "discovery.openid-form-missing": Check(
        "The metadata is at OpenID Connect's path as well.",
        "Some clients look at /.well-known/openid-configuration first.",
        "Serve the same document there; it costs nothing.",
        (CHATGPT, VSCODE),
        Level.NOTE,
    ),
    "discovery.issuer-not-equal": Check(
        "The metadata's issuer is the address it was fetched for.",
        "Clients must refuse another one (RFC 8414 §3.3): it could be an attacker's.",
        "Name one issuer everywhere, with the same scheme, host and slash. " + _ONE_URL,
        proxy="host",
    ),
    "discovery.endpoint-missing": Check(
        "The metadata names the authorization and the token endpoint.",
        "Clients do not guess them.",
        "Add authorization_endpoint and token_endpoint to the metadata (RFC 8414 §2).",
    ),
    "discovery.foreign-endpoint": Check(
        "The endpoints are on the issuer's host.",
        "The application takes its address from what the proxy sends; people's browsers cannot reach the inner one.",
        _ONE_URL,
        proxy="host",
    ),
    "discovery.insecure-endpoint": Check(
        "The endpoints' addresses are encrypted.",
        "Clients refuse to send codes and tokens in clear.",
        _ONE_URL,
        proxy="forwarded",
    ),
    "discovery.no-s256": Check(
        "The metadata announces PKCE with S256.",
        "MCP clients must refuse to go on without it: code_challenge_methods_supported is how they know.",
        'Add "code_challenge_methods_supported": ["S256"] to the metadata, and check the challenge.',
    ),
    "discovery.no-code": Check(
        "The metadata announces the response type code.",
        "It is the only one that MCP clients use.",
        'Have "code" in response_types_supported.',
    ),
    "discovery.refresh-not-listed": Check(
        "The metadata lists the grant refresh_token.",
        "A client that registers for the grants listed gets no refresh token, and people sign in every hour.",
        'Have "authorization_code" and "refresh_token" in grant_types_supported.',
        (VSCODE,),
        Level.WARNING,
    ),
    "discovery.no-public-clients": Check(
        "Clients without a secret are welcome.",
        "A program on a person's machine cannot keep one; these register with the method none, or look for it first.",
        'Have "none" in token_endpoint_auth_methods_supported.',
        (VSCODE, CURSOR, CLAUDE, CLAUDE_CODE, CODEX, GEMINI, CHATGPT, INSPECTOR),
        Level.WARNING,
    ),
    "discovery.no-way-to-register": Check(
        "A client that nobody knows can identify itself.",
        "Without a registration endpoint and without client ID metadata documents somebody has to enter each client.",
        "Offer dynamic client registration (registration_endpoint; in Star OAUTH2_PROVIDER['DCR_ENABLED']), or "
        "client ID metadata documents (in Star CLIENT_ID_METADATA_DOCUMENTS=true).",
    ),
    "discovery.iss-not-announced": Check(
        "The metadata announces iss in authorization responses.",
        "Gemini CLI looks for iss in every response, and others where it is announced (RFC 9207).",
        'Send iss, errors included, and "authorization_response_iss_parameter_supported": true.',
        (GEMINI,),
        Level.WARNING,
    ),
    "discovery.scopes-unknown": Check(
        "The authorization server knows the scopes of the resource.",
        "A client that asks for a scope which the other side does not know is answered invalid_scope.",
        "List the resource's scopes in the issuer's scopes_supported too.",
        level=Level.WARNING,
    ),
    "discovery.no-offline-access": Check(
        "The authorization server lists offline_access.",
        "Some ask for it to get a refresh token. If you give refresh tokens anyway, all is well.",
        "List offline_access in the issuer's scopes_supported.",
        (CLAUDE_CODE, CODEX, INSPECTOR, MCP_REMOTE, PYTHON_SDK, FASTMCP),
        Level.NOTE,
    ),
}
