"""What is read out of strangers' answers, without a server."""

from __future__ import annotations

from typing import Any, cast

import pytest

from mcpapp.doctor import quirks
from mcpapp.doctor.clients import PROFILES
from mcpapp.doctor.discovery import _judge_resource, _judge_scopes
from mcpapp.doctor.edge_frame import Edge
from mcpapp.doctor.edge_limits import _body_fix
from mcpapp.doctor.pages import Page
from mcpapp.doctor.reading import error_of
from mcpapp.doctor.registration import Client
from mcpapp.doctor.report import Finding, Level, Report
from mcpapp.doctor.target import Target
from mcpapp.doctor.tokens import Tokens
from mcpapp.doctor.walk import Walk
from mcpapp.doctor.web import Web

URL = "https://mcp.example/star"
ROOT = "https://mcp.example/.well-known/oauth-protected-resource"


def walking(*clients: str) -> Walk:
    return Walk(Web(), Target(URL), Report(URL), [PROFILES[name] for name in clients or PROFILES])


def judged(walk: Walk, resource: str, **others: Any) -> dict[str, Finding]:
    walk.found.resource_metadata = {"resource": resource, "scopes_supported": ["a"]}
    _judge_resource(walk, {f"{ROOT}/star": walk.found.resource_metadata, **others})
    return {finding.check: finding for finding in walk.report.findings}


@pytest.mark.parametrize(
    ("resource", "level", "takes_it"),
    [
        ("https://mcp.example/", Level.WARNING, {"MCP Python SDK", "fastmcp", "MCP Inspector", "mcp-remote"}),
        ("https://mcp.example/star/", Level.ERROR, {"MCP Python SDK", "fastmcp"}),
        ("https://mcp.example/st", Level.ERROR, set()),
    ],
)
def test_a_resource_above_the_url_is_wrong_for_those_alone_that_refuse_it(
    resource: str, level: Level, takes_it: set[str]
) -> None:
    finding = judged(walking(), resource)["discovery.resource-not-equal"]
    assert finding.level is level
    assert "VS Code" in finding.matters_to
    known = {"MCP Python SDK", "fastmcp", "MCP Inspector", "mcp-remote"}
    assert known - set(finding.matters_to) == takes_it


@pytest.mark.parametrize(("resource", "level"), [("https://mcp.example", Level.OK), (URL, Level.WARNING)])
def test_the_root_form_may_describe_another_resource(resource: str, level: Level) -> None:
    found = judged(walking(), URL, **{ROOT: {"resource": resource, "scopes_supported": ["b"]}})
    assert found["discovery.documents-differ"].level is level


def test_scopes_that_another_server_leaves_out_are_a_note() -> None:
    walk = walking()
    walk.found.resource_metadata, walk.found.server_metadata = {"scopes_supported": ["a"]}, {"scopes_supported": ["b"]}
    _judge_scopes(walk)
    [finding] = [each for each in walk.report.findings if each.check == "discovery.scopes-unknown"]
    assert finding.level is Level.NOTE


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("endpoint", "asks"), [("https://login.example/token", False), ("https://mcp.example/o/token/", True)]
)
async def test_the_host_of_the_resource_gets_no_refresh_token_of_another_issuer(
    endpoint: str, asks: bool, monkeypatch: Any
) -> None:
    walk, posted = walking(), []
    walk.found.server_metadata = {"token_endpoint": endpoint}

    async def nothing(*_: Any) -> None:
        return None

    async def post(walk: Walk, client: Client, url: str, form: Any) -> None:
        posted.append(url)

    monkeypatch.setattr(quirks.Conversation, "say", nothing)
    monkeypatch.setattr(quirks, "post", post)
    monkeypatch.setattr(quirks, "refresh", nothing)
    client = Client(quirks.DOCTOR, "client", quirks.DOCTOR.redirect_uri)
    await quirks._refresh(walk, client, Tokens("access-token", "refresh-token", frozenset()))
    assert posted == ["https://mcp.example/token"] * asks


@pytest.mark.parametrize("before", [150, 170, 195, 199, 200])
def test_no_part_of_a_secret_is_left_where_a_text_is_cut(before: int) -> None:
    secret = "Zq7" * 15
    said = error_of({"error": "invalid_grant", "error_description": "word " * (before // 5) + secret + " is bad"})
    report = Report()
    report.secrets.add(secret)
    report.add("Token", Finding("token.refused", Level.ERROR, said))
    assert "Zq7" not in report.as_text() + report.as_json()


def test_a_key_in_the_url_that_was_pasted_is_not_in_the_report() -> None:
    url = f"{URL}?api_key=topsecretvalue&x=y"
    report = Report(url)
    report.add("Step", Finding("endpoint.open", Level.NOTE, f"{url} is open."))
    for text in (report.as_text(), report.as_json()):
        assert "topsecretvalue" not in text
        assert "api_key=[hidden]" in text


def test_a_page_that_the_parser_gives_up_on_still_has_its_forms() -> None:
    class Answer:
        url, headers = URL, {}
        text = '<form method="post"><button name="allow" value="yes">Allow</button></form><![x['

    assert Page(cast(Any, Answer)).consent() is not None


@pytest.mark.parametrize(("most", "said"), [(1, ("5m;", "5MiB", " 5242880")), (21, ("21m;", "21MiB", " 22020096"))])
def test_the_lines_for_bodies_let_through_what_the_site_takes(most: int, said: tuple[str, ...]) -> None:
    lines = _body_fix(Edge(Web(), Target(URL), Report(URL)), most * 1024 * 1024)
    for each in said:
        assert each in lines
