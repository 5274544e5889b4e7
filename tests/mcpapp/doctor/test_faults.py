"""One thing is broken in front of a real server: exactly that is found, with whom it matters to and what mends it.

The positive control is test_healthy.py: there each of these checks passes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from mcpapp.doctor.report import Finding, Level, Report
from tests.mcpapp.doctor.conftest import Clinic, wrong
from tests.mcpapp.doctor.proxy import Asked, Fault, Forward, Reply

pytestmark = pytest.mark.live

FOLLOWS = {
    "challenge.missing": {"call.spoiled-token"},
    "challenge.not-bearer": {"call.spoiled-token", "call.token-not-accepted"},
    "challenge.no-resource-metadata": {"call.step-up"},
    "endpoint.redirects": {"call.handshake-failed", "call.spoiled-token"},
    "endpoint.blocked": {"call.token-not-accepted", "call.spoiled-token"},
    "endpoint.server-error": {"call.handshake-failed", "call.spoiled-token"},
    "endpoint.not-found": {"discovery.path-form-missing", "discovery.resource-not-equal"},
    "discovery.resource-not-equal": {"discovery.path-form-missing", "endpoint.not-found"},
    "discovery.path-form-missing": {"discovery.resource-metadata-missing"},
    "discovery.resource-metadata-missing": {"discovery.server-metadata-missing"},
    "discovery.server-metadata-missing": {"discovery.resource-metadata-missing"},
    "discovery.resource-metadata-malformed": {"discovery.resource-metadata-missing"},
    "discovery.issuer-not-equal": {"authorization.iss-wrong"},
    "discovery.foreign-endpoint": {"discovery.insecure-endpoint"},
    "discovery.insecure-endpoint": {"discovery.foreign-endpoint"},
    "registration.auth-method-changed": {"registration.no-secret"},
    "registration.no-secret": {"registration.auth-method-changed"},
    "authorization.refused": {"authorization.port-not-free"},
    "authorization.code-needs-decoding": {"token.refused"},
    "token.pkce-not-checked": {"token.code-replayed"},
    "refresh.no-new-token": {"call.token-not-accepted"},
    "revocation.token-still-works": {"revocation.refresh-still-works"},
    "revocation.refresh-still-works": {"revocation.token-still-works"},
}
"""What else is wrong where something is."""

RESOURCE_METADATA = "/.well-known/oauth-protected-resource"
SERVER_METADATA = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")
TOKEN = ("/o/token/", "/token")


def answering(reply: Callable[[Asked], Reply], *paths: str, methods: tuple[str, ...] = ()) -> Fault:
    """Answer these paths oneself."""

    def fault(asked: Asked, forward: Forward) -> Reply:
        is_it = asked.path in paths and (not methods or asked.method in methods)
        return reply(asked) if is_it else forward(asked)

    return fault


def changing(change: Callable[[Asked, Reply], Reply], *paths: str) -> Fault:
    """Change what these paths answer."""

    def fault(asked: Asked, forward: Forward) -> Reply:
        reply = forward(asked)
        return change(asked, reply) if asked.path in paths else reply

    return fault


def resource_metadata(**members: Any) -> Fault:
    paths = (RESOURCE_METADATA, f"{RESOURCE_METADATA}/star")
    return changing(lambda asked, reply: reply.saying(**members), *paths)


def server_metadata(**members: Any) -> Fault:
    return changing(lambda asked, reply: reply.saying(**members), *SERVER_METADATA)


def token_response(**members: Any) -> Fault:
    return changing(lambda asked, reply: reply.saying(**members) if reply.status == 200 else reply, *TOKEN)


def redirect(change: Callable[[dict[str, str]], dict[str, str]]) -> Fault:
    """Change the parameters with which a person is sent back to the client."""

    def altered(asked: Asked, reply: Reply) -> Reply:
        location = reply.header("location")
        if "code=" not in location:
            return reply
        parts = urlsplit(location)
        query = urlencode(change(dict(parse_qsl(parts.query))))
        return reply.with_header("Location", parts._replace(query=query).geturl())

    return changing(altered, "/o/authorize/")


def found(report: Report, check: str, *titles: str, level: Level = Level.ERROR) -> Finding:
    """Return the finding of a check that must be there, for these clients, with a reason and a fix.

    Nothing else is wrong but what follows from it.
    """
    assert set(wrong(report)) - {check} <= FOLLOWS.get(check, set())
    finding: Finding = wrong(report)[check]
    assert finding.level is level
    concerned = {title for known in report.findings if known.check == check for title in known.matters_to}
    assert set(titles) <= concerned, finding
    assert finding.saw
    assert finding.why
    assert finding.fix
    return finding


# --- The first request ---------------------------------------------------------------------------------------------


async def test_a_challenge_that_a_proxy_strips(clinic: Clinic) -> None:
    report = await clinic.examined(changing(lambda asked, reply: reply.without("www-authenticate"), "/star"), "vscode")
    finding = found(report, "challenge.missing", "VS Code")
    assert "proxy_hide_header" in finding.fix
    assert report.clients == {"VS Code": "first request"}


async def test_get_answered_405_without_a_challenge(clinic: Clinic) -> None:
    fault = answering(lambda asked: Reply.of_json({"detail": "no"}, 405), "/star", methods=("GET",))
    report = await clinic.examined(fault, "codex", "vscode", "mcp-remote")
    finding = found(report, "challenge.missing", "Codex", "mcp-remote")
    assert "VS Code" not in finding.matters_to
    assert finding.saw == "GET is answered 405, no."
    assert report.clients == {"Codex": "first request", "VS Code": "", "mcp-remote": "first request"}


async def test_head_answered_405_without_a_challenge(clinic: Clinic) -> None:
    report = await clinic.examined(answering(lambda asked: Reply(405), "/star", methods=("HEAD",)), "gemini", "vscode")
    assert found(report, "challenge.missing", "Gemini CLI").matters_to == ("Gemini CLI",)
    assert report.clients == {"VS Code": "", "Gemini CLI": "first request"}


async def test_a_method_that_is_never_answered(clinic: Clinic) -> None:
    report = await clinic.examined(answering(lambda asked: Reply(0), "/star", methods=("HEAD",)), "gemini", "vscode")
    assert found(report, "endpoint.unreachable").matters_to == ("Gemini CLI",)
    assert report.clients == {"VS Code": "", "Gemini CLI": "first request"}


async def test_what_is_broken_for_another_client_than_those_asked_about_is_a_note(clinic: Clinic) -> None:
    """With `--as vscode` a fault that only Codex meets is told, and nothing is wrong."""
    fault = changing(lambda asked, reply: Reply(404), f"{RESOURCE_METADATA}/star")
    report = await clinic.examined(fault, "mcp-remote")
    assert "discovery.path-form-missing" not in wrong(report)
    assert [f.level for f in report.findings if f.check == "discovery.path-form-missing"] == [Level.NOTE]


async def test_a_redirect_to_the_slash(clinic: Clinic) -> None:
    to_slash = Reply(308, [("Location", f"{clinic.url}/")])
    report = await clinic.examined(answering(lambda asked: to_slash, "/star"), "vscode")
    finding = found(report, "endpoint.redirects", "VS Code")
    assert finding.saw == f"POST is answered 308 to {clinic.url}/."
    assert all(proxy in finding.fix for proxy in ("nginx", "Caddy", "Traefik"))


async def test_an_error_page_of_a_firewall(clinic: Clinic) -> None:
    """As Cloudflare answers what it takes for a bot."""
    fault = answering(lambda asked: Reply.page("Just a moment...", 403), "/star", methods=("POST",))
    report = await clinic.examined(fault, "claude")
    finding = found(report, "endpoint.blocked", "Claude")
    assert finding.saw == "POST is answered 403, a page “Just a moment...”."


async def test_a_firewall_that_knows_one_user_agent(clinic: Clinic) -> None:
    def fault(asked: Asked, forward: Forward) -> Reply:
        is_blocked = asked.header("user-agent") == "Claude-User"
        return Reply.page("Blocked", 403) if is_blocked else forward(asked)

    report = await clinic.examined(fault, "claude", "vscode")
    assert found(report, "endpoint.blocked").matters_to == ("Claude",)
    assert report.clients == {"VS Code": "", "Claude": "first request"}


async def test_a_server_that_fails_at_the_first_request(clinic: Clinic) -> None:
    fault = answering(lambda asked: Reply.of_json({"error": "server_error"}, 502), "/star")
    found(await clinic.examined(fault, "vscode"), "endpoint.server-error", "VS Code")


async def test_a_path_at_which_there_is_nothing_names_the_url_that_was_meant(clinic: Clinic) -> None:
    report = await clinic.examined(url=f"{clinic.proxy.url}/mcp")
    found(report, "endpoint.not-found")
    assert clinic.url in found(report, "discovery.resource-not-equal").saw
    assert set(report.clients.values()) == {"first request"}
    assert not any(asked.path.startswith("/o/") for asked in clinic.proxy.seen), "nothing is registered for it"


async def test_basic_authentication_of_a_proxy(clinic: Clinic) -> None:
    basic = Reply(401, [("WWW-Authenticate", 'Basic realm="staging"')])
    report = await clinic.examined(answering(lambda asked: basic, "/star"), "cursor")
    finding = found(report, "challenge.not-bearer", "Cursor")
    assert "basic" in finding.saw


async def test_a_challenge_without_the_address_of_the_metadata(clinic: Clinic) -> None:
    def change(asked: Asked, reply: Reply) -> Reply:
        has_it = "resource_metadata" in reply.header("www-authenticate")
        return reply.with_header("WWW-Authenticate", 'Bearer scope="mcp:tools"') if has_it else reply

    report = await clinic.examined(changing(change, "/star"), "vscode")
    found(report, "challenge.no-resource-metadata", "VS Code", "Codex", level=Level.WARNING)


async def test_a_challenge_that_names_an_inner_host(clinic: Clinic) -> None:
    def change(asked: Asked, reply: Reply) -> Reply:
        challenge = reply.header("www-authenticate").replace(clinic.proxy.url, "http://app.internal:8000")
        return reply.with_header("WWW-Authenticate", challenge) if challenge else reply

    report = await clinic.examined(changing(change, "/star"), "vscode")
    finding = found(report, "challenge.foreign-resource-metadata", "VS Code")
    assert "PUBLIC_URL" in finding.fix


async def test_a_challenge_without_scope(clinic: Clinic) -> None:
    def change(asked: Asked, reply: Reply) -> Reply:
        challenge = reply.header("www-authenticate").replace(', scope="mcp:tools"', "")
        return reply.with_header("WWW-Authenticate", challenge) if challenge else reply

    report = await clinic.examined(changing(change, "/star"), "vscode")
    found(report, "challenge.no-scope", "VS Code", "Cursor", level=Level.WARNING)


# --- Discovery -----------------------------------------------------------------------------------------------------


async def test_no_metadata_at_the_path_of_the_resource(clinic: Clinic) -> None:
    report = await clinic.examined(answering(lambda asked: Reply(404), f"{RESOURCE_METADATA}/star"), "claude-code")
    finding = found(report, "discovery.path-form-missing", "Claude Code")
    assert "location ^~ /.well-known/oauth-protected-resource {" in finding.fix
    assert report.clients == {"Claude Code": "discovery"}


async def test_no_metadata_at_the_root(clinic: Clinic) -> None:
    report = await clinic.examined(answering(lambda asked: Reply(404), RESOURCE_METADATA), "mcp-remote")
    assert set(wrong(report)) == {"discovery.root-form-missing"}
    found(report, "discovery.root-form-missing", "mcp-remote", level=Level.WARNING)


async def test_no_metadata_at_all(clinic: Clinic) -> None:
    fault = answering(lambda asked: Reply(404), RESOURCE_METADATA, f"{RESOURCE_METADATA}/star")
    report = await clinic.examined(fault, "vscode")
    assert set(wrong(report)) == {"discovery.resource-metadata-missing"}
    assert report.clients == {"VS Code": "discovery"}


async def test_a_firewall_that_keeps_one_client_from_the_metadata(clinic: Clinic) -> None:
    def fault(asked: Asked, forward: Forward) -> Reply:
        is_blocked = asked.path.startswith("/.well-known/") and asked.header("user-agent").startswith("python-httpx/")
        return Reply.page("Blocked", 403) if is_blocked else forward(asked)

    report = await clinic.examined(fault, "claude", "vscode")
    assert found(report, "discovery.resource-metadata-missing").matters_to == ("Claude",)
    assert found(report, "discovery.server-metadata-missing").matters_to == ("Claude",)
    assert report.clients == {"VS Code": "", "Claude": "discovery"}


async def test_metadata_that_is_a_page(clinic: Clinic) -> None:
    """A page for every unknown path, as single-page applications have it."""
    page = Reply.page("Welcome", 200)
    fault = answering(lambda asked: page, RESOURCE_METADATA, f"{RESOURCE_METADATA}/star")
    found(await clinic.examined(fault, "vscode"), "discovery.resource-metadata-malformed", "VS Code")


async def test_a_resource_with_a_slash(clinic: Clinic) -> None:
    report = await clinic.examined(resource_metadata(resource=f"{clinic.url}/"), "vscode")
    finding = found(report, "discovery.resource-not-equal", "VS Code", "Claude Code", "Codex")
    assert f"The resource is {clinic.url}/, the URL {clinic.url}." == finding.saw
    assert report.clients == {"VS Code": "discovery"}


async def test_metadata_without_an_authorization_server(clinic: Clinic) -> None:
    report = await clinic.examined(resource_metadata(authorization_servers=[]), "vscode")
    assert set(wrong(report)) == {"discovery.no-authorization-server"}


async def test_forms_of_the_metadata_that_differ(clinic: Clinic) -> None:
    fault = changing(lambda asked, reply: reply.saying(resource_name="old"), RESOURCE_METADATA)
    report = await clinic.examined(fault, "vscode")
    found(report, "discovery.documents-differ", level=Level.WARNING)


async def test_metadata_without_scopes(clinic: Clinic) -> None:
    report = await clinic.examined(resource_metadata(scopes_supported=None), "vscode")
    found(report, "discovery.resource-scopes-missing", "Claude Code", "MCP Inspector", level=Level.WARNING)


async def test_an_issuer_in_clear(clinic: Clinic) -> None:
    """TLS ends at the proxy, and the application thinks that it is http."""
    report = await clinic.examined(resource_metadata(authorization_servers=["http://star.example"]), "vscode")
    finding = found(report, "discovery.insecure-issuer", "VS Code")
    assert "X-Forwarded-Proto" in finding.fix
    assert report.clients == {"VS Code": "discovery"}


async def test_another_issuer_than_the_metadata_was_fetched_for(clinic: Clinic) -> None:
    report = await clinic.examined(server_metadata(issuer=f"{clinic.proxy.url}/"), "vscode")
    found(report, "discovery.issuer-not-equal", "VS Code")
    assert report.clients == {"VS Code": "discovery"}


async def test_no_metadata_of_the_authorization_server(clinic: Clinic) -> None:
    report = await clinic.examined(answering(lambda asked: Reply(404), *SERVER_METADATA), "vscode")
    assert set(wrong(report)) == {"discovery.server-metadata-missing"}


async def test_metadata_without_the_token_endpoint(clinic: Clinic) -> None:
    report = await clinic.examined(server_metadata(token_endpoint=None), "vscode")
    assert found(report, "discovery.endpoint-missing", "VS Code").saw == "token_endpoint is missing."


async def test_endpoints_at_a_rewritten_host(clinic: Clinic) -> None:
    report = await clinic.examined(server_metadata(token_endpoint="http://app.internal:8000/o/token/"), "vscode")
    finding = found(report, "discovery.foreign-endpoint", "VS Code")
    assert "http://app.internal:8000/o/token/" in finding.saw
    assert "proxy_set_header Host $http_host;" in finding.fix
    found(report, "discovery.insecure-endpoint", "VS Code")


async def test_metadata_without_s256(clinic: Clinic) -> None:
    report = await clinic.examined(server_metadata(code_challenge_methods_supported=["plain"]), "vscode")
    assert set(wrong(report)) == {"discovery.no-s256"}
    assert report.clients == {"VS Code": "discovery"}


async def test_metadata_without_the_response_type(clinic: Clinic) -> None:
    report = await clinic.examined(server_metadata(response_types_supported=["token"]), "vscode")
    assert set(wrong(report)) == {"discovery.no-code"}


async def test_metadata_without_the_refresh_grant(clinic: Clinic) -> None:
    report = await clinic.examined(server_metadata(grant_types_supported=["authorization_code"]), "vscode")
    found(report, "discovery.refresh-not-listed", "VS Code", level=Level.WARNING)


async def test_metadata_without_clients_that_have_no_secret(clinic: Clinic) -> None:
    fault = server_metadata(token_endpoint_auth_methods_supported=["client_secret_basic"])
    report = await clinic.examined(fault, "vscode")
    found(report, "discovery.no-public-clients", "VS Code", "Claude", level=Level.WARNING)


async def test_no_way_to_register(clinic: Clinic) -> None:
    report = await clinic.examined(server_metadata(registration_endpoint=None), "vscode")
    assert set(wrong(report)) == {"discovery.no-way-to-register"}
    assert report.clients == {"VS Code": "discovery"}


async def test_iss_that_is_not_announced(clinic: Clinic) -> None:
    report = await clinic.examined(server_metadata(authorization_response_iss_parameter_supported=None), "gemini")
    found(report, "discovery.iss-not-announced", "Gemini CLI", level=Level.WARNING)


async def test_scopes_that_the_authorization_server_does_not_know(clinic: Clinic) -> None:
    report = await clinic.examined(server_metadata(scopes_supported=["offline_access"]), "vscode")
    found(report, "discovery.scopes-unknown", level=Level.WARNING)


# --- Registration --------------------------------------------------------------------------------------------------


async def test_documents_that_are_announced_and_cannot_be_fetched(clinic: Clinic) -> None:
    fault = server_metadata(client_id_metadata_document_supported=True)
    report = await clinic.examined(fault, "claude-code", "codex", "mcp-remote")
    finding = found(report, "registration.document-not-usable", "Claude Code", "Codex")
    assert "CLIENT_ID_METADATA_DOCUMENTS=false" in finding.fix
    assert report.clients == {"Claude Code": "registration", "Codex": "registration", "mcp-remote": ""}


async def test_a_registration_that_is_refused(clinic: Clinic) -> None:
    """As servers do that know one redirect URI of Cursor's and not its scheme."""

    def fault(asked: Asked, forward: Forward) -> Reply:
        if asked.path == "/o/register/" and "cursor://" in asked.body.decode():
            return Reply.of_json({"error": "invalid_redirect_uri", "error_description": "scheme"}, 400)
        return forward(asked)

    report = await clinic.examined(fault, "cursor", "vscode")
    assert found(report, "registration.refused").matters_to == ("Cursor",)
    assert found(report, "registration.refused").saw == (
        "The registration is answered 400, invalid_redirect_uri (scheme)."
    )
    assert report.clients == {"VS Code": "", "Cursor": "registration"}


