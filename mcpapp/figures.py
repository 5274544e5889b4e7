"""How a process is doing, for whoever watches it; the site decides what becomes of it. A call notices none of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcpapp.asgi import ResourceServer

HearCall = Callable[[Any, str, float], None]
"""Called on the event loop with what a client called a tool, a value of `Outcome`, and seconds; it must not raise."""


class Figures:
    """The figures of one `ResourceServer`. Counts rise from its start on."""

    def __init__(self, server: ResourceServer) -> None:
        self._server = server
        self.hear_call: HearCall | None = None

    def hear_calls(self, hear: HearCall) -> None:
        """Have a function told of each call of a tool when it is over."""
        self.hear_call = hear

    def refusals(self) -> Mapping[str, int]:
        """Return how many requests were turned away at the door, by `Refusal.Reason`."""
        return self._server.door_log.counts

    def token_cache(self) -> Mapping[str, int]:
        """Return how many access tokens were known, and how many were looked up."""
        return self._server.verifier.counts()

    def limited(self) -> Mapping[str, int]:
        """Return how many calls were beyond a limit, by its name (`mcpapp.limits`)."""
        return self._server.limits.counts

    def call_log(self) -> tuple[int, int]:
        """Return how many records of calls wait to be written, and how many were dropped."""
        log = self._server.call_log
        return (0, 0) if log is None else (log.waiting, log.dropped)

    def streams(self) -> int:
        """Return how many streams of changes are open."""
        return self._server.open_streams()

    def in_flight(self) -> int:
        """Return how many calls of tools are under way, those that wait included."""
        return self._server.limits.in_flight
