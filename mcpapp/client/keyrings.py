"""The key that protects what `star` keeps, in the keyring of the platform: macOS Keychain, Windows, Secret Service."""

from __future__ import annotations

import base64
import binascii
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

_SERVICE = "star"
_ACCOUNT = "key of kept sign-ins"
_KEY_BYTES = 32
# A keyring may ask the person for a password, where there is a screen to ask on.
SECONDS_WITH_A_SCREEN = 30
SECONDS_WITHOUT = 3

_Result = TypeVar("_Result")


class KeyringFailure(Exception):
    """The keyring did not answer in time, or would not."""


def key() -> bytes | None:
    """Return the key that is kept, None if there is none. Raises: KeyringFailure."""
    return _within_time(_read_key)


def key_made() -> bytes | None:
    """Return the key that is kept, made now if there was none; None where the platform has no keyring to trust.

    The caller holds a lock, so that two processes do not make two. Raises: KeyringFailure.
    """
    return _within_time(_read_or_make_key)


def _read_key() -> bytes | None:
    backend = _backend()
    if backend is None:
        return None
    try:
        found = base64.b64decode(backend.get_password(_SERVICE, _ACCOUNT) or "", validate=True)
    except binascii.Error:
        return None
    return found if len(found) == _KEY_BYTES else None


def _read_or_make_key() -> bytes | None:
    backend = _backend()
    if backend is None:
        return None
    if found := _read_key():
        return found
    backend.set_password(_SERVICE, _ACCOUNT, base64.b64encode(os.urandom(_KEY_BYTES)).decode())
    return _read_key()  # what was not kept protects nothing


def _backend() -> Any:
    """Return the keyring of the platform; None if it has none that keeps secrets secret."""
    import keyring

    backend = keyring.get_keyring()
    name = type(backend).__module__
    # The ones that fail, that forget, and `keyrings.alt`, which writes plain files, rank below 1.
    if name.startswith(("keyring.backends.fail", "keyring.backends.null", "keyrings.alt")) or backend.priority < 1:
        return None
    return backend


def _within_time(function: Callable[[], _Result]) -> _Result:
    """Run a function that may hang: on a machine without a screen a keyring waits for a password for ever."""
    from mcpapp.client.browser import has_screen

    results: list[_Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:  # whatever a keyring of a platform raises is told by the thread that asked
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS_WITH_A_SCREEN if sys.stdin.isatty() and has_screen() else SECONDS_WITHOUT)
    if errors:
        raise KeyringFailure(f"The keyring of this machine failed: {type(errors[0]).__name__}")
    if not results:
        raise KeyringFailure("The keyring of this machine did not answer in time")
    return results[0]
