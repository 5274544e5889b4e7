"""The SDK's client without the SDK's server, for a program that has only to start, call and end.

`import mcp` brings the server side as well, starlette, uvicorn and all, which takes as long as everything else that a
call needs. While the SDK's client is imported, modules of `mcp.server` are stood in for by empty ones whose names are
empty classes: the client needs them to tell a URL from a server object of the same process, which `star` has not. The
stand-ins are gone afterwards, so that `import mcp.server` means the real one.

This is for the process of the console client alone (`cli.main`): a program that imported the SDK already, as Django's
does, keeps what it has. If an SDK comes that does not bear it, it is imported as usual, slower and no worse.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_STOOD_IN_FOR = "mcp.server"

# Set by the console client when the process is its own.
wanted = False


class _StandIn(ModuleType):
    """A module that has every name."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (), {})
        setattr(self, name, made)
        return made


class _Finder(MetaPathFinder, Loader):
    """Finds a stand-in for each module of the SDK's server."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == _STOOD_IN_FOR or fullname.startswith(f"{_STOOD_IN_FOR}."):
            return ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is in it."""


def import_client() -> bool:
    """Import the SDK's client without its server. Returns: whether that was possible, and worth it."""
    if "mcp" in sys.modules:
        return False
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    # Classes and functions by the thousand, none of which is garbage: looking for it takes a tenth of the time.
    gc.disable()
    try:
        importlib.import_module("mcp.client")
        importlib.import_module("mcp.client.streamable_http")
    except Exception:
        _forget("mcp")
        return False
    finally:
        gc.enable()
        sys.meta_path.remove(finder)
        _forget(_STOOD_IN_FOR)
        if mcp := sys.modules.get("mcp"):
            vars(mcp).pop("server", None)
    return True


def _forget(name: str) -> None:
    for each in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
        del sys.modules[each]