async def test_too_many_registrations(clinic: Clinic) -> None:
    fault = answering(lambda asked: Reply.of_json({"error": "temporarily_unavailable"}, 429), "/o/register/")
    found(await clinic.examined(fault, "vscode"), "registration.limited", "VS Code", level=Level.WARNING)


async def test_a_registration_that_is_answered_with_a_page(clinic: Clinic) -> None:
    fault = answering(lambda asked: Reply.page("Registered", 200), "/o/register/", methods=("POST",))
    found(await clinic.examined(fault, "vscode"), "registration.unusable", "VS Code")


async def test_redirect_uris_that_come_back_as_others(clinic: Clinic) -> None:
    fault = changing(lambda asked, reply: reply.saying(redirect_uris=["http://127.0.0.1/"]), "/o/register/")
    found(await clinic.examined(fault, "vscode"), "registration.redirect-uris-changed", "VS Code")


async def test_another_way_to_authenticate_than_was_asked_for(clinic: Clinic) -> None:
    fault = changing(
        lambda asked, reply: reply.saying(token_endpoint_auth_method="client_secret_basic"), "/o/register/"
    )
    report = await clinic.examined(fault, "vscode")
    found(report, "registration.auth-method-changed", "VS Code", level=Level.WARNING)
    found(report, "registration.no-secret", "VS Code")


