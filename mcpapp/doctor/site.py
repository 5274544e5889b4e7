"""What only the site itself can do: make a person for the walk, let them be signed in, and remove them again.

The person's account has no password and no right. Its name is signed, so that what a killed run left behind is known by
it, and nobody else's account is ever taken for one.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model, login
from django.core.exceptions import ObjectDoesNotExist
from django.db import Error as DatabaseError
from django.db import models
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare, salted_hmac
from mcp.server.mcpserver.tools import Tool

from mcpapp.registry import Catalog, ToolDefinition, discover

logger = logging.getLogger(__name__)

PREFIX = "mcp-doctor"
SESSION_SECONDS = 15 * 60
LONGEST_RUN_SECONDS = 60 * 60
"""What is older than this is left over, wherever it was made."""
_SALT = "mcpapp.doctor.site"
_BACKEND = "django.contrib.auth.backends.ModelBackend"


class NoPerson(Exception):
    """Nobody can be signed in; the text says why."""


class SignedIn:
    """A person with a session: what the walk makes use of (`mcpapp.doctor.walk.Site`)."""

    def __init__(self, user: Any, cookies: Mapping[str, str]) -> None:
        self.user = user
        self.cookies = cookies
        self.left_behind = ""
        """The name of a person who could not be removed again."""
        self._catalog: Catalog | None = None

    def tool_beyond(self, scopes: frozenset[str]) -> str | None:
        """Return a tool that needs more than these scopes and takes an argument that it cannot do without."""
        if self._catalog is None:
            self._catalog = discover()
        for definition in self._catalog.tools.values():
            access = definition.access
            if access.scopes - scopes and not access.asks_about_the_person and needs_argument(definition):
                return definition.name
        return None


@contextmanager
def signed_in(username: str = "") -> Iterator[SignedIn]:
    """Sign somebody in for the time of the walk: the person of this name, or one who is made and removed again.

    Raises: NoPerson.
    """
    remove_leftovers()
    user = existing(username) if username else make_person()
    store = import_module(settings.SESSION_ENGINE).SessionStore()
    inside = SignedIn(user, {})
    try:
        request = HttpRequest()
        request.session = store
        login(request, user, backend=_backend())
        store.set_expiry(SESSION_SECONDS)
        store.save()
        inside.cookies = {settings.SESSION_COOKIE_NAME: str(store.session_key)}
        yield inside
    finally:
        try:
            store.flush()
        finally:
            if not username and not _removed(user):
                inside.left_behind = user.get_username()


def existing(username: str) -> Any:
    """Return the person of a name. Raises: NoPerson."""
    model = get_user_model()
    try:
        if "\x00" in username:  # PostgreSQL refuses to look for it
            raise ObjectDoesNotExist
        user = model._default_manager.get(**{model.USERNAME_FIELD: username})
    except ObjectDoesNotExist:
        raise NoPerson(f"There is no user {username!r}.") from None
    if not user.is_active:
        raise NoPerson(f"The user {username!r} is not active.")
    return user


def make_person() -> Any:
    """Make a person without a password. Raises: NoPerson."""
    model = get_user_model()
    name = _signed(f"{PREFIX}-{int(time.time()):x}-{os.getpid():x}-{_machine()}")
    field = model._meta.get_field(model.USERNAME_FIELD)
    if isinstance(field, models.EmailField):
        name = f"{name}@{PREFIX}.invalid"
    user = model(**{model.USERNAME_FIELD: name})
    user.set_unusable_password()
    try:
        user.save()
    except Exception as error:  # each database and each model of a user has its own
        raise NoPerson(f"No person can be made here ({type(error).__name__}). Name one with --user.") from error
    return user


def remove_leftovers() -> int:
    """Remove the people of runs that were killed; return how many there were."""
    model = get_user_model()
    found = model._default_manager.filter(**{f"{model.USERNAME_FIELD}__startswith": f"{PREFIX}-"})
    removed = 0
    for user in found[:1000]:
        if _is_left_over(user.get_username()) and not user.has_usable_password():
            removed += _removed(user)
    return removed


def _removed(user: Any) -> bool:
    """Delete a person; return False where something of the site holds on to them."""
    try:
        user.delete()
    except (DatabaseError, models.RestrictedError, models.ProtectedError):
        logger.exception("The doctor's person %s could not be removed.", user.get_username())
        return False
    return True


def needs_argument(definition: ToolDefinition) -> bool:
    """Return whether a tool has an argument that its client must give: without it, nothing of it runs."""
    return bool(Tool.from_function(definition.function, name=definition.name).parameters.get("required"))


def _signed(name: str) -> str:
    return f"{name}-{salted_hmac(_SALT, name, algorithm='sha256').hexdigest()[:24]}"


def _is_left_over(username: str) -> bool:
    name, _, _ = username.partition("@")
    unsigned = name.rpartition("-")[0]
    if not constant_time_compare(name, _signed(unsigned)):
        return False
    began, pid, machine = unsigned.removeprefix(f"{PREFIX}-").split("-")
    if time.time() - int(began, 16) > LONGEST_RUN_SECONDS:
        return True
    return machine == _machine() and not _is_running(int(pid, 16))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _machine() -> str:
    return sha256(socket.gethostname().encode()).hexdigest()[:8]


def _backend() -> str:
    """Return the backend that the session names: one of the site's, or Django does not take the session."""
    backends = list(settings.AUTHENTICATION_BACKENDS)
    return _BACKEND if _BACKEND in backends else str(backends[0])
