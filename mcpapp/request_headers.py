"""The header lines of a request, found at once: Starlette's `Headers` reads through all of them for each name."""

from __future__ import annotations

from starlette.types import Scope


class RequestHeaders:
    """Header lines by name, in lower case as ASGI has them; of those that are repeated the first is found."""

    __slots__ = ("_lines", "client", "first", "has_repeated")

    def __init__(self, scope: Scope) -> None:
        self._lines: list[tuple[bytes, bytes]] = scope["headers"]
        self.client: tuple[str, int] | None = scope.get("client")
        """Address and port that it came from, as the ASGI server knows them."""
        self.first = dict(reversed(self._lines))
        """Values as they were sent."""
        self.has_repeated = len(self.first) != len(self._lines)

    def get(self, name: bytes) -> str | None:
        """Return the value of the first line with a name."""
        value = self.first.get(name)
        return None if value is None else value.decode("latin-1")

    def all(self, name: bytes) -> list[str]:
        """Return the values of all lines with a name."""
        if not self.has_repeated:
            value = self.get(name)
            return [] if value is None else [value]
        return [value.decode("latin-1") for line, value in self._lines if line == name]
