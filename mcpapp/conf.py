"""Typed access to `settings.MCPAPP`.

The resource's name comes from here, never from a request's Host header: the header only chooses among the
resources that the settings list.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from mcpapp.call_log.redaction import Policy
    from mcpapp.door_log import Fact
    from mcpapp.issuers.lookup import FindPerson
    from mcpapp.token_cache import Feed
    from mcpapp.verifier import TokenLookup


def _setting(name: str, default: Any) -> Any:
    return getattr(settings, "MCPAPP", {}).get(name, default)


def resources() -> tuple[str, ...]:
    """Return the resource identifiers (RFC 9728 §1.2), which are the URLs people paste; the first is canonical."""
    return tuple(_setting("RESOURCES", ()))


def authorization_servers() -> tuple[str, ...]:
    """Return the issuers whose tokens are accepted, in the order clients are told them (RFC 9728 §2)."""
    return tuple(_setting("AUTHORIZATION_SERVERS", ()))


def token_lookups() -> tuple[TokenLookup, ...]:
    """Return the async callables that find an access token, in the order they are asked."""
    return _imported_all(token_lookup_paths())


def token_lookup_paths() -> tuple[str, ...]:
    """Return where they are."""
    value = _setting("TOKEN_LOOKUP", "")
    return (value,) if isinstance(value, str) else tuple(value)


def token_changes() -> Callable[[Callable[[Collection[str] | None], None]], AbstractAsyncContextManager[Feed]] | None:
    """Return what opens the feed of changes to access tokens; None if none is set."""
    value = _setting("TOKEN_CHANGES", "")
    return import_string(value) if value else None


@lru_cache(maxsize=8)
def _imported_all(paths: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(import_string(path) for path in paths)


def server_name() -> str:
    """Return the name the MCP server gives itself."""
    return str(_setting("SERVER_NAME", "star"))


def server_title() -> str:
    """Return the name shown to people."""
    return str(_setting("SERVER_TITLE", "Star"))


def server_version() -> str:
    """Return the version the MCP server gives itself."""
    return str(_setting("SERVER_VERSION", "0.1.0"))


def instructions() -> str:
    """Return what a model is told about this server's tools."""
    return str(_setting("INSTRUCTIONS", "Tools of this site. They run as the person who signed in."))


def scopes_supported() -> tuple[str, ...]:
    """Return the scopes of this resource (RFC 9728 §2); `offline_access` is the authorization server's, not ours."""
    return tuple(_setting("SCOPES_SUPPORTED", ()))


def default_scopes() -> tuple[str, ...]:
    """Return the scopes a client is told to ask for when it comes without a token (RFC 6750 §3)."""
    return tuple(_setting("DEFAULT_SCOPES", ()))


def implied_scopes() -> dict[str, frozenset[str]]:
    """Return which scopes a scope includes, e.g. `{"mcp:write": {"mcp:tools"}}`."""
    return {scope: frozenset(implied) for scope, implied in _setting("IMPLIED_SCOPES", {}).items()}


def tool_modules() -> tuple[str, ...]:
    """Return modules with tools besides every installed app's `mcp_tools`."""
    return tuple(_setting("TOOL_MODULES", ()))


def allowed_origins() -> tuple[str, ...]:
    """Return the web origins besides our own and loopback whose pages may call the server."""
    return tuple(_setting("ALLOWED_ORIGINS", ()))


def sessions() -> bool:
    """Return whether older clients get sessions; without them any worker answers any request."""
    return bool(_setting("SESSIONS", False))


def sessions_per_person() -> int:
    """Return how many sessions one person may have open in a process."""
    return int(_setting("SESSIONS_PER_PERSON", 100))


def request_state_seconds() -> float:
    """Return for how long a person may think about what a call asks them (MCP `requestState`)."""
    return float(_setting("REQUEST_STATE_SECONDS", 600))


def event_store_bytes() -> int:
    """Return how much a process keeps for clients that lost a stream of a session; 0 for nothing."""
    return int(_setting("EVENT_STORE_BYTES", 64 * 1024 * 1024))


def stream_retry_milliseconds() -> int:
    """Return after how long a client shall come back to a stream that ended early (SSE `retry`)."""
    return int(_setting("STREAM_RETRY_MILLISECONDS", 1000))


def maximum_body_bytes() -> int:
    """Return how large a request may be."""
    return int(_setting("MAXIMUM_BODY_BYTES", 4 * 1024 * 1024))


def resource_for(host: str) -> str:
    """Return the resource a request is for: the listed one with its Host header, else the canonical one."""
    known = resources()
    return next((candidate for candidate in known if urlsplit(candidate).netloc == host), known[0])


def authorization_servers_for(resource: str) -> tuple[str, ...]:
    """Return the issuers to name for a resource, in order: the site's, in the resource's own spelling, and the others.

    `TOKEN_ISSUERS_FIRST` turns the two around: many clients take the first that they find.
    """
    from mcpapp.issuers.settings import token_issuers  # which reads other settings through this module

    netloc = urlsplit(resource).netloc
    spellings = {urlsplit(known).netloc for known in resources()} - {netloc}
    own = tuple(issuer for issuer in authorization_servers() if urlsplit(issuer).netloc not in spellings)
    others = tuple(issuer.issuer for issuer in token_issuers() if issuer.announced)
    first, second = (others, own) if _setting("TOKEN_ISSUERS_FIRST", False) else (own, others)
    return tuple(dict.fromkeys((*first, *second))) or authorization_servers()