async def test_a_secret_without_the_time_it_expires(clinic: Clinic) -> None:
    fault = changing(lambda asked, reply: reply.saying(client_secret_expires_at=None), "/o/register/")
    report = await clinic.examined(fault, "claude", "vscode")
    finding = found(report, "registration.secret-expiry-missing", "Claude", level=Level.WARNING)
    assert finding.matters_to == ("Claude",)


async def test_a_registration_without_the_refresh_grant(clinic: Clinic) -> None:
    fault = changing(lambda asked, reply: reply.saying(grant_types=["authorization_code"]), "/o/register/")
    found(await clinic.examined(fault, "vscode"), "registration.no-refresh", "VS Code", level=Level.WARNING)


# --- Authorization -------------------------------------------------------------------------------------------------


async def test_a_session_that_the_site_does_not_take(clinic: Clinic) -> None:
    """The checkout that the doctor runs in is not the site that answers."""

    def fault(asked: Asked, forward: Forward) -> Reply:
        asked.headers = [(name, value) for name, value in asked.headers if name.lower() != "cookie"]
        return forward(asked)

    report = await clinic.examined(fault, "vscode")
    finding = found(report, "site.session-not-taken", "VS Code")
    assert "SECRET_KEY" in finding.why
    assert report.clients == {"VS Code": "authorization"}


