"""How a request arrives at the application, as its mirror tells (`mcpapp.edge_mirror`), or as it shows from outside."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from urllib.parse import unquote, urlsplit

from mcpapp.doctor.checks.check import CODEX, EVERYONE, GEMINI, INSPECTOR, MCP_REMOTE
from mcpapp.doctor.edge_frame import HOSTED, MADE_UP_TOKEN, PING, PRM, Edge
from mcpapp.doctor.web import Answer, Unreachable
from mcpapp.edge_mirror import LIFE_SECONDS, NEEDED_HEADERS, Kind, Seen

FORGED = "203.0.113.77"
"""An address that nobody has (RFC 5737 §3): what a client makes up must not be believed."""
SKEW_SECONDS = 30
_METHODS = ("GET", "HEAD", "DELETE", "OPTIONS")
_SENT = {
    "Authorization": f"Bearer {MADE_UP_TOKEN}",
    "Last-Event-ID": "1",
    "Mcp-Method": "ping",
    "Mcp-Name": "ping",
    "Mcp-Session-Id": "made-up-by-mcp-doctor",
    "User-Agent": "mcp_doctor",
    "X-Forwarded-For": FORGED,
}


async def check_arrival(edge: Edge, base: Answer) -> None:
    """Compare what was sent with what the application saw of it."""
    edge.step = "Edge: what arrives"
    skew = _skew(base)
    if edge.target.is_own_site:
        mirrored = await edge.mirrored(headers=_SENT, body=PING)
        edge.has_mirror = mirrored.is_acknowledged
        if mirrored.seen is not None:
            edge.ok("edge.mirror", "The site tells how it sees a request.")
            _check_seen(edge, mirrored.seen, base)
            _check_skew(edge, mirrored.seen.time - time(), "The clock of the application")
            await _check_methods(edge)
            await _check_well_known(edge)
            return
        edge.skipped("edge.mirror", _why_silent(skew))
    else:
        edge.skipped("edge.mirror", "It is not this site, so it does not tell how it sees a request.")
    if skew is not None:
        _check_skew(edge, skew, "The clock of the server")
    await _check_authorization_from_outside(edge)


def _why_silent(skew: float | None) -> str:
    if skew is not None and abs(skew) > LIFE_SECONDS:
        return f"The clocks are {abs(skew):.0f} seconds apart, so the site does not answer how it sees a request."
    return (
        "The site does not answer how it sees a request: it has another SECRET_KEY or an older version, its ASGI "
        "application does not ask mcpapp.edge_mirror, or a proxy takes out the header Star-Doctor."
    )


def _check_seen(edge: Edge, seen: Seen, base: Answer) -> None:
    _check_host(edge, seen, base)
    _check_scheme(edge, seen)
    _check_path(edge, seen)
    _check_client_address(edge, seen)
    _check_authorization(edge, seen)
    _check_headers(edge, seen)
    if seen.http_version == "1.0":
        edge.note(
            "edge.upstream-http-1.0",
            "The proxy speaks HTTP/1.0 to the application.",
            "It opens a connection for each request, and some buffer streams then.",
            edge.proxy_fix("upstream-http", "Speak HTTP/1.1:"),
        )
    else:
        edge.ok("edge.upstream-http", f"The application is asked with HTTP/{seen.http_version}.")


def _check_host(edge: Edge, seen: Seen, base: Answer) -> None:
    netloc = urlsplit(edge.target.url).netloc.lower()
    if seen.host.lower() in {netloc, netloc.removesuffix(":443" if edge.is_https else ":80")}:
        edge.ok("edge.host", f"The application sees the host {seen.host}.")
        return
    fix = edge.proxy_fix("host", "Pass the Host header on as the client sent it:")
    saw = f"The application sees the host {seen.host}, not {netloc}."
    if base.status == 421:
        why = "It refuses every request with 421 that is for a host it does not serve."
        edge.error("edge.host-rewritten", saw, why, EVERYONE, fix)
    else:
        why = "It then names the resource of another address than the one clients were given, who refuse it."
        edge.warning("edge.host-rewritten", saw, why, EVERYONE, fix)


def _check_scheme(edge: Edge, seen: Seen) -> None:
    scheme = urlsplit(edge.target.url).scheme
    if seen.scheme == scheme:
        edge.ok("edge.scheme", f"The application sees {scheme}.")
        return
    told = f"X-Forwarded-Proto says {seen.forwarded_proto}" if seen.forwarded_proto else "there is no X-Forwarded-Proto"
    edge.warning(
        "edge.scheme-lost",
        f"The application sees {seen.scheme}, not {scheme}; {told}.",
        "Redirects and links that are built from the request lead to http; the proxy does not say what came in, or is "
        "not believed.",
        EVERYONE,
        edge.proxy_fix("forwarded", "Let the proxy say so, and let the application believe this proxy:"),
    )


def _check_path(edge: Edge, seen: Seen) -> None:
    path = unquote(edge.target.path) or "/"
    if path in (seen.path, seen.root_path + seen.path):
        edge.ok("edge.path", f"The application sees the path {path}.")
        return
    edge.warning(
        "edge.path-rewritten",
        f"The application sees the path {seen.path}, not {path}.",
        "What it says of its own addresses does not lead back to it: discovery and redirects miss.",
        EVERYONE,
        edge.proxy_fix("path", "Pass the path on whole:"),
    )


def _check_client_address(edge: Edge, seen: Seen) -> None:
    """Tell whether rate limits count clients apart, and whether a client can say who it is."""
    if edge.is_on_this_machine:
        return
    if seen.client == FORGED:
        edge.error(
            "edge.client-address-forged",
            f"The application believed an X-Forwarded-For that was made up: it takes us for {FORGED}.",
            "Limits on guessing passwords and registering clients count addresses; whoever writes another one into "
            "each request has no limit.",
            EVERYONE,
            edge.proxy_fix("forged", "Let the proxy replace what clients say, and believe only this proxy:"),
        )
        return
    added = seen.forwarded_for.rpartition(",")[2].strip()
    is_told = added not in ("", FORGED)
    if (is_told and added != seen.client) or (not is_told and _is_of_this_network(seen.client)):
        told = f"X-Forwarded-For says {added}" if is_told else "the proxy adds no X-Forwarded-For"
        edge.warning(
            "edge.client-address-lost",
            f"The application takes us for {seen.client or 'nobody'}; {told}.",
            "All people share one rate limit: one of them can lock everybody out.",
            EVERYONE,
            edge.proxy_fix("forwarded", "Let the proxy say so, and let the application believe this proxy:"),
        )
    else:
        edge.ok("edge.client-address", f"The application takes us for {seen.client}, whatever we say.")


def _is_of_this_network(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return True  # a socket of the machine: no address at all


def _check_authorization(edge: Edge, seen: Seen) -> None:
    length = len(_SENT["Authorization"])
    if seen.authorization == (length,):
        edge.ok("edge.authorization", "The Authorization header arrives.")
        return
    if not seen.authorization:
        saw = "The Authorization header does not arrive."
    elif len(seen.authorization) > 1:
        saw = f"{len(seen.authorization)} Authorization headers arrive; one was sent."
    else:
        saw = f"Another Authorization header arrives: {seen.authorization[0]} characters, not {length}."
    _tell_authorization_lost(edge, saw)


def _tell_authorization_lost(edge: Edge, saw: str) -> None:
    edge.error(
        "edge.authorization-lost",
        saw,
        "People sign in and consent, and then every call is answered as if they had not: clients ask them to sign in "
        "again, for ever.",
        EVERYONE,
        edge.proxy_fix("authorization", "Pass the header on (Apache: CGIPassAuth On):"),
    )


def _check_headers(edge: Edge, seen: Seen) -> None:
    lost = [name for name in NEEDED_HEADERS if name not in seen.headers]
    if not lost:
        edge.ok("edge.request-headers", "The headers of MCP arrive.")
        return
    edge.error(
        "edge.request-header-lost",
        f"These headers do not arrive: {', '.join(lost)}.",
        "Newer clients are refused without theirs (Mcp-Method, Mcp-Name), and sessions and streams cannot go on.",
        EVERYONE,
        edge.proxy_fix("request-headers", "Pass every header on:"),
    )


async def _check_methods(edge: Edge) -> None:
    stopped = []
    for method in _METHODS:
        try:
            mirrored = await edge.mirrored(method)
        except Unreachable as error:
            stopped.append(f"{method} ({error.reason})")
            continue
        if not mirrored.is_acknowledged:
            stopped.append(f"{method} ({mirrored.answer.status})")
    if not stopped:
        edge.ok("edge.methods", f"{', '.join(_METHODS)} arrive as POST does.")
        return
    edge.error(
        "edge.method-blocked",
        f"The application never sees: {', '.join(stopped)}.",
        "GET and HEAD are how clients find out where to sign in, DELETE ends a session, OPTIONS lets web pages call.",
        (CODEX, GEMINI, MCP_REMOTE, INSPECTOR),
        edge.proxy_fix("methods", "Let every method through:"),
    )


async def _check_well_known(edge: Edge) -> None:
    """See whether what lies beside the endpoint leads to the same application."""
    paths = {edge.prm_url}
    issuer = urlsplit(edge.issuer)
    if f"{issuer.scheme}://{issuer.netloc}" == edge.target.origin:
        for name in ("oauth-authorization-server", "openid-configuration"):
            paths.add(f"{edge.target.origin}/.well-known/{name}{issuer.path.rstrip('/')}")
    paths |= {url for name in ("token_endpoint", "registration_endpoint") if (url := edge.endpoint(name))}
    elsewhere = []
    for url in sorted(paths):
        mirrored = await edge.mirrored("GET", url)
        if not mirrored.is_acknowledged:
            elsewhere.append(f"{urlsplit(url).path} ({mirrored.answer.status})")
    if not elsewhere:
        edge.ok("edge.well-known", f"Discovery leads to the same application: {PRM}… and others.")
        return
    edge.error(
        "edge.well-known-elsewhere",
        f"These do not lead to the application: {', '.join(elsewhere)}.",
        "A client that does not find them does not know where to sign in.",
        EVERYONE,
        edge.proxy_fix("well-known", "Hand them to the application too, before what serves other files from there:"),
    )


# --- From outside -----------------------------------------------------------------------------------------------------


async def _check_authorization_from_outside(edge: Edge) -> None:
    """See by the challenge whether a token arrived: one that is no good is called so (RFC 6750 §3.1)."""
    if edge.target.access_token:
        answer = await edge.post({"Authorization": f"Bearer {edge.target.access_token}"})
        if answer.status != 401:
            edge.ok("edge.authorization", "The Authorization header arrives.")
        else:
            _tell_authorization_lost(edge, "A token that was just issued gets the answer to a request without one.")
        return
    answer = await edge.post({"Authorization": f"Bearer {MADE_UP_TOKEN}"})
    challenge = answer.headers.get("www-authenticate", "").replace(" ", "")
    if "error=" in challenge:
        edge.ok("edge.authorization", "The Authorization header arrives: a made-up token is called invalid.")
    elif answer.status == 401 and edge.target.is_own_site:
        _tell_authorization_lost(edge, "A made-up token gets the answer to a request without one.")
    else:
        edge.skipped("edge.authorization", "Whether the Authorization header arrives cannot be told from outside.")


def _skew(answer: Answer) -> float | None:
    """Return by how many seconds a server's clock is ahead of ours; None if it does not say."""
    try:
        return parsedate_to_datetime(answer.headers["date"]).timestamp() - time()
    except (KeyError, ValueError, TypeError, OverflowError, OSError):
        return None


