"""The header lines of a request, found at once: Starlette's `Headers` reads through all of them for each name."""

from __future__ import annotations

from starlette.types import Scope


class RequestHeaders:
    """Header lines by name, in lower case as ASGI has them; of those that are repeated the first is found."""

    __slots__ = ("_first", "_lines", "has_repeated")

    def __init__(self, scope: Scope) -> None:
        self._lines: list[tuple[bytes, bytes]] = scope["headers"]
        self._first = dict(reversed(self._lines))
        self.has_repeated = len(self._first) != len(self._lines)

    def __contains__(self, name: str) -> bool:
        """Return whether a header was sent."""
        return name.encode() in self._first

    def get(self, name: str) -> str | None:
        """Return the value of the first line with a name."""
        value = self._first.get(name.encode())
        return None if value is None else value.decode("latin-1")

    def all(self, name: str) -> list[str]:
        """Return the values of all lines with a name."""
        if not self.has_repeated:
            value = self.get(name)
            return [] if value is None else [value]
        key = name.encode()
        return [value.decode("latin-1") for line, value in self._lines if line == key]
