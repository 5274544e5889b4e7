"""What the settings name of other apps: `settings.AUTHAPP` has dotted paths, and here is what they lead to.

The rest of `AUTHAPP` is in `authapp.conf`, through which these are used as well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.module_loading import import_string


def _setting(name: str, default: Any) -> Any:
    return getattr(settings, "AUTHAPP", {}).get(name, default)


def _imported(path: str) -> Callable[..., Any] | None:
    return import_string(path) if path else None


def tool_catalog() -> Callable[[Any, Collection[str], str], Sequence[Any]] | None:
    """Return what lists the tools that a consent would open; None if the page lists none.

    It takes the user, scopes and the resource. Each tool has `name`, `title`, `description`, `effect` ("read", "write"
    or "destructive") and `scopes`, all of which it needs.
    """
    return _imported(_setting("TOOL_CATALOG", ""))


def connection_usage() -> Callable[[Collection[int]], Mapping[int, Any]] | None:
    """Return what tells how connections are used (`calls`, `last_call_at`), by their ids; None if nothing does."""
    return _imported(_setting("CONNECTION_USAGE", ""))


def client_usage() -> Callable[[Collection[str]], Mapping[str, Any]] | None:
    """Return what tells how clients are used (`calls`, `failed_calls`, `last_call_at`), by client ID, if anything."""
    return _imported(_setting("CLIENT_USAGE", ""))


def calls_url() -> Callable[..., str | None] | None:
    """Return what says where the admin lists the calls of a client or a person; None if nothing keeps any.

    It takes the request of who looks, and `client_id` or `user`; it returns a URL, or None where they may not look.
    """
    return _imported(_setting("CALLS_URL", ""))


def see_as() -> Callable[[Any, str, str, Collection[str]], Any] | None:
    """Return what tells what a client is answered: of a user, its ID, its name and scopes (`authapp.see_as_admin`)."""
    return _imported(_setting("SEE_AS", ""))


def account_check() -> Callable[[Any], bool | None] | None:
    """Return what says whether a user's account still counts where it comes from (None: not known now), if anything."""
    return _imported(_setting("ACCOUNT_CHECK", ""))


def authenticated_at() -> Callable[[HttpRequest], float | None]:
    """Return the callable that says when the person proved who they are, in Unix seconds; None when it is not known."""
    return _imported(_setting("AUTHENTICATED_AT", "")) or (lambda request: None)