async def test_a_redirect_uri_whose_port_is_not_free(clinic: Clinic) -> None:
    def fault(asked: Asked, forward: Forward) -> Reply:
        if asked.path == "/o/authorize/" and "localhost%3A61342" in asked.target:
            return Reply.page("The redirect URI is not registered", 400)
        return forward(asked)

    report = await clinic.examined(fault, "claude-code")
    assert set(wrong(report)) == {"authorization.port-not-free"}
    found(report, "authorization.port-not-free", "Claude Code", "Gemini CLI", "fastmcp")


async def test_an_authorization_endpoint_that_does_not_answer(clinic: Clinic) -> None:
    report = await clinic.examined(answering(lambda asked: Reply(0), "/o/authorize/"), "vscode")
    found(report, "authorization.unreachable", "VS Code")
    assert report.clients == {"VS Code": "authorization"}


async def test_a_request_to_sign_in_that_is_refused(clinic: Clinic) -> None:
    fault = answering(lambda asked: Reply.page("Bad request", 400), "/o/authorize/")
    report = await clinic.examined(fault, "vscode")
    assert found(report, "authorization.refused", "VS Code").saw.endswith("400, a page “Bad request”.")
    assert report.clients == {"VS Code": "authorization"}


async def test_a_client_that_is_sent_back_with_an_error(clinic: Clinic) -> None:
    fault = redirect(lambda query: {"error": "invalid_scope", "state": query["state"], "iss": query["iss"]})
    report = await clinic.examined(fault, "vscode")
    assert "invalid_scope" in found(report, "authorization.error-returned", "VS Code").saw


