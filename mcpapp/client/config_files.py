"""The files in which other programs keep their MCP servers, and how one is put there without harm to anything else."""

from __future__ import annotations

import difflib
import os
import stat
import sys
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from mcpapp.client.failures import Failure, UsageFailure
from mcpapp.client.json_edit import NotEditable, decoded, with_member

Scope = Literal["project", "user"]
SCOPES: tuple[Scope, ...] = ("project", "user")
MAXIMUM_BYTES = 10 * 1024 * 1024
# What an entry has for its own host alone.
_CREDENTIALS = ("headers", "env", "http_headers", "env_http_headers", "bearer_token_env_var")


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one program keeps servers."""

    key: str
    """The object, or table, that has them by name."""
    project: str
    """The file in a project's folder; empty if the program has none there."""
    user: str
    """The file of a person; `{config}` is where the system keeps configurations."""
    entry: Callable[[str], dict[str, Any]]


def _typed(url: str) -> dict[str, Any]:
    return {"type": "http", "url": url}


# The same entries as `mcpapp.client.client_configs` prints: a test compares them.
_KINDS = {
    "vscode": _Kind("servers", ".vscode/mcp.json", "{config}/Code/User/mcp.json", _typed),
    "claude-code": _Kind("mcpServers", ".mcp.json", "~/.claude.json", _typed),
    "claude-desktop": _Kind(
        "mcpServers",
        "",
        "{config}/Claude/claude_desktop_config.json",
        lambda url: {"command": "npx", "args": ["-y", "mcp-remote", url]},
    ),
    "cursor": _Kind("mcpServers", ".cursor/mcp.json", "~/.cursor/mcp.json", lambda url: {"url": url}),
    "gemini": _Kind("mcpServers", ".gemini/settings.json", "~/.gemini/settings.json", lambda url: {"httpUrl": url}),
    "codex": _Kind("mcp_servers", "", "~/.codex/config.toml", lambda url: {"url": url}),
}


@dataclass(frozen=True, slots=True)
class Edit:
    """What a file becomes."""

    path: Path
    """The file itself, where a link leads to it."""
    before: bytes | None
    """None if there is no such file."""
    after: bytes

    @property
    def changes(self) -> bool:
        """Whether it becomes anything else."""
        return self.before != self.after

    def diff(self) -> str:
        """Return what changes, for people."""
        before, after = (
            (content or b"").decode("utf-8", "replace").splitlines(keepends=True)
            for content in (self.before, self.after)
        )
        name = str(self.path)
        return "".join(
            difflib.unified_diff(before, after, name, name, n=0)
        )  # what is near may be another server's secret


def clients() -> list[str]:
    """Return the programs that keep servers in files."""
    return list(_KINDS)


def scopes_of(client: str) -> list[Scope]:
    """Return where a program keeps them."""
    kind = _KINDS.get(client)
    return [] if kind is None else [scope for scope in SCOPES if getattr(kind, scope)]


def file_of(client: str, scope: Scope, project: Path) -> Path:
    """Return the file of a program.

    Raises:
        UsageFailure: it has none there.
    """
    kind = _KINDS.get(client)
    if kind is None:
        raise UsageFailure(
            f"{client} keeps no servers in a file.", "Run the command that is printed without --install."
        )
    if scope == "project":
        if not kind.project:
            raise UsageFailure(f"{client} has no file in a project.", "Use --scope user.")
        return project / kind.project
    return Path(kind.user.replace("{config}", str(_configurations()))).expanduser()


def _configurations() -> Path:
    """Return where the system keeps the configurations of a person's programs."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def planned(client: str, path: Path, name: str, url: str) -> Edit:
    """Return what putting a server into a program's file changes. Nothing is written.

    Raises:
        Failure: the file cannot be read, or is not what the program keeps servers in, or has another such server.
    """
    kind = _KINDS[client]
    target = Path(os.path.realpath(path))
    try:
        before = target.read_bytes() if target.exists() else None
        if before is not None and (not target.is_file() or len(before) > MAXIMUM_BYTES):
            raise Failure(f"{path} is no file of settings.")
        text = (before or b"").decode("utf-8")
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise Failure(f"{path} is not in UTF-8.", "Nothing was changed.") from error
    change = _with_toml_entry if kind.key == "mcp_servers" else _with_json_entry
    try:
        after = change(text, kind.key, name, kind.entry(url))
    except NotEditable as error:
        raise Failure(f"{path} cannot be changed: {error}", "Nothing was changed. Put the lines in by hand.") from error
    return Edit(target, before, before if before is not None and after == text else after.encode("utf-8"))


def planned_alone(client: str, name: str, url: str) -> str:
    """Return the text of a program's file in which nothing else is."""
    kind = _KINDS[client]
    change = _with_toml_entry if kind.key == "mcp_servers" else _with_json_entry
    return change("", kind.key, name, kind.entry(url)).rstrip("\n")


