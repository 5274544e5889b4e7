"""Complete the arguments of prompts and of templates of resources (MCP `completion/complete`).

What a site declares is run like any call: a plain function in a thread, with its limits and with errors that do not
leak. Access is decided by whoever calls this.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from inspect import iscoroutinefunction
from itertools import islice
from typing import Any

from mcp_types import Completion, CompletionArgument

from mcpapp import calls
from mcpapp.calls import RunOptions
from mcpapp.registry import Completer, Definition

MAXIMUM_VALUES = 100
"""What one answer may have (MCP 2025-11-25 and 2026-07-28, completion: a MUST of the schema)."""

Complete = Callable[[str, dict[str, str]], Awaitable[list[str]]]


def prepared(definition: Definition, failure: Callable[[str], Exception]) -> Mapping[str, Complete]:
    """Return what completes each argument of a definition; made once per server and event loop."""
    return {
        name: calls.prepared(_limited(completer), RunOptions(), failure)
        for name, completer in definition.completions.items()
    }


async def complete(
    completers: Mapping[str, Complete], argument: CompletionArgument, given: Mapping[str, str]
) -> Completion:
    """Return what an argument may become; nothing for one that has no completion."""
    completer = completers.get(argument.name)
    values = await completer(argument.value, dict(given)) if completer is not None else []
    return Completion(values=values[:MAXIMUM_VALUES], has_more=len(values) > MAXIMUM_VALUES)


def _limited(completer: Completer) -> Callable[..., Any]:
    """Return the function with its answer made a list where the function runs: a QuerySet asks the database then."""
    if iscoroutinefunction(completer):

        async def complete_async(value: str, given: dict[str, str]) -> list[str]:
            return _strings(await completer(value, given))

        return complete_async

    def complete_plain(value: str, given: dict[str, str]) -> list[str]:
        return _strings(completer(value, given))

    return complete_plain


def _strings(answer: Iterable[Any]) -> list[str]:
    """Return one more than may be told at most, which says that there are more."""
    if isinstance(answer, str):  # its characters would be taken for the values
        raise TypeError(f"A completion returns a list: [{answer!r}], not {answer!r}.")
    return [str(value) for value in islice(answer, MAXIMUM_VALUES + 1)]