async def test_a_code_for_somebody_who_has_not_signed_in(clinic: Clinic) -> None:
    def fault(asked: Asked, forward: Forward) -> Reply:
        if asked.path == "/o/authorize/" and not asked.header("cookie") and "unknown" not in asked.target:
            query = dict(parse_qsl(urlsplit(asked.target).query))
            back = urlencode({"code": "for-anybody", "state": query["state"]})
            return Reply(302, [("Location", f"{query['redirect_uri']}?{back}")])
        return forward(asked)

    report = await clinic.examined(fault, "vscode")
    assert set(wrong(report)) == {"authorization.nobody-asked"}
    found(report, "authorization.nobody-asked", "VS Code")


async def test_a_consent_form_that_leads_elsewhere_is_not_sent(clinic: Clinic) -> None:
    def change(asked: Asked, reply: Reply) -> Reply:
        reply.body = reply.body.replace(b'method="post" action="', b'method="post" action="https://collector.example')
        return reply

    report = await clinic.examined(changing(change, "/o/authorize/"), "vscode")
    finding = found(report, "authorization.unreachable", "VS Code")
    assert finding.saw == "the form of the page leads to https://collector.example."


async def test_a_consent_page_without_a_form(clinic: Clinic) -> None:
    fault = answering(lambda asked: Reply.page("Soon", 200), "/o/authorize/", methods=("GET",))
    found(await clinic.examined(fault, "vscode"), "authorization.no-consent-form", "VS Code")


