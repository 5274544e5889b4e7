"""The metadata: of the resource (RFC 9728), and of the authorization server that it names (RFC 8414)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from mcpapp.doctor.checks.check import CLAUDE, CLAUDE_CODE, CODEX, CURSOR, GEMINI, INSPECTOR, MCP_REMOTE, VSCODE
from mcpapp.doctor.clients import OFFLINE_ACCESS
from mcpapp.doctor.reading import described, is_encrypted, origin_of, text, texts
from mcpapp.doctor.report import Level
from mcpapp.doctor.walk import Walk
from mcpapp.doctor.web import Answer

_RESOURCE = "/.well-known/oauth-protected-resource"
_SERVER = "/.well-known/oauth-authorization-server"
_OPENID = "/.well-known/openid-configuration"
_HEADERS = {"Accept": "application/json", "MCP-Protocol-Version": "2025-11-25"}
_SECRETLESS = "none"
_EXACT = (VSCODE, CURSOR, CLAUDE, CLAUDE_CODE, CODEX, GEMINI)
"""Clients that compare the resource with the URL byte for byte."""


async def discover(walk: Walk) -> bool:
    """Read the metadata; return whether it is enough for a client to go on."""
    return await _read_resource_metadata(walk) and await _read_server_metadata(walk)


# --- The resource --------------------------------------------------------------------------------------------------


async def _read_resource_metadata(walk: Walk) -> bool:
    target, found = walk.target, walk.found
    path_form = f"{target.origin}{_RESOURCE}{target.path.rstrip('/')}"
    root_form = f"{target.origin}{_RESOURCE}"
    named = found.challenge.get("resource_metadata", "")
    documents: dict[str, dict[str, Any]] = {}
    problems: dict[str, str] = {}
    malformed = ""
    for url in dict.fromkeys((named, path_form, root_form)):
        if not url or not walk.may_ask(url):
            continue
        answer = await walk.ask("discovery.resource-metadata-missing", "GET", url, _HEADERS)
        if answer is None:
            problems[url] = f"{url} does not answer."
        elif answer.status == 200 and answer.document:
            documents[url] = answer.document
        else:
            problems[url] = f"{url} is answered {described(answer)}."
            malformed = problems[url] if answer.status == 200 else malformed
    if not documents and found.is_open and not found.challenge and not target.is_own_site:
        found.asks_nobody = True
        return False
    walk.judge("discovery.resource-metadata-malformed", malformed)
    if not documents:
        walk.wrong("discovery.resource-metadata-missing", " ".join(problems.values()) or "There is none to ask for.")
        return False
    if named in problems:
        walk.wrong("discovery.resource-metadata-missing", f"The challenge names it, but {problems[named]}")
    else:
        walk.well("discovery.resource-metadata-missing")
    walk.judge("discovery.path-form-missing", problems.get(path_form, ""))
    if root_form != path_form:
        level = None if target.is_own_site else Level.NOTE  # RFC 9728 asks for the path form alone
        walk.judge("discovery.root-form-missing", problems.get(root_form, ""), level=level)
    chosen = next(url for url in (named, path_form, root_form) if url in documents)
    found.resource_metadata = documents[chosen]
    await _as_each_client(walk, "discovery.resource-metadata-missing", chosen)
    _judge_resource(walk, documents)
    return walk.judge(
        "discovery.no-authorization-server",
        "" if _issuers(walk) else "authorization_servers is empty or missing.",
    )


async def _as_each_client(walk: Walk, check: str, url: str) -> None:
    """Fetch a document with the headers of each client: some firewalls know a few of them."""
    for profile in walk.profiles:
        headers = {"User-Agent": profile.user_agent, **profile.discovery_headers}
        answer = await walk.ask(check, "GET", url, headers, None, profile.title)
        if answer is not None and not (answer.status == 200 and answer.document):
            walk.wrong(check, f"{url} is answered {described(answer)}.", profile.title)


def _judge_resource(walk: Walk, documents: dict[str, dict[str, Any]]) -> None:
    target, document = walk.target, walk.found.resource_metadata
    resource = text(document, "resource")
    problem = "" if resource == target.url else f"The resource is {resource or 'missing'}, the URL {target.url}."
    if problem and _covers(resource, target.url):
        # The SDK for Python takes it, that for TypeScript unless it is the longer one.
        sdk = (INSPECTOR, MCP_REMOTE) if len(resource) > len(target.url) else ()
        is_slash = resource.rstrip("/") == target.url.rstrip("/")
        level = None if is_slash or target.is_own_site else Level.WARNING
        walk.wrong("discovery.resource-not-equal", problem, *_EXACT, *sdk, level=level)
    else:
        walk.judge("discovery.resource-not-equal", problem)
    target.resource = resource or target.url
    # At the root form a host with several resources may describe another of them.
    root_form = f"{target.origin}{_RESOURCE}"
    alike = {url: each for url, each in documents.items() if url != root_form or text(each, "resource") == resource}
    same = all(each == document for each in alike.values())
    walk.judge("discovery.documents-differ", "" if same else f"{' and '.join(alike)} differ.")
    scopes = walk.found.resource_scopes
    walk.judge("discovery.resource-scopes-missing", "" if scopes else "scopes_supported is empty or missing.")
    listed = OFFLINE_ACCESS in {*scopes, *walk.found.challenge.get("scope", "").split()}
    walk.judge(
        "discovery.offline-access-in-resource", "offline_access is among the resource's scopes." if listed else ""
    )


def _covers(resource: str, url: str) -> bool:
    """Return whether a resource is the URL but for a slash at the end, or one above it."""
    if not resource or origin_of(resource) != origin_of(url):
        return False
    above, path = (urlsplit(each).path.rstrip("/") + "/" for each in (resource, url))
    return path.startswith(above)


def _issuers(walk: Walk) -> list[str]:
    return texts(walk.found.resource_metadata, "authorization_servers")


# --- The authorization server --------------------------------------------------------------------------------------


async def _read_server_metadata(walk: Walk) -> bool:
    issuers = _issuers(walk)
    own = [issuer for issuer in issuers if origin_of(issuer) == walk.target.origin.lower()]
    issuer = walk.target.issuer = (own or issuers)[0]
    is_good = is_encrypted(issuer) and walk.may_ask(issuer)
    walk.judge("discovery.insecure-issuer", "" if is_good else f"The issuer is {issuer}.")
    if not walk.may_ask(issuer):
        return False
    forms = _forms(issuer)
    answers = {url: await walk.ask("discovery.server-metadata-missing", "GET", url, _HEADERS) for url in forms}
    good = {url: answer for url, answer in answers.items() if answer and answer.status == 200 and answer.document}
    if not good:
        walk.wrong("discovery.server-metadata-missing", _said(answers))
        return False
    walk.well("discovery.server-metadata-missing")
    openid = [url for url in forms if _OPENID in url]
    missing = "" if any(url in good for url in openid) else f"{openid[0]} has none."
    walk.judge("discovery.openid-form-missing", missing)
    chosen, answer = next(iter(good.items()))
    walk.found.server_metadata = answer.document
    await _as_each_client(walk, "discovery.server-metadata-missing", chosen)
    return _judge_server(walk, issuer)


def _forms(issuer: str) -> list[str]:
    """Return where the metadata of an issuer may be, in the order in which MCP clients look."""
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    forms = [f"{origin}{_SERVER}{path}", f"{origin}{_OPENID}{path}"]
    return [*forms, f"{origin}{path}{_OPENID}"] if path else forms


def _said(answers: dict[str, Answer | None]) -> str:
    return " ".join(f"{url} is answered {described(answer)}." for url, answer in answers.items() if answer) or (
        "No form of it answers."
    )


def _judge_server(walk: Walk, issuer: str) -> bool:
    found, metadata = walk.found, walk.found.server_metadata
    named = text(metadata, "issuer")
    walk.judge(
        "discovery.issuer-not-equal", "" if named == issuer else f"It was fetched for {issuer} and names {named}."
    )
    can_go_on = _judge_endpoints(walk, issuer)
    methods = texts(metadata, "code_challenge_methods_supported")
    listed = "" if "S256" in methods else f"code_challenge_methods_supported is {', '.join(methods) or 'missing'}."
    walk.judge("discovery.no-s256", listed)
    types = texts(metadata, "response_types_supported")
    walk.judge("discovery.no-code", "" if "code" in types else f"response_types_supported is {', '.join(types)}.")
    grants = texts(metadata, "grant_types_supported")
    walk.judge(
        "discovery.refresh-not-listed",
        "" if not grants or "refresh_token" in grants else f"grant_types_supported is {', '.join(grants)}.",
    )
    ways = texts(metadata, "token_endpoint_auth_methods_supported")
    walk.judge(
        "discovery.no-public-clients",
        "" if _SECRETLESS in ways else f"token_endpoint_auth_methods_supported is {', '.join(ways) or 'missing'}.",
    )
    announced = metadata.get("authorization_response_iss_parameter_supported") is True
    walk.judge(
        "discovery.iss-not-announced",
        "" if announced else "authorization_response_iss_parameter_supported is not true.",
    )
    _judge_scopes(walk)
    registers = found.endpoint("registration_endpoint") or takes_documents(walk)
    problem = "" if registers else "There is no registration_endpoint, and no client ID metadata document is taken."
    return walk.judge("discovery.no-way-to-register", problem) and can_go_on


def _judge_endpoints(walk: Walk, issuer: str) -> bool:
    found = walk.found
    needed = ("authorization_endpoint", "token_endpoint")
    missing = [name for name in needed if not found.endpoint(name)]
    walk.judge("discovery.endpoint-missing", f"{' and '.join(missing)} is missing." if missing else "")
    urls = {
        name: found.endpoint(name)
        for name in (*needed, "registration_endpoint", "revocation_endpoint")
        if found.endpoint(name)
    }
    insecure = [url for url in urls.values() if not is_encrypted(url)]
    walk.judge("discovery.insecure-endpoint", f"The metadata names {' and '.join(insecure)}." if insecure else "")
    foreign = [url for url in urls.values() if origin_of(url) != origin_of(issuer)]
    walk.judge(
        "discovery.foreign-endpoint",
        f"The metadata of {issuer} names {' and '.join(foreign)}." if foreign else "",
        level=None if walk.target.is_own_site else Level.NOTE,  # some have them on several hosts
    )
    return not missing and all(walk.may_ask(url) for url in urls.values())


def _judge_scopes(walk: Walk) -> None:
    known, wanted = walk.found.server_scopes, walk.found.resource_scopes
    unknown = [scope for scope in wanted if known and scope not in known]
    walk.judge(
        "discovery.scopes-unknown",
        f"The authorization server does not list {' and '.join(unknown)}." if unknown else "",
        level=None if walk.target.is_own_site else Level.NOTE,  # RFC 8414 lets a server leave some out
    )
    offline = OFFLINE_ACCESS in known
    walk.judge("discovery.no-offline-access", "" if offline else "scopes_supported has no offline_access.")


def takes_documents(walk: Walk) -> bool:
    """Return whether the authorization server says that it takes client ID metadata documents."""
    return walk.found.server_metadata.get("client_id_metadata_document_supported") is True
