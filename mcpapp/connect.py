"""How a person connects a client: the URL to paste, what to do in each client, what is connected, what it can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from mcpapp import conf, usage
from mcpapp.catalog import tools_by_effect
from mcpapp.client.client_configs import client_configs, safe_name

OTHER = "other"
NAMES = {
    "vscode": ("visual studio code", "vs code", "vscode"),
    "claude-code": ("claude code",),
    "claude": ("claude",),
    "cursor": ("cursor",),
    "codex": ("codex",),
    "gemini": ("gemini",),
    "chatgpt": ("chatgpt", "openai"),
    "inspector": ("mcp inspector", "inspector"),
}
"""How the names begin that clients give themselves: enough to sort a person's own connections, and no proof."""


@dataclass(frozen=True, slots=True)
class Card:
    """What to do in one client."""

    client: str
    title: str
    where: str
    """The file to put `text` into, or where to run it."""
    text: str
    link: str = ""
    steps: tuple[str, ...] = ()
    """What to press, where there is nothing to copy but the URL."""
    status: str = ""


@require_safe
def connect_page(request: HttpRequest) -> HttpResponse:
    """Show the URL to paste, what to do in each client, and the tools of whoever is looking."""
    url = conf.resource_for(request.META.get("HTTP_HOST", ""))
    status = status_of(request.user)
    return render(
        request,
        "mcpapp/connect.html",
        {
            "resource": url,
            "title": conf.server_title(),
            "cards": cards(url, status),
            "tools": tools_by_effect(request.user, url),
            "has_status": bool(status),
        },
    )


@never_cache
@require_safe
def connection_status(request: HttpRequest) -> HttpResponse:
    """Tell a page that is open what is connected by now: a text for each client. Nobody is told of anybody else."""
    return JsonResponse({"clients": status_of(request.user), "signed_in": request.user.is_authenticated})


def cards(url: str, status: dict[str, str]) -> list[Card]:
    """Return what to do in each client for a server at `url`, the usual ones first."""
    made = {one.client: one for one in client_configs(url, safe_name(conf.server_name()))}
    in_terminal = _("in a terminal")
    places = {
        "vscode": ".vscode/mcp.json",
        "claude-code": in_terminal,
        "cursor": "~/.cursor/mcp.json",
        "codex": _("%(file)s, then: codex mcp login %(name)s")
        % {"file": "~/.codex/config.toml", "name": conf.server_name()},
        "gemini": _("%(file)s, then: /mcp auth %(name)s")
        % {"file": "~/.gemini/settings.json", "name": conf.server_name()},
        "inspector": in_terminal,
    }
    found = {
        client: Card(
            client, made[client].title, where, made[client].text, made[client].link, (), status.get(client, "")
        )
        for client, where in places.items()
    }
    found["claude"] = Card(
        "claude",
        "Claude",
        _("on the web, on the desktop, on a phone"),
        "",
        "",
        (
            _("Open Settings, then Connectors."),
            _("Choose “Add custom connector” and paste the URL."),
            _("Press Connect, and sign in here."),
        ),
        status.get("claude", ""),
    )
    found["chatgpt"] = Card(
        "chatgpt",
        "ChatGPT",
        _("on the web"),
        "",
        "",
        (
            _("Open Settings, then Connectors (developer mode)."),
            _("Create a connector, paste the URL, and choose OAuth."),
            _("Connect it, and sign in here."),
        ),
        status.get("chatgpt", ""),
    )
    found[OTHER] = Card(
        OTHER,
        _("Any other client"),
        _("that speaks MCP over HTTP"),
        "",
        "",
        (
            _(
                "Paste the URL where it asks for a remote server. "
                "It registers itself and opens this site to sign you in."
            ),
        ),
        status.get(OTHER, ""),
    )
    order = ("vscode", "claude", "claude-code", "cursor", "codex", "gemini", "chatgpt", "inspector", OTHER)
    return [found[client] for client in order]


def status_of(user: Any) -> dict[str, str]:
    """Return what a person has connected, in words, by client; nothing for who is not signed in."""
    list_connections = conf.connection_status()
    if list_connections is None or not user.is_authenticated:
        return {}
    connections = list_connections(user)
    used = usage.of_connections([connection["connection_id"] for connection in connections])
    of_client: dict[str, list[tuple[Any, int]]] = {}
    for connection in connections:
        use = used.get(connection["connection_id"])
        last, calls = (use.last_call_at, use.calls) if use else (connection["connected_at"], 0)
        of_client.setdefault(kind_of(connection["client_name"]), []).append((last, calls))
    return {
        client: _in_words(max(last for last, _calls in found), sum(calls for _last, calls in found))
        for client, found in of_client.items()
    }


def kind_of(client_name: str) -> str:
    """Return which card a client belongs to, by the name it gave itself."""
    name = client_name.strip().lower()
    fitting = [(len(start), client) for client, starts in NAMES.items() for start in starts if name.startswith(start)]
    return max(fitting)[1] if fitting else OTHER


def _in_words(last: Any, calls: int) -> str:
    now = timezone.now()
    is_now = (now - last).total_seconds() < 60
    when = _("just now") if is_now else _("%(time)s ago") % {"time": timesince(last, now, depth=1)}
    if not calls:
        return _("Connected %(when)s, no calls yet") % {"when": when}
    told = ngettext("%(calls)s call", "%(calls)s calls", calls) % {"calls": f"{calls:,}"}
    return _("Connected: %(calls)s, the last %(when)s") % {"calls": told, "when": when}