def _with_json_entry(text: str, key: str, name: str, entry: dict[str, Any]) -> str:
    known = decoded(text).get(key, {})
    old = known.get(name) if isinstance(known, dict) else None
    for member, value in _merged(name, old, entry).items():
        text = with_member(text, (key, name, member), value) if old is not None else text
    return text if old is not None else with_member(text, (key, name), entry)


def _with_toml_entry(text: str, key: str, name: str, entry: dict[str, Any]) -> str:
    import tomlkit  # which no other program's file needs
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
        if key not in document:
            document[key] = tomlkit.table(is_super_table=True)
        servers: Any = document[key]
        if not isinstance(servers, MutableMapping):
            raise NotEditable(f"{key} is no table.")
        merged = _merged(name, servers.get(name), entry)
        if name not in servers:
            # A table on one line takes no other kind.
            inline = isinstance(servers, tomlkit.items.InlineTable)
            servers[name] = tomlkit.inline_table() if inline else tomlkit.table()
        for member, value in merged.items():
            if servers[name].get(member) != value:
                servers[name][member] = value
        after = str(tomlkit.dumps(document))
        # What is written has to say what was meant, and all else that was there.
        wanted = tomlkit.parse(text).unwrap()
        wanted.setdefault(key, {}).setdefault(name, {}).update(merged)
        if tomlkit.parse(after).unwrap() != wanted:
            raise NotEditable("its tables are written in a way that cannot be kept.")
        return after
    except NotEditable:
        raise
    except (TOMLKitError, ValueError) as error:  # tomlkit has plain ValueErrors too
        raise NotEditable(f"its TOML cannot be changed ({error}).") from error


def _merged(name: str, old: Any, entry: dict[str, Any]) -> dict[str, Any]:
    """Return what of an entry is to be written over one that is there, of which the rest stays.

    Raises:
        NotEditable: that one is another kind of server.
    """
    if old is None:
        return entry
    if not isinstance(old, Mapping):
        raise NotEditable(f"{name} is no server.")
    others = {"command", "url", "httpUrl"} - set(entry)
    if others & set(old):
        raise NotEditable(f"it has another server of the name {name}, which is reached in another way; use --name.")
    if any(old.get(one) for one in _CREDENTIALS) and _origins(old) != _origins(entry):
        raise NotEditable(f"it has a server of the name {name} at another host, with credentials for it; use --name.")
    return entry


def _origins(entry: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return the schemes and hosts that an entry leads to."""
    arguments = entry.get("args")
    texts = [entry.get("url"), entry.get("httpUrl"), *(arguments if isinstance(arguments, list) else [])]
    try:
        parts = [urlsplit(text) for text in texts if isinstance(text, str) and "://" in text]
    except ValueError:  # an address that is none is no address of ours
        return set()
    return {(part.scheme.lower(), part.netloc.lower()) for part in parts}


def write(edit: Edit) -> Path | None:
    """Write what was planned, whole or not at all; return where what was there before is kept, None if nothing was.

    Raises:
        Failure: it cannot be written, or the file was changed meanwhile.
    """
    path = edit.path
    new = path.with_name(f".{path.name}.star-new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        known = path.stat() if edit.before is not None else None
        mode = 0o600 if known is None else stat.S_IMODE(known.st_mode)
        # Exclusive: whoever has made it is about to replace the file.
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Failure(f"Another program is changing {path}.", f"If none is, delete {new} and try again.") from None
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(edit.after)
            file.flush()
            os.fsync(file.fileno())
        new.chmod(mode)
        # Root does it for somebody; Windows has no such ids.
        if known is not None and hasattr(os, "geteuid") and known.st_uid != os.geteuid():
            os.chown(new, known.st_uid, known.st_gid)
        if (path.read_bytes() if path.exists() else None) != edit.before:
            raise Failure(f"{path} was changed meanwhile.", "Nothing was written. Try again.")
        kept = None if edit.before is None else _backup(path, edit.before, mode)
        os.replace(new, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):
            new.unlink()
    return kept


def _backup(path: Path, content: bytes, mode: int) -> Path:
    """Keep a copy beside the file; the first one of several stays what it is."""
    for number in range(1, 1000):
        kept = path.with_name(f"{path.name}.before-star{'' if number == 1 else f'-{number}'}")
        try:
            descriptor = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        kept.chmod(mode)
        return kept
    raise Failure(f"{path.parent} has too many copies of {path.name}.", "Delete some of them.")


def _unwritable(path: Path, error: OSError) -> Failure:
    return Failure(f"{path} cannot be written: {error.strerror or error}.", "Nothing was changed.")
