"""Connections to the servers of a chat: each in a task of its own, so that one that breaks takes nothing with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from mcpapp.client.connection import connect
from mcpapp.client.failures import Failure, ServerFailure, as_failure
from mcpapp.client.options import Options

if TYPE_CHECKING:
    from anyio.abc import TaskGroup, TaskStatus
    from mcp.client import Client

_SECONDS_TO_END = 5


class Link:
    """A connection to the server at `url` that is made anew when it is needed and had broken.

    `label` is what the person and the model see of the server. `client_arguments` go to the SDK's client.
    """

    def __init__(self, url: str, label: str, options: Options, group: TaskGroup, **client_arguments: Any) -> None:
        self.url = url
        self.label = label
        self._options = options
        self._group = group
        self._client_arguments = client_arguments
        self._client: Client | None = None
        self._closing = anyio.Event()
        self._has_ended = anyio.Event()
        self._problem: Failure | None = None
        self._one_at_a_time = anyio.Lock()

    async def client(self) -> Client:
        """Return the connected client, connecting if there is none. Raises: as `connect`."""
        async with self._one_at_a_time:
            if self._client is None:
                self._problem, self._has_ended = None, anyio.Event()
                await self._group.start(self._hold)
            assert self._client is not None  # noqa: S101  (what `start` waited for)
            return self._client

    async def why_it_broke(self) -> Failure:
        """Return what ended a connection that a call found closed."""
        with anyio.move_on_after(_SECONDS_TO_END):
            await self._has_ended.wait()
        return self._problem or ServerFailure("The server closed the connection.")

    def close(self) -> None:
        """Let the connection end in good order."""
        self._closing.set()

    async def _hold(self, *, task_status: TaskStatus[None]) -> None:
        has_started = False
        try:
            async with connect(self.url, self._options, **self._client_arguments) as client:
                self._client = client
                has_started = True
                task_status.started()
                await self._closing.wait()
        except Exception as error:
            self._problem = as_failure(error)
            if not has_started or self._problem is None:
                raise
        finally:
            self._client = None
            self._has_ended.set()
