"""Where requests end up: the URL that people paste, with a slash and without TLS, as each kind of program asks."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from mcpapp.doctor.checks.check import (
    CHATGPT,
    CLAUDE,
    CODEX,
    CURSOR,
    EVERYONE,
    FASTMCP,
    GEMINI,
    INSPECTOR,
    MCP_REMOTE,
    PYTHON_SDK,
    VSCODE,
)
from mcpapp.doctor.edge_frame import PING, PLAIN_HEADERS, Edge, is_redirect
from mcpapp.doctor.reading import without_query
from mcpapp.doctor.web import Answer, Unreachable

BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
USER_AGENTS = {
    "Claude-User": (CLAUDE,),
    "openai-mcp/1.0.0": (CHATGPT,),
    "python-httpx/0.27.2": (PYTHON_SDK, FASTMCP),
    "node": (VSCODE, CURSOR, GEMINI, INSPECTOR, MCP_REMOTE),
    "": (CODEX,),
}
"""Programs call themselves this, for these clients."""
_TO_GET = {301, 302, 303}


async def check_paths(edge: Edge, base: Answer) -> None:
    """Ask for the endpoint in the spellings that people and clients use."""
    edge.step = "Edge: the way to the endpoint"
    _check_redirect(edge, base)
    await _check_slash(edge, base)
    await _check_plain_http(edge)


def _check_redirect(edge: Edge, base: Answer) -> None:
    """Tell of a redirect of the URL itself: its target is what people should paste."""
    if not is_redirect(base.status):
        edge.ok("edge.redirect", "The URL is not redirected.")
        return
    loses = []
    if base.status in _TO_GET:
        loses.append("turns a POST into a GET")
    try:
        target = urljoin(edge.target.url, base.headers.get("location", ""))
        is_same_origin = urlsplit(target)[:2] == urlsplit(edge.target.url)[:2]
    except ValueError:
        target, is_same_origin = "what is no address", False
    if not is_same_origin:
        loses.append("makes clients leave the Authorization header out, as they must towards another origin")
    saw = f"{edge.target.url} is redirected to {without_query(target)} with {base.status}."
    fix = edge.proxy_fix("slash", f"Let people paste {without_query(target)}, or serve this URL without a redirect:")
    if loses:
        edge.error("edge.redirect-loses", saw, f"The redirect {' and '.join(loses)}.", EVERYONE, fix)
    else:
        why = "The resource that clients compare with the URL (RFC 9728 §3.3) is the one they were given."
        edge.warning("edge.redirect-kept", saw, why, EVERYONE, fix)


async def _check_slash(edge: Edge, base: Answer) -> None:
    path = edge.target.path
    if path in ("", "/"):
        return
    other = path.removesuffix("/") if path.endswith("/") else f"{path}/"
    answer = await edge.web.request("POST", edge.target.origin + other, PLAIN_HEADERS, PING)
    fix = edge.proxy_fix("slash", f"Hand {path} and {other} to the application alike:")
    if answer.status == base.status and not is_redirect(answer.status):
        edge.ok("edge.slash", f"{other} is answered like {path}.")
    elif is_redirect(answer.status):
        location = without_query(answer.headers.get("location", "nowhere"))
        edge.warning(
            "edge.slash-redirect",
            f"{other} is redirected with {answer.status} to {location}.",
            "People paste both spellings. Clients that follow leave the token out, or send a GET; others stop.",
            EVERYONE,
            fix,
        )
    else:
        saw = f"{other} is answered with {answer.status}, {path} with {base.status}."
        why = "People paste both spellings, and some clients add the slash."
        edge.warning("edge.slash-differs", saw, why, EVERYONE, fix)


async def _check_plain_http(edge: Edge) -> None:
    """See what becomes of the URL with http: typed by hand it begins like that."""
    parts = urlsplit(edge.target.url)
    if not edge.is_https or parts.port not in (None, 443):
        return
    url = f"http://{parts.hostname}{parts.path}"
    try:
        answer = await edge.web.request("POST", url, PLAIN_HEADERS, b"")
    except Unreachable:
        edge.ok("edge.http", "http is not served: who types it is told so at once.")
        return
    fix = edge.proxy_fix("redirect", "Redirect to https with 308:")
    if answer.status in _TO_GET:
        edge.warning(
            "edge.http-redirect-loses-post",
            f"{url} is redirected with {answer.status}, which turns a POST into a GET.",
            "A client that was given the URL with http sends its messages into the void; with 308 they arrive.",
            EVERYONE,
            fix,
        )
    elif is_redirect(answer.status):
        edge.ok("edge.http", f"{url} is redirected with {answer.status}, which keeps a POST.")
    elif answer.status < 400 or answer.status == 401:
        why = "Tokens travel in clear, and the resource is another one than over https."
        edge.warning("edge.http-served", f"{url} is served without TLS: {answer.status}.", why, EVERYONE, fix)
    else:
        edge.ok("edge.http", f"{url} is refused with {answer.status}.")


# --- Firewalls --------------------------------------------------------------------------------------------------------


async def check_user_agents(edge: Edge) -> None:
    """Ask as a browser and as the programs that clients are: firewalls let the one in and not the others."""
    edge.step = "Edge: the way to the endpoint"
    blocked = []
    for method, url in (("POST", edge.target.url), ("GET", edge.prm_url)):
        expected = await _status(edge, method, url, BROWSER)
        for user_agent, clients in USER_AGENTS.items():
            status = await _status(edge, method, url, user_agent)
            if status != expected:  # once more: a server may be ill for a moment
                expected = await _status(edge, method, url, BROWSER)
                status = await _status(edge, method, url, user_agent)
            if "429" in (status, expected):
                edge.skipped("edge.user-agents", "The server asks us to slow down (429), so it cannot be told apart.")
                return
            if status != expected:
                blocked.append((user_agent, clients, f"{method} {urlsplit(url).path}", status, expected))
    if not blocked:
        edge.ok("edge.user-agents", "Programs are answered like browsers, whatever they call themselves.")
        return
    fix = edge.proxy_fix("user-agents", "Leave the endpoint and discovery out of what filters bots:")
    for user_agent, clients, what, status, expected in blocked:
        name = f"the User-Agent {user_agent}" if user_agent else "no User-Agent"
        edge.error(
            "edge.user-agent-blocked",
            f"{what} with {name} gets {status}; a browser gets {expected}.",
            "A firewall or a bot filter takes these clients for bots. To people it looks as if signing in worked and "
            "then nothing did.",
            clients,
            fix,
        )


async def _status(edge: Edge, method: str, url: str, user_agent: str) -> str:
    body = b"" if method == "POST" else None
    try:
        answer = await edge.web.request(method, url, {**PLAIN_HEADERS, "User-Agent": user_agent}, body)
    except Unreachable as error:
        return error.reason
    return str(answer.status)