async def test_a_person_who_is_asked_twice(clinic: Clinic) -> None:
    presses: dict[str, int] = {}

    def fault(asked: Asked, forward: Forward) -> Reply:
        if asked.path == "/o/authorize/" and asked.method == "POST":
            presses[asked.target] = presses.get(asked.target, 0) + 1
            if presses[asked.target] == 1:
                asked.method, asked.body = "GET", b""
        return forward(asked)

    report = await clinic.examined(fault, "vscode")
    assert set(wrong(report)) == {"authorization.asked-twice"}


async def test_a_policy_that_lets_the_form_lead_nowhere(clinic: Clinic) -> None:
    fault = changing(
        lambda asked, reply: reply.with_header("Content-Security-Policy", "form-action 'self'"), "/o/authorize/"
    )
    report = await clinic.examined(fault, "cursor")
    finding = found(report, "authorization.form-action", "Cursor")
    assert finding.saw == "form-action of the page does not allow cursor://anysphere.cursor-mcp."


async def test_a_person_who_is_sent_elsewhere(clinic: Clinic) -> None:
    def change(asked: Asked, reply: Reply) -> Reply:
        return reply.with_header("Location", "https://elsewhere.example/?code=x") if reply.status == 302 else reply

    found(await clinic.examined(changing(change, "/o/authorize/"), "vscode"), "authorization.wrong-place", "VS Code")


async def test_a_state_that_is_changed(clinic: Clinic) -> None:
    report = await clinic.examined(redirect(lambda query: query | {"state": query["state"].lower()}), "vscode")
    found(report, "authorization.state-changed", "VS Code")


async def test_a_response_without_iss(clinic: Clinic) -> None:
    fault = redirect(lambda query: {name: value for name, value in query.items() if name != "iss"})
    found(await clinic.examined(fault, "gemini"), "authorization.iss-missing", "Gemini CLI")


async def test_a_response_of_another_issuer(clinic: Clinic) -> None:
    report = await clinic.examined(redirect(lambda query: query | {"iss": "https://other.example"}), "gemini")
    assert "https://other.example" in found(report, "authorization.iss-wrong", "Gemini CLI").saw


async def test_a_code_that_must_be_decoded(clinic: Clinic) -> None:
    report = await clinic.examined(redirect(lambda query: query | {"code": query["code"] + "/+="}), "vscode")
    found(report, "authorization.code-needs-decoding", "VS Code", level=Level.WARNING)


async def test_a_client_that_is_not_known_and_is_shown_the_sign_in(clinic: Clinic) -> None:
    def fault(asked: Asked, forward: Forward) -> Reply:
        is_stale = asked.path == "/o/authorize/" and "mcp-doctor-unknown" in asked.target
        return Reply.page("Sign in", 200) if is_stale else forward(asked)

    report = await clinic.examined(fault, "fastmcp")
    assert set(wrong(report)) == {"authorization.stale-client"}
    found(report, "authorization.stale-client", "fastmcp", level=Level.WARNING)


# --- Tokens --------------------------------------------------------------------------------------------------------


def redeeming(reply: Callable[[Reply], Reply], grant: str = "authorization_code") -> Fault:
    """Change the answers to one grant."""

    def fault(asked: Asked, forward: Forward) -> Reply:
        answer = forward(asked)
        return reply(answer) if asked.path in TOKEN and asked.form.get("grant_type") == grant else answer

    return fault


async def test_a_token_endpoint_that_does_not_answer(clinic: Clinic) -> None:
    report = await clinic.examined(answering(lambda asked: Reply(0), *TOKEN), "vscode")
    found(report, "token.unreachable", "VS Code")
    assert report.clients == {"VS Code": "token"}


async def test_a_token_endpoint_that_fails(clinic: Clinic) -> None:
    report = await clinic.examined(redeeming(lambda reply: Reply.of_json({}, 500)), "vscode")
    found(report, "token.server-error", "VS Code")
    assert report.clients == {"VS Code": "token"}


async def test_a_token_endpoint_that_answers_html(clinic: Clinic) -> None:
    report = await clinic.examined(redeeming(lambda reply: Reply.page("Attention", 403)), "vscode")
    assert "Attention" in found(report, "token.not-json", "VS Code").saw


async def test_a_code_that_is_refused(clinic: Clinic) -> None:
    fault = redeeming(lambda reply: Reply.of_json({"error": "invalid_grant"}, 400))
    assert "invalid_grant" in found(await clinic.examined(fault, "vscode"), "token.refused", "VS Code").saw


async def test_another_type_of_token(clinic: Clinic) -> None:
    found(await clinic.examined(token_response(token_type="mac"), "vscode"), "token.type", "VS Code")