def _check_skew(edge: Edge, skew: float, whose: str) -> None:
    if abs(skew) <= SKEW_SECONDS:
        edge.ok("edge.clock", f"{whose} agrees with this machine's.")
        return
    edge.warning(
        "edge.clock-skew",
        f"{whose} is {abs(skew):.0f} seconds {'ahead of' if skew > 0 else 'behind'} this machine's.",
        "Tokens and signatures of others, as of Entra, end too early or are not valid yet; codes expire on their way.",
        HOSTED,
        "Let NTP set the clock: timedatectl set-ntp true  (or look at this machine's own: timedatectl)",
    )


# --- What comes back --------------------------------------------------------------------------------------------------


async def check_refusal(edge: Edge) -> None:
    """Let the site refuse a request, and see what of that comes back."""
    edge.step = "Edge: what comes back"
    if not edge.has_mirror:
        return
    mirrored = await edge.mirrored(kind=Kind.REFUSAL, body=PING)
    answer = mirrored.answer
    lost = [name for name in ("WWW-Authenticate", "Mcp-Session-Id") if name not in answer.headers]
    if answer.status != 401 or mirrored.seen is None:
        edge.error(
            "edge.error-page-replaced",
            f"The application answered 401; a client gets {answer.status} with another content "
            f"({answer.content_type or 'no type'}).",
            "The challenge and the error code in it are how a client knows what to do next.",
            EVERYONE,
            edge.proxy_fix("error-pages", "Pass the application's errors on as they are:"),
        )
    if lost:
        edge.error(
            "edge.response-header-removed",
            f"The application sent them and they do not come back: {', '.join(lost)}.",
            "Without WWW-Authenticate clients do not find out where to sign in; without Mcp-Session-Id older ones "
            "lose their session at once.",
            EVERYONE,
            edge.proxy_fix("response-headers", "Pass every header on:"),
        )
    elif mirrored.seen is not None:
        edge.ok("edge.response-headers", "What the application says in a refusal comes back whole.")


