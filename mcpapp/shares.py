"""What one person has under way in this process, and how much of it is too much.

A call stays in memory with all of its request, and in a session also when its client has left.
"""

from __future__ import annotations

from typing import Any

from mcpapp import conf

LARGEST_REQUESTS = 4
"""So many requests of the largest size one person may have under way; what is decoded of one may take twenty times as
much memory."""


class TooMuch(Exception):
    """This person has as much under way as one may have."""


class _Share:
    """How many calls run or wait, and how large their requests are together."""

    __slots__ = ("calls", "size")

    def __init__(self) -> None:
        self.calls = self.size = 0

    def would_exceed(self, size: int) -> bool:
        """Return whether another request of this size is too large beside the others."""
        return self.size > 0 and self.size + size > LARGEST_REQUESTS * conf.maximum_body_bytes()


_shares: dict[Any, _Share] = {}


class counted:
    """Count a call of a person, with so many bytes, for as long as the code inside runs."""

    __slots__ = ("_person", "_share", "_size")

    def __init__(self, person: Any, size: int) -> None:
        self._person = person
        self._size = size

    def __enter__(self) -> None:
        """Begin.

        Raises:
            TooMuch: it is one too many, or too large beside the others.
        """
        share = _shares.get(self._person)
        if share is None:
            share = _shares[self._person] = _Share()
        elif share.calls >= conf.calls_per_person() or share.would_exceed(self._size):
            raise TooMuch
        share.calls += 1
        share.size += self._size
        self._share = share

    def __exit__(self, *exc_info: object) -> None:
        """End."""
        self._share.calls -= 1
        self._share.size -= self._size
        if not self._share.calls:
            del _shares[self._person]