async def test_a_token_that_does_not_say_when_it_ends(clinic: Clinic) -> None:
    report = await clinic.examined(token_response(expires_in=None), "vscode")
    found(report, "token.no-expiry", "VS Code", level=Level.WARNING)


async def test_an_answer_with_tokens_that_may_be_cached(clinic: Clinic) -> None:
    fault = changing(lambda asked, reply: reply.with_header("Cache-Control", "max-age=60"), *TOKEN)
    report = await clinic.examined(fault, "vscode")
    found(report, "token.cacheable", "VS Code", level=Level.WARNING)


async def test_no_refresh_token(clinic: Clinic) -> None:
    report = await clinic.examined(token_response(refresh_token=None), "vscode")
    found(report, "token.no-refresh-token", "VS Code")


async def test_a_scope_that_is_missing(clinic: Clinic) -> None:
    report = await clinic.examined(token_response(scope="offline_access"), "vscode")
    assert "mcp:tools" in found(report, "token.scope-missing", "VS Code").saw


async def test_a_verifier_that_is_not_checked(clinic: Clinic) -> None:
    stolen = {"access_token": "stolen-with-any-verifier", "token_type": "Bearer", "expires_in": 60}

    def fault(asked: Asked, forward: Forward) -> Reply:
        reply = forward(asked)
        is_refused = asked.path in TOKEN and asked.form.get("code", "unknown") != "unknown" and reply.status == 400
        return Reply.of_json(stolen) if is_refused and b"verifier" in asked.body else reply

    report = await clinic.examined(fault, "vscode")
    found(report, "token.pkce-not-checked", "VS Code")


async def test_a_code_that_works_twice(clinic: Clinic) -> None:
    given: dict[str, Reply] = {}

    def fault(asked: Asked, forward: Forward) -> Reply:
        code = asked.form.get("code", "") if asked.path in TOKEN else ""
        if code in given:
            return given[code]
        reply = forward(asked)
        if code and reply.status == 200:
            given[code] = reply
        return reply

    report = await clinic.examined(fault, "vscode")
    assert set(wrong(report)) == {"token.code-replayed"}
    found(report, "token.code-replayed", "VS Code")


async def test_an_unknown_client_that_is_answered_400(clinic: Clinic) -> None:
    def change(asked: Asked, reply: Reply) -> Reply:
        return Reply.of_json(reply.document, 400) if reply.status == 401 else reply

    report = await clinic.examined(changing(change, *TOKEN), "claude")
    assert set(wrong(report)) == {"token.invalid-client-status"}
    found(report, "token.invalid-client-status", "Claude")


async def test_no_token_endpoint_at_the_root(clinic: Clinic) -> None:
    report = await clinic.examined(answering(lambda asked: Reply(404), "/token"), "python-sdk")
    assert set(wrong(report)) == {"token.root-alias"}
    found(report, "token.root-alias", "MCP Python SDK", level=Level.WARNING)


# --- Calls ---------------------------------------------------------------------------------------------------------


async def test_a_proxy_that_drops_the_authorization(clinic: Clinic) -> None:
    def fault(asked: Asked, forward: Forward) -> Reply:
        if asked.path == "/star":
            asked.headers = [(name, value) for name, value in asked.headers if name.lower() != "authorization"]
        return forward(asked)

    report = await clinic.examined(fault, "vscode", "inspector")
    finding = found(report, "call.token-not-accepted", "VS Code", "MCP Inspector")
    assert "proxy_set_header Authorization $http_authorization;" in finding.fix
    assert report.clients == {"VS Code": "tools", "MCP Inspector": "tools"}


def messages(method: str, change: Callable[[Reply], Reply]) -> Fault:
    """Change the answers to one method of MCP."""

    def fault(asked: Asked, forward: Forward) -> Reply:
        reply = forward(asked)
        is_it = asked.path == "/star" and asked.message.get("method") == method and reply.status == 200
        return change(reply) if is_it else reply

    return fault


def without(*members: str) -> Callable[[Reply], Reply]:
    """Take members out of a result, which may be an event."""

    def change(reply: Reply) -> Reply:
        head, found, data = reply.body.partition(b"data: ")
        message = json.loads(data if found else reply.body)
        for name in members:
            message["result"].pop(name)
        reply.body = (
            head + b"data: " + json.dumps(message).encode() + b"\n\n" if found else json.dumps(message).encode()
        )
        return reply

    return change


async def test_a_list_without_what_the_new_protocol_requires(clinic: Clinic) -> None:
    fault = messages(
        "tools/list", lambda reply: without("resultType", "ttlMs")(reply) if b"ttlMs" in reply.body else reply
    )
    report = await clinic.examined(fault, "inspector", "vscode")
    finding = found(report, "call.result-incomplete", "MCP Inspector")
    assert finding.saw == "The result of tools/list has no resultType and ttlMs."
    assert "VS Code" not in finding.matters_to


