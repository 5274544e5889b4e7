"""Other people's servers: what is told of them is true, without any access to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcpapp.doctor.clients import PROFILES
from mcpapp.doctor.report import Level, Report
from mcpapp.doctor.target import Target
from mcpapp.doctor.way import examine
from mcpapp.doctor.web import Web
from tests.clients.desk import free_port, installed, node
from tests.mcpapp.doctor.conftest import TRUST, Clinic, without_edge, wrong
from tests.star.shell import running, serving

pytestmark = pytest.mark.live


async def examined(url: str) -> Report:
    report = Report(url)
    async with Web(report.secrets, verify=TRUST) as web:
        with without_edge():
            await examine(web, Target(url), report, list(PROFILES.values()))
    return report


def passed(report: Report) -> set[str]:
    return {finding.check for finding in report.findings if finding.level is Level.OK}


async def test_the_server_of_the_sdk(tmp_path: Path) -> None:
    """It knows one redirect URI each, wants a secret to revoke, sends no iss, and asks nobody."""
    with running("tests.star.sdk_oauth_server", log=tmp_path / "log") as port:
        report = await examined(f"http://127.0.0.1:{port}/mcp")
    assert set(wrong(report)) == {
        "challenge.no-scope",
        "discovery.no-public-clients",
        "discovery.iss-not-announced",
        "authorization.nobody-asked",
        "authorization.iss-missing",
        "authorization.port-not-free",
        "refresh.old-token-ends-all",
        "revocation.refused",
    }
    assert wrong(report)["authorization.iss-missing"].matters_to == ("Gemini CLI",)
    assert {client for client, step in report.clients.items() if step} == {"Gemini CLI"}
    assert passed(report) >= {
        "discovery.resource-not-equal",
        "discovery.issuer-not-equal",
        "token.pkce-not-checked",
        "token.code-replayed",
        "token.root-alias",
        "call.list-failed",
    }
    [left] = [finding for finding in report.findings if finding.check == "registration.left-behind"]
    assert left.saw.startswith("12 clients stay behind: ")


async def test_the_server_of_fastmcp(tmp_path: Path) -> None:
    """It gives a client no scope but those that it registered for, which some leave out."""
    with running("tests.star.fastmcp_server", log=tmp_path / "log") as port:
        report = await examined(f"http://127.0.0.1:{port}/mcp")
    assert set(wrong(report)) == {
        "discovery.no-public-clients",
        "discovery.iss-not-announced",
        "authorization.nobody-asked",
        "authorization.error-returned",
        "authorization.iss-missing",
        "authorization.port-not-free",
        "token.scope-missing",
        "call.token-not-accepted",
        "revocation.refused",
    }
    assert wrong(report)["authorization.error-returned"].matters_to == ("Cursor", "Codex")
    assert {client: step for client, step in report.clients.items() if step} == {
        "Cursor": "authorization",
        "Codex": "authorization",
        "Gemini CLI": "authorization",
        "ChatGPT": "token",
    }


TYPESCRIPT_EXAMPLE = "@modelcontextprotocol/sdk/dist/esm/examples/server/simpleStreamableHttp.js"


async def test_the_example_server_of_the_typescript_sdk(tmp_path: Path) -> None:
    """Its own example, as it comes: it knows no refresh tokens, and answers 500 to a token that it does not know.

    That it wants the secret which a client of the MCP Python SDK was given, and does not send where no method was told,
    is how a login with that SDK ends there.
    """
    port, issuer = free_port(), free_port()
    command = [node(), installed(TYPESCRIPT_EXAMPLE), "--oauth", "--oauth-strict"]
    with serving(port, command, tmp_path / "log", MCP_PORT=str(port), MCP_AUTH_PORT=str(issuer)):
        report = await examined(f"http://localhost:{port}/mcp")
    found = wrong(report)
    assert set(found) == {
        "challenge.no-scope",
        "discovery.iss-not-announced",
        "authorization.nobody-asked",
        "authorization.iss-missing",
        "authorization.port-not-free",
        "token.no-refresh-token",
        "token.refused",
        "token.invalid-client-status",
        "call.modern-era-missing",
        "call.spoiled-token",
    }
    assert "Unregistered redirect_uri" in found["authorization.port-not-free"].saw
    assert found["token.refused"].saw.endswith("answers 400, invalid_client (Client secret is required).")
    assert found["token.refused"].matters_to == ("MCP Python SDK", "fastmcp")
    assert "500, server_error" in found["call.spoiled-token"].saw
    assert {client: step for client, step in report.clients.items() if step != "refresh"} == {
        "Gemini CLI": "authorization",
        "MCP Python SDK": "token",
        "fastmcp": "token",
    }
    assert passed(report) >= {"discovery.resource-not-equal", "token.pkce-not-checked", "call.list-failed"}


async def test_without_access_the_walk_ends_at_the_sign_in_and_says_so(clinic: Clinic) -> None:
    report = await clinic.examined(has_access=False)
    assert wrong(report) == {}
    assert set(report.clients.values()) == {"sign-in"}
    [ended] = [finding for finding in report.findings if finding.check == "site.no-access"]
    assert ended.level is Level.SKIPPED
    assert passed(report) >= {"registration.refused", "authorization.refused", "authorization.port-not-free"}
    assert not {check for check in passed(report) if check.startswith(("call.", "refresh."))}
    assert "nothing against it up to the sign-in" in report.as_text()
    sent = [asked.header("cookie") for asked in clinic.proxy.seen]
    assert set(sent) == {""}
