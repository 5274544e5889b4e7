"""Whether web pages may call: cross-origin rules (CORS, Fetch §3.2) on every address that such a client needs."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from mcpapp.doctor.checks.check import INSPECTOR
from mcpapp.doctor.edge_frame import PING, PLAIN_HEADERS, Edge
from mcpapp.doctor.web import Answer, Unreachable

ORIGIN = "http://localhost:6274"
"""Of MCP Inspector's page, on the machine of whoever uses it."""
CLIENTS = (INSPECTOR,)
_SAFE_METHODS = {"GET", "HEAD", "POST"}


@dataclass(frozen=True, slots=True)
class Place:
    """An address that a page calls, and what of an answer it has to be able to read."""

    what: str
    method: str
    url: str
    headers: tuple[str, ...]
    content_type: str = ""
    body: str = ""
    exposed: tuple[str, ...] = ()


async def check_web_pages(edge: Edge) -> None:
    """Ask as a browser does for a page: first whether it may, then what the page wants."""
    edge.step = "Edge: web pages"
    is_well = True
    for place in _places(edge):
        try:
            preflight = await edge.web.request(
                "OPTIONS",
                place.url,
                {
                    "Origin": ORIGIN,
                    "Access-Control-Request-Method": place.method,
                    "Access-Control-Request-Headers": ",".join(place.headers),
                },
            )
            headers = {**PLAIN_HEADERS, "Origin": ORIGIN}
            if place.content_type:
                headers["Content-Type"] = place.content_type
            answer = await edge.web.request(place.method, place.url, headers, place.body or None)
        except Unreachable as error:
            edge.skipped("edge.cors", f"{place.what} does not answer a web page: {error.reason}.")
            is_well = False
            continue
        is_well &= _check_place(edge, place, preflight, answer)
    if is_well:
        edge.ok("edge.cors", f"Web pages may call, as that of MCP Inspector at {ORIGIN}.")


def _places(edge: Edge) -> list[Place]:
    exposed = ("www-authenticate", "mcp-session-id")
    places = [
        Place(
            "the endpoint",
            "POST",
            edge.target.url,
            ("authorization", "content-type", "mcp-protocol-version"),
            "application/json",
            PING,
            exposed,
        ),
        Place("the metadata of the resource", "GET", edge.prm_url, ("mcp-protocol-version",)),
    ]
    issuer = urlsplit(edge.issuer)
    if issuer.netloc and issuer.scheme in ("http", "https"):
        url = f"{issuer.scheme}://{issuer.netloc}/.well-known/oauth-authorization-server{issuer.path.rstrip('/')}"
        places.append(Place("the metadata of the issuer", "GET", url, ("mcp-protocol-version",)))
    # Bodies that ask for nothing: no client is registered, no token is made.
    if url := edge.endpoint("token_endpoint") or "":
        form = "application/x-www-form-urlencoded"
        places.append(Place("the token endpoint", "POST", url, ("content-type",), form, "grant_type=none"))
    if url := edge.endpoint("registration_endpoint") or "":
        places.append(Place("registration", "POST", url, ("content-type",), "application/json", "none"))
    return places


def _check_place(edge: Edge, place: Place, preflight: Answer, answer: Answer) -> bool:
    """Tell what is wrong at a place; return whether nothing is."""
    fix = edge.proxy_fix("cors", "Let the application answer, which knows the rules:")
    if doubled := [each for each in (preflight, answer) if _is_doubled(each)]:
        edge.warning(
            "edge.cors-doubled",
            f"{place.what}: there are two Access-Control-Allow-Origin: {_allowed(doubled[0])}.",
            "Proxy and application both add it, and browsers take neither.",
            CLIENTS,
            fix,
        )
        return False
    if refused := _preflight_refused(place, preflight):
        why = "Browsers ask this before they let a page send anything but the simplest request."
        edge.warning("edge.cors-preflight", f"{place.what}: {refused}.", why, CLIENTS, fix)
        return False
    if _allowed(answer) not in ("*", ORIGIN):
        saw = f"{place.what}: {place.method} is answered ({answer.status}) without an Access-Control-Allow-Origin."
        edge.warning("edge.cors-answer", saw, "The page that asked may not read the answer.", CLIENTS, fix)
        return False
    shown = _listed(answer, "access-control-expose-headers")
    hidden = [name for name in place.exposed if name not in shown and "*" not in shown]
    if hidden:
        saw = f"{place.what}: Access-Control-Expose-Headers does not name {', '.join(hidden)}."
        why = "A page cannot see the challenge that says where to sign in, or its session."
        edge.warning("edge.cors-exposed", saw, why, CLIENTS, fix)
        return False
    return True


def _preflight_refused(place: Place, answer: Answer) -> str:
    if not 200 <= answer.status < 300:
        return f"OPTIONS is answered with {answer.status}"
    if _allowed(answer) not in ("*", ORIGIN):
        return "OPTIONS is answered without an Access-Control-Allow-Origin"
    methods = _listed(answer, "access-control-allow-methods")
    if place.method not in _SAFE_METHODS and place.method.lower() not in methods:
        return f"OPTIONS does not allow {place.method}"
    headers = _listed(answer, "access-control-allow-headers")
    # The asterisk does not stand for this one (Fetch §4.8).
    missing = [
        name for name in place.headers if name not in headers and ("*" not in headers or name == "authorization")
    ]
    return f"OPTIONS does not allow the headers {', '.join(missing)}" if missing else ""


def _allowed(answer: Answer) -> str:
    return ", ".join(answer.headers.get_list("access-control-allow-origin")).strip()


def _is_doubled(answer: Answer) -> bool:
    return "," in _allowed(answer)


def _listed(answer: Answer, name: str) -> set[str]:
    return {one.strip().lower() for one in ",".join(answer.headers.get_list(name)).split(",")}
