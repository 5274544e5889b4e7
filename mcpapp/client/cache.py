"""Where `star` keeps what is secret: a file per thing, for its owner alone, encrypted where there is a keyring.

Files are replaced as a whole, so that a process that is killed leaves the old one or the new one, and locked across
processes. A file that cannot be read is set aside and told of.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from mcpapp.client import console
from mcpapp.client.failures import CacheFailure

FORMAT = 1
MAX_BYTES = 1024 * 1024
SECONDS_BETWEEN_TRIES = 0.03
SECONDS_UNTIL_LEFTOVERS_GO = 3600
# Kinds that are asked for again where they cannot be read: nobody has to hear of it.
_NO_LOSS = {"lists"}
_NEW = ".new-"


def default_folder() -> Path:
    """Where the platform keeps the state of programs, for this person."""
    from platformdirs import user_state_path

    return user_state_path("star", appauthor=False)


class Cache:
    """The kept things: each has a kind, like "servers", and a name, like a URL; its content is a JSON object.

    `folder` is None for the platform's own place.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or default_folder()).expanduser().absolute()
        self._key: bytes | None = None

    def path(self, kind: str, name: str) -> Path:
        """Where a thing is kept."""
        return self.folder / kind / f"{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}.json"

    def read(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return a thing's content, None if nothing is kept. What cannot be read is set aside, as if it were not there.

        Raises: CacheFailure if the file is another's, or the keyring does not open.
        """
        return self._read(self.path(kind, name))

    def all(self, kind: str) -> Iterator[dict[str, Any]]:
        """Every content of a kind. Raises: CacheFailure as `read` does."""
        for path in sorted((self.folder / kind).glob("*.json")):
            if (content := self._read(path)) is not None:
                yield content

    def write(self, kind: str, name: str, content: dict[str, Any]) -> None:
        """Keep a content in place of what was kept. Raises: CacheFailure if it cannot be written."""
        path = self.path(kind, name)
        try:
            self._make(path.parent)
            text = json.dumps(self._sealed(path, content)).encode()
            _replace(path, text)
        except OSError as error:
            raise CacheFailure(
                f"The sign-in cannot be kept in {self.folder}: {error.strerror or error}",
                "Make the folder writable, or name another one with --cache-dir.",
            ) from None

    def delete(self, kind: str, name: str) -> None:
        """Forget a thing; it is no error if nothing is kept."""
        try:
            self.path(kind, name).unlink(missing_ok=True)
        except OSError as error:
            raise CacheFailure(f"The kept sign-in cannot be deleted: {error.strerror or error}") from None

    def is_encrypted(self, kind: str, name: str) -> bool:
        """Return whether what is kept is encrypted with a key of the platform's keyring."""
        envelope = self._envelope(self.path(kind, name))
        return bool(envelope and envelope.get("protection") == "keyring")

    @asynccontextmanager
    async def lock(self, kind: str, name: str) -> AsyncIterator[None]:
        """Hold a thing alone among all processes; a process that is killed lets go. Raises: CacheFailure."""
        import asyncio  # what only reads needs none

        from filelock import FileLock, Timeout

        path = self.path(kind, name)
        try:
            self._make(path.parent)
            lock = FileLock(path.with_suffix(".lock"), mode=0o600)
            while True:
                try:
                    lock.acquire(blocking=False)
                    break
                except Timeout:
                    # Asked again and again, so that Ctrl-C and a time limit end the waiting.
                    await asyncio.sleep(SECONDS_BETWEEN_TRIES)
        except OSError as error:
            raise CacheFailure(
                f"The folder of kept sign-ins cannot be locked: {error.strerror or error}",
                "Name another folder with --cache-dir.",
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _make(self, folder: Path) -> None:
        """Make a folder for its owner alone. Raises: CacheFailure if there is one that is not, and cannot be."""
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or not _is_ours(found):
            raise CacheFailure(
                f"{folder} is a link or belongs to somebody else.", "Remove it, or use another --cache-dir."
            )
        if os.name == "posix" and stat.S_IMODE(found.st_mode) != 0o700:
            folder.chmod(0o700)

    def _read(self, path: Path) -> dict[str, Any] | None:
        envelope = self._envelope(path)
        if envelope is None:
            return None
        try:
            return self._opened(path, envelope)
        except ValueError:
            self._set_aside(path)
            return None

    def _envelope(self, path: Path) -> dict[str, Any] | None:
        try:
            text = _bytes_of(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CacheFailure(
                f"{path} cannot be read: {error.strerror or error}", "Remove it, or use another --cache-dir."
            ) from None
        try:
            envelope = json.loads(text)
            if not isinstance(envelope, dict) or envelope.get("format") != FORMAT:
                raise ValueError
        except (ValueError, RecursionError):
            self._set_aside(path)
            return None
        return envelope

    def _set_aside(self, path: Path) -> None:
        if path.parent.name in _NO_LOSS:
            with suppress(OSError):
                path.unlink()
            return
        aside = path.with_name(f"{path.stem}.unreadable-{time.time_ns()}")
        with suppress(OSError):
            path.replace(aside)
            console.say(f"A kept sign-in could not be read. It was set aside as {aside}; sign in again.")

    def _sealed(self, path: Path, content: dict[str, Any]) -> dict[str, Any]:
        key = self._key_to_write_with(path)
        if key is None:
            return {"format": FORMAT, "protection": "file", "content": content}
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(12)
        sealed = AESGCM(key).encrypt(nonce, json.dumps(content).encode(), _place(path))
        return {"format": FORMAT, "protection": "keyring", "content": base64.b64encode(nonce + sealed).decode()}

    def _opened(self, path: Path, envelope: dict[str, Any]) -> dict[str, Any]:
        """Raises: ValueError if it is damaged, or was written with a key that is gone."""
        content = envelope.get("content")
        if envelope.get("protection") == "file":
            if not isinstance(content, dict):
                raise ValueError("content")
            return content
        if envelope.get("protection") != "keyring" or not isinstance(content, str):
            raise ValueError("protection")
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        from mcpapp.client.keyrings import KeyringFailure, key

        try:
            self._key = self._key or key()
        except KeyringFailure as failure:
            raise CacheFailure(
                f"{failure}, and the kept sign-in is encrypted.", f"Unlock the keyring, or remove {path}."
            ) from None
        if self._key is None:
            raise ValueError("key")
        sealed = base64.b64decode(content, validate=True)
        try:
            opened = json.loads(AESGCM(self._key).decrypt(sealed[:12], sealed[12:], _place(path)))
        except InvalidTag:
            raise ValueError("tag") from None
        if not isinstance(opened, dict):
            raise ValueError("content")
        return opened

    def _key_to_write_with(self, path: Path) -> bytes | None:
        """Return the key to encrypt with; None if there is no keyring, which the person is told of once."""
        if self._key:
            return self._key
        mark = self.folder / "no-keyring"
        if mark.exists():
            # Told already; a keyring is asked for again when the mark is gone, as `star login` sees to.
            return None
        from filelock import FileLock

        from mcpapp.client.keyrings import KeyringFailure, key_made

        reason = "This machine has no keyring"
        with FileLock(self.folder / "key.lock", mode=0o600):
            try:
                self._key = key_made()
            except KeyringFailure as failure:
                reason = str(failure)
            if self._key is None and not mark.exists():
                mark.touch(mode=0o600)
                console.say(f"{reason}: sign-ins are kept unencrypted in {path.parent}, readable by you alone.")
        return self._key

    def look_for_a_keyring_again(self) -> None:
        """The next thing that is kept is encrypted if there is a keyring by now."""
        with suppress(OSError):
            (self.folder / "no-keyring").unlink(missing_ok=True)


def _place(path: Path) -> bytes:
    """What a sealed content is bound to: it opens under this name alone."""
    return f"star/{path.parent.name}/{path.name}".encode()


def _is_ours(found: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or found.st_uid == os.geteuid()


def _bytes_of(path: Path) -> bytes:
    """Read a file of ours. Raises: CacheFailure if it is a link, no plain file, or belongs to somebody else."""
    if path.is_symlink():
        raise CacheFailure(f"{path} is a symbolic link.", f"Remove {path}.")
    # Not to be made a link in between, and not to wait for the other end of a pipe.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or not _is_ours(found):
            raise CacheFailure(f"{path} is no file of yours.", f"Remove {path}.")
        if os.name == "posix" and stat.S_IMODE(found.st_mode) & 0o077:
            console.say(f"{path} could be read by others. It is for you alone now; sign in again if that matters.")
            os.fchmod(descriptor, 0o600)
        return file.read(MAX_BYTES)


def _replace(path: Path, text: bytes) -> None:
    """Write a file so that whoever reads finds all of the old content or all of the new. Raises: OSError."""
    _remove_leftovers(path.parent)
    descriptor, name = tempfile.mkstemp(prefix=_NEW, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _remove_leftovers(folder: Path) -> None:
    """What a process that was killed while it wrote has left."""
    for path in folder.glob(f"{_NEW}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > SECONDS_UNTIL_LEFTOVERS_GO:
                path.unlink()