def token_issuer_entries() -> tuple[Any, ...]:
    """Return what is said of other issuers whose access tokens are taken; `mcpapp.issuers.settings` reads it."""
    return tuple(_setting("TOKEN_ISSUERS", ()))


def issuer_user() -> FindPerson:
    """Return what finds the user that a subject of another issuer is (`mcpapp.issuers`).

    Raises:
        ImproperlyConfigured: nothing is set.
    """
    value = _setting("ISSUER_USER", "")
    if not value:
        raise ImproperlyConfigured("MCPAPP['ISSUER_USER'] is not set: nobody says who a subject of an issuer is.")
    return cast("FindPerson", import_string(value))


def metadata_url(resource: str) -> str:
    """Return where a resource's metadata is: the well-known name goes between host and path (RFC 9728 §3.1)."""
    parts = urlsplit(resource)
    return f"{parts.scheme}://{parts.netloc}/.well-known/oauth-protected-resource{parts.path}"


def anonymous_tools() -> bool:
    """Return whether callers without a token may list and use what is declared public."""
    return bool(_setting("ANONYMOUS_TOOLS", False))


def anonymous_sees_protected() -> bool:
    """Return whether they are also shown what they would have to sign in for."""
    return bool(_setting("ANONYMOUS_SEES_PROTECTED", False))


def app_only_tokens() -> bool:
    """Return whether services may call, with tokens that no person takes part in."""
    return bool(_setting("APP_ONLY_TOKENS", False))


def call_timeout_seconds() -> float:
    """Return how long a call may take that sets no limit of its own; 0 for no limit."""
    return float(_setting("CALL_TIMEOUT_SECONDS", 300))


def call_concurrency() -> int:
    """Return how many calls of one tool run at once in a process if it sets no limit of its own; 0 for no limit."""
    return int(_setting("CALL_CONCURRENCY", 8))


def calls_per_person() -> int:
    """Return how many calls one person may have under way in a process, those that wait included."""
    return int(_setting("CALLS_PER_PERSON", 100))


def calls_in_flight() -> int:
    """Return how many calls of all people may be under way in a process, those that wait included; 0 for no limit."""
    return int(_setting("CALLS_IN_FLIGHT", 1000))


def rate_limits() -> Mapping[str, Any]:
    """Return how often one may call, by whom or what is counted (`mcpapp.limits`)."""
    return cast("Mapping[str, Any]", _setting("RATE_LIMITS", {}))


def rate_limit_storage() -> str:
    """Return the URL of the Redis in which all processes count together; empty: each counts for itself."""
    return str(_setting("RATE_LIMIT_STORAGE", ""))


def call_threads() -> int:
    """Return how many threads at once work for calls in a process; each may take a connection to the database."""
    return int(_setting("CALL_THREADS", 16))


def connection_status() -> Callable[[Any], Sequence[Mapping[str, Any]]] | None:
    """Return what lists a person's connections for the connect page; None if the page shows none.

    It takes the user. Each connection has `connection_id`, `client_name` and `connected_at`.
    """
    value = _setting("CONNECTION_STATUS", "")
    return import_string(value) if value else None


def call_log() -> bool:
    """Return whether calls of tools are written to the database."""
    return bool(_setting("CALL_LOG", True))


def call_log_arguments() -> Policy | Mapping[str, Policy]:
    """Return what is kept of arguments: "off", "names" or "full"; one word for all, or by name of the tool.

    In a mapping, `"*"` is for those it does not name.
    """
    return cast("Policy | Mapping[str, Policy]", _setting("CALL_LOG_ARGUMENTS", "names"))


def call_log_secret_arguments() -> tuple[str, ...]:
    """Return names of arguments that are masked besides those that look like secrets."""
    return tuple(_setting("CALL_LOG_SECRET_ARGUMENTS", ()))


def call_links() -> Callable[[Any, Any], Mapping[str, str]] | None:
    """Return what finds the pages of the admin about the client and the connection of a call, if anything.

    It takes the request and the call, and returns URLs by the names of columns (`client_id`, `connection_key`).
    """
    value = _setting("CALL_LINKS", "")
    return import_string(value) if value else None


def call_log_days() -> int:
    """Return for how many days a call is kept."""
    return int(_setting("CALL_LOG_DAYS", 90))


def call_count_days() -> int:
    """Return for how many days it is kept how many calls there were in an hour."""
    return int(_setting("CALL_COUNT_DAYS", 400))


def refusal_days() -> int:
    """Return for how many days it is kept who was turned away at the door; 0 keeps nothing of it."""
    return int(_setting("REFUSAL_DAYS", 30))


def connection_facts() -> Callable[[Sequence[Fact]], None] | None:
    """Return what is told, in a thread beside the requests, of tokens that were let in or turned away, if anything."""
    value = _setting("CONNECTION_FACTS", "")
    return import_string(value) if value else None


def list_ttl_seconds() -> int:
    """Return for how long a client may keep the lists and what the server says of itself (MCP `ttlMs`)."""
    return int(_setting("LIST_TTL_SECONDS", 60))


def streams_per_person() -> int:
    """Return how many streams of changes (`subscriptions/listen`) one person may have open in a process."""
    return int(_setting("STREAMS_PER_PERSON", 8))


def streams() -> int:
    """Return how many streams of changes may be open in a process; 0 serves none at all."""
    return int(_setting("STREAMS", 1024))
