"""How a person connects a client: the URL to paste, and the exact configuration of the usual clients."""

from __future__ import annotations

import json
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from mcpapp import conf


@dataclass(frozen=True, slots=True)
class ClientConfiguration:
    """What to do in one client."""

    name: str
    where: str
    """The file to put `text` into, or where to run it."""
    text: str


def client_configurations(url: str) -> list[ClientConfiguration]:
    """Return the configuration of VS Code, Claude Code and Cursor for a server at `url`."""
    name = conf.server_name()
    return [
        ClientConfiguration(
            "VS Code",
            ".vscode/mcp.json",
            json.dumps({"servers": {name: {"type": "http", "url": url}}}, indent=2),
        ),
        ClientConfiguration(
            "Claude Code",
            _("in a terminal"),
            f"claude mcp add --transport http {name} {url} && claude mcp login {name}",
        ),
        ClientConfiguration("Cursor", "~/.cursor/mcp.json", json.dumps({"mcpServers": {name: {"url": url}}}, indent=2)),
    ]


@require_safe
def connect_page(request: HttpRequest) -> HttpResponse:
    """Show the URL to paste and what to do in each client."""
    url = conf.resource_for(request.META.get("HTTP_HOST", ""))
    return render(
        request,
        "mcpapp/connect.html",
        {"resource": url, "title": conf.server_title(), "configurations": client_configurations(url)},
    )