async def check_caches(edge: Edge) -> None:
    """Ask twice for the same, and see whether the second answer is the first one, kept."""
    edge.step = "Edge: what comes back"
    kept = []
    for url in (edge.target.url, edge.prm_url):
        for _ in range(2):
            async with edge.web.stream("GET", url) as answer:  # only its headers: it may be a stream without an end
                status, sign = answer.status, _sign_of_a_cache(answer.headers)
        if sign:
            kept.append((url, status, sign))
    if not kept:
        edge.ok("edge.cache", "Nothing is answered from a cache.")
    for url, status, sign in kept:
        saw = f"GET {urlsplit(url).path} is answered ({status}) from a cache: {sign}."
        fix = edge.proxy_fix("cache", "Keep no answers of these paths (Cloudflare: a cache rule, Bypass cache):")
        if url == edge.target.url:
            why = "One person's answer, or yesterday's refusal, is given to another."
            edge.error("edge.cached-answer", saw, why, EVERYONE, fix)
        else:
            edge.note("edge.cached-metadata", saw, "After a change clients go on with what was true before.", fix)


def _sign_of_a_cache(headers: Mapping[str, str]) -> str:
    age = headers.get("age", "0").strip()
    if age.isascii() and age.isdigit() and age.strip("0"):
        return f"Age: {age}"
    for name in ("cf-cache-status", "x-cache", "x-cache-status", "x-proxy-cache", "x-varnish-cache"):
        value = headers.get(name, "")
        if value.lower().startswith("hit") or " hit" in value.lower():
            return f"{name}: {value}"
    return ""
