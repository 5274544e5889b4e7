"""Run the resolvers of a tool (`Annotated[T, Resolve(function)]`) as calls are run.

The SDK runs plain ones in threads of its own, where connections to the database are never given back and exceptions
that Django has an answer for say nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from mcp.server.mcpserver.resolve import Resolve

from mcpapp import calls
from mcpapp.access import BadDeclaration
from mcpapp.calls import RunOptions


def prepare_resolvers(
    run: Callable[..., Any], failure: Callable[[str], Exception], known: dict[Any, Callable[..., Any]] | None = None
) -> None:
    """Replace every resolver in the annotations of a function that wraps another, and those that they need in turn.

    Raises:
        BadDeclaration: a resolver is not a function or method.
    """
    known = {} if known is None else known
    try:
        hints = get_type_hints(run, include_extras=True)
    except (NameError, TypeError):  # the SDK then finds no resolvers either
        return
    replaced = {name: _replaced(hint, failure, known) for name, hint in hints.items() if name != "return"}
    if any(replaced[name] is not hints[name] for name in replaced):
        run.__annotations__ = {**run.__annotations__, **replaced}


def _replaced(hint: Any, failure: Callable[[str], Exception], known: dict[Any, Callable[..., Any]]) -> Any:
    if get_origin(hint) is not Annotated or not any(isinstance(part, Resolve) for part in get_args(hint)):
        return hint
    parts = (
        Resolve(_prepared(part.fn, failure, known)) if isinstance(part, Resolve) else part for part in get_args(hint)
    )
    return Annotated[tuple(parts)]


def _prepared(
    resolver: Callable[..., Any], failure: Callable[[str], Exception], known: dict[Any, Callable[..., Any]]
) -> Callable[..., Any]:
    """Return what runs a resolver; the same one for the same resolver, for the SDK asks each question once."""
    if not (inspect.isfunction(resolver) or inspect.ismethod(resolver)):
        raise BadDeclaration(f"{resolver!r} cannot be a resolver: write a def or an async def.")
    if resolver not in known:
        known[resolver] = run = calls.prepared(resolver, RunOptions(), failure)
        prepare_resolvers(run, failure, known)
    return known[resolver]