async def test_a_server_of_the_older_protocols_alone(clinic: Clinic) -> None:
    unknown = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "Method not found"}}
    report = await clinic.examined(messages("server/discover", lambda reply: Reply.of_json(unknown)), "inspector")
    found(report, "call.modern-era-missing", "MCP Inspector", level=Level.WARNING)


async def test_a_handshake_that_fails(clinic: Clinic) -> None:
    report = await clinic.examined(messages("initialize", lambda reply: Reply.page("Gateway timeout", 504)), "vscode")
    assert "504" in found(report, "call.handshake-failed", "VS Code").saw


async def test_a_list_of_tools_that_fails(clinic: Clinic) -> None:
    failed = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "Internal error"}}
    report = await clinic.examined(messages("tools/list", lambda reply: Reply.of_json(failed)), "vscode")
    assert "Internal error" in found(report, "call.list-failed", "VS Code").saw


async def test_a_call_that_fails(clinic: Clinic) -> None:
    report = await clinic.examined(messages("tools/call", lambda reply: Reply(500)), "vscode")
    found(report, "call.tool-failed", "VS Code")


async def test_a_spoiled_token_that_is_not_answered_401(clinic: Clinic) -> None:
    def change(asked: Asked, reply: Reply) -> Reply:
        is_spoiled = reply.status == 401 and asked.header("authorization")
        return Reply.of_json({"detail": "Forbidden"}, 403) if is_spoiled else reply

    report = await clinic.examined(changing(change, "/star"), "vscode")
    found(report, "call.spoiled-token", "VS Code")


async def test_a_call_that_needs_more_and_does_not_say_what(clinic: Clinic) -> None:
    def change(asked: Asked, reply: Reply) -> Reply:
        return reply.without("www-authenticate") if reply.status == 403 else reply

    report = await clinic.examined(changing(change, "/star"), "vscode")
    assert set(wrong(report)) == {"call.step-up"}


async def test_a_step_up_that_would_lose_what_was_granted(clinic: Clinic) -> None:
    def change(asked: Asked, reply: Reply) -> Reply:
        challenge = reply.header("www-authenticate").replace("mcp:tools mcp:write", "mcp:write")
        return reply.with_header("WWW-Authenticate", challenge) if reply.status == 403 else reply

    report = await clinic.examined(changing(change, "/star"), "vscode")
    assert found(report, "call.step-up", level=Level.WARNING).saw == "The challenge names the scope mcp:write."


# --- Refreshing and revoking ---------------------------------------------------------------------------------------


async def test_a_refresh_token_that_has_expired(clinic: Clinic) -> None:
    def fault(asked: Asked, forward: Forward) -> Reply:
        is_refresh = asked.path in TOKEN and asked.form.get("grant_type") == "refresh_token"
        return Reply.of_json({"error": "invalid_grant"}, 400) if is_refresh else forward(asked)

    report = await clinic.examined(fault, "vscode")
    assert "invalid_grant" in found(report, "refresh.refused", "VS Code").saw
    assert report.clients == {"VS Code": "refresh"}


async def test_a_refresh_that_loses_a_scope(clinic: Clinic) -> None:
    fault = redeeming(lambda reply: reply.saying(scope="") if reply.status == 200 else reply, "refresh_token")
    found(await clinic.examined(fault, "vscode"), "refresh.scope-lost", "VS Code", level=Level.WARNING)


async def test_a_refresh_that_brings_the_same_token(clinic: Clinic) -> None:
    last: list[str] = [""]

    def fault(asked: Asked, forward: Forward) -> Reply:
        reply = forward(asked)
        if asked.path in TOKEN and reply.status == 200:
            if asked.form["grant_type"] == "refresh_token":
                return reply.saying(access_token=last[0])
            last[0] = reply.document["access_token"]
        return reply

    found(await clinic.examined(fault, "vscode"), "refresh.no-new-token", "VS Code")


async def test_a_second_refresh_that_is_taken_for_a_theft(clinic: Clinic) -> None:
    used: set[str] = set()

    def fault(asked: Asked, forward: Forward) -> Reply:
        token = asked.form.get("refresh_token", "") if asked.path in TOKEN else ""
        if token in used:
            return Reply.of_json({"error": "invalid_grant"}, 400)
        used.update([token] if token else [])
        return forward(asked)

    report = await clinic.examined(fault, "claude-code")
    assert set(wrong(report)) == {"refresh.old-token-ends-all"}
    found(report, "refresh.old-token-ends-all", "Claude Code", level=Level.WARNING)


async def test_a_revoked_token_that_still_works(clinic: Clinic) -> None:
    report = await clinic.examined(answering(lambda asked: Reply(200), "/o/revoke_token/"), "vscode")
    found(report, "revocation.token-still-works", "VS Code")
    found(report, "revocation.refresh-still-works", "VS Code")


async def test_a_revocation_that_is_refused(clinic: Clinic) -> None:
    fault = answering(lambda asked: Reply.of_json({"error": "invalid_client"}, 401), "/o/revoke_token/")
    found(await clinic.examined(fault, "vscode"), "revocation.refused", "VS Code", level=Level.WARNING)
