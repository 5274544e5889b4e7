"""The edge, examined through a proxy that breaks one thing: it is found, told apart, and mended by what is said.

Each is our choice of what is worth telling; the healthy site at the top is what all of them differ from in one respect.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from mcpapp import edge_mirror
from mcpapp.doctor import edge, edge_streams
from mcpapp.doctor.edge_arrival import check_arrival, check_caches, check_refusal
from mcpapp.doctor.edge_limits import check_body_limit, check_header_limit
from mcpapp.doctor.edge_pages import check_web_pages
from mcpapp.doctor.edge_paths import check_paths, check_user_agents
from mcpapp.doctor.edge_streams import check_streams
from mcpapp.doctor.report import Finding, Level, Report
from tests.mcpapp.doctor.edge_site import Proxy, Reply, Request, examine, proxied_site, resolving, wrong
from tests.mcpapp.helpers import make_token
from tests.mcpapp.over_http import served

pytestmark = pytest.mark.anyio
Site = tuple[Proxy, str]
HEALTHY = (
    "redirect slash user-agents mirror host scheme path authorization request-headers upstream-http clock methods "
    "well-known response-headers cache body-limit header-limit stream cors"
)


@pytest.fixture
async def site(settings: Any, monkeypatch: Any, transactional_db: None) -> Any:
    async with proxied_site(settings, monkeypatch) as proxied:
        yield proxied


def only(report: Report, check: str, level: Level) -> Finding:
    """Return the one thing that is wrong; whoever has to mend it is told why, for whom and how."""
    found = wrong(report)
    assert list(found) == [check], report.as_text()
    finding = found[check]
    assert finding.level is level
    assert finding.why
    assert finding.matters_to
    for proxy in ("nginx:", "Caddy:", "Traefik:"):
        assert proxy in finding.fix
    return finding


def noted(report: Report, check: str) -> Finding:
    """Return what is told besides, where nothing is wrong."""
    assert wrong(report) == {}
    [finding] = [one for one in report.findings if one.check == check]
    return finding


async def test_a_healthy_site_behind_a_healthy_proxy_has_nothing_wrong(site: Site) -> None:
    report = await examine(site[1])
    assert wrong(report) == {}, report.as_text()
    assert {one.level for one in report.findings} == {Level.OK}
    assert {one.check for one in report.findings} == {f"edge.{name}" for name in HEALTHY.split()}
    questions = {request.header("star-doctor") for request in site[0].requests} - {""}
    assert questions
    assert not any(question in report.as_text(verbose=True) + report.as_json() for question in questions)


async def test_other_peoples_servers_are_asked_no_question_and_told_what_shows_from_outside(site: Site) -> None:
    report = await examine(site[1], is_own_site=False)
    assert wrong(report) == {}, report.as_text()
    assert {one.check for one in report.findings if one.level is Level.SKIPPED} == {"edge.mirror", "edge.stream"}
    assert {request.header("star-doctor") for request in site[0].requests} == {""}


# --- The way to the endpoint ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 307])
async def test_a_redirect_from_the_slash_is_found(site: Site, status: int) -> None:
    proxy, url = site
    proxy.on_request = lambda request: Reply(status, [(b"location", b"/star")]) if request.path == "/star/" else None
    finding = only(await examine(url, check_paths), "edge.slash-redirect", Level.WARNING)
    assert finding.saw == f"/star/ is redirected with {status} to /star."
    assert "location = /star/ {" in finding.fix


async def test_a_slash_that_leads_elsewhere_is_found(site: Site) -> None:
    proxy, url = site
    proxy.on_request = lambda request: Reply(404) if request.path == "/star/" else None
    finding = only(await examine(url, check_paths), "edge.slash-differs", Level.WARNING)
    assert finding.saw == "/star/ is answered with 404, /star with 401."


async def test_a_redirect_of_the_endpoint_that_loses_the_message_and_the_token_is_found(site: Site) -> None:
    proxy, url = site
    proxy.on_request = lambda request: Reply(302, [(b"location", b"https://www.example.com/star")])
    report = await examine(url, check_paths)
    finding = wrong(report)["edge.redirect-loses"]
    assert finding.level is Level.ERROR
    assert "turns a POST into a GET and makes clients leave the Authorization header out" in finding.why


async def test_a_redirect_of_the_endpoint_that_keeps_both_is_doubtful(site: Site) -> None:
    proxy, url = site
    proxy.on_request = lambda request: Reply(308, [(b"location", b"/mcp")]) if request.path == "/star" else None
    report = await examine(url, check_paths)
    assert wrong(report)["edge.redirect-kept"].level is Level.WARNING


@pytest.mark.parametrize(
    ("user_agent", "client"),
    [("Claude-User", "Claude"), ("python-httpx/0.27.2", "fastmcp"), ("node", "mcp-remote"), ("", "Codex")],
)
async def test_a_firewall_that_takes_a_client_for_a_bot_is_found(site: Site, user_agent: str, client: str) -> None:
    proxy, url = site

    def firewall(request: Request) -> Reply | None:
        is_theirs = request.header("user-agent") == user_agent and request.path == "/star"
        return Reply(403, [(b"content-type", b"text/html")], b"<h1>Just a moment") if is_theirs else None

    proxy.on_request = firewall
    finding = only(await examine(url, check_user_agents), "edge.user-agent-blocked", Level.ERROR)
    assert client in finding.matters_to
    assert user_agent or finding.matters_to == ("Codex",)
    assert "403; a browser gets 401" in finding.saw


async def test_a_firewall_in_front_of_discovery_alone_is_found(site: Site) -> None:
    proxy, url = site
    proxy.on_request = lambda request: (
        Reply(503) if "well-known" in request.path and request.header("user-agent") == "node" else None
    )
    finding = only(await examine(url, check_user_agents), "edge.user-agent-blocked", Level.ERROR)
    assert finding.saw.startswith("GET /.well-known/oauth-protected-resource/star with the User-Agent node gets 503")


# --- What arrives ---------------------------------------------------------------------------------------------------


def changed(name: str, value: str) -> Any:
    """A proxy that replaces a header of each request."""
    return lambda request: request.put(name, value)


def dropped(*names: str) -> Any:
    """A proxy that takes headers out of each request."""
    return lambda request: request.drop(*names)


async def test_a_rewritten_host_that_the_site_refuses_is_found(site: Site) -> None:
    proxy, url = site
    proxy.on_request = changed("host", "backend.internal")
    finding = only(await examine(url, check_arrival), "edge.host-rewritten", Level.ERROR)
    assert "sees the host backend.internal" in finding.saw
    assert "421" in finding.why
    assert "proxy_set_header Host $http_host;" in finding.fix


async def test_a_rewritten_host_that_the_site_serves_is_doubtful(site: Site) -> None:
    proxy, url = site
    proxy.on_request = changed("host", "127.0.0.1:8000")
    only(await examine(url, check_arrival), "edge.host-rewritten", Level.WARNING)


async def test_a_rewritten_path_is_found(site: Site) -> None:
    proxy, url = site

    def rewrite(request: Request) -> None:
        request.path = request.path.replace("/star", "/inner/star") if request.path == "/star" else request.path

    proxy.on_request = rewrite
    finding = only(await examine(url, check_arrival), "edge.path-rewritten", Level.WARNING)
    assert finding.saw == "The application sees the path /inner/star, not /star."


async def test_an_authorization_header_that_gets_lost_is_found(site: Site) -> None:
    proxy, url = site
    proxy.on_request = dropped("authorization")
    finding = only(await examine(url, check_arrival), "edge.authorization-lost", Level.ERROR)
    assert "proxy_set_header Authorization $http_authorization;" in finding.fix


async def test_an_authorization_header_that_the_proxy_replaces_is_found(site: Site) -> None:
    proxy, url = site
    proxy.on_request = changed("authorization", "Basic c3RhcjpzdGFy")
    finding = only(await examine(url, check_arrival), "edge.authorization-lost", Level.ERROR)
    assert finding.saw.startswith("Another Authorization header arrives: 18 characters")


async def test_a_lost_authorization_header_is_found_without_the_sites_help(site: Site) -> None:
    """As where the command runs with another SECRET_KEY than the site."""
    proxy, url = site
    proxy.on_request = dropped("authorization", "star-doctor")
    report = await examine(url, check_arrival)
    only(report, "edge.authorization-lost", Level.ERROR)
    assert next(one.saw for one in report.findings if one.check == "edge.mirror").startswith("The site does not answer")
    proxy.on_request = dropped("star-doctor")
    assert noted(await examine(url, check_arrival), "edge.authorization").level is Level.OK


async def test_a_lost_authorization_header_is_found_with_a_live_token(site: Site, alice: Any) -> None:
    proxy, url = site
    token = await sync_to_async(make_token)(alice, resource=[url])
    proxy.on_request = dropped("star-doctor")
    assert noted(await examine(url, check_arrival, access_token=token), "edge.authorization").level is Level.OK
    proxy.on_request = dropped("authorization", "star-doctor")
    finding = only(await examine(url, check_arrival, access_token=token), "edge.authorization-lost", Level.ERROR)
    assert finding.saw.startswith("A token that was just issued")


async def test_headers_of_mcp_that_get_lost_are_found(site: Site) -> None:
    proxy, url = site
    proxy.on_request = dropped("mcp-method", "mcp-session-id")
    finding = only(await examine(url, check_arrival), "edge.request-header-lost", Level.ERROR)
    assert finding.saw == "These headers do not arrive: mcp-method, mcp-session-id."


@pytest.mark.parametrize("method", ["HEAD", "DELETE", "OPTIONS"])
async def test_a_method_that_the_proxy_stops_is_found(site: Site, method: str) -> None:
    proxy, url = site
    proxy.on_request = lambda request: Reply(405) if request.method == method else None
    finding = only(await examine(url, check_arrival), "edge.method-blocked", Level.ERROR)
    assert finding.saw == f"The application never sees: {method} (405)."


async def test_discovery_that_leads_elsewhere_is_found(site: Site) -> None:
    """As behind a proxy that keeps /.well-known for the files of certificate authorities."""
    proxy, url = site
    proxy.on_request = lambda request: Reply(404) if request.path.startswith("/.well-known/oauth-a") else None
    finding = only(await examine(url, check_arrival), "edge.well-known-elsewhere", Level.ERROR)
    assert finding.saw == "These do not lead to the application: /.well-known/oauth-authorization-server (404)."


async def test_a_clock_that_is_wrong_is_told_by_the_application(site: Site, monkeypatch: Any) -> None:
    monkeypatch.setattr(edge_mirror, "time", SimpleNamespace(time=lambda: time.time() + 45))
    report = await examine(site[1], check_arrival)
    finding = wrong(report)["edge.clock-skew"]
    assert list(wrong(report)) == ["edge.clock-skew"]
    assert finding.saw.startswith("The clock of the application is 4")
    assert "ahead of" in finding.saw
    assert "timedatectl" in finding.fix


async def test_a_clock_that_is_wrong_shows_from_outside_and_why_the_site_does_not_tell(site: Site) -> None:
    proxy, url = site
    proxy.on_request = dropped("star-doctor")
    proxy.on_reply = lambda request, reply: reply.put("date", formatdate(time.time() - 7200, usegmt=True))
    report = await examine(url, check_arrival)
    assert "behind" in wrong(report)["edge.clock-skew"].saw
    [silent] = [one.saw for one in report.findings if one.check == "edge.mirror"]
    assert silent.startswith("The clocks are 7")


async def test_http_1_0_behind_the_proxy_is_noted(site: Site, monkeypatch: Any) -> None:
    import config.asgi

    application = config.asgi.application

    async def older(scope: Any, receive: Any, send: Any) -> None:
        await application({**scope, "http_version": "1.0"}, receive, send)

    monkeypatch.setattr(config.asgi, "application", older)
    finding = noted(await examine(site[1], check_arrival), "edge.upstream-http-1.0")
    assert "proxy_http_version 1.1;" in finding.fix


# --- Who is it: behind a proxy on another machine --------------------------------------------------------------------


async def test_an_address_that_clients_make_up_and_the_site_believes_is_found(
    settings: Any, monkeypatch: Any, transactional_db: None
) -> None:
    """uvicorn with --forwarded-allow-ips='*' takes the first address of the header, which the client wrote."""
    with resolving(monkeypatch):
        async with proxied_site(settings, monkeypatch, "star.test", forwarded_allow_ips="*") as (proxy, url):
            report = await examine(url, check_arrival)
            assert wrong(report) == {}
            assert noted(report, "edge.client-address").level is Level.OK
            proxy.adds_to_forwarded_for = True
            finding = only(await examine(url, check_arrival), "edge.client-address-forged", Level.ERROR)
            assert "203.0.113.77" in finding.saw
            assert "--forwarded-allow-ips='*'" in finding.fix


async def test_a_proxy_that_the_site_does_not_believe_is_found(
    settings: Any, monkeypatch: Any, transactional_db: None
) -> None:
    with resolving(monkeypatch):
        async with proxied_site(settings, monkeypatch, "star.test", forwarded_allow_ips="192.0.2.1") as (proxy, url):
            proxy.on_request = changed("x-forwarded-for", "198.51.100.9")
            finding = only(await examine(url, check_arrival), "edge.client-address-lost", Level.WARNING)
            assert finding.saw == "The application takes us for 127.0.0.1; X-Forwarded-For says 198.51.100.9."
            proxy.on_request = dropped("x-forwarded-for")
            finding = only(await examine(url, check_arrival), "edge.client-address-lost", Level.WARNING)
            assert finding.saw == "The application takes us for 127.0.0.1; the proxy adds no X-Forwarded-For."


# --- What comes back ------------------------------------------------------------------------------------------------


async def test_a_challenge_that_the_proxy_takes_out_is_found(site: Site) -> None:
    proxy, url = site
    proxy.on_reply = lambda request, reply: reply.drop("www-authenticate")
    finding = only(await examine(url, check_arrival, check_refusal), "edge.response-header-removed", Level.ERROR)
    assert finding.saw == "The application sent them and they do not come back: WWW-Authenticate."
    assert "proxy_pass_header WWW-Authenticate;" in finding.fix


async def test_error_pages_of_the_proxy_are_found(site: Site) -> None:
    proxy, url = site

    def replace(request: Request, reply: Reply) -> None:
        if reply.status >= 400:
            reply.body = b"<h1>Please sign in</h1>"
            reply.put("content-type", "text/html")

    proxy.on_reply = replace
    finding = only(await examine(url, check_arrival, check_refusal), "edge.error-page-replaced", Level.ERROR)
    assert "text/html" in finding.saw
    assert "proxy_intercept_errors off;" in finding.fix


@pytest.mark.parametrize("header", [("age", "12"), ("cf-cache-status", "HIT"), ("x-cache", "TCP HIT from edge")])
async def test_refusals_from_a_cache_are_found(site: Site, header: tuple[str, str]) -> None:
    proxy, url = site
    proxy.on_reply = lambda request, reply: reply.put(*header) if request.path == "/star" else None
    finding = only(await examine(url, check_caches), "edge.cached-answer", Level.ERROR)
    assert "Cloudflare" in finding.fix


async def test_metadata_from_a_cache_is_noted(site: Site) -> None:
    proxy, url = site
    proxy.on_reply = lambda request, reply: reply.put("x-cache", "HIT" if "well-known" in request.path else "MISS")
    assert noted(await examine(url, check_caches), "edge.cached-metadata").level is Level.NOTE


# --- Limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "sized"), [(64, "100 KB"), (512, "1 MB")])
@pytest.mark.parametrize("asked", [True, False])
async def test_a_small_limit_for_bodies_is_found(site: Site, most: int, sized: str, asked: bool) -> None:
    proxy, url = site

    def limit(request: Request) -> Reply | None:
        if not asked:
            request.drop("star-doctor")
        return Reply(413) if len(request.body) > most * 1024 else None

    proxy.on_request = limit
    finding = only(await examine(url, check_arrival, check_body_limit), "edge.body-limit-low", Level.WARNING)
    assert finding.saw.startswith(f"A body of {sized} is stopped on its way: 413")
    assert "client_max_body_size" in finding.fix


async def test_a_limit_that_is_lower_than_the_sites_own_is_noted(site: Site) -> None:
    """As nginx has it by itself: 1 MB."""
    proxy, url = site
    proxy.on_request = lambda request: Reply(413) if len(request.body) > 1024 * 1024 else None
    finding = noted(await examine(url, check_arrival, check_body_limit), "edge.body-limit-low")
    assert finding.saw == "A body of 4 MB is stopped on its way: 413 by the proxy."


@pytest.mark.parametrize("asked", [True, False])
async def test_a_small_limit_for_headers_is_found(site: Site, asked: bool) -> None:
    proxy, url = site

    def limit(request: Request) -> Reply | None:
        if not asked:
            request.drop("star-doctor")
        return Reply(431) if len(request.header("authorization")) > 4000 else None

    proxy.on_request = limit
    finding = only(await examine(url, check_arrival, check_header_limit), "edge.header-limit-low", Level.WARNING)
    assert finding.saw.startswith("An access token of 4 KB is stopped on its way: 431")
    assert "large_client_header_buffers 4 32k;" in finding.fix


async def test_a_limit_for_headers_matters_where_tokens_of_other_issuers_are_taken(site: Site, settings: Any) -> None:
    """As nginx has it by itself: 8 KB for a line."""
    proxy, url = site
    proxy.on_request = lambda request: Reply(400) if len(request.header("authorization")) > 8000 else None
    noted(await examine(url, check_arrival, check_header_limit), "edge.header-limit-low")
    settings.MCPAPP = {**settings.MCPAPP, "TOKEN_ISSUERS": [{"issuer": "https://issuer.example"}]}
    only(await examine(url, check_arrival, check_header_limit), "edge.header-limit-low", Level.WARNING)


# --- Streams --------------------------------------------------------------------------------------------------------


async def test_a_proxy_that_waits_for_the_whole_answer_is_found(site: Site) -> None:
    proxy, url = site
    proxy.is_buffering = True
    finding = only(await examine(url, check_arrival, check_streams), "edge.stream-buffered", Level.ERROR)
    assert finding.saw == "Of 3 events that are sent 0.5 s apart, some arrive together."
    for line in ("proxy_buffering off;", "flush_interval -1", "flushInterval"):
        assert line in finding.fix


async def test_a_proxy_that_compresses_streams_is_found(site: Site) -> None:
    proxy, url = site

    def compress(request: Request, reply: Reply) -> None:
        if "gzip" in request.header("accept-encoding") and (b"content-type", b"text/event-stream") in reply.headers:
            reply.body = gzip.compress(b"data: 1\r\n\r\ndata: 2\r\n\r\n")
            reply.put("content-encoding", "gzip")

    proxy.on_reply = compress
    finding = only(await examine(url, check_arrival, check_streams), "edge.stream-compressed", Level.WARNING)
    assert "gzip off;" in finding.fix


async def test_a_stream_is_watched_with_a_token_where_the_site_does_not_tell(
    site: Site, alice: Any, monkeypatch: Any
) -> None:
    proxy, url = site
    token = await sync_to_async(make_token)(alice, resource=[url])
    proxy.on_request = dropped("star-doctor")
    report = await examine(url, check_streams, access_token=token)
    assert noted(report, "edge.stream").level is Level.OK, report.as_text()
    monkeypatch.setattr(edge_streams, "FIRST_EVENT_SECONDS", 0.5)
    proxy.is_buffering = True
    finding = only(await examine(url, check_streams, access_token=token), "edge.stream-buffered", Level.ERROR)
    assert "nothing came" in finding.saw


# --- Web pages ------------------------------------------------------------------------------------------------------


async def test_a_preflight_that_the_proxy_refuses_is_found(site: Site) -> None:
    proxy, url = site
    proxy.on_request = lambda request: (
        Reply(401) if request.method == "OPTIONS" and request.path == "/o/register/" else None
    )
    finding = only(await examine(url, check_web_pages), "edge.cors-preflight", Level.WARNING)
    assert finding.saw == "registration: OPTIONS is answered with 401."
    assert finding.matters_to == ("MCP Inspector",)


async def test_a_preflight_that_does_not_allow_the_token_is_found(site: Site) -> None:
    """An asterisk does not stand for Authorization (Fetch standard, CORS non-wildcard request-header name)."""
    proxy, url = site
    proxy.on_reply = lambda request, reply: (
        reply.put("access-control-allow-headers", "*") if request.method == "OPTIONS" else None
    )
    finding = only(await examine(url, check_web_pages), "edge.cors-preflight", Level.WARNING)
    assert finding.saw == "the endpoint: OPTIONS does not allow the headers authorization."


async def test_a_doubled_cors_header_is_found(site: Site) -> None:
    proxy, url = site
    proxy.on_reply = lambda request, reply: (
        reply.headers.append((b"access-control-allow-origin", b"*")) if request.path == "/o/token/" else None
    )
    finding = only(await examine(url, check_web_pages), "edge.cors-doubled", Level.WARNING)
    assert finding.saw == "the token endpoint: there are two Access-Control-Allow-Origin: *, *."


async def test_an_answer_that_a_page_may_not_read_is_found(site: Site) -> None:
    proxy, url = site
    proxy.on_reply = lambda request, reply: (
        reply.drop("access-control-allow-origin") if request.method == "GET" and "resource" in request.path else None
    )
    finding = only(await examine(url, check_web_pages), "edge.cors-answer", Level.WARNING)
    assert finding.saw.startswith("the metadata of the resource: GET is answered (200) without")


async def test_a_challenge_that_a_page_cannot_see_is_found(site: Site) -> None:
    proxy, url = site
    proxy.on_reply = lambda request, reply: reply.put("access-control-expose-headers", "Mcp-Session-Id")
    finding = only(await examine(url, check_web_pages), "edge.cors-exposed", Level.WARNING)
    assert finding.saw == "the endpoint: Access-Control-Expose-Headers does not name www-authenticate."


# --- What is neither ------------------------------------------------------------------------------------------------


async def test_an_answer_that_breaks_off_ends_one_check_and_not_the_examination(site: Site) -> None:
    proxy, url = site
    proxy.on_request = lambda request: Reply(200, is_cut=True) if request.path == "/star/" else None
    report = await examine(url)
    assert list(wrong(report)) == ["edge.interrupted"]
    assert "broke off" in wrong(report)["edge.interrupted"].saw or "ends early" in wrong(report)["edge.interrupted"].saw
    assert {one.check for one in report.findings} == {
        *(f"edge.{name}" for name in HEALTHY.split() if name != "slash"),
        "edge.interrupted",
    }


async def test_an_examination_has_an_end_however_slow_each_answer_is(site: Site, monkeypatch: Any) -> None:
    proxy, url = site
    monkeypatch.setattr(edge, "SECONDS", 0.5)

    async def slow(request: Request) -> None:
        if request.path == "/star/":
            await asyncio.sleep(30)

    proxy.on_request = slow
    report = await examine(url)
    assert list(wrong(report)) == ["edge.interrupted"]
    assert wrong(report)["edge.interrupted"].saw == "Not all was looked at within 0.5 seconds."


async def test_a_server_that_is_ill_for_a_moment_is_not_taken_for_a_firewall(site: Site) -> None:
    proxy, url = site
    ill = [Reply(502)]
    proxy.on_request = lambda request: ill.pop() if ill and request.header("user-agent") == "node" else None
    assert noted(await examine(url, check_user_agents), "edge.user-agents").level is Level.OK
    assert ill == []


async def test_a_server_that_asks_to_slow_down_is_not_taken_for_a_firewall(site: Site) -> None:
    proxy, url = site
    proxy.on_request = lambda request: Reply(429) if request.header("user-agent") == "node" else None
    assert noted(await examine(url, check_user_agents), "edge.user-agents").level is Level.SKIPPED


async def test_a_hostile_server_is_no_reason_for_an_exception() -> None:
    """What it says of itself is no address, no date and no number; it also has streams that never end."""
    headers = [
        (b"location", b"http://[\x9b31m"),
        (b"age", "²".encode("latin-1")),
        (b"date", b"Thu, 99 Foo 20260 99:99:99 GMT"),
        (b"www-authenticate", b'Bearer error="\x9b31m'),
        (b"access-control-allow-origin", b"\xff"),
        (b"star-doctor", b"a:b"),
    ]
    document = b'{"authorization_servers": ["http://["], "seen": "a:b", "token_endpoint": 7}'

    async def hostile(scope: Any, receive: Any, send: Any) -> None:
        is_endless = scope["method"] == "GET" and scope["path"] == "/star"
        status = 302 if scope["path"] == "/star/" else 200
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": document, "more_body": is_endless})
        while is_endless and (await receive())["type"] != "http.disconnect":
            pass

    async with served(hostile, lifespan="off", date_header=False) as address:
        for is_own_site in (True, False):
            report = await examine(f"{address}/star", is_own_site=is_own_site)
            assert "edge.slash-redirect" in wrong(report)
            assert "edge.interrupted" not in wrong(report)
            assert "\x9b" not in report.as_text(verbose=True) + report.as_json()
