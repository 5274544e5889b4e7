"""Carry word of changes to every worker: from whoever tells of one (`mcpapp.events`) to those who listen here.

On PostgreSQL through NOTIFY, in the transaction of whoever tells: heard at commit, by every worker, and not at all if
it is rolled back. On other databases after the commit, in this process alone. docs/decisions/0013 has the reasons.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db import Error as DatabaseError
from mcp.server.subscriptions import (
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)

from mcpapp.database import own_connections
from mcpapp.shutdown import told_of_shutdown

logger = logging.getLogger(__name__)

CHANNEL = "mcpapp_events"
MAXIMUM_URI_BYTES = 2048
MAXIMUM_PAYLOAD_BYTES = 7999
"""What PostgreSQL lets a notification carry."""
CONNECT_SECONDS = 5
LOOK_SECONDS = 1.0
"""How often it is looked whether the proof has failed."""
PROOF_SECONDS = 10.0
"""How often it is proven that notifications arrive, and how long the proof may take."""
FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 5.0
INSIST_SECONDS = 0.1

Listener = Callable[[ServerEvent], None]

_LISTS: dict[str, ServerEvent] = {
    "tools": ToolsListChanged(),
    "prompts": PromptsListChanged(),
    "resources": ResourcesListChanged(),
}
_NAMES = {event: name for name, event in _LISTS.items()}


@dataclass(frozen=True)
class PersonsResourceUpdated(ResourceUpdated):
    """A resource changed for one person; nobody else hears of it."""

    user_id: str


def encode(event: ServerEvent) -> str:
    """Return the payload of a notification.

    Raises:
        ValueError: the URI is empty, too long, or has control characters.
    """
    if not isinstance(event, ResourceUpdated):
        return json.dumps([_NAMES[event]])
    uri = event.uri
    if not uri or not uri.isprintable() or len(uri.encode()) > MAXIMUM_URI_BYTES:
        raise ValueError(f"The URI of a resource has 1 to {MAXIMUM_URI_BYTES} bytes and no control characters.")
    user_id = event.user_id if isinstance(event, PersonsResourceUpdated) else None
    payload = json.dumps(["resource", uri, user_id], ensure_ascii=False)
    if len(payload.encode()) > MAXIMUM_PAYLOAD_BYTES:
        raise ValueError(f"URI and user together take more than the {MAXIMUM_PAYLOAD_BYTES} bytes of a notification.")
    return payload


def decode(payload: str) -> ServerEvent | None:
    """Return what a notification tells; None for what is not ours: anybody may notify on a channel."""
    try:
        decoded = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    match decoded:
        case [str(name)]:
            return _LISTS.get(name)
        case ["resource", str(uri), None]:
            return ResourceUpdated(uri)
        case ["resource", str(uri), str(user_id)]:
            return PersonsResourceUpdated(uri, user_id)
    return None


def send(event: ServerEvent) -> None:
    """Tell every worker, at the commit of the transaction that this is called in.

    Raises:
        ValueError: see `encode`.
        django.db.Error: the database does not answer.
    """
    payload = encode(event)
    connection = connections[DEFAULT_DB_ALIAS]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, payload])
    else:
        transaction.on_commit(lambda: _tell_this_process(event))


_running: list[tuple[asyncio.AbstractEventLoop, Bus]] = []


def _tell_this_process(event: ServerEvent) -> None:
    if not _running:
        _warn_of_silence()
    for loop, bus in list(_running):
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(bus.deliver, event)


@cache
def _warn_of_silence() -> None:
    """Say once what a management command would not notice."""
    logger.warning("A change was told, and nobody can hear it: this database carries word to no other process.")


class Bus:
    """The SDK's `SubscriptionBus` for one process: whatever it publishes goes the way of `send`."""

    def __init__(self) -> None:
        self._listeners: dict[object, tuple[Listener, Callable[[], None] | None]] = {}
        self._hearing = asyncio.Event()
        self._is_closing = False

    @property
    def is_hearing(self) -> bool:
        """Whether changes made from now on are heard of, or their loss is noticed."""
        return self._hearing.is_set()

    async def wait_until_hearing(self, seconds: float) -> bool:
        """Return whether that is so, within a time: after a start or a lost connection it takes a moment."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hearing.wait()
        return self.is_hearing

    async def publish(self, event: ServerEvent) -> None:
        """Tell every worker; `Context.notify_resource_updated` of the SDK and its like come here."""
        await sync_to_async(send)(event)

    def subscribe(self, listener: Listener, on_gap: Callable[[], None] | None = None) -> Callable[[], None]:
        """Have a function called with each event, on the event loop; return what ends that.

        `on_gap` is called when events may have been lost, and when the server ends.
        """
        key = object()
        self._listeners[key] = (listener, on_gap)

        def unsubscribe() -> None:
            self._listeners.pop(key, None)

        return unsubscribe

    def deliver(self, event: ServerEvent) -> None:
        """Tell those who listen in this process."""
        for listener, _ in list(self._listeners.values()):
            try:
                listener(event)
            except Exception:
                logger.exception("A listener failed.")

    def hear(self) -> None:
        """From now on events arrive."""
        if not self._is_closing:
            self._hearing.set()

    def lose(self) -> None:
        """Events may have been lost, or will be."""
        self._hearing.clear()
        for _, on_gap in list(self._listeners.values()):
            if on_gap is not None:
                on_gap()

    def close(self) -> None:
        """The server ends: so does everything that waits for events."""
        self._is_closing = True
        self.lose()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hear events while inside, until the server is told to end."""
        loop = asyncio.get_running_loop()
        ears: asyncio.Task[None] | None = None
        if connections[DEFAULT_DB_ALIAS].vendor == "postgresql":
            ears = asyncio.create_task(_Ears(self).listen(), name="mcpapp.bus")
        else:
            self.hear()
        _running.append((loop, self))
        try:
            with told_of_shutdown(self.close):
                yield
        finally:
            _running.remove((loop, self))
            if ears is not None:
                await _end(ears)
            self.close()


