"""Answers of an authorization server of at most a size: discovery leads to hosts that nobody has chosen yet."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2

MAX_BYTES = 1024 * 1024
"""Of one answer: metadata and tokens are a few kilobytes."""

HEADERS = {"Accept-Encoding": "identity"}
"""Answers are asked not to be compressed: a few kilobytes can become gigabytes."""


async def bound(response: httpx2.Response) -> None:
    """Have reading an answer fail where it is too large; an event hook.

    Raises: httpx2.ReadError for one that is compressed.
    """
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        await response.aclose()
        raise httpx2.ReadError("the answer is compressed, which it was not asked to be", request=response.request)
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Bounded(response.stream, response.request)


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, request: httpx2.Request) -> None:
        self._inner = inner
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._inner:
            size += len(part)
            if size > MAX_BYTES:
                raise httpx2.ReadError("the answer is too large", request=self._request)
            yield part

    async def aclose(self) -> None:
        """Close the stream that is read."""
        await self._inner.aclose()