class _Ears:
    """The connection that hears notifications, for one process. What is lost while there is none cannot be had again.

    That it hears is proven all the time: a pooler in transaction mode takes LISTEN and then passes nothing on.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._own_channel = f"{CHANNEL}_{secrets.token_hex(8)}"
        self._proof = ""
        self._proven = asyncio.Event()
        self._retry_seconds = FIRST_RETRY_SECONDS
        self._is_quiet = False

    async def listen(self) -> None:
        """Listen until cancelled, and connect again whenever that fails."""
        while True:
            try:
                async with await _connect() as connection:
                    await self._hear(connection)
            except Exception as error:  # whatever it is: the next attempt may do better
                if not self._is_quiet:
                    logger.warning("Changes cannot be listened for (%s); open streams were ended.", error)
                self._is_quiet = True
            self._bus.lose()
            await asyncio.sleep(self._retry_seconds * random.uniform(0.5, 1))  # noqa: S311  (not all workers at once)
            self._retry_seconds = min(self._retry_seconds * 2, LAST_RETRY_SECONDS)

    async def _hear(self, connection: Any) -> None:
        await connection.execute(f'LISTEN "{CHANNEL}"')
        await connection.execute(f'LISTEN "{self._own_channel}"')
        proving = asyncio.create_task(self._prove())
        try:
            while not proving.done():
                async for notification in connection.notifies(timeout=LOOK_SECONDS):
                    if notification.channel == self._own_channel:
                        if notification.payload == self._proof:
                            self._proven.set()
                    elif (event := decode(notification.payload)) is not None:
                        self._bus.deliver(event)
            proving.result()
        finally:
            await _end(proving)

    async def _prove(self) -> None:
        """Notify ourselves the way that others do, again and again.

        Raises:
            ConnectionError: it was not heard.
        """
        while True:
            self._proof = secrets.token_hex(8)
            self._proven.clear()
            try:
                async with own_connections():
                    await sync_to_async(_notify)(self._own_channel, self._proof)
            except DatabaseError:  # then nobody else can tell of anything either
                await asyncio.sleep(FIRST_RETRY_SECONDS)
                continue
            try:
                async with asyncio.timeout(PROOF_SECONDS):
                    await self._proven.wait()
            except TimeoutError:
                raise ConnectionError("a notification to ourselves did not arrive") from None
            if self._is_quiet:
                logger.warning("Changes are listened for again.")
            self._is_quiet = False
            self._retry_seconds = FIRST_RETRY_SECONDS
            self._bus.hear()
            await asyncio.sleep(PROOF_SECONDS)


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended: what it waits for may just have come, and then a cancellation can be lost."""
    while not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=INSIST_SECONDS)
    if not task.cancelled():
        task.exception()  # asked for, or asyncio complains


def _notify(channel: str, payload: str) -> None:
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [channel, payload])


async def _connect() -> Any:
    """Return an asynchronous connection to Django's default database.

    Raises:
        psycopg.Error, OSError: there is none to be had.
    """
    import psycopg  # only installed where it is needed

    parameters = connections[DEFAULT_DB_ALIAS].get_connection_params()
    for django_own in ("cursor_factory", "context", "prepare_threshold", "server_side_binding"):
        parameters.pop(django_own, None)
    keepalives = {"keepalives": 1, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
    options = {"connect_timeout": CONNECT_SECONDS} | parameters | keepalives
    return await psycopg.AsyncConnection.connect(**options, autocommit=True)
